"""What a candidate's process sent: frames in order, values, or why there are none."""

import signal
from collections.abc import Callable
from typing import Any

from greenlit.execution import values
from greenlit.execution.findings import Fault
from greenlit.execution.level import Run

KINDS = frozenset({"error", "memory", "large"})
"""What a process may tell of itself instead of sending a value."""


class Answers:
    """The frames of a run, read in order up to the first one that is none."""

    def __init__(self, run: Run, decode: Callable[[Any], Any] = values.decode) -> None:
        self.decode = decode
        self.whole: Fault | None = None
        self.frames: list[list[Any] | Fault] = []
        self.sizes: list[int] = []
        self.missing = missing(run)
        for line in run.lines:
            frame = self._frame(line, len(self.frames))
            if frame is None:
                break
            self.frames.append(frame)
            self.sizes.append(len(line))

    def _frame(self, line: bytes, index: int) -> list[Any] | Fault | None:
        if line == b'[%d,"value",["n"]]' % index:  # by far the most frequent
            return ["n"]
        try:
            frame = values.parse(line)
            place, kind, *content = frame
            if place == -1 and index == 0 and len(content) == 2:
                self.whole = reported(kind, content)
                return None
            if place is not True and place == index and kind == "value" and len(content) == 1:
                return content[0]
            if place is not True and place == index and kind in KINDS and len(content) == 2:
                return reported(kind, content)
        except (values.BadFrame, ValueError, TypeError):
            pass
        self.missing = Fault("error", "sent something that is no answer")
        return None

    def fault(self, index: int) -> Fault | None:
        """Why there is no value for this step, or None."""
        if self.whole:
            return self.whole
        if index >= len(self.frames):
            return self.missing
        frame = self.frames[index]
        return frame if isinstance(frame, Fault) else None

    def value(self, index: int) -> Any:
        """The decoded value of a step."""
        fault = self.fault(index)
        if fault:
            raise fault
        try:
            return self.decode(self.frames[index])
        except values.BadFrame:
            raise Fault("error", "sent something that is no value") from None

    def size(self, index: int) -> int:
        """Bytes of a step's answer; 0 when there is none."""
        return self.sizes[index] if index < len(self.sizes) else 0


def reported(kind: Any, content: list[Any]) -> Fault:
    """A fault the candidate's process tells of itself; it can choose which, but none of them passes."""
    try:
        name, message = (values.text_of(text) for text in content)
    except (ValueError, TypeError):
        name, message = "", ""
    said = f"{name}: {message}" if message else name
    if kind == "large":
        return Fault("error", message)
    return Fault(kind if kind in {"memory", "syntax"} else "error", said or "an exception")


def missing(run: Run) -> Fault:
    """What it means that an answer did not come."""
    if run.ended == "cpu":
        return Fault("timeout", "CPU time is up")
    if run.ended == "wall":
        return Fault("timeout", "wall-clock time is up")
    if run.ended == "memory":
        return Fault("memory", "memory is used up")
    if run.ended == "flood":
        return Fault("error", "sent more than may cross")
    if run.signal:
        return Fault("error", f"killed by {signal_name(run.signal)}")
    return Fault("error", "the process ended before it answered")


def signal_name(number: int) -> str:
    """SIGSEGV of 11."""
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"
