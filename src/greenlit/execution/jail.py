"""Builds one jail and becomes the first process in it. Run as a script, by its path, in an interpreter of its own.

    python -I -S -B jail.py SPECIFICATION

Namespaces for mounts, processes, network, IPC, host name, cgroups and users; a root that holds the interpreter and the
system's libraries, read-only, and nothing else: no /proc, no /sys, no home, no package of ours or yours; /tmp in
memory. Then a fresh interpreter, as process 1, that runs the zygote. It is done once per worker, not per candidate:
seccomp alone would cost a candidate more than all the rest together.

Two ways, tried by `jailed.py` in this order
    root   the mounts belong to the host's user namespace, the zygote to a new one with two user ids that own nothing
           on the host: 0 for the zygote, 1 for candidates, which so can neither signal nor trace it
    user   everything belongs to a new user namespace with one id, without capabilities. Candidates share the zygote's
           id; being process 1, without signal handlers, not dumpable and out of ptrace's reach keeps it safe

Why not bubblewrap: it builds the same jail (see `_as_bubblewrap`, used where only it may), but maps one id, so
that a candidate shares the zygote's; it is one more package to install; and it takes as long.

Does not stop: kernel bugs; reading the world-readable libraries that are bound; measuring time.
"""

import ctypes
import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

NEW_CGROUP, NEW_UTS, NEW_IPC, NEW_USER = 0x02000000, 0x04000000, 0x08000000, 0x10000000
NEW_PID, NEW_NET, NEW_MOUNT = 0x20000000, 0x40000000, 0x00020000
NAMESPACES = NEW_CGROUP | NEW_UTS | NEW_IPC | NEW_PID | NEW_NET | NEW_MOUNT
NOSUID, NODEV, NOEXEC, READ_ONLY = 2, 4, 8, 1
BIND, RECURSIVE, PRIVATE, REMOUNT = 4096, 16384, 1 << 18, 32
DETACH = 2
MOUNT_SETATTR, PIVOT_ROOT = {"x86_64": (442, 155), "aarch64": (442, 41)}[os.uname().machine]
DEVICES = ("null", "zero", "full", "random", "urandom")
INSIDE = 1000
"""The only user id of a jail made by a plain user; not 0, so that no capability comes back with the interpreter."""

_libc = ctypes.CDLL(None, use_errno=True)


def _call(function: Callable[..., int], *arguments: Any) -> None:
    if function(*arguments):
        number = ctypes.get_errno()
        name = getattr(function, "__name__", "system call")
        raise OSError(number, f"{name}: {os.strerror(number)}")


def _unshare(flags: int) -> None:
    _call(_libc.unshare, flags)


def _mount(source: str, target: str, kind: str, flags: int, data: str = "") -> None:
    places = [text.encode() for text in (source, target, kind)]
    _call(_libc.mount, *places, ctypes.c_ulong(flags), data.encode())


def _lock(target: str, attributes: int) -> None:
    """Set attributes of a mount and of all mounts below it (Linux 5.12)."""
    wanted = (ctypes.c_uint64 * 4)(attributes, 0, 0, 0)
    _call(_libc.syscall, MOUNT_SETATTR, -100, target.encode(), 0x8000, ctypes.byref(wanted), ctypes.c_size_t(32))


def _bind(source: str, root: str, inside: str) -> None:
    target = root + inside
    if Path(source).is_dir():
        Path(target).mkdir(parents=True, exist_ok=True)
    else:
        Path(target).parent.mkdir(parents=True, exist_ok=True)
        Path(target).touch()
    _mount(source, target, "", BIND | RECURSIVE)


def _build(root: str, spec: dict[str, Any]) -> None:
    """The file system of the jail, on a new tmpfs."""
    _mount("none", "/", "", RECURSIVE | PRIVATE)
    _mount("tmpfs", root, "tmpfs", NOSUID | NODEV, "size=1m,mode=0755")
    for source, inside in spec["binds"]:
        if Path(source).is_symlink() and source == inside:
            Path(root + inside).symlink_to(Path(source).readlink())
        elif Path(source).exists():
            _bind(source, root, inside)
            _lock(root + inside, READ_ONLY | NOSUID | NODEV)
    for inside in spec["hidden"]:
        if Path(root + inside).is_dir():
            _mount("tmpfs", root + inside, "tmpfs", READ_ONLY | NOSUID | NODEV | NOEXEC, "size=4k,mode=0755")
    for name in DEVICES:
        _bind(f"/dev/{name}", root, f"/dev/{name}")
        _lock(f"{root}/dev/{name}", NOSUID | NOEXEC)
    Path(f"{root}/tmp").mkdir()
    room = f"size={spec['tmp_mib']}m,nr_inodes={spec['tmp_files']},mode=0777"
    _mount("tmpfs", f"{root}/tmp", "tmpfs", NOSUID | NODEV | NOEXEC, room)
    _mount("none", root, "", REMOUNT | READ_ONLY | NOSUID | NODEV, "size=1m,mode=0755")


