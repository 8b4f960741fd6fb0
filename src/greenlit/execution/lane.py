"""One jail at work: hands over a request, takes in what the candidate sends, reads the zygote's report.

A lane does not block: `start`, wait until `fileno()` is readable, `finish`.
"""

import contextlib
import json
import marshal
import os
import select
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

from greenlit.execution import descendants, shipping
from greenlit.execution.blueprint import TMP_MIB, Blueprint, NoJail, interpreter
from greenlit.execution.cgroups import Group
from greenlit.execution.given import content, file_with
from greenlit.execution.level import START_S, Request, Run
from greenlit.execution.zygote import ERRORS, LARGE, ORDER, REPORT, STREAMS

IN_SOCKET = 64 << 10
STEP_BYTES = 128 << 10


class Lane:
    """One jail: runs one candidate at a time."""

    def __init__(self, blueprint: Blueprint, root: Path) -> None:
        """
        Args:
            root: an empty folder to mount the jail's file system on; only the jail sees it there.

        Raises:
            NoJail: it cannot be built this way, here.
        """
        program = file_with(blueprint.program())
        self.blueprint = blueprint
        self.group = Group(root.name)
        self.control, far = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.pid, self.pidfd = 0, -1
        self.request: Request | None = None
        self.data: socket.socket | None = None
        self.stdout = self.stderr = -1
        root.mkdir(parents=True, exist_ok=True)
        try:
            with far:
                self._build(root, far.fileno(), program)
            self._take_hold()
            self._greet()
        except BaseException:
            self.close()
            raise
        finally:
            os.close(program)
        self.own_bytes = _address_space(self.pid) if blueprint.packages else 0

    def _build(self, root: Path, control: int, program: int) -> None:
        spec = self.blueprint.specification(str(root), control, program, self.group.door)
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

    def _take_hold(self) -> None:
        """Hold on to the zygote, so that a signal can reach no process that is given its number later.

        Where we do not adopt orphans, somebody else may take leave of it any time: the number was still its own if,
        afterwards, it holds its end of the control socket.
        """
        with contextlib.suppress(ProcessLookupError):
            pidfd = os.pidfd_open(self.pid)
            poll = select.poll()
            poll.register(self.control, 0)
            if not poll.poll(0):
                self.pidfd = pidfd
                return
            with contextlib.suppress(ChildProcessError):
                os.waitid(os.P_PIDFD, pidfd, os.WEXITED | os.WNOHANG)
            os.close(pidfd)
        raise NoJail("the zygote did not start")

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
        task = marshal.dumps(shipping.task(request))
        self.data, far = socket.socketpair()
        self.data.setblocking(False)
        sent, own, what = [far.fileno()], [], 0
        if request.stdin is not None:
            self.stdout = file_with(b"")
            own.append(file_with(request.stdin.encode("utf-8", "surrogatepass")))
            sent += [own[0], self.stdout]
            what |= STREAMS
        if len(task) <= IN_SOCKET:
            self.data.send(task)
        else:
            own.append(file_with(task))
            sent.append(own[-1])
            what |= LARGE
        if request.command is not None:
            self.stderr = file_with(b"")
            sent.append(self.stderr)
            what |= ERRORS
        own_bytes = self.own_bytes if request.command is None else request.command.own_bytes
        memory = own_bytes + (request.memory_mib << 20)
        self.group.limit(memory + (TMP_MIB << 20))
        space = memory if request.command is None else 0
        order = ORDER.pack(request.cpu_s, request.wall_s, space, len(task), what)
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
        written = content(file, self.request.output_bytes + 1)
        os.close(file)
        return written

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
        if self.pidfd >= 0:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                signal.pidfd_send_signal(self.pidfd, signal.SIGKILL)
            with contextlib.suppress(ChildProcessError):
                os.waitid(os.P_PIDFD, self.pidfd, os.WEXITED)
            os.close(self.pidfd)
            self.pidfd = -1
        self.group.close()


def _children(pid: int) -> Iterator[int]:
    with contextlib.suppress(OSError):
        yield from map(int, Path(f"/proc/{pid}/task/{pid}/children").read_text(encoding="ascii").split())


def _address_space(pid: int) -> int:
    pid = next(_children(pid), pid)  # bubblewrap's own process waits outside
    pages = int(Path(f"/proc/{pid}/statm").read_text(encoding="ascii").split()[0])
    return pages * os.sysconf("SC_PAGE_SIZE")
