"""The spool: `.work/tracking/<run>/`, where a run's news waits until every tracker has it.

    run.json            who it is: `Header`
    events.jsonl        what happened, a line each: metrics, figures, file, end, again
    files/              small files, as they were when they were reported
    <tracker>.json      how far a tracker has come (written by `delivery`)
    closed              of an execution's run: no stage joins it any more

Beside it lies `<run>.lock`, which a stage holds while it lives. Everything is redacted on its way in.
"""

import fcntl
import json
import shutil
import sys
import time
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from greenlit.jsonl import write_json
from greenlit.stage.secrets import redacted, redacted_values
from greenlit.stage.workspace import WORK

SPOOL = WORK / "tracking"
_TAIL = 1 << 16
_LARGE = 16 << 20
"""Bytes; what is larger is data, which DVC keeps."""
State = Literal["finished", "failed", "stopped", "killed"]


class Header(BaseModel):
    """One run: a stage's, or the one of a whole execution, which is the parent of its stages' runs."""

    model_config = ConfigDict(frozen=True)

    id: str
    """16 hex digits; trackers know the run by it."""
    experiment: str
    name: str
    """`<stage>` or `<stage>@<method>`; of a parent, the experiment and when it began."""
    report_to: list[str]
    started: float
    """Seconds since 1970."""
    stage: str | None = None
    """None for a parent."""
    parent: str | None = None
    """Id of the parent's run."""
    group: str | None = None
    """Name of the parent's run."""
    params: dict[str, Any] = {}
    tags: dict[str, str] = {}
    work: str | None = None
    """Folder of the stage's unfinished results: as long as it is there, the run may go on."""
    key: str | None = None
    """Of a parent: hash of the settings, which an execution that goes on must share."""


