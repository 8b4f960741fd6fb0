"""The oracle audit: is this problem fit to learn from, or would it teach the wrong thing?

For each problem
- its reference must pass all tests, hidden ones too, and again when it runs a second time;
- mutants of the reference (see mutants.py) should fail: the share that does is the mutation score. Mutants that we
  could not find out about do not count.

A   passes twice, and its tests catch at least `prepare.kill_share` of the mutants
B   passes twice, with a mark: `weak tests` (a lower score), `few tests` (under `prepare.min_tests`), `slow` (the
    reference takes more than `prepare.slow_share` of the most that a candidate may: a right but slower program fails),
    `no mutants` (none asked for, or nothing in it to change), `first reference fails` (another one passes)
C   nothing could be checked: no reference, or (mark `no tests`) a completion, whose reference no test can run

Of a completion, the reference must be gone on with to the end of its block and no further, as what a model writes is
cut there, and a Python one must parse.

Not kept, and written to quarantine.jsonl: problems whose tests cannot be judged; whose reference fails; whose reference
passes only sometimes; whose tests accept every one of at least three mutants.

A and B differ in what a pass means: with weak tests, wrong programs are rewarded.
"""

import ast
from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Literal

from greenlit.config import PrepareParams
from greenlit.execution.cache import VerdictCache, judged
from greenlit.execution.judgement import Judgement
from greenlit.execution.judges import Judge
from greenlit.execution.split import unsplittable
from greenlit.execution.untested import Untested
from greenlit.problems.mutants import Mutant, mutants
from greenlit.problems.prompts import extract
from greenlit.program_metrics import parse
from greenlit.stage.progress import Progress
from greenlit.types import Problem, ScriptTest, Split

Grade = Literal["A", "B", "C"]
REFERENCES = 3
"""References tried until one passes; the judge times one of the first three, too."""
SURVIVORS = 3
"""So many mutants must have been judged, and none caught, before tests count as accepting anything."""
_AGAIN = "\n\n"
"""Makes the second run another program, which judge and cache would else answer from memory."""


@dataclass
class Case:
    """A problem under audit, and what was found."""

    problem: Problem
    split: Split
    reference: str | None = None
    """The first that passes."""
    killed: int = 0
    survived: list[str] = field(default_factory=list)
    """What was changed in the mutants that pass."""
    marks: list[str] = field(default_factory=list)
    reason: str | None = None
    """Why it is not kept."""
    detail: str = ""

    @property
    def grade(self) -> Grade | None:
        """None where the problem is not kept."""
        if self.reason:
            return None
        if self.reference is None:
            return "C"
        return "B" if self.marks else "A"

    @property
    def mutation_score(self) -> float | None:
        """Share of the mutants that the tests catch; None without mutants."""
        judged = self.killed + len(self.survived)
        return round(self.killed / judged, 4) if judged else None

    def quarantine(self, reason: str, detail: str = "") -> None:
        """Do not keep it."""
        self.reason, self.detail = reason, detail


def audit_oracles(
    problems: Iterable[tuple[Split, Problem]],
    params: PrepareParams,
    judge: Judge | Untested,
    seed: int,
    cache: VerdictCache | None = None,
    bar: Progress | None = None,
) -> list[Case]:
    """Audit every problem, in the order given; all of them are in memory meanwhile.

    Args:
        cache: verdicts found before, so that an audit that was stopped does not start at nothing.
        bar: counts the problems.
    """
    cases = [Case(problem, split) for split, problem in problems]
    for case in cases:
        if case.problem.kind == "completion":
            _read_references(case)
            continue
        refused = unsplittable(case.problem)
        if refused:
            case.quarantine("its tests cannot be judged", refused[0])
    _run_references([case for case in cases if case.problem.kind == "program"], judge, cache)
    passing = [case for case in cases if case.reference is not None]
    if bar and len(passing) < len(cases):
        bar.advance(len(cases) - len(passing))
    _run_mutants(passing, params.mutants, judge, seed, cache, bar)
    for case in passing:
        assert isinstance(judge, Judge)  # nothing passes where nothing is run
        _mark(case, params, judge)
    return cases


