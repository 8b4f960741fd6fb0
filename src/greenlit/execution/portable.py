"""The portable level: a fresh interpreter with limits and a folder of its own for each candidate, but no jail.

What it gives: the judge outside, no environment, no inherited files, limits on CPU, memory, file size and open files,
the whole process tree ended after each candidate; where the judge is root, a user id of the candidate's own, so that it
can neither signal nor read any other process.

What it does NOT stop
- reading every file the user may read (as another user, where the judge is root: every world-readable file);
- the network;
- leaving files in world-writable folders such as /tmp, and filling the disk within its time;
- memory of many processes together: the limit is per process;
- where the judge is not root: signals to the user's other processes, this judge among them (its verdict is then
  `infra`, never `passed`), and writing to the user's files;
- kernel bugs, and programs that guess the answers.
Programs of strangers belong in a jail, not here.
"""

import ctypes
import math
import os
import select
import signal
import sys
import time
from pathlib import Path
from typing import Any

from greenlit.execution import descendants, profiles, shipping
from greenlit.execution.given import content, file_with, remove
from greenlit.execution.level import PATIENCE, PORTABLE, START_S, STARVED, Dialogue, Request, Run
from greenlit.execution.portable_dialogue import Conversation

OWN_UID = 2_000_000_000
NOBODY = 65_534
PROCESSES = 64
OPEN_FILES = 64
STACK_BYTES = 64 << 20
STEP_BYTES = 128 << 10
_LINUX = sys.platform == "linux"
_OPTIONAL = ("RLIMIT_AS", "RLIMIT_STACK", "RLIMIT_NPROC")


