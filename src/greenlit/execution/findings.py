"""What the judge finds out about a candidate, test by test, and how it says so."""

import re
from collections.abc import Callable, Generator
from dataclasses import dataclass, field
from typing import Any

from greenlit.execution.level import Request, Run
from greenlit.execution.plan import TestPlan

STARTS = 3
MESSAGE = 300
SHOWN = 100
_ADDRESS = re.compile(r"\bat 0x[0-9A-Fa-f]+")


@dataclass(frozen=True)
class Limits:
    """What one run of one candidate may use."""

    cpu_s: float
    wall_s: float
    memory_mib: int
    output_bytes: int
    script_cpu_s: float = 10.0
    """CPU time of a test's own process, where it has one; it is no measure of the candidate."""
    profile: str = "plain"
    """Which interpreter it gets, see `level.Request`."""


@dataclass
class Outcome:
    """Of one test. `kind`: passed, failed, error, timeout, memory, syntax, no_code, infra, unsplittable."""

    index: int
    role: str
    passed: bool | None
    kind: str
    error: str | None = None


@dataclass
class Findings:
    """Everything found out about one candidate."""

    tests: list[Outcome]
    cpu_s: float | None = None
    wall_s: float | None = None
    parts_cpu_s: list[float] = field(default_factory=list)
    """CPU time of each part that has the limit for itself: of each process, of each input of a whole program.

    Inputs that shared a process are as that process told; so this is for references, not for candidates.
    """

    def to_json(self) -> dict[str, Any]:
        """As a worker sends it: of each test its place, whether it passed, its kind, what there is to say."""
        tests = [[test.index, test.passed, test.kind, test.error] for test in self.tests]
        return {"tests": tests, "cpu_s": self.cpu_s, "wall_s": self.wall_s}

    def add(self, run: Run) -> None:
        """Count the time a run used."""
        self.cpu_s = (self.cpu_s or 0.0) + (run.cpu_s or 0.0)
        self.wall_s = (self.wall_s or 0.0) + (run.wall_s or 0.0)


class Fault(Exception):
    """The test is decided, and not passed; `infra` and `unsplittable`: it is not decided either."""

    def __init__(self, kind: str, message: str) -> None:
        super().__init__(message)
        self.kind = kind


NO_START = Fault("infra", "the candidate's process did not start")


def outcome(test: TestPlan, fault: Fault | None) -> Outcome:
    """What a fault, or none, means for a test."""
    if fault is None:
        return Outcome(test.index, test.role, True, "passed")
    passed = None if fault.kind in {"infra", "unsplittable"} else False
    place = "" if fault.kind in {"syntax", "no_code", "unsplittable"} else f"test {test.index}: "
    return Outcome(test.index, test.role, passed, fault.kind, one_line(f"{place}{fault}"))


def one_line(text: str) -> str:
    """A message for a table: printable, not for ever, and the same in every run."""
    plain = without_addresses(text[: 2 * MESSAGE])
    if not plain.isprintable():
        plain = "".join(char if char.isprintable() else " " for char in plain)
    return plain if len(plain) <= MESSAGE else f"{plain[: MESSAGE - 3]}..."


def shown(value: Any, show: Callable[[Any], str] = repr) -> str:
    """A candidate's value in a message."""
    try:
        text = show(value)
    except (ValueError, RecursionError, MemoryError):
        return f"<{type(value).__name__}>"
    text = without_addresses(text[: 2 * SHOWN])
    return text if len(text) <= SHOWN else f"{text[: SHOWN - 3]}..."


def without_addresses(text: str) -> str:
    """`<function f at 0x7f648a8d49d0>` -> `<function f at 0x...>`: no two runs agree on where things lie."""
    return _ADDRESS.sub("at 0x...", text)


def requested(limits: Limits, **what: Any) -> Request:
    """A request within the limits."""
    return Request(
        **{
            "cpu_s": limits.cpu_s,
            "wall_s": limits.wall_s,
            "memory_mib": limits.memory_mib,
            "output_bytes": limits.output_bytes,
            "profile": limits.profile,
            **what,
        }
    )


def started(request: Request, findings: Findings) -> Generator[Request, Run, Run | None]:
    """A run that got as far as the candidate's first line; a start that fails is ours, and tried again."""
    for _ in range(STARTS):
        run = yield request
        if run.started:
            findings.add(run)
            return run
    return None
