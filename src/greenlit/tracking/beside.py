"""Start the process that delivers, once or beside a stage: another process, so that no tracker reaches a stage."""

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from greenlit.tracking.spool import SPOOL, entries

DELIVERY = "GREENLIT_DELIVERY"
"""Environment variable: `later` leaves everything in the spool, as in a job elsewhere that brings the spool back."""
_LAST_NEWS_S = 5
_DELIVERY_S = 300


def deliver() -> None:
    """Bring what lies in the spool to the trackers; costs nothing when it is empty.

    Runs in a process of its own: whatever a tracker does, this one goes on.
    """
    if not entries():
        return
    try:
        subprocess.run(_delivery_command(), stdin=subprocess.DEVNULL, timeout=_DELIVERY_S, check=False)
    except subprocess.TimeoutExpired:
        print(f"tracking: not all is delivered after {_DELIVERY_S} s; the rest waits in {SPOOL}", file=sys.stderr)
    except OSError as error:
        print(f"tracking: no process for the delivery ({error}); all waits in {SPOOL}", file=sys.stderr)


@contextmanager
def delivered_meanwhile(run_id: str) -> Iterator[None]:
    """A process beside ours that brings the news of this run to the trackers as they come.

    It ends after its standard input does, so also when this process dies. For the last news we wait a little; a slow
    tracker gets them while the next stages run.
    """
    if os.environ.get(DELIVERY) == "later":
        yield
        return
    command = [*_delivery_command(), "--live", run_id]
    try:  # a session of its own: Ctrl-C is for us, and we tell it
        process = subprocess.Popen(command, stdin=subprocess.PIPE, start_new_session=True)
    except OSError as error:
        print(f"tracking: no process for the delivery ({error}); all waits in {SPOOL}", file=sys.stderr)
        yield
        return
    try:
        yield
    finally:
        assert process.stdin is not None
        process.stdin.close()
        with suppress(subprocess.TimeoutExpired):
            process.wait(_LAST_NEWS_S)


def _delivery_command() -> list[str]:
    return [sys.executable, "-m", "greenlit.trackers.delivery"]
