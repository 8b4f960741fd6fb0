"""Bring what lies in the spool to the trackers.

    python -m greenlit.trackers.delivery               everything that is over, once
    python -m greenlit.trackers.delivery --live RUN    and RUN while it goes on, until standard input ends

How far a tracker has come is noted after every request, so a delivery that breaks off loses nothing and repeats at most
one request, which the trackers know how to take twice. A tracker that fails is left alone for a while, with one line on
stderr; the others go on.
"""

import argparse
import json
import os
import select
import signal
import sys
import time
import traceback
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from itertools import groupby
from pathlib import Path
from typing import Any

from dotenv import load_dotenv

from greenlit.errors import GreenlitError
from greenlit.jsonl import write_json
from greenlit.stage.secrets import ENV_FILE, redacted
from greenlit.trackers import REPORTERS
from greenlit.trackers.reporter import Reporter
from greenlit.tracking.spool import SPOOL, Entry, Header, entries, exclusive, exclusive_if_free
from greenlit.tracking.values import Point

EVERY_S = 2.0
"""A live run's news are brought this often."""
RETRY_S = 30.0
"""A tracker that failed is asked again after this time."""
LAST_S = 120
"""What a live delivery has for the last news, once its stage has ended."""
POINTS = 500
"""Steps in one request, at most."""

Event = dict[str, Any]


class Progress:
    """How far one tracker has come with one run: `<tracker>.json` in its folder."""

    def __init__(self, path: Path, target: str) -> None:
        self._path, self._target = path, target
        self.offset, self.known = 0, {}
        self.begun = False
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
        except (FileNotFoundError, ValueError):
            return
        if content["target"] == target:
            self.offset, self.known, self.begun = content["offset"], content["known"], True

    offset: int
    """Byte of events.jsonl from which on the tracker knows nothing."""
    known: dict[str, str]
    """The reporter's own notes."""

    def save(self, offset: int) -> None:
        """Note that all before this byte has arrived."""
        self.offset, self.begun = offset, True
        write_json(self._path, {"target": self._target, "offset": offset, "known": self.known})


class Delivery:
    """Passes over the spool."""

    def __init__(self, live: str | None = None) -> None:
        self._live = live
        self._open: dict[str, Reporter] = {}
        self._rest_until: dict[str, float] = {}
        self._told: set[str] = set()

    def all(self, last: bool = False) -> None:
        """One pass; a live delivery passes over a spool that another one is busy with, unless it is its last."""
        if self._live and not last:
            with exclusive_if_free("delivery") as is_free:
                if is_free:
                    self._pass()
            return
        self._rest_until.clear()
        with exclusive("delivery"):
            self._pass()

    def close(self) -> None:
        """Close the trackers' side of the live run."""
        for name, reporter in list(self._open.items()):
            with self._failing_alone(name):
                reporter.close()

    def _pass(self) -> None:
        found = [(entry, entry.header) for entry in entries()]
        parents = {header.parent for _, header in found}
        for entry, header in found:
            if header.stage is None:
                if header.id in parents or any(self._progress(entry, name).begun for name in header.report_to):
                    self._deliver_all(entry, header)
            elif header.id == self._live:
                self._deliver_all(entry, header)
            else:
                with exclusive_if_free(f"{header.id}-live") as is_free:
                    if not is_free:
                        continue
                    entry.end_if_dead()
                    if entry.state() is not None:
                        self._deliver_all(entry, header)
        if not self._live:
            _tidy()

    def _deliver_all(self, entry: Entry, header: Header) -> None:
        for name in header.report_to:
            if header.stage is None and not REPORTERS[name].parents:
                continue
            if time.monotonic() >= self._rest_until.get(name, 0.0):
                with self._failing_alone(name):
                    self._deliver(entry, header, name)

    @contextmanager
    def _failing_alone(self, name: str) -> Iterator[None]:
        """Inside, a tracker's fault, of whatever kind, is one line on stderr and a rest for that tracker."""
        try:
            yield
        except Exception as fault:
            self._rest_until[name] = time.monotonic() + RETRY_S
            self._open.pop(name, None)
            if os.environ.get("GREENLIT_DEBUG") == "1":
                print(redacted(traceback.format_exc()), file=sys.stderr)
            if name not in self._told:
                self._told.add(name)
                text = str(fault.args[0]) if isinstance(fault, GreenlitError) else f"{type(fault).__name__}: {fault}"
                reason = redacted((text.strip().splitlines() or [""])[0])
                print(f"tracking: {name} fails ({reason}); its news wait in {SPOOL}", file=sys.stderr, flush=True)

    def _deliver(self, entry: Entry, header: Header, name: str) -> None:
        progress = self._progress(entry, name)
        events = entry.events(progress.offset)
        if progress.begun and not events:
            return
        reporter = self._open.get(name) if header.id == self._live else None
        if reporter is None:
            reporter = REPORTERS[name](header, progress.known)
            progress.save(progress.offset)
        if header.id == self._live:
            self._open[name] = reporter
        try:
            for kind, batch in _batches(events):
                _bring(reporter, entry, kind, [event for event, _ in batch])
                progress.save(batch[-1][1])
        finally:
            if header.id != self._live:
                reporter.close()

    def _progress(self, entry: Entry, name: str) -> Progress:
        return Progress(entry.folder / f"{name}.json", REPORTERS[name].target())