class Portable:
    """Runs candidates, one at a time. Only for a worker process: it ends every child and orphan that process has."""

    name = PORTABLE

    def __init__(self, folder: Path, watch: int | None = None) -> None:
        """
        Args:
            folder: where the candidates' folders go.
            watch: a file descriptor that hangs up when the judge's main process is gone.
        """
        self.folder = folder
        self.folder.chmod(0o711)
        self.watch = watch
        self.count = 0
        self.interpreter = os.path.realpath(getattr(sys, "_base_executable", sys.executable))
        self.null = os.open(os.devnull, os.O_RDWR)
        _occupy_low_descriptors()
        descendants.adopt_orphans()
        self.uid, self.uid_per_process = 0, False
        self.notes = self._drop_privileges()

    def _drop_privileges(self) -> list[str]:
        """Find out, by trying, as whom candidates can run; return what is to be said about it."""
        if os.geteuid() != 0:
            return ["candidates run as this user and can signal and read this user's other processes"]
        for uid, own in ((OWN_UID, True), (NOBODY, False)):
            self.uid, self.uid_per_process = uid, own
            if self.run(Request("", wall_s=START_S)).started:
                whom = "a user id of its own" if own else "user 65534 (nobody), shared with other candidates"
                return [f"the judge is root; each candidate runs as {whom}"]
        self.uid, self.uid_per_process = 0, False
        return ["CANDIDATES RUN AS ROOT: privileges could not be dropped"]

    def run(self, request: Request) -> Run:
        """Start, watch, end, clean up. Never raises for anything the candidate does."""
        self.count += 1
        home = self.folder / str(self.count)
        home.mkdir(mode=0o700)
        answers, answers_far = os.pipe()
        os.set_blocking(answers, False)
        handed = file_with(shipping.packed(self.spec(request, home)))
        stdin = self.null if request.stdin is None else file_with(request.stdin.encode("utf-8", "surrogatepass"))
        stdout = self.null if request.stdin is None else file_with(b"")
        stderr = self.null if request.command is None else file_with(b"")
        watched = _Watched(request, answers)
        pid = 0
        try:
            pid = self.spawn(stdin, stdout, handed, answers_far, stderr=stderr)
            os.close(answers_far)
            answers_far = -1
            self._watch(watched, pid)
        finally:
            if pid:
                watched.close(descendants.end(pid))
            if request.stdin is not None:
                watched.run.stdout = content(stdout, request.output_bytes + 1)
            if request.command is not None:
                watched.run.stderr = content(stderr, request.output_bytes + 1)
            for fd in {answers, answers_far, handed, stdin, stdout, stderr} - {-1, self.null}:
                os.close(fd)
            remove(home)
        return watched.run

    def converse(self, dialogue: Dialogue) -> tuple[Run, Run]:
        """Run a script and the program it calls."""
        return Conversation(self, dialogue).held()

    def spec(self, request: Request, home: Path) -> dict[str, Any]:
        """What a candidate's process is told."""
        limits = [
            ("RLIMIT_CORE", 0),
            ("RLIMIT_CPU", math.ceil(request.cpu_s) + 2),
            ("RLIMIT_FSIZE", request.output_bytes + 1),
            ("RLIMIT_NOFILE", OPEN_FILES),
            ("RLIMIT_STACK", STACK_BYTES),
        ]
        if request.command is None:
            limits.append(("RLIMIT_AS", request.memory_mib << 20))
        if self.uid_per_process:
            limits.append(("RLIMIT_NPROC", PROCESSES))
        science = request.profile == "science"
        return {
            **shipping.task(request),
            "packages": profiles.folders() if science else [],
            "preload": [name for name in profiles.SCIENCE if science and name in request.code],
            "folder": str(home),
            "limits": limits,
            "optional_limits": _OPTIONAL,
            "uid": self.uid,
            "uid_per_process": self.uid_per_process,
            "unreadable": _LINUX and not self.uid and request.steps[:1] and request.steps[0][0] == "script",
            "alarm_s": math.ceil(request.wall_s * PATIENCE + START_S),
        }

    def spawn(
        self, stdin: int, stdout: int, handed: int, answers: int, calls: int | None = None, stderr: int | None = None
    ) -> int:
        """Start a candidate's process with these descriptors and no others."""
        errors = self.null if stderr is None else stderr
        targets = [(stdin, 0), (stdout, 1), (errors, 2), (handed, 3), (answers, 4)]
        if calls is not None:
            targets.append((calls, 5))
        return os.posix_spawn(
            self.interpreter,
            [self.interpreter, "-S", "-s", "-P", "-B", "-c", shipping.BOOTSTRAP],
            {"PYTHONHASHSEED": "0", "MALLOC_ARENA_MAX": "1", **profiles.ONE_THREAD},
            file_actions=[(os.POSIX_SPAWN_DUP2, source, target) for source, target in targets],
            setsid=True,
            setsigmask=[],
            setsigdef=[signal.SIGINT, signal.SIGTERM, signal.SIGPIPE],
        )

    def _watch(self, watched: "_Watched", pid: int) -> None:
        """Until it has answered, exited, or used up its time."""
        poll = select.poll()
        poll.register(watched.answers, select.POLLIN)
        exit_fd = os.pidfd_open(pid) if _LINUX else -1
        if exit_fd >= 0:
            poll.register(exit_fd, select.POLLIN)
        if self.watch is not None:
            poll.register(self.watch, 0)
        try:
            while not watched.over(pid):
                wait_s = watched.wait_s if exit_fd >= 0 else min(watched.wait_s, 0.01)
                ready = {fd for fd, _ in poll.poll(max(1, math.ceil(wait_s * 1000)))}
                if self.watch in ready:
                    raise SystemExit(1)
                exited = exit_fd in ready if exit_fd >= 0 else descendants.has_exited(pid)
                if not watched.hung_up and (watched.answers in ready or exited) and not watched.read():
                    poll.unregister(watched.answers)
                    watched.hung_up = True
                watched.exited = exited
        finally:
            if exit_fd >= 0:
                os.close(exit_fd)


