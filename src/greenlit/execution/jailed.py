"""The jailed levels: candidates forked inside a jail that is built once per lane. The worker's end.

jail.py builds, zygote.py forks and watches, child.py runs the program; here are the lanes, each one jail that runs one
candidate at a time, and the reading of what came back. A lane does not block: `start`, wait until `fileno()` is
readable, `finish`.

What these levels do NOT stop: kernel bugs; reading the system's and the interpreter's world-readable libraries; using
one core for as long as the limits allow; and, where no control group can be made (`notes` says so), many processes of
one candidate that together take more memory than one may. Programs that guess the answers pass, of course.
"""

import contextlib
import functools
import itertools
import json
import marshal
import os
import select
import signal
import socket
import struct
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from types import CodeType
from typing import Any

from greenlit.execution import descendants, profiles, shipping
from greenlit.execution.cgroups import Group, remove_stale_groups
from greenlit.execution.level import PATIENCE, START_S, STARVED, Dialogue, Relay, Request, Run

ORDER, REPORT = struct.Struct("=ddqqq"), struct.Struct("=8siidd")
STREAMS, LARGE, ERRORS = 1, 2, 4
"""As in zygote.py."""
FIRST_ID = 2_000_000_000
TMP_MIB, TMP_FILES = 32, 2000
IN_SOCKET = 64 << 10
STEP_BYTES = 128 << 10
LOOK_AFTER_S, LOOK_S = 0.005, 0.25
SYSTEM = ("/lib", "/lib64", "/usr/lib", "/usr/lib64", "/usr/share/zoneinfo", "/etc/ld.so.cache")
IDLE_LANES = 8
"""Jails kept for later candidates: one for each lane of a worker, and two for another profile."""
BOOTSTRAP = (
    "import marshal,posix\n"
    "s,c,z,d=marshal.loads(posix.pread(3,posix.fstat(3).st_size,0))\n"
    "posix.close(3)\n"
    "n=[{'__name__':m} for m in ('greenlit_seccomp','greenlit_child','greenlit_zygote')]\n"
    "exec(s,n[0])\nexec(c,n[1])\nexec(z,n[2])\n"
    "n[2]['main'](d,n[1],n[0]['install'])\n"
)


class NoJail(Exception):
    """This way of building a jail does not work on this machine; the message says why."""


@functools.cache
def _compiled(name: str) -> CodeType:
    path = Path(__file__).with_name(name)
    return compile(path.read_text(encoding="utf-8"), f"<{name}>", "exec", dont_inherit=True, optimize=2)


@dataclass(frozen=True)
class Blueprint:
    """What a jail is built from."""

    way: str
    """`root` or `user`, see jail.py; `bubblewrap`."""
    profile: str = "plain"
    """`plain`, or `science`: with numpy, pandas and sympy loaded before the fork."""
    output_bytes: int = 1 << 20
    """Largest file a candidate may write, its standard output included."""
    becomes: tuple[str, ...] = ()
    """Files of another interpreter that candidates become; each then takes the filter of system calls on by itself."""

    @property
    def packages(self) -> list[tuple[str, str]]:
        """Files of the preloaded packages → where they lie inside."""
        return [(str(place), f"/packages/{place.name}") for place in profiles.files(self.profile)]

    def specification(self, root: str, control: int, program: int, cgroups: list[str]) -> dict[str, Any]:
        """What jail.py needs to know."""
        prefix = sys.base_prefix.rstrip("/")
        command = interpreter()
        version = f"python{sys.version_info.major}.{sys.version_info.minor}"
        library = f"{prefix}/lib"
        binds = [(path, path) for path in dict.fromkeys((*SYSTEM, library, command, *self.becomes))]
        hidden = [f"{library}/{version}/site-packages", "/usr/lib/python3/dist-packages"]
        hidden += [f"/usr/local/lib/{version}/{name}-packages" for name in ("site", "dist")]
        return {
            "way": self.way,
            "root": root,
            "binds": binds + self.packages,
            "hidden": list(dict.fromkeys(hidden)),
            "tmp_mib": TMP_MIB,
            "tmp_files": TMP_FILES,
            "first_id": FIRST_ID,
            "control": control,
            "program": program,
            "cgroups": cgroups,
            "command": [command, "-s", "-S", "-P", "-B", "-c", BOOTSTRAP],
            "environment": {"PYTHONHASHSEED": "0", "MALLOC_ARENA_MAX": "1", **profiles.ONE_THREAD},
        }

    def program(self) -> bytes:
        """Code and settings of the zygote."""
        spec = {
            "two_ids": self.way == "root",
            "output_bytes": self.output_bytes + 1,
            "machine": os.uname().machine,
            "becomes": bool(self.becomes),
            "packages": ["/packages"] if self.packages else [],
            "also_loaded": list(profiles.SCIENCE) if self.packages else [],
        }
        return marshal.dumps((_compiled("seccomp.py"), shipping.child_code(), _compiled("zygote.py"), spec))


