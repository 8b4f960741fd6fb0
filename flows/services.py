"""Processes that outlive the command that started them: noted by process id and start time, ended as whole trees.

The note is `.prefect/up.json`: `make clean` leaves it, and a second command finds exactly what the first one started.
"""

import os
import subprocess
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path

import psutil
from pydantic import BaseModel, ValidationError

from greenlit.errors import DataError, WorldError
from greenlit.jsonl import atomic_write
from greenlit.stage.secrets import redacted

HOME = Path(os.environ.get("PREFECT_HOME") or Path(__file__).parents[1] / ".prefect")
"""Prefect's own folder; our note and the logs lie in it."""
NOTE = HOME / "up.json"
LOGS = HOME / "logs"
LAST_LINES = 15
_SAME_START_S = 2.0
"""The kernel tells when a process started by a clock that may be set meanwhile."""
_LEFT_GRACE_S = 5.0
_POLL_S = 0.1


class Member(BaseModel):
    """One process; another one that is given the same id later started at another time."""

    pid: int
    started: float

    @classmethod
    def of(cls, process: psutil.Process) -> "Member":
        return cls(pid=process.pid, started=process.create_time())

    def living(self) -> psutil.Process | None:
        """The process, if it is still this one and no zombie."""
        with suppress(psutil.NoSuchProcess):
            process = psutil.Process(self.pid)
            same = abs(process.create_time() - self.started) < _SAME_START_S
            if same and process.status() != psutil.STATUS_ZOMBIE:
                return process
        return None


class Running(BaseModel):
    """A service that was started; the first of its processes is the one that we started."""

    url: str | None = None
    members: list[Member]

    def lives(self) -> bool:
        return self.members[0].living() is not None

    def tree(self) -> list[psutil.Process]:
        """Its processes that live, whoever is their parent by now, each after those that started it."""
        found: dict[int, psutil.Process] = {}
        for member in self.members:
            if process := member.living():
                with suppress(psutil.NoSuchProcess):
                    found |= {one.pid: one for one in [process, *process.children(recursive=True)]}
        return list(found.values())


class Note(BaseModel):
    """Everything that is up, by name."""

    services: dict[str, Running] = {}

    @classmethod
    def read(cls, path: Path = NOTE) -> "Note":
        """What stands in the note; nothing is up when there is none.

        Raises:
            DataError: the note is damaged.
        """
        try:
            return cls.model_validate_json(path.read_bytes())
        except FileNotFoundError:
            return cls()
        except ValidationError as fault:
            hint = "end what it names (`ps -ef | grep -e prefect -e mlflow`) and remove it"
            raise DataError(f"{path}: damaged ({len(fault.errors())} faults)", hint=hint) from None

    def write(self, path: Path = NOTE) -> None:
        if not self.services:
            path.unlink(missing_ok=True)
            return
        path.parent.mkdir(parents=True, exist_ok=True)
        with atomic_write(path) as file:
            file.write(self.model_dump_json(indent=1))


def url_of(name: str) -> str | None:
    """The address of a service that is up, if it is."""
    try:
        service = Note.read().services.get(name)
    except DataError:  # `make up` and `make down` tell it
        return None
    return service.url if service and service.lives() else None


def log_of(name: str) -> Path:
    """Where a service's output goes."""
    return LOGS / f"{name}.log"


def start(name: str, command: Sequence[str], environment: dict[str, str], url: str | None = None) -> Running:
    """Start a service in a session of its own, so that neither Ctrl-C nor the end of a terminal reaches it."""
    LOGS.mkdir(parents=True, exist_ok=True)
    with log_of(name).open("wb") as log:
        process = subprocess.Popen(
            command,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    return Running(url=url, members=[Member.of(psutil.Process(process.pid))])


def wait_until(name: str, service: Running, ready: Callable[[], bool], timeout_s: float) -> Running:
    """Wait until a service says that it is ready; it is given back with the processes that it started meanwhile.

    Raises:
        WorldError: it died or takes too long; the message holds the last lines of its log.
    """
    until = time.monotonic() + timeout_s
    while not ready():
        if not service.lives():
            raise _not_up(name, "ended at once")
        if time.monotonic() > until:
            raise _not_up(name, f"is not ready after {timeout_s:.0f} s")
        time.sleep(_POLL_S)
    if not service.lives():  # somebody else answers at its address
        raise _not_up(name, "ended, and another process answers in its place")
    return service.model_copy(update={"members": [Member.of(one) for one in service.tree()]})


def _not_up(name: str, what: str) -> WorldError:
    log = log_of(name)
    lines = log.read_text(encoding="utf-8", errors="replace").splitlines()[-LAST_LINES:]
    said = "\n".join(f"    {line}" for line in lines) or "    (nothing)"
    return WorldError(f"{name} {what}; the end of {log}:\n{redacted(said)}", hint="what was started is stopped again")


def end(service: Running, grace_s: float) -> None:
    """End a service: SIGTERM to its first process, which ends its own; after the grace, kill what is left."""
    tree = service.tree()
    if first := service.members[0].living():
        with suppress(psutil.NoSuchProcess):
            first.terminate()
        _living_after([first], grace_s)
        tree = list({*tree, *service.tree()})
    left = _living_after(tree, 0)
    for process in left:
        with suppress(psutil.NoSuchProcess):
            process.terminate()
    deaf = _living_after(left, min(grace_s, _LEFT_GRACE_S))
    for process in deaf:
        with suppress(psutil.NoSuchProcess):
            process.kill()
    _living_after(deaf, _LEFT_GRACE_S)


def _living_after(processes: Sequence[psutil.Process], seconds: float) -> list[psutil.Process]:
    """Those that have not ended within that time; a zombie has."""
    until = time.monotonic() + seconds
    while alive := [one for one in processes if _alive(one)]:
        if time.monotonic() >= until:
            break
        time.sleep(_POLL_S)
    return alive


def _alive(process: psutil.Process) -> bool:
    with suppress(psutil.NoSuchProcess):
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    return False
