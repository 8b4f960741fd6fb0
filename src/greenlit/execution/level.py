"""What a sandbox level is: something that runs one candidate, and tells what happened.

A level never judges. It starts a process that nothing of ours lives in, hands over a request, takes whole lines back,
keeps the limits, ends everything the process started, and reports.
"""

from dataclasses import dataclass, field
from typing import Any, Protocol

from greenlit.errors import ConfigError

PORTABLE = "portable"
"""The level without a jail, which has to be allowed."""
WAYS = {"namespaces": ["root", "user"], "bubblewrap": ["bubblewrap"], PORTABLE: [PORTABLE]}
"""Level → ways a worker tries, best first."""
PATIENCE, STARVED = 4, 0.05
"""A program that gets more than a twentieth of the wall time as CPU time is no sleeper: it may take four times that."""
START_S = 30.0
"""A process that has not got to the candidate's first line by then has not started."""


@dataclass(frozen=True)
class Command:
    """What a candidate's process becomes where the program is not Python; see child_exec.py."""

    words: tuple[str, ...]
    """An executable's full path, and its arguments."""
    files: tuple[tuple[str, str], ...]
    """Name and text of files that it finds in its current folder, the program among them."""
    binds: tuple[str, ...] = ()
    """Files and folders of this machine that it needs, read-only, beside the system's libraries."""
    environment: tuple[tuple[str, str], ...] = ()
    answers_on: int = 4
    """Descriptor that it sends its lines to, the first of them as soon as it has started: `["ready", CPU seconds]`."""
    prints: bool = True
    """Its standard output counts; else it goes nowhere."""
    own_bytes: int = 0
    """Memory it needs before the program has any."""


@dataclass(frozen=True)
class Request:
    """One run of one candidate."""

    code: str
    steps: tuple[tuple[Any, ...], ...] = ()
    """As child_calls.py, child_stdio.py or child_dialogue.py take them; answered by a line each, a script by more."""
    setup: Any = None
    stdin: str | None = None
    """Standard input of a whole program; None for a program whose definitions are called."""
    entry: str | None = None
    """The program's side of a dialogue: what the script may call."""
    cpu_s: float = 5.0
    wall_s: float = 10.0
    memory_mib: int = 512
    output_bytes: int = 1 << 20
    profile: str = "plain"
    """Which interpreter: `plain`, or `science` with numpy, pandas and sympy at hand."""
    command: Command | None = None
    """Another interpreter than Python; then `code` and `steps` say nothing."""


@dataclass
class Run:
    """What happened."""

    started: bool = False
    """The process got as far as the candidate's first line."""
    lines: list[bytes] = field(default_factory=list)
    """Whole lines it sent after the ready line."""
    ended: str = ""
    """`answered`, `exited`, `closed` (can answer no more), `cpu`, `wall`, `flood`."""
    signal: int | None = None
    """Signal that ended it, when it was not ours."""
    status: int | None = None
    """Its exit status; only ever held against it."""
    stdout: bytes = b""
    stderr: bytes = b""
    """Of another interpreter than Python: what it says of its own end; a candidate can write there too."""
    cpu_s: float | None = None
    wall_s: float | None = None


class Relay(Protocol):
    """What stands between the two processes of a dialogue; knows nothing of pipes. See dialogue.py."""

    def from_script(self, line: bytes) -> bytes | None:
        """A line the script's process sent -> the line for the program's process; None: that was its last word."""
        ...

    def from_program(self, line: bytes) -> bytes | None:
        """A line the program's process sent -> the line for the script's process; None: end both now."""
        ...


@dataclass(frozen=True)
class Dialogue:
    """Two processes that never meet: a test's code, and the program it calls through the relay.

    Lines are without their newline in `Run.lines` and in what the relay takes and gives; the level adds it on writing.
    """

    script: Request
    program: Request
    relay: Relay
    room: int = 1 << 25
    """Bytes that each side may send altogether; the relay says when it is too much, this is where a level stops."""


class Level(Protocol):
    """A sandbox level. Only for a worker process: levels end every child and orphan that process has."""

    name: str
    notes: list[str]
    """What is to be said about it on this machine."""

    def run(self, request: Request) -> Run:
        """Start, watch, end, clean up. Never raises for anything the candidate does."""
        ...

    def converse(self, dialogue: Dialogue) -> tuple[Run, Run]:
        """Run a script's process and a program's process that it calls; the script's run, the program's run."""
        ...


def ways_of(level: str | None, allow_portable: bool) -> list[str]:
    """What workers may try.

    Raises:
        ConfigError: no such level, or it is not allowed.
    """
    if level is None:
        return [way for name, ways in WAYS.items() for way in ways if name != PORTABLE or allow_portable]
    if level not in WAYS:
        raise ConfigError(f"GREENLIT_SANDBOX: no sandbox level {level!r}", hint=f"one of {', '.join(WAYS)}")
    if level == PORTABLE and not allow_portable:
        raise ConfigError(
            "params.yaml: annotate.allow_portable: must be true for the sandbox level `portable` (found False)",
            hint="portable limits time, memory and processes, but does not stop a program from reading files, using "
            "the network or leaving files in /tmp: allow it only if you trust the model that writes the programs",
        )
    return WAYS[level]
