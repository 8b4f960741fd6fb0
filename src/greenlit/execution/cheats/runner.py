"""Run cheats against a judge, one after the other, and write down what became of each.

After every cheat a right program has to pass: whoever spoils the judge for the next program has won something too.
"""

import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import nullcontext
from dataclasses import dataclass
from itertools import chain, groupby
from typing import Literal

from greenlit.config import AnnotateParams
from greenlit.execution.cheats.cheat import NO_JAIL, RIGHT, Cheat, Control, filled
from greenlit.execution.cheats.controls import CONTROLS
from greenlit.execution.cheats.host import Host
from greenlit.execution.cheats.suite import CHEATS
from greenlit.execution.judgement import Judgement
from greenlit.execution.judges import Judge
from greenlit.types import Problem

Outcome = Literal["stopped", "forged", "let through", "hung", "hurt the next", "unknown", "not run"]

JAILED = frozenset({"namespaces", "bubblewrap"})
"""Levels at which programs that need a jail may run; at any other they are not run, and listed as that."""
HUNG_S = 12.0
"""No single run of the suite's limits takes that long, the machine being as busy as it may."""
TIMEOUT_S = 0.8


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
        """What this level may not let happen: all but what it is known not to stop, and says so."""
        return [result for result in self.results if not self._as_promised(result)]

    def _as_promised(self, result: Result) -> bool:
        if result.outcome == "let through":
            return self.level in result.cheat.open_at
        if result.outcome == "not run":
            return self.level not in JAILED
        return result.outcome in {"stopped", "unknown"}

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
    cheats = list(cheats)
    with nullcontext(host) if host else Host() as place:
        problems = place.problems()
        results: dict[str, Result] = {}
        quick = (try_cheat(judge, cheat, place, problems) for cheat in cheats if not _waits(cheat, judge))
        waiting = try_together(judge, [cheat for cheat in cheats if _waits(cheat, judge)], place, problems)
        for result in chain(quick, waiting):
            results[result.cheat.name] = result
            after_each(result)
        refused = tuple(
            control.name
            for control in controls
            if judge.judge(problems[control.problem], filled(control.program, place.places)).passed is not True
        )
    in_order = tuple(results[cheat.name] for cheat in cheats)
    return Table(judge.level, in_order, refused, time.monotonic() - began)


def _waits(cheat: Cheat, judge: Judge) -> bool:
    return cheat.ends_by_a_limit and cheat.goal == "forge" and may_run(cheat, judge)


def may_run(cheat: Cheat, judge: Judge) -> bool:
    """A program that needs a jail runs in one or not at all."""
    return not cheat.needs_jail or judge.level in JAILED


def try_cheat(judge: Judge, cheat: Cheat, host: Host, problems: Mapping[str, Problem]) -> Result:
    """One cheat, and a right program after it."""
    if not may_run(cheat, judge):
        return Result(cheat, "not run", note=cheat.needs_jail)
    *earlier, last = cheat.programs(host.places)
    workers = _workers(judge)
    began = time.monotonic()
    for program in earlier:
        judge.judge(problems["list"], program)
    found = judge.judge(problems[cheat.problem], last)
    seconds = time.monotonic() - began
    harm = _stray(host, last) or host.harm()
    again = judge.judge(problems["list"], filled(RIGHT, {}))
    return _result(cheat, found, again, seconds, harm or _dead(workers, judge))


def try_together(judge: Judge, cheats: list[Cheat], host: Host, problems: Mapping[str, Problem]) -> Iterator[Result]:
    """Cheats that take as long as they may, so that a level that can run other programs meanwhile does so."""
    jobs = []
    for cheat in cheats:
        jobs += [(problems[cheat.problem], cheat.programs(host.places)[-1]), (problems["list"], filled(RIGHT, {}))]
    workers, began = _workers(judge), time.monotonic()
    found = judge.judge_all(jobs)
    for cheat in cheats:
        judgement, again = next(found), next(found)
        harm = host.harm() or _dead(workers, judge)
        yield _result(cheat, judgement, again, time.monotonic() - began, harm)
        workers, began = _workers(judge), time.monotonic()


def _workers(judge: Judge) -> set[int]:
    return {worker.process.pid for worker in judge.pool.workers}


def _dead(workers: set[int], judge: Judge) -> str | None:
    return None if workers <= _workers(judge) else "a worker of the judge died"


def _result(cheat: Cheat, found: Judgement, again: Judgement, seconds: float, harm: str | None) -> Result:
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


def _stray(host: Host, program: str) -> str | None:
    """Processes of the cheat's that are still there, where it marked them; the end of many may take a moment."""
    deadline = time.monotonic() + 1.0
    while f"gl{host.tag}" in program and (strays := host.strays()):
        if time.monotonic() > deadline:
            return f"left {len(strays)} processes behind"
        time.sleep(0.02)
    return None