def _enter(root: str) -> None:
    """Make it the root, and let go of the old one."""
    os.chdir(root)
    _call(_libc.syscall, PIVOT_ROOT, b".", b".")
    _call(_libc.umount2, b".", DETACH)
    os.chdir("/")
    _call(_libc.sethostname, b"jail", 4)


def _write(path: str, text: str, folder: int | None = None) -> None:
    descriptor = os.open(path, os.O_WRONLY, dir_fd=folder)
    try:
        os.write(descriptor, text.encode())
    finally:
        os.close(descriptor)


def _become_zygote(spec: dict[str, Any]) -> NoReturn:
    """Exec a fresh interpreter: nothing of this process's memory or environment stays."""
    os.chdir("/tmp")
    os.setsid()
    os.umask(0o022)
    os.dup2(spec["program"], 101)
    os.dup2(spec["control"], 102)
    null = os.open("/dev/null", os.O_RDWR)
    for source, number in ((null, 0), (null, 1), (null, 2), (101, 3), (102, 20)):
        os.dup2(source, number)
    os.closerange(4, 20)
    os.closerange(21, 2000)
    os.execve(spec["command"][0], spec["command"], spec["environment"])


def _as_root(spec: dict[str, Any], root: str) -> int:
    """The mounts are the host's; the zygote's user namespace has two ids that own nothing there."""
    processes = os.open("/proc", os.O_PATH)
    _unshare(NAMESPACES)
    _build(root, spec)
    _enter(root)
    (mapped, may_go), (unshared, is_unshared) = os.pipe(), os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            _unshare(NEW_USER)
            os.write(is_unshared, b"u")
            if os.read(mapped, 1) != b"m":
                os._exit(1)
            os.setgroups([])
            os.setresgid(0, 0, 0)
            os.setresuid(0, 0, 0)
            _become_zygote(spec)
        finally:
            os._exit(1)
    os.close(is_unshared)
    if os.read(unshared, 1) != b"u":
        raise OSError(0, "the first process could not make its user namespace")
    first = spec["first_id"]
    for name in ("uid_map", "gid_map"):
        _write(f"{pid}/{name}", f"0 {first} 1\n1 {first + 1} 1\n", processes)
    os.write(may_go, b"m")
    return pid


def _as_user(spec: dict[str, Any], root: str) -> int:
    """Everything belongs to a new user namespace with one id and, once the interpreter runs, no capability."""
    uid, gid = os.geteuid(), os.getegid()
    _unshare(NAMESPACES | NEW_USER)
    _write("/proc/self/setgroups", "deny")
    _write("/proc/self/uid_map", f"{INSIDE} {uid} 1\n")
    _write("/proc/self/gid_map", f"{INSIDE} {gid} 1\n")
    _build(root, spec)
    _enter(root)
    pid = os.fork()
    if pid == 0:
        try:
            for capability in range(64):
                if _libc.prctl(24, capability, 0, 0, 0):  # PR_CAPBSET_DROP
                    break
            _become_zygote(spec)
        finally:
            os._exit(1)
    return pid


def _as_bubblewrap(spec: dict[str, Any], root: str) -> int:
    """The same jail as `user` makes it, by the program `bwrap`: for machines where only that may."""
    arguments = ["bwrap", "--unshare-all", "--as-pid-1", "--new-session", "--cap-drop", "ALL"]
    arguments += ["--hostname", "jail", "--uid", str(INSIDE), "--gid", str(INSIDE)]
    for source, inside in spec["binds"]:
        if Path(source).is_symlink() and source == inside:
            arguments += ["--symlink", str(Path(source).readlink()), inside]
        elif Path(source).exists():
            arguments += ["--ro-bind", source, inside]
    for inside in spec["hidden"]:
        if Path(inside).is_dir():
            arguments += ["--size", "4096", "--perms", "0755", "--tmpfs", inside, "--remount-ro", inside]
    for name in DEVICES:
        arguments += ["--dev-bind", f"/dev/{name}", f"/dev/{name}"]
    arguments += ["--size", str(spec["tmp_mib"] << 20), "--perms", "0777", "--tmpfs", "/tmp", "--chdir", "/tmp"]
    arguments += ["--remount-ro", "/", "--", *spec["command"]]
    null = os.open(os.devnull, os.O_RDWR)
    targets = [(null, 0), (null, 1), (null, 2), (spec["program"], 3), (spec["control"], 20)]
    moves = [(os.POSIX_SPAWN_DUP2, source, target) for source, target in targets]
    return os.posix_spawnp("bwrap", arguments, spec["environment"], file_actions=moves)


WAYS = {"root": _as_root, "user": _as_user, "bubblewrap": _as_bubblewrap}


def main() -> None:
    """Print the zygote's process id, as this process sees it, or why there is none."""
    spec = json.loads(sys.argv[1])
    try:
        if spec["cgroup"]:
            _write(spec["cgroup"], str(os.getpid()))
        pid = WAYS[spec["way"]](spec, spec["root"])
    except OSError as error:
        print(json.dumps({"error": f"{error.strerror}"}))
        return
    print(json.dumps({"pid": pid}))


if __name__ == "__main__":
    main()