@functools.cache
def interpreter() -> str:
    """The interpreter itself, not a virtual environment's link to it."""
    return os.path.realpath(getattr(sys, "_base_executable", sys.executable))


def _memory_file(content: bytes) -> int:
    descriptor = os.memfd_create("greenlit")
    view = memoryview(content)
    while view:
        view = view[os.write(descriptor, view) :]
    os.lseek(descriptor, 0, os.SEEK_SET)
    return descriptor


class Lane:
    """One jail: runs one candidate at a time."""

    def __init__(self, blueprint: Blueprint, root: Path) -> None:
        """
        Args:
            root: an empty folder to mount the jail's file system on; only the jail sees it there.

        Raises:
            NoJail: it cannot be built this way, here.
        """
        self.blueprint = blueprint
        self.group = Group(root.name)
        self.control, far = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.pid = 0
        self.request: Request | None = None
        self.data: socket.socket | None = None
        self.stdout = self.stderr = -1
        program = _memory_file(blueprint.program())
        root.mkdir(parents=True, exist_ok=True)
        try:
            with far:
                self._build(root, far.fileno(), program)
            self._greet()
        except BaseException:
            self.close()
            raise
        finally:
            os.close(program)
        self.own_bytes = _address_space(self.pid) if blueprint.packages else 0

    def _build(self, root: Path, control: int, program: int) -> None:
        spec = self.blueprint.specification(str(root), control, program, self.group.doors)
        command = [interpreter(), "-I", "-S", "-B", str(Path(__file__).with_name("jail.py")), json.dumps(spec)]
        done = subprocess.run(
            command, pass_fds=(control, program), capture_output=True, env={"PATH": os.defpath}, text=True
        )
        try:
            answer = json.loads(done.stdout)
        except ValueError:
            raise NoJail(done.stderr.strip().rsplit("\n", 1)[-1] or "the builder did not answer") from None
        if "error" in answer:
            raise NoJail(answer["error"])
        self.pid = answer["pid"]

    def _greet(self) -> None:
        self.control.settimeout(START_S)
        try:
            if self.control.recv(16) != b"ready":
                raise NoJail("the zygote did not start")
        except OSError as error:
            raise NoJail(f"the zygote did not start ({error})") from None
        self.control.settimeout(None)

    def fileno(self) -> int:
        """Readable when the run is over."""
        return self.control.fileno()

    def start(self, request: Request) -> None:
        """Hand over a request."""
        self.request = request
        self.began = time.monotonic()
        self.received = bytearray()
        self.stopped = ""
        self.room = 2 * request.output_bytes + 4096 + len(request.steps) * STEP_BYTES
        content = marshal.dumps(shipping.task(request))
        self.data, far = socket.socketpair()
        self.data.setblocking(False)
        sent, own, what = [far.fileno()], [], 0
        if request.stdin is not None:
            self.stdout = _memory_file(b"")
            own.append(_memory_file(request.stdin.encode("utf-8", "surrogatepass")))
            sent += [own[0], self.stdout]
            what |= STREAMS
        if len(content) <= IN_SOCKET:
            self.data.send(content)
        else:
            own.append(_memory_file(content))
            sent.append(own[-1])
            what |= LARGE
        if request.command is not None:
            self.stderr = _memory_file(b"")
            sent.append(self.stderr)
            what |= ERRORS
        own_bytes = self.own_bytes if request.command is None else request.command.own_bytes
        memory = own_bytes + (request.memory_mib << 20)
        self.group.limit(memory + (TMP_MIB << 20))
        space = memory if request.command is None else 0
        order = ORDER.pack(request.cpu_s, request.wall_s, space, len(content), what)
        try:
            socket.send_fds(self.control, [order], sent)
        except OSError:
            pass  # the jail is gone; `finish` says so
        finally:
            far.close()
            for descriptor in own:
                os.close(descriptor)

    def look(self) -> bool:
        """Take in what has been sent while it runs; False when there will be no more, or has been more than may be."""
        more = self._receive()
        if not more and not self.stopped and self.request is not None and self.request.stdin is None:
            self.stop("closed")  # it can answer no more
        return more

    def _receive(self) -> bool:
        assert self.data is not None
        while len(self.received) <= self.room:
            try:
                part = self.data.recv(1 << 16)
            except BlockingIOError:
                return True
            except OSError:
                return False
            if not part:
                return False
            self.received += part
        self.stop("flood")
        return False

    def stop(self, why: str = "stopped") -> None:
        """End the run now; `fileno()` becomes readable soon after."""
        if not self.stopped:
            self.stopped = why
            with contextlib.suppress(OSError):
                self.control.send(b"stop")
                if self.data is not None:
                    self.data.shutdown(socket.SHUT_WR)  # one that waits for calls ends by itself

    def used_s(self) -> float:
        """CPU time of the candidate that runs, seen from outside; 0 where it cannot be seen."""
        pid = self.pid if self.blueprint.way != "bubblewrap" else next(_children(self.pid), 0)
        return sum(descendants.cpu_s(child) for child in _children(pid))

    def finish(self) -> tuple[Run, bool]:
        """What happened, and whether the lane can be used again. Call it when `fileno()` is readable."""
        assert self.request is not None and self.data is not None
        try:
            report = self.control.recv(REPORT.size)
        except OSError:
            report = b""
        self._receive()
        run = Run(wall_s=time.monotonic() - self.began)
        if report:
            ended, killed_by, status, run.cpu_s, run.wall_s = REPORT.unpack(report)
            run.ended = ended.rstrip(b"\0").decode()
            if run.ended == "stopped" or (run.ended == "exited" and self.stopped not in {"", "closed"}):
                run.ended = self.stopped
            if run.ended == "exited":
                run.signal, run.status = killed_by or None, None if killed_by else status
        if (not report or run.signal == signal.SIGKILL) and self.group.killed():
            run.ended, run.signal = "memory", None
        self._take_lines(run)
        run.stdout, run.stderr = self._written(self.stdout), self._written(self.stderr)
        self.stdout = self.stderr = -1
        self.data.close()
        self.request = self.data = None
        return run, bool(report)

    def _written(self, file: int) -> bytes:
        """What a stream's file holds; closes it."""
        assert self.request is not None
        if file < 0:
            return b""
        content = os.pread(file, min(os.fstat(file).st_size, self.request.output_bytes + 1), 0)
        os.close(file)
        return content

    def _take_lines(self, run: Run) -> None:
        """Whole lines, the first of which only says that the program was about to start."""
        *lines, _ = bytes(self.received).split(b"\n")
        if lines and lines[0].startswith(b'["ready"'):
            run.started = True
            run.lines = lines[1:]
            run.cpu_s = max(0.0, (run.cpu_s or 0.0) - shipping.ready_cpu_s(lines[0]))
        elif run.ended == "memory":
            run.started = True

    def close(self) -> None:
        """End the jail and everything in it."""
        self.control.close()
        if self.data is not None:
            self.data.close()
        if self.pid:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(self.pid, signal.SIGKILL)  # a child that is not reaped yet: nobody else has its number
            with contextlib.suppress(ChildProcessError):
                os.waitpid(self.pid, 0)
            self.pid = 0
        self.group.close()