class _Watched:
    """The reading of one run: lines as they come, and whether it is over."""

    def __init__(self, request: Request, answers: int) -> None:
        self.request = request
        self.answers = answers
        self.run = Run()
        self.buffer = bytearray()
        self.line_room = 2 * request.output_bytes + 4096
        self.room = self.line_room + len(request.steps) * STEP_BYTES
        self.exited = False
        self.hung_up = False
        self.begun = time.monotonic()
        self.ready_cpu_s = 0.0
        self.used_s = 0.0
        self.wait_s = 1.0

    def read(self) -> bool:
        """Take what is there; False when the other end is closed."""
        while self.room >= 0:
            try:
                data = os.read(self.answers, 1 << 16)
            except BlockingIOError:
                return True
            if not data:
                return False
            self.room -= len(data)
            self.buffer += data
            if b"\n" in data:
                *lines, rest = bytes(self.buffer).split(b"\n")
                self.buffer = bytearray(rest)
                for line in lines:
                    self._take(line)
            if len(self.buffer) > self.line_room:
                self.room = -1
        return True

    def _take(self, line: bytes) -> None:
        if self.run.started:
            self.run.lines.append(line)
            return
        self.run.started = True
        self.ready_cpu_s = shipping.ready_cpu_s(line)
        self.begun = time.monotonic()

    def over(self, pid: int) -> bool:
        """Has it ended, one way or another? Sets `run.ended`, or how long to wait before asking again."""
        self.run.ended = self._end(pid)
        return bool(self.run.ended)

    def _end(self, pid: int) -> str:
        run, request = self.run, self.request
        whole = request.stdin is not None
        if self.room < 0:
            return "flood"
        if not whole and run.lines and (len(run.lines) >= len(request.steps) or run.lines[-1].startswith(b"[-1,")):
            return "answered"
        if not whole and run.started and not request.steps:
            return "answered"
        if self.exited:
            return "exited"
        if self.hung_up and not whole:
            return "closed"
        wall_s = time.monotonic() - self.begun
        if not run.started:
            self.wait_s = START_S - wall_s
            return "wall" if wall_s > START_S else ""
        self.used_s = descendants.cpu_s(pid) - self.ready_cpu_s
        if self.used_s > request.cpu_s:
            return "cpu"
        # A program that computes but gets little of a busy machine is no sleeper: it may have more wall time.
        limit_s = request.wall_s * (PATIENCE if self.used_s > STARVED * wall_s else 1)
        if wall_s > limit_s:
            return "wall"
        self.wait_s = max(0.001, min(request.cpu_s - self.used_s, limit_s - wall_s, request.wall_s))
        return ""

    def close(self, ending: "descendants.Ending") -> None:
        """Take over how the process ended and what it used."""
        run = self.run
        if run.ended == "exited":
            run.signal = ending.signal
            run.status = ending.status
            if ending.signal == getattr(signal, "SIGXCPU", None) or (
                ending.signal == signal.SIGKILL and ending.cpu_s - self.ready_cpu_s > self.request.cpu_s
            ):
                run.ended = "cpu"
        run.wall_s = time.monotonic() - self.begun
        run.cpu_s = max(0.0, ending.cpu_s - self.ready_cpu_s)


def _occupy_low_descriptors() -> None:
    """Keep 0 to 9 in use, so that what a candidate inherits never has a number that `dup2` would overwrite."""
    while (fd := os.open(os.devnull, os.O_RDWR)) < 10:
        continue
    os.close(fd)


def harden_worker(may_gain_privileges: bool) -> None:
    """Nobody of our user may trace or read us, and nothing we start gains privileges (setuid programs).

    Where bubblewrap is to be tried it may be such a program; jails give up privileges by themselves.
    """
    if _LINUX:
        libc = ctypes.CDLL(None, use_errno=True)
        libc.prctl(4, 0, 0, 0, 0)  # PR_SET_DUMPABLE
        if not may_gain_privileges:
            libc.prctl(38, 1, 0, 0, 0)  # PR_SET_NO_NEW_PRIVS
