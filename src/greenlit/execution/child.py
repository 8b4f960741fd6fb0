"""Runs inside the candidate's process, as its first code: confines itself, runs the program, sends answers.

Not imported there: `shipping.py` compiles this file and its parts once, as one module, and ships the code object,
because parsing it anew for each candidate would cost more than the interpreter's own start. For the same reason it uses
modules built into the interpreter only (no os, json, re), or imports others where they are needed.

    encoding.py        values and frames on their way out
    decoding.py        values on their way in
    child_calls.py     asserts and calls
    child_stdio.py     whole programs, several inputs in one process
    child_dialogue.py  tests with code of their own
    child_exec.py      programs in other languages

Nothing here is trusted by the judge: once the candidate's code has run, it may have changed any of it. It holds no
expected values, so the worst a program can do is to send answers of its own choice, which are judged like any others.
"""

import builtins
import marshal
import posix
import sys
import time

from greenlit.execution.child_calls import run_program, run_steps
from greenlit.execution.child_dialogue import run_script, serve
from greenlit.execution.child_exec import become
from greenlit.execution.child_stdio import FILE, leave, run_programs, seed
from greenlit.execution.encoding import send

REQUEST, ANSWERS = 3, 4
READY = b'["ready",0.0]\n'


def _confine(spec: dict) -> None:
    """Give up root, then take on the limits; everything after this line runs as the candidate will."""
    import resource

    if spec.get("unreadable"):
        import ctypes

        ctypes.CDLL(None).prctl(4, 0, 0, 0, 0)  # PR_SET_DUMPABLE: no other process of this user may trace us

    own_bytes = _load(spec)
    folders = []
    if spec["uid"]:
        uid = spec["uid"] + (posix.getpid() if spec["uid_per_process"] else 0)
        folders = [path for path in sys.path if not path.endswith(".zip")]
        opened = [posix.open(path, posix.O_RDONLY | posix.O_DIRECTORY) for path in folders]
        posix.chown(spec["folder"], uid, uid)
        posix.chdir(spec["folder"])
        posix.setgroups([])
        posix.setresgid(uid, uid, uid)
        posix.setresuid(uid, uid, uid)
        _keep_readable(dict(zip(folders, opened, strict=True)))
    else:
        posix.chdir(spec["folder"])
    for name, limit in spec["limits"]:
        which = getattr(resource, name, None)
        if which is None:
            continue
        hard = resource.getrlimit(which)[1]
        limit += own_bytes if name == "RLIMIT_AS" else 0
        if hard != resource.RLIM_INFINITY:
            limit = min(limit, hard)
        try:
            resource.setrlimit(which, (limit, limit))
        except (ValueError, OSError):
            if name not in spec["optional_limits"]:
                raise


def _load(spec: dict) -> int:
    """Import the profile's packages, as nobody's work; return the address space they took, in bytes."""
    sys.path += spec["packages"]
    before = _address_space() if spec["preload"] else 0
    for name in spec["preload"]:
        __import__(name)
    if "numpy" in sys.modules:
        __import__("numpy.random")  # which numpy leaves for later, out of reach of `seed`
    seed()
    return _address_space() - before if spec["preload"] else 0


def _address_space() -> int:
    """Of this process, in bytes; 0 where the system does not tell (and does not limit it either)."""
    import resource

    try:
        with open("/proc/self/statm", encoding="ascii") as file:  # noqa: PTH123 - no pathlib here
            return int(file.read().split()[0]) * resource.getpagesize()
    except OSError:
        return 0


def _keep_readable(folders: dict) -> None:
    """Where the interpreter or its packages lie in a folder that only root may enter, import through open folders.

    /proc/self/fd/N leads straight to the folder, whatever the modes of the folders above it; no capability needed.
    """
    moved = {}
    for path, fd in folders.items():
        if posix.access(path, posix.R_OK | posix.X_OK):
            posix.close(fd)
        else:
            moved[path] = f"/proc/self/fd/{fd}"
    if not moved:
        return

    def place(path: str) -> str:
        folder = next((folder for folder in moved if path == folder or path.startswith(folder + "/")), "")
        return moved[folder] + path[len(folder) :] if folder else path

    sys.path[:] = [place(path) for path in sys.path if path in folders]
    sys.path_importer_cache.clear()
    sys._stdlib_dir = place(sys._stdlib_dir)  # type: ignore[attr-defined]
    for module in list(sys.modules.values()):
        where = getattr(module, "__path__", None)
        if type(where) is list:
            where[:] = map(place, where)


def prepare() -> None:
    """What `site` would have added, no environment, and Python's own limit on recursion."""
    builtins.exit = builtins.quit = sys.exit
    posix.environ.clear()
    sys.setrecursionlimit(1010)
    sys.argv[:] = ["candidate"]
    for name in ("candidate", "__main__"):
        sys.modules[name] = type(sys)(name)
        sys.modules[name].__dict__["__builtins__"] = builtins


def run(spec: dict) -> None:
    """In an interpreter of its own: confine, say that we are ready, work."""
    posix.close(REQUEST)
    _confine(spec)
    prepare()
    if spec["alarm_s"]:
        import _signal

        _signal.alarm(spec["alarm_s"])
    if spec["command"]:
        become(spec["command"])
    send(f'["ready",{time.process_time():.6f}]\n')
    work(spec)


def run_forked(spec: dict) -> None:
    """In a fork of the zygote, which has prepared and confined us: work, then end as an interpreter would."""
    if spec["command"]:
        become(spec["command"])
    posix.write(ANSWERS, READY)
    status = 1
    try:
        work(spec)
        status = 0
    except SystemExit as end:
        status = end.code if isinstance(end.code, int) else int(end.code is not None)
    finally:
        _end(status & 255)


def _end(status: int) -> None:
    """Wait for threads, run what is registered for the exit, leave, exit."""
    try:
        if "threading" in sys.modules:
            sys.modules["threading"]._shutdown()
        import atexit

        atexit._run_exitfuncs()
        leave()
    finally:
        posix._exit(status)


def work(spec: dict) -> None:
    """Run the program, answer what is asked."""
    spec["steps"] = marshal.loads(spec["steps"])
    if spec["random"]:
        import random  # noqa: F401 - loaded, so that it is seeded

        seed()
    first = spec["steps"][0][0] if spec["steps"] else ""
    if spec["stdio"]:
        names = sys.modules["__main__"].__dict__
        names["__file__"] = FILE
        run_program(spec, names)
        return
    names = sys.modules["candidate"].__dict__
    if spec.get("entry"):
        serve(spec, names)
    elif first == "script":
        run_script(spec, names)
    elif first == "stdio":
        run_programs(spec)
    else:
        run_steps(spec, names)