class Jails:
    """The jailed levels: lanes side by side, built when they are needed."""

    def __init__(self, ways: Sequence[str], folder: Path, watch: int | None = None) -> None:
        """
        Args:
            ways: which to try, in this order: `root`, `user`, `bubblewrap`.
            folder: where the jails' mount points go.
            watch: a file descriptor that hangs up when the judge's main process is gone.

        Raises:
            NoJail: none of them works here.
        """
        self.folder = folder
        self.watch = watch
        self.idle: list[Lane] = []
        self.busy: list[Lane] = []
        self._numbers = itertools.count()
        descendants.adopt_orphans()
        remove_stale_groups()
        reasons = []
        for way in ways:
            try:
                self.way = way
                self.idle.append(self._build(Blueprint(way)))
                break
            except NoJail as why:
                reasons.append(f"{way}: {why}")
        else:
            raise NoJail("; ".join(reasons))
        self.name = "bubblewrap" if self.way == "bubblewrap" else "namespaces"
        self.notes = [_WHOSE[self.way], *([note] if (note := self.idle[0].group.note) else [])]

    def _build(self, blueprint: Blueprint) -> Lane:
        return Lane(blueprint, self.folder / f"jail-{next(self._numbers)}")

    def start(self, request: Request) -> Lane:
        """A lane that runs this; it is busy until `finish`.

        Raises:
            NoJail: no jail can be built any more.
        """
        becomes = (request.command.words[0], *request.command.binds) if request.command else ()
        blueprint = Blueprint(self.way, request.profile, request.output_bytes, becomes)
        lane = next((lane for lane in self.idle if lane.blueprint == blueprint), None)
        if lane is None:
            lane = self._build(blueprint)
        else:
            self.idle.remove(lane)
        self.busy.append(lane)
        lane.start(request)
        return lane

    def finish(self, lane: Lane) -> Run:
        """What happened; the lane is free again, or gone if its jail is."""
        run, usable = lane.finish()
        self.busy.remove(lane)
        if usable:
            self.idle.append(lane)
        else:
            lane.close()
        while len(self.idle) > IDLE_LANES:
            self.idle.pop(0).close()
        return run

    def run(self, request: Request) -> Run:
        """One candidate, waiting for it."""
        lane = self.start(request)
        poll = select.poll()
        poll.register(lane.fileno(), select.POLLIN)
        self._register_watch(poll)
        wait_ms: float | None = 1000 * LOOK_AFTER_S
        while True:
            ready = {descriptor for descriptor, _ in poll.poll(wait_ms)}
            self._leave_if_alone(ready)
            if lane.fileno() in ready:
                return self.finish(lane)
            assert lane.data is not None
            if wait_ms is not None:
                wait_ms = None
                poll.register(lane.data, select.POLLIN)
            elif not lane.look():
                poll.unregister(lane.data)

    def converse(self, dialogue: Dialogue) -> tuple[Run, Run]:
        """Two candidates' lanes and the relay between them.

        Each waits for the other, so the zygotes' wall limits are no measure here: whose turn it is has the time.
        """
        patience_s = START_S + 2 * PATIENCE * (dialogue.script.wall_s + dialogue.program.wall_s)
        script = Talk(self.start(replace(dialogue.script, wall_s=patience_s)), dialogue.script.wall_s)
        program = Talk(self.start(replace(dialogue.program, wall_s=patience_s)), dialogue.program.wall_s)
        talks = (script, program)
        for talk in talks:
            talk.lane.room = dialogue.room
        poll = select.poll()
        self._register_watch(poll)
        for talk in talks:
            poll.register(talk.lane.fileno(), select.POLLIN)
            poll.register(talk.data, select.POLLIN)
        over: set[int] = set()
        turn, since, talking = script, time.monotonic(), True
        while len(over) < 2:
            ready = {descriptor for descriptor, _ in poll.poll(1000 * LOOK_S)}
            self._leave_if_alone(ready)
            now = time.monotonic()
            turn.waited_s, since = turn.waited_s + now - since, now
            for talk in talks:
                if talk.heard and talk.data in ready and not talk.lane.look():
                    poll.unregister(talk.data)
                    talk.heard = False
                if talk.lane.fileno() in ready:
                    poll.unregister(talk.lane.fileno())
                    over.add(talk.lane.fileno())
            if talking:
                turn.stop_if_late()
                talking = (
                    _pass_on(script, program, dialogue.relay) and not over and not any(t.lane.stopped for t in talks)
                )
                turn = program if program.owes else script
                for talk in talks:
                    talk.flush(poll)
            if not talking:
                for talk in talks:
                    if talk.lane.fileno() not in over:
                        talk.lane.stop()
        return self.finish(script.lane), self.finish(program.lane)

    def _register_watch(self, poll: Any) -> None:
        if self.watch is not None:
            poll.register(self.watch, 0)

    def _leave_if_alone(self, ready: set[int]) -> None:
        if self.watch in ready:
            raise SystemExit(1)

    def close(self) -> None:
        """End all jails."""
        for lane in self.idle + self.busy:
            lane.close()
        self.idle, self.busy = [], []


