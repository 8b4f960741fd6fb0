"""Several processes that each write batches, and send what is finished as soon as it is.

Linux forks them off after the weights are loaded, so that all share them. A process that dies takes nothing with it but
the batch it was at.
"""

import ctypes
import multiprocessing
import signal
import sys
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from typing import Any, TypeVar

from greenlit.errors import GreenlitError, WorldError
from greenlit.stage.stopping import leave_signals_alone

Work = TypeVar("Work")
Result = TypeVar("Result")
_END = None


@dataclass(frozen=True)
class _Worker:
    process: BaseProcess
    pipe: Connection


def in_processes(
    count: int,
    start: Callable[..., None],
    arguments: tuple[Any, ...],
    work: Callable[[Work], Iterator[Result]],
    pieces: Sequence[Work],
) -> Iterator[Result]:
    """Yield what `work` yields for each of the pieces, from whichever process.

    Args:
        count: processes.
        start: called with `arguments` in each of them first.

    Raises:
        WorldError: a process died, e.g. for lack of memory.
        Exception: whatever `start` or `work` raised.
    """
    context = multiprocessing.get_context("fork" if sys.platform == "linux" else "spawn")
    workers: dict[Connection, _Worker] = {}
    waiting = iter(pieces)
    try:
        for _ in range(count):
            ours, theirs = context.Pipe()
            process = context.Process(target=_run, args=(theirs, start, arguments, work), daemon=True)
            process.start()
            theirs.close()
            workers[ours] = _Worker(process, ours)
            ours.send(next(waiting, _END))
        while workers:
            for pipe in wait(list(workers)):
                assert isinstance(pipe, Connection)
                yield from _heard(workers, pipe, waiting)
    except BaseException:
        for worker in workers.values():
            worker.process.kill()  # a batch may take minutes
        raise
    finally:
        for worker in workers.values():
            worker.pipe.close()
            worker.process.join()


def _heard(workers: dict[Connection, _Worker], pipe: Connection, waiting: Iterator[Work]) -> Iterator[Result]:
    try:
        kind, said = pipe.recv()
    except (EOFError, ConnectionError):
        raise WorldError(
            "a generating process died, most likely for lack of memory",
            hint="lower batch_size, batch_tokens or GREENLIT_WORKERS",
        ) from None
    if kind == "result":
        yield said
    elif kind == "fault":
        raise said
    elif (piece := next(waiting, _END)) is not _END:
        pipe.send(piece)
    else:
        worker = workers.pop(pipe)
        pipe.send(_END)
        pipe.close()
        worker.process.join()


def _run(
    pipe: Connection, start: Callable[..., None], arguments: tuple[Any, ...], work: Callable[[Any], Iterator[Any]]
) -> None:
    """In the process: piece after piece."""
    _die_with_parent()
    leave_signals_alone()
    with suppress(BrokenPipeError):
        try:
            start(*arguments)
            while (piece := pipe.recv()) is not _END:
                for result in work(piece):
                    pipe.send(("result", result))
                pipe.send(("done", None))
        except EOFError:  # the parent has let us go
            return
        except Exception as fault:
            if not isinstance(fault, GreenlitError):
                fault.add_note(f"In a generating process:\n{traceback.format_exc()}")
            pipe.send(("fault", fault))


def _die_with_parent() -> None:
    if sys.platform == "linux":
        pr_set_pdeathsig = 1
        ctypes.CDLL(None).prctl(pr_set_pdeathsig, signal.SIGKILL)