class Entry:
    """A run's folder in the spool."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.events_file = folder / "events.jsonl"
        self.files = folder / "files"
        self._closed = folder / "closed"
        self._told = False

    @classmethod
    def create(cls, header: Header) -> "Entry":
        """Make the folder; it appears with its header, or not at all."""
        entry = cls(SPOOL / header.id)
        part = SPOOL / f".{header.id}.part"
        part.mkdir(parents=True)
        (part / "events.jsonl").touch()
        write_json(part / "run.json", redacted_values(header.model_dump()))
        part.replace(entry.folder)
        return entry

    @property
    def header(self) -> Header:
        """Who the run is."""
        return Header.model_validate_json((self.folder / "run.json").read_text(encoding="utf-8"))

    def append(self, event: str, **content: Any) -> None:
        """Add an event; one line, whole or not at all for those who read meanwhile.

        Where it cannot be written (a full disk), that is one line on stderr: no stage fails for its trackers.
        """
        line = json.dumps(redacted_values({"event": event, "time": time.time(), **content})) + "\n"
        try:
            with self.events_file.open("a", encoding="utf-8") as stream:
                stream.write(line)
        except OSError as error:
            self._do_without(error)

    def add_file(self, path: Path, name: str) -> None:
        """Copy a small file, without secrets if it is text, and say so; one that is missing or large is left out."""
        if not path.is_file() or path.stat().st_size > _LARGE:
            return
        target = self.files / name
        content = path.read_bytes()
        with suppress(UnicodeDecodeError):
            content = redacted(content.decode("utf-8")).encode("utf-8")
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(content)
        except OSError as error:
            self._do_without(error)
            return
        self.append("file", path=name)

    def _do_without(self, error: OSError) -> None:
        if not self._told:
            self._told = True
            print(f"tracking: {self.folder}: {error.strerror}; the trackers miss something", file=sys.stderr)

    def events(self, offset: int = 0) -> list[tuple[dict[str, Any], int]]:
        """Events from a byte on, each with the byte after it; a line half written, or broken, is left out."""
        found = []
        with self.events_file.open("rb") as stream:
            stream.seek(offset)
            for line in stream:
                offset += len(line)
                if not line.endswith(b"\n"):
                    break
                try:
                    event = json.loads(line)
                except ValueError:  # the machine lost power while it was written
                    continue
                found.append((event, offset))
        return found

    def state(self) -> State | None:
        """How it ended; None while it goes on. Looks at the end of the file only, which may be long."""
        start = max(0, self.events_file.stat().st_size - _TAIL)
        for event, _ in reversed(self.events(start)):
            if event["event"] in {"end", "again"}:
                return event.get("state")
        return None

    def last_place(self) -> float:
        """The place of the last metrics; -1 when there are none."""
        metrics = [event for event, _ in self.events() if event["event"] == "metrics"]
        return max((place_of(event["step"], event["values"]) for event in metrics), default=-1.0)

    def end_if_dead(self) -> None:
        """A stage that was killed could not say so; it holds its lock for as long as it lives."""
        with exclusive_if_free(self.folder.name) as is_free:
            if is_free and self.state() is None:
                self.append("end", state="killed")

    def go_on(self) -> None:
        """Say that another process continues the run; a line that the last one left unfinished is ended."""
        content = self.events_file.read_bytes()
        if content and not content.endswith(b"\n"):
            with self.events_file.open("ab") as stream:
                stream.write(b"\n")
        self.append("again")

    def may_go_on(self) -> bool:
        """Can a later process continue this run?"""
        header = self.header
        if header.stage is None:
            return not self._closed.exists()
        return self.state() != "finished" and header.work is not None and Path(header.work).is_dir()

    def is_over(self) -> bool:
        """It has ended, and nobody goes on with it."""
        return self.state() is not None and not self.may_go_on()

    def children(self) -> list["Entry"]:
        """Of a parent: the stages' runs that lie in the spool."""
        return [entry for entry in entries() if entry.header.parent == self.folder.name]

    def was_used(self) -> bool:
        """False for an execution in which no stage had to run."""
        header = self.header
        begun = any((self.folder / f"{name}.json").exists() for name in header.report_to)
        return header.stage is not None or begun or bool(self.children())

    def address(self, report_to: list[str]) -> None:
        """From now on it is for these trackers."""
        header = self.header
        if header.report_to != report_to:
            write_json(self.folder / "run.json", header.model_copy(update={"report_to": report_to}).model_dump())

    def close(self) -> None:
        """Of a parent: no stage joins it any more."""
        self._closed.touch()

    def remove(self) -> None:
        """Forget the run."""
        shutil.rmtree(self.folder, ignore_errors=True)
        for lock in SPOOL.glob(f"{self.folder.name}*.lock"):
            lock.unlink(missing_ok=True)


def place_of(step: int, metrics: Mapping[str, float]) -> float:
    """Where metrics stand in a run: a measurement (`eval_...`) comes after the step that it follows."""
    return step + 0.5 if any(key.startswith("eval_") for key in metrics) else float(step)


def new_id() -> str:
    """16 hex digits."""
    return uuid.uuid4().hex[:16]


def entries() -> list[Entry]:
    """What lies in the spool, oldest first; parents stand before their children."""
    found = []
    for path in SPOOL.glob("[0-9a-f]*/run.json"):
        entry = Entry(path.parent)
        try:
            header = entry.header
        except (FileNotFoundError, ValidationError):
            continue
        found.append(((header.stage is not None, header.started, header.id), entry))
    return [entry for _, entry in sorted(found, key=lambda item: item[0])]


@contextmanager
def exclusive(name: str) -> Iterator[None]:
    """Hold `<name>.lock` in the spool's folder."""
    SPOOL.mkdir(parents=True, exist_ok=True)
    with (SPOOL / f"{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


@contextmanager
def exclusive_if_free(name: str) -> Iterator[bool]:
    """The same without waiting; yields whether it could be had."""
    SPOOL.mkdir(parents=True, exist_ok=True)
    with (SPOOL / f"{name}.lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
            return
        yield True
