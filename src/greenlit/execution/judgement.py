"""What became of a candidate: of each test, and altogether. The words in which a judge answers.

A test is passed, failed, or None where nothing could be found out; so is the whole.
"""

import operator
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Protocol, get_args

from greenlit.config import AnnotateParams
from greenlit.execution.pool import TRIES
from greenlit.types import Problem, Role, Verdict


@dataclass(frozen=True)
class TestResult:
    """Of one test, in the problem's order."""

    __test__ = False

    index: int
    role: Role
    passed: bool | None
    """None where we could not find out."""
    kind: str
    """passed, failed, error, timeout, memory, syntax, no_code, infra, unsplittable."""
    error: str | None = None


@dataclass(frozen=True)
class Judgement:
    """Of one candidate; `verdict`, `tests_passed` and `tests_total` are of the shown and reward tests."""

    verdict: Verdict
    passed: bool | None
    passed_hidden: bool | None
    passed_all: bool | None
    tests_passed: int
    tests_total: int
    error: str | None
    cpu_s: float | None
    wall_s: float | None
    level: str
    tests: tuple[TestResult, ...] = ()


class AnyJudge(Protocol):
    """What answers: a judge of this machine or of a cluster, or `Untested` where nothing is run."""

    params: AnnotateParams
    level: str

    def judge_all(self, jobs: Iterable[tuple[Problem, str]]) -> Iterator[Judgement]:
        """Judgements in the order of the jobs."""
        ...


def judgement_of(problem: Problem, answer: dict[str, Any] | None, level: str) -> Judgement:
    """What a worker found, as one judgement; a worker that died on it every time found nothing out."""
    if answer is None:
        tests = tuple(
            TestResult(index, test.role, None, "infra", f"test {index}: the judge's worker died {TRIES} times")
            for index, test in enumerate(problem.tests)
        )
        answer = {"cpu_s": None, "wall_s": None}
    else:
        roles = [test.role for test in problem.tests]
        found = sorted(answer["tests"], key=operator.itemgetter(0))
        tests = tuple(TestResult(index, roles[index], passed, kind, error) for index, passed, kind, error in found)
    seen = [test for test in tests if test.role != "hidden"]
    hidden = [test for test in tests if test.role == "hidden"]
    culprit = _culprit(seen) or _culprit(hidden)
    passed = _all_passed(seen)
    return Judgement(
        verdict=_verdict(seen, passed),
        passed=passed,
        passed_hidden=_all_passed(hidden),
        passed_all=_all_passed(tests),
        tests_passed=sum(test.passed is True for test in seen),
        tests_total=len(seen),
        error=culprit.error if culprit else None,
        cpu_s=answer["cpu_s"],
        wall_s=answer["wall_s"],
        level=level,
        tests=tests,
    )


def _all_passed(tests: Iterable[TestResult]) -> bool | None:
    """False if one failed, else None if one is unknown or there are none."""
    results = [test.passed for test in tests]
    if False in results:
        return False
    return None if None in results or not results else True


def _culprit(tests: list[TestResult]) -> TestResult | None:
    """The test that decides the verdict: the first that failed, else the first we know nothing of."""
    failed = next((test for test in tests if test.passed is False), None)
    return failed or next((test for test in tests if test.passed is None), None)


def _verdict(tests: list[TestResult], passed: bool | None) -> Verdict:
    culprit = _culprit(tests)
    if passed or culprit is None:
        return "passed" if passed else "infra"
    kind = culprit.kind if culprit.passed is False else "infra"
    return next(name for name in get_args(Verdict) if name == kind)