def _batches(events: list[tuple[Event, int]]) -> Iterator[tuple[str, list[tuple[Event, int]]]]:
    """Neighbouring metrics together, at most POINTS of them; all else alone."""
    for kind, group in groupby(events, key=lambda item: item[0]["event"]):
        same = list(group)
        size = POINTS if kind == "metrics" else 1
        for start in range(0, len(same), size):
            yield kind, same[start : start + size]


def _bring(reporter: Reporter, entry: Entry, kind: str, events: list[Event]) -> None:
    if kind == "metrics":
        reporter.metrics([Point(event["step"], event["time"], event["values"]) for event in events])
        return
    (event,) = events
    if kind == "figures":
        reporter.figures(event["values"], event["time"])
    elif kind == "file":
        reporter.file(entry.files / event["path"], event["path"])
    elif kind == "end":
        reporter.state(event["state"], event["time"], event.get("error", ""))
    elif kind == "again":
        reporter.state(None, event["time"], "")


def is_delivered(entry: Entry, header: Header) -> bool:
    """Has every tracker all of it?"""
    for name in header.report_to:
        if header.stage is None and not REPORTERS[name].parents:
            continue
        progress = Progress(entry.folder / f"{name}.json", REPORTERS[name].target())
        if not progress.begun or entry.events(progress.offset):
            return False
    return True


def _tidy() -> None:
    """Forget what every tracker has and nobody goes on with; and executions in which nothing ran."""
    for entry in reversed(entries()):  # children before their parents
        if not entry.is_over() or entry.children():
            continue
        if is_delivered(entry, entry.header) or not entry.was_used():
            entry.remove()


def undelivered() -> list[str]:
    """Names of the runs that are over and have not reached every tracker."""
    return [
        header.name
        for entry in entries()
        if (header := entry.header).stage is not None and entry.state() is not None and not is_delivered(entry, header)
    ]


def _watch(run_id: str) -> None:
    """Deliver every two seconds until standard input ends, then once more."""
    os.nice(5)
    delivery = Delivery(live=run_id)
    with exclusive(f"{run_id}-live"):
        while not select.select([sys.stdin], [], [], EVERY_S)[0]:
            delivery.all()
        signal.alarm(LAST_S)  # ends us; the rest waits
        Entry(SPOOL / run_id).end_if_dead()
        delivery.all(last=True)
        delivery.close()


def main(arguments: Iterable[str] | None = None) -> None:
    """Entry point of the process."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--live", metavar="RUN", help="a run to follow while it goes on")
    live = parser.parse_args(None if arguments is None else list(arguments)).live
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    load_dotenv(ENV_FILE)
    if live:
        _watch(live)
    else:
        Delivery().all()


if __name__ == "__main__":
    main()
