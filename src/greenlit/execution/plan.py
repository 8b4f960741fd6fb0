"""A problem's tests, taken apart: what each asks of the candidate's process, and what the judge checks."""

import ast
import functools
from dataclasses import dataclass, field
from typing import Any

from greenlit.execution.expressions import Evaluator
from greenlit.execution.scripts import Script


@dataclass(frozen=True)
class Step:
    """One thing the candidate's process does for a test; each is answered by one frame."""

    content: tuple[Any, ...]
    """As `child._answer` takes it: ("enter", ...), ("eval", code), ("exec", code), ("call", entry, arguments)."""
    told: str | ast.AST = ""
    """What it is, for messages; text is made of it only where somebody asks."""

    @property
    def source(self) -> str:
        return self.told if isinstance(self.told, str) else ast.unparse(self.told)


@dataclass(frozen=True)
class Check:
    """One thing the judge evaluates: an assert, or a variable of its own."""

    expression: ast.expr
    source: str
    holes: dict[str, int]
    """Hole's name -> index of its step in this test."""
    steps_before: tuple[int, ...] = ()
    """Steps without a value that must have worked before this check."""
    bind: str | None = None
    """Bind the value to this name instead of asserting it."""
    literal: bool = False
    """The assert reads `hole == literal`."""

    @functools.cached_property
    def expected(self) -> Any:
        """The value of that literal: the same for every candidate."""
        assert isinstance(self.expression, ast.Compare)
        return Evaluator({}).value(self.expression.comparators[0])


@dataclass(frozen=True)
class TestPlan:
    """A test, split."""

    index: int
    kind: str
    role: str
    checker: str
    steps: tuple[Step, ...] = ()
    checks: tuple[Check, ...] = ()
    refusal: str | None = None
    """Why it cannot be judged, if it cannot."""
    stdin: str = ""
    expected: Any = None
    script: Script | None = None
    """The test's own code, where it is not split."""


@dataclass(frozen=True)
class Plan:
    """A problem's tests, split: those that count for the verdict first, then the hidden ones."""

    task_id: str
    setup: Any
    """Compiled set-up code, or None; text where the language is not Python."""
    tests: tuple[TestPlan, ...]
    profile: str = "plain"
    """As `Problem.profile`."""
    language: str = "python"
    """As `Problem.language`; set-up and steps are for it."""
    wanted: dict[int, Any] = field(default_factory=dict)
    """Kept between programs: what tests of another language compare with, once it has been evaluated."""

    @functools.cached_property
    def called(self) -> tuple[TestPlan, ...]:
        """Tests answered by one run of the program's definitions."""
        return tuple(test for test in self.tests if test.kind != "stdio" and not test.refusal and not test.script)

    @functools.cached_property
    def compared(self) -> tuple[TestPlan, ...]:
        """Called tests that are no plain calls."""
        return tuple(test for test in self.called if test.kind != "call")

    @functools.cached_property
    def steps(self) -> tuple[tuple[Any, ...], ...]:
        """What that run has to do."""
        return tuple(step.content for test in self.called for step in test.steps)

    @functools.cached_property
    def programs(self) -> tuple[TestPlan, ...]:
        """Tests of whole programs."""
        return tuple(test for test in self.tests if test.kind == "stdio")
