"""Two processes of the portable level in a dialogue: lines go from one to the relay to the other."""

import contextlib
import math
import os
import select
import signal
import time
from pathlib import Path
from typing import TYPE_CHECKING

from greenlit.execution import descendants, shipping
from greenlit.execution.given import file_with, remove
from greenlit.execution.level import PATIENCE, START_S, STARVED, Dialogue, Request, Run

if TYPE_CHECKING:
    from greenlit.execution.portable import Portable


class _Side:
    """One of the two processes, its pipes, and what it said."""

    def __init__(self, portable: "Portable", request: Request, home: Path) -> None:
        home.mkdir(mode=0o700)
        self.request = request
        self.home = home
        self.run = Run()
        self.ready_cpu_s = 0.0
        self.room = 2 * request.output_bytes + 4096
        self.rest = b""
        self.lines: list[bytes] = []
        self.unsent = b""
        self.answers, answers_far = os.pipe()
        calls_far, self.calls = os.pipe()
        os.set_blocking(self.answers, False)
        os.set_blocking(self.calls, False)
        handed = file_with(shipping.packed(portable.spec(request, home)))
        try:
            self.pid = portable.spawn(portable.null, portable.null, handed, answers_far, calls_far)
        finally:
            for fd in (answers_far, calls_far, handed):
                os.close(fd)
        self.begun = time.monotonic()

    def read(self) -> None:
        """Take the whole lines that have come; `run.ended` tells when no more can."""
        try:
            data = os.read(self.answers, 1 << 16)
        except BlockingIOError:
            return
        if not data:
            self.run.ended = self.run.ended or "closed"
        *lines, self.rest = (self.rest + data).split(b"\n")
        if max(map(len, [self.rest, *lines])) > self.room:
            self.run.ended = "flood"
            return
        if lines and not self.run.started:
            self.run.started = True
            self.ready_cpu_s = shipping.ready_cpu_s(lines.pop(0))
            self.begun = time.monotonic()
        self.lines += lines

    def write(self) -> None:
        """Send what is to be sent, as far as the pipe takes it now."""
        with contextlib.suppress(BlockingIOError, BrokenPipeError):
            self.unsent = self.unsent[os.write(self.calls, self.unsent) :]

    def used_s(self) -> float:
        """CPU time since it was ready."""
        return max(0.0, descendants.cpu_s(self.pid) - self.ready_cpu_s)

    def close(self, ending: "descendants.Ending") -> None:
        """Take over how it ended; only after both processes have."""
        if self.run.ended == "closed" and ending.signal == signal.SIGXCPU:
            self.run.ended = "cpu"
        elif self.run.ended == "closed" and ending.signal != signal.SIGKILL:  # that one may have been ours
            self.run.ended = "exited"
            self.run.signal, self.run.status = ending.signal, ending.status
        self.run.cpu_s = max(0.0, ending.cpu_s - self.ready_cpu_s)
        self.run.wall_s = time.monotonic() - self.begun


class Conversation:
    """Starts the script's process, then the program's, and carries lines until one of them is at its end."""

    def __init__(self, portable: "Portable", dialogue: Dialogue) -> None:
        self.portable = portable
        self.dialogue = dialogue
        self.sides: list[_Side] = []

    def held(self) -> tuple[Run, Run]:
        """Both runs, when it is over and cleaned up."""
        try:
            script = self._start(self.dialogue.script)
            while not script.run.started and not script.run.ended:
                self._wait(START_S)
                script.read()
                if time.monotonic() - script.begun > START_S:
                    script.run.ended = "wall"
            if not script.run.ended:
                self._start(self.dialogue.program)
                self._carry()
        finally:
            self._end()
        runs = [side.run for side in self.sides]
        return runs[0], runs[1] if len(runs) > 1 else Run()

    def _start(self, request: Request) -> _Side:
        self.portable.count += 1
        side = _Side(self.portable, request, self.portable.folder / str(self.portable.count))
        self.sides.append(side)
        return side

    def _carry(self) -> None:
        """Until the script has said its last word, the program broke the rules, or a limit is reached."""
        while not any(side.run.ended for side in self.sides):
            if not self._take():
                for side in self.sides:
                    side.run.ended = side.run.ended or "answered"
                return
            self._wait(self._left_s())

    def _wait(self, wait_s: float) -> None:
        poll = select.poll()
        for side in self.sides:
            poll.register(side.answers, select.POLLIN)
            if side.unsent:
                poll.register(side.calls, select.POLLOUT)
        if self.portable.watch is not None:
            poll.register(self.portable.watch, 0)
        ready = {fd for fd, _ in poll.poll(max(1, math.ceil(wait_s * 1000)))}
        if self.portable.watch in ready:
            raise SystemExit(1)

    def _take(self) -> bool:
        """Read, relay, write; False when the relay wants it ended."""
        relay = self.dialogue.relay
        script, program = self.sides
        for side, translate, other in ((script, relay.from_script, program), (program, relay.from_program, script)):
            side.read()
            lines, side.lines = side.lines, []
            for line in lines:
                passed_on = translate(line)
                if passed_on is None:
                    return False
                other.unsent += passed_on + b"\n"
            if other.unsent:
                other.write()
        return True

    def _left_s(self) -> float:
        """Seconds until a limit may be reached; sets `ended` where one is."""
        now = time.monotonic()
        used = [side.used_s() for side in self.sides]
        for side, used_s in zip(self.sides, used, strict=True):
            if used_s > side.request.cpu_s:
                side.run.ended = "cpu"
            if not side.run.started and now - side.begun > START_S:
                side.run.ended = "wall"
        wall_s = now - self.sides[-1].begun
        program = self.dialogue.program
        limit_s = program.wall_s * (PATIENCE if sum(used) > STARVED * wall_s else 1)
        if self.sides[-1].run.started and wall_s > limit_s:
            self.sides[-1].run.ended = self.sides[-1].run.ended or "wall"
        left = [side.request.cpu_s - used_s for side, used_s in zip(self.sides, used, strict=True)]
        return max(0.001, min(*left, limit_s - wall_s if limit_s > wall_s else program.wall_s))

    def _end(self) -> None:
        endings = descendants.end_all([side.pid for side in self.sides])
        for side, ending in zip(self.sides, endings, strict=True):
            side.close(ending)
            os.close(side.answers)
            os.close(side.calls)
            remove(side.home)