class Talk:
    """One side of a dialogue: how far its lines have been read, how long it has been waited for."""

    def __init__(self, lane: Lane, wall_s: float) -> None:
        assert lane.data is not None
        self.lane = lane
        self.data = lane.data.fileno()
        self.wall_s = wall_s
        self.waited_s = 0.0
        self.read = 0
        self.owes = 0
        """Lines it was given and has not answered."""
        self.unsent = bytearray()
        self.heard = True
        """It may still send something."""

    def stop_if_late(self) -> None:
        """End it when it has been waited for too long; longer, if it computes."""
        if self.waited_s > self.wall_s:
            patience = PATIENCE if self.lane.used_s() > STARVED * self.waited_s else 1
            if self.waited_s > patience * self.wall_s:
                self.lane.stop("wall")

    def lines(self) -> Iterator[bytes]:
        """New whole lines after the ready line."""
        while (end := self.lane.received.find(b"\n", self.read)) >= 0:
            line = bytes(self.lane.received[self.read : end])
            first, self.read = self.read == 0, end + 1
            if not first:
                yield line

    def flush(self, poll: Any) -> None:
        """Write what it takes now, and wait for the rest; one that is gone is found out elsewhere."""
        assert self.lane.data is not None
        try:
            while self.unsent:
                del self.unsent[: self.lane.data.send(self.unsent)]
        except BlockingIOError:
            pass
        except OSError:
            self.unsent.clear()
        if self.heard:
            poll.modify(self.data, select.POLLIN | (select.POLLOUT if self.unsent else 0))


def _pass_on(script: Talk, program: Talk, relay: Relay) -> bool:
    """Hand over what has come; False when there is no more to say."""
    for line in script.lines():
        call = relay.from_script(line)
        if call is None:
            return False
        program.owes += 1
        program.unsent += call + b"\n"
    for line in program.lines():
        answer = relay.from_program(line)
        if answer is None:
            return False
        program.owes -= 1
        script.unsent += answer + b"\n"
    return True


_WHOSE = {
    "root": "each candidate runs under a user id that owns nothing on this machine",
    "user": "candidates run under one id inside a user namespace of this user, without capabilities",
    "bubblewrap": "jails are built by bubblewrap; candidates run under one id, without capabilities",
}


def _children(pid: int) -> Iterator[int]:
    with contextlib.suppress(OSError):
        yield from map(int, Path(f"/proc/{pid}/task/{pid}/children").read_text(encoding="ascii").split())


def _address_space(pid: int) -> int:
    pid = next(_children(pid), pid)  # bubblewrap's own process waits outside
    pages = int(Path(f"/proc/{pid}/statm").read_text(encoding="ascii").split()[0])
    return pages * os.sysconf("SC_PAGE_SIZE")