def _read_references(case: Case) -> None:
    """Of a completion: what can be found out without running anything."""
    case.marks.append("no tests")
    problem = case.problem
    for known, held_back in zip(problem.reference, problem.held_back, strict=True):
        if extract(held_back, problem, chat=False).rstrip() != known.rstrip():
            case.quarantine("its reference goes on behind the end of its block")
        elif problem.language == "python" and parse(known) is None:
            case.quarantine("its reference does not parse")


def _run_references(cases: list[Case], judge: Judge | Untested, cache: VerdictCache | None) -> None:
    """Find the first reference of each that passes twice; where none does, the first one's fault is the reason."""
    for place in range(REFERENCES):
        waiting = [case for case in cases if _is_open(case) and place < len(case.problem.reference)]
        jobs = ((case.problem, code) for case in waiting for code in _twice(case.problem.reference[place]))
        verdicts = judged(judge, jobs, cache)
        for case in waiting:
            _hear(case, place, next(verdicts), next(verdicts))


def _twice(code: str) -> tuple[str, str]:
    return code, code + _AGAIN


def _is_open(case: Case) -> bool:
    """Neither a reference that passes nor a reason that another one would not change."""
    return case.reference is None and (case.reason is None or case.reason.startswith(_FAILS))


_FAILS = "its own reference does not pass"


def _hear(case: Case, place: int, first: Judgement, second: Judgement) -> None:
    """What two runs of one reference say."""
    found = {first.passed_all, second.passed_all}
    if found == {True}:
        case.reference = case.problem.reference[place]
        case.reason, case.detail = None, ""
        if place:
            case.marks.append("first reference fails")
    elif place:
        pass  # the first one's fault stays the reason
    elif found == {True, False}:
        failed = second if first.passed_all else first
        case.quarantine("its reference passes only sometimes", failed.error or "")
    elif False in found:
        failed = first if first.passed_all is False else second
        case.quarantine(f"{_FAILS} ({_kind(failed)})", failed.error or "")
    else:
        case.quarantine("its tests cannot be judged", first.error or second.error or "")


def _kind(failed: Judgement) -> str:
    """What the first test that failed met with; `verdict` leaves the hidden tests out."""
    return next(test.kind for test in failed.tests if test.passed is False)


def _run_mutants(
    cases: list[Case],
    count: int,
    judge: Judge | Untested,
    seed: int,
    cache: VerdictCache | None,
    bar: Progress | None,
) -> None:
    owners: deque[tuple[Case, Mutant]] = deque()

    def jobs() -> Iterator[tuple[Problem, str]]:
        for case in cases:
            assert case.reference is not None
            problem = case.problem
            if bar:
                bar.advance()
            for mutant in mutants(case.reference, seed, problem.task_id, count, problem.prelude):
                owners.append((case, mutant))
                yield problem, mutant.code

    for judgement in judged(judge, jobs(), cache):
        case, mutant = owners.popleft()
        if judgement.passed_all is False:
            case.killed += 1
        elif judgement.passed_all:
            case.survived.append(mutant.change)


def _mark(case: Case, params: PrepareParams, judge: Judge) -> None:
    """What keeps a problem whose reference passes from grade A, or from being kept."""
    score = case.mutation_score
    if score is None:
        case.marks.append("no mutants")
    elif score == 0 and len(case.survived) >= SURVIVORS:
        case.quarantine("its tests accept every mutant of its reference", f"{len(case.survived)} of them")
    elif score < params.kill_share:
        case.marks.append("weak tests")
    if count_tests(case.problem) < params.min_tests:
        case.marks.append("few tests")
    most_s = case.problem.time_limit_s or judge.params.cpu_max_s
    if (judge.prepare(case.problem).reference_cpu_s or 0.0) > params.slow_share * most_s:
        case.marks.append("slow")


def count_tests(problem: Problem) -> int:
    """How many tests it has; every assert of a script counts."""
    return sum(_asserts(test.code) if isinstance(test, ScriptTest) else 1 for test in problem.tests)


def _asserts(code: str) -> int:
    tree = parse(code)
    return sum(isinstance(node, ast.Assert) for node in ast.walk(tree)) if tree else 0
