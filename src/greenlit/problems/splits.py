"""From an adapter's problems to train, validation and test: roles, leaks, broken references, limits."""

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from greenlit.config import Limits, PrepareParams
from greenlit.errors import DataError
from greenlit.execution.judge import Judge
from greenlit.program_metrics import ast_hash
from greenlit.types import SPLITS, Problem, Split


@dataclass
class Audit:
    """What was kept and what was dropped, and why."""

    kept: Counter[str] = field(default_factory=Counter)
    dropped: dict[str, str] = field(default_factory=dict)
    """task_id → reason."""
    reference_passes: int = 0
    no_reference: int = 0

    def as_dict(self) -> dict[str, object]:
        """For audit.json."""
        return {
            "kept": {split: self.kept[split] for split in SPLITS},
            "reference_passes": self.reference_passes,
            "no_reference": self.no_reference,
            "dropped_by_reason": dict(sorted(Counter(reason for reason in self.dropped.values()).items())),
            "dropped": dict(sorted(self.dropped.items())),
        }


def split_problems(
    problems: Iterable[Problem], params: PrepareParams, judge: Judge, audit: Audit
) -> dict[Split, list[Problem]]:
    """Problems by split, in the dataset's order.

    Test problems are placed first: what repeats a test or validation problem (same statement, or same reference up to
    variable names) leaves train, never the other way round. Problems whose own reference fails their tests are dropped.

    Raises:
        DataError: a split ends up empty, or a task_id stands twice.
    """
    by_split: dict[Split, list[Problem]] = {split: [] for split in SPLITS}
    seen: set[str] = set()
    for problem in problems:
        if problem.task_id in seen:
            raise DataError(f"task_id: {problem.task_id!r} stands twice in the dataset")
        seen.add(problem.task_id)
        if problem.split is None:
            audit.dropped[problem.task_id] = "in no split"
        else:
            by_split[problem.split].append(with_roles(problem, params.shown_tests))
    without_leaks(by_split, audit)
    limited = {split: _first(by_split[split], params.limits, split, audit) for split in SPLITS}
    sound = {split: list(_with_sound_reference(limited[split], judge, audit)) for split in SPLITS}
    for split, kept in sound.items():
        audit.kept[split] = len(kept)
        if not kept:
            raise DataError(
                f"{split}: no problems left", hint="see the reasons in audit.json, or another dataset.variant"
            )
    return sound


def with_roles(problem: Problem, shown: int) -> Problem:
    """Show the first tests in the prompt, where the dataset itself says nothing about roles."""
    if any(test.role == "shown" for test in problem.tests):
        return problem
    places = [place for place, test in enumerate(problem.tests) if test.role == "reward"]
    # one reward test at least stays out of the prompt, else the prompt gives all answers away
    showing = set(places[: min(shown, len(places) - 1)])
    tests = [
        test.model_copy(update={"role": "shown"}) if place in showing else test
        for place, test in enumerate(problem.tests)
    ]
    return problem.model_copy(update={"tests": tests})


def without_leaks(by_split: dict[Split, list[Problem]], audit: Audit) -> None:
    """Drop from train what test or validation has too, and from validation what test has."""
    taken: dict[str, str] = {}
    for split in ("test", "validation", "train"):
        kept = []
        for problem in by_split[split]:
            clash = next((taken[mark] for mark in _marks(problem) if mark in taken), None)
            if clash is None:
                kept.append(problem)
            else:
                audit.dropped[problem.task_id] = f"repeats a problem of {clash}"
        for problem in kept:
            taken.update(dict.fromkeys(_marks(problem), split))
        by_split[split] = kept


def _marks(problem: Problem) -> Iterator[str]:
    """What two versions of one problem share: the statement, or a reference solution up to variable names."""
    if problem.prompt.strip():
        yield "prompt " + " ".join(problem.prompt.lower().split())
    for reference in problem.reference:
        yield "reference " + ast_hash(reference)


def _first(problems: list[Problem], limits: Limits, split: Split, audit: Audit) -> list[Problem]:
    limit = getattr(limits, split)
    for problem in problems[limit:] if limit is not None else []:
        audit.dropped[problem.task_id] = "over the limit"
    return problems[:limit]


def _with_sound_reference(problems: list[Problem], judge: Judge, audit: Audit) -> Iterator[Problem]:
    checked = [problem for problem in problems if problem.reference]
    audit.no_reference += len(problems) - len(checked)
    verdicts = judge.judge_all((problem, problem.reference[0]) for problem in checked)
    faults = {}
    for problem, judgement in zip(checked, verdicts, strict=True):
        if judgement.passed_all is True:
            audit.reference_passes += 1
        else:
            detail = f" ({judgement.error})" if judgement.error else ""
            faults[problem.task_id] = f"its own reference does not pass: {judgement.verdict}{detail}"
    audit.dropped.update(faults)
    yield from (problem for problem in problems if problem.task_id not in faults)
