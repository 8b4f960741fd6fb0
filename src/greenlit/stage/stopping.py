"""Ctrl-C and SIGTERM: once, in order, and told apart.

The first signal stops in order: `Stopped` is raised wherever the program is, or, inside `postponed`, at its end. What
has come so far is kept, processes of ours end, files stay whole. A second Ctrl-C ends at once; a second SIGTERM is no
hurry (whoever ends a tree of processes may reach one of them twice).
"""

import os
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

_SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Stopped(KeyboardInterrupt):
    """One of the signals came. Not an Exception, so that nothing on the way takes it for a fault."""

    def __init__(self, number: int) -> None:
        super().__init__()
        self.name = signal.Signals(number).name
        self.exit_code = 128 + number


class _State:
    """What the handler knows; signals are a matter of the whole process."""

    came: int | None = None
    postponed = False


@contextmanager
def stoppable() -> Iterator[None]:
    """Inside, the first of the signals raises Stopped, and a Ctrl-C after it ends the process on the spot.

    A handler is also what lets SIGTERM through to the first process of a PID namespace. A signal that was ignored when
    we came, as in `nohup` and background jobs, stays so.
    """
    before = {one: signal.getsignal(one) for one in _SIGNALS if signal.getsignal(one) is not signal.SIG_IGN}
    _State.came = None
    for one in before:
        signal.signal(one, _on_signal)
    try:
        yield
    finally:
        for one, handler in before.items():
            signal.signal(one, handler)
        _State.came = None


def _on_signal(number: int, frame: FrameType | None) -> None:
    if _State.came is not None:
        if number == signal.SIGINT:
            os._exit(128 + number)
        return
    _State.came = number
    if not _State.postponed:
        raise Stopped(number)
    print("stopping; Ctrl-C again ends at once", file=sys.stderr)


@contextmanager
def postponed() -> Iterator[Callable[[], bool]]:
    """Inside, a signal is only noted, for a block that has to come to a good place first, e.g. write a checkpoint.

    Yields:
        a function that says whether one came. At the end of the block Stopped is raised if so.
    """
    _State.postponed = True
    try:
        yield lambda: _State.came is not None
    finally:
        _State.postponed = False
    if _State.came is not None:
        raise Stopped(_State.came)


@contextmanager
def told_apart() -> Iterator[None]:
    """For code in C that makes a KeyboardInterrupt of its own out of Stopped, as Ray's does."""
    try:
        yield
    except KeyboardInterrupt as interrupt:
        if isinstance(interrupt, Stopped) or _State.came is None:
            raise
        raise Stopped(_State.came) from interrupt


def leave_signals_alone() -> None:
    """For a process forked off inside `stoppable`: SIGTERM ends it, Ctrl-C is its parent's business."""
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
