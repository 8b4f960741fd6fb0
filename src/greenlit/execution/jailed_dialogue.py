"""A dialogue between two lanes: lines go from one to the relay to the other."""

import select
from collections.abc import Iterator
from typing import Any

from greenlit.execution.lane import Lane
from greenlit.execution.level import PATIENCE, STARVED, Relay


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


def pass_on(script: Talk, program: Talk, relay: Relay) -> bool:
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
