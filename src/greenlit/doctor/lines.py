"""What doctor finds: lines, and what becomes of them on the terminal and for machines."""

import subprocess
import sys
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, Any, Literal

from greenlit.config import PARAMS, Params, load_params
from greenlit.errors import ConfigError

if TYPE_CHECKING:
    from greenlit.execution.cheats.runner import Table

State = Literal["green", "yellow", "red"]
MARKS: dict[State, str] = {"green": "ok", "yellow": "!", "red": "RED"}
COLOURS: dict[State, str] = {"green": "green", "yellow": "yellow", "red": "bold red"}
INSTALL = "run `make setup`, which installs what requirements.lock says"


@dataclass(frozen=True)
class Line:
    """One finding."""

    section: str
    name: str
    state: State
    value: str
    fix: str | None = None
    """What to do about it; always there unless green."""


@dataclass(frozen=True)
class Report:
    """All findings."""

    lines: tuple[Line, ...]
    cheats: "Table | None" = None
    verdicts_per_s: float | None = None

    @property
    def reds(self) -> int:
        """Lines that say that something will fail."""
        return sum(line.state == "red" for line in self.lines)

    def as_json(self) -> dict[str, Any]:
        """For machines."""
        from greenlit.execution.cheats import table

        return {
            "red": self.reds,
            "lines": [asdict(line) for line in self.lines],
            "verdicts_per_s": self.verdicts_per_s,
            "cheats": table.as_json(self.cheats) if self.cheats else None,
        }


def read_params() -> tuple[Params | None, Line]:
    """params.yaml here, and what is to be said about it."""
    if not PARAMS.exists():
        return None, Line("project", "params.yaml", "yellow", "none in this folder", "go to your project's folder")
    try:
        params = load_params()
    except ConfigError as error:
        return None, Line("project", "params.yaml", "red", str(error.args[0]), error.hint or "correct params.yaml")
    methods = ", ".join(params.methods) or "none"
    return params, Line("project", "params.yaml", "green", f"valid: experiment {params.experiment}, methods {methods}")


def installed(name: str) -> str | None:
    """Version of a package."""
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def output(command: list[str]) -> str | None:
    """What a command prints; None when it fails."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip()


def show(report: Report) -> None:
    """On the terminal: lines with their fixes, then the cheats."""
    from rich.console import Console
    from rich.table import Table as Drawn
    from rich.text import Text

    from greenlit.execution.cheats import table

    console = Console(width=None if sys.stdout.isatty() else 120)
    drawn = Drawn(box=None, show_header=False, pad_edge=False)
    for _ in range(3):
        drawn.add_column(no_wrap=True)
    drawn.add_column(overflow="fold")
    section = None
    for line in report.lines:
        heading = line.section if line.section != section else ""
        section = line.section
        value = line.value if line.fix is None else f"{line.value}\nfix: {line.fix}"
        drawn.add_row(Text(heading, "bold"), Text(MARKS[line.state], COLOURS[line.state]), line.name, Text(value))
    console.print(drawn)
    if report.cheats:
        console.print()
        console.print(table.as_rich(report.cheats))
        for group, names in table.not_stopped(report.cheats).items():
            console.print(Text(f"not stopped: {group}: {'; '.join(names)}"))
