"""Run cheats against a judge, one after the other, and write down what became of each.

After every cheat a right program has to pass: whoever spoils the judge for the next program has won something too.
"""

import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import nullcontext
from dataclasses import dataclass
from itertools import groupby
from typing import Literal

from greenlit.config import AnnotateParams
from greenlit.execution.cheats.cheat import NO_JAIL, RIGHT, Cheat, Control, filled
from greenlit.execution.cheats.controls import CONTROLS
from greenlit.execution.cheats.host import Host
from greenlit.execution.cheats.suite import CHEATS
from greenlit.execution.judge import Judge, Judgement
from greenlit.types import Problem

Outcome = Literal["stopped", "forged", "let through", "hung", "hurt the next", "unknown", "not run"]

JAILED = frozenset({"namespaces", "bubblewrap"})
"""Levels at which programs that need a jail may run; at any other they are not run, and listed as that."""
HUNG_S = 12.0
"""No single run of the suite's limits takes that long, the machine being as busy as it may."""
TIMEOUT_S = 1.0


@dataclass(frozen=True)
class Result:
    """What became of one cheat."""

    cheat: Cheat
    outcome: Outcome
    verdict: str | None = None
    note: str = ""
    seconds: float = 0.0


@dataclass(frozen=True)
class Table:
    """What became of all."""

    level: str
    results: tuple[Result, ...]
    refused: tuple[str, ...]
    """Right programs that did not pass."""
    seconds: float

    def having(self, *outcomes: Outcome) -> list[Result]:
        """Results with these outcomes."""
        return [result for result in self.results if result.outcome in outcomes]

    @property
    def run(self) -> int:
        """Attacks that were made."""
        return len(self.results) - len(self.having("not run"))

    @property
    def failures(self) -> list[Result]:
        """What no level may let happen."""
        return self.having("forged", "hung", "hurt the next")

    def classes(self) -> Iterator[tuple[str, list[Result]]]:
        """Class by class, in the order of the suite."""
        for group, results in groupby(self.results, key=lambda result: result.cheat.group):
            yield group, list(results)


def suite_params(params: AnnotateParams) -> AnnotateParams:
    """The user's level, and limits under which the suite takes seconds."""
    return params.model_copy(update={"timeout_s": TIMEOUT_S})


def run_cheats(
    judge: Judge,
    cheats: Iterable[Cheat] = CHEATS,
    controls: Iterable[Control] = CONTROLS,
    host: Host | None = None,
    after_each: Callable[[Result], None] = lambda result: None,
) -> Table:
    """Every cheat, then every right program. One worker is enough, and makes `hurt the next` exact.

    Args:
        host: what there is to steal; enter it before the judge, so that the judge inherits the canary.
    """
    began = time.monotonic()
    with nullcontext(host) if host else Host() as place:
        problems = place.problems()
        results = []
        for cheat in cheats:
            results.append(try_cheat(judge, cheat, place, problems))
            after_each(results[-1])
        refused = tuple(
            control.name
            for control in controls
            if judge.judge(problems[control.problem], filled(control.program, place.places)).passed is not True
        )
    return Table(judge.level, tuple(results), refused, time.monotonic() - began)


def try_cheat(judge: Judge, cheat: Cheat, host: Host, problems: dict[str, Problem]) -> Result:
    """One cheat, and a right program after it."""
    if cheat.needs_jail and judge.level not in JAILED:
        return Result(cheat, "not run", note=cheat.needs_jail)
    *earlier, last = cheat.programs(host.places)
    began = time.monotonic()
    for program in earlier:
        judge.judge(problems["list"], program)
    found = judge.judge(problems[cheat.problem], last)
    seconds = time.monotonic() - began
    harm = _stray(host) or host.harm()
    again = judge.judge(problems["list"], filled(RIGHT, {}))
    outcome, note = _outcome(cheat, found, seconds)
    if outcome in {"stopped", "unknown"} and harm:
        outcome, note = "hurt the next", harm
    if outcome in {"stopped", "unknown"} and again.passed is not True:
        outcome, note = "hurt the next", f"a right program then got {again.verdict}: {again.error}"
    return Result(cheat, outcome, found.verdict, note, seconds)


def _outcome(cheat: Cheat, found: Judgement, seconds: float) -> tuple[Outcome, str]:
    if passes(found):
        return ("forged" if cheat.goal == "forge" else "let through"), ""
    if seconds > HUNG_S * (1 + len(cheat.before)):
        return "hung", f"{seconds:.0f} s"
    if found.error and NO_JAIL in found.error:
        return "not run", "it saw the host: this is no jail"
    if found.passed is None:
        return "unknown", found.error or found.verdict
    return "stopped", ""


def passes(found: Judgement) -> bool:
    """Did it earn anything: the verdict, or a single test?"""
    return found.passed is True or found.passed_all is True or any(test.passed for test in found.tests)


def _stray(host: Host) -> str | None:
    """A process of the cheat's that is still there; the end of many may take a moment."""
    deadline = time.monotonic() + 1.0
    while strays := host.strays():
        if time.monotonic() > deadline:
            return f"left {len(strays)} processes behind"
        time.sleep(0.02)
    return None
