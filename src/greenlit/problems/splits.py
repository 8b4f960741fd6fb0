"""From an adapter's problems to train, validation and test: roles, leaks, broken references, limits."""

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from greenlit.config import Limits, PrepareParams
from greenlit.errors import DataError
from greenlit.execution.judge import Judge
from greenlit.execution.split import unsplittable
from greenlit.program_metrics import ast_hash
from greenlit.types import SPLITS, Problem, Split


@dataclass
class Audit:
    """What was kept and what was dropped, and why."""

    kept: Counter[str] = field(default_factory=Counter)
    dropped: dict[str, tuple[str, str]] = field(default_factory=dict)
    """task_id → reason, detail."""
    reference_passes: int = 0
    no_reference: int = 0

    def as_dict(self) -> dict[str, object]:
        """For audit.json."""
        return {
            "kept": {split: self.kept[split] for split in SPLITS},
            "reference_passes": self.reference_passes,
            "no_reference": self.no_reference,
            "dropped_by_reason": dict(Counter(sorted(reason for reason, _ in self.dropped.values()))),
            "dropped": {name: ": ".join(filter(None, why)) for name, why in sorted(self.dropped.items())},
        }

    def drop(self, problem: Problem, reason: str, detail: str = "") -> None:
        """Note that a problem is left out, and why."""
        self.dropped[problem.task_id] = (reason, detail)


def split_problems(
    problems: Iterable[Problem], params: PrepareParams, judge: Judge, audit: Audit
) -> dict[Split, list[Problem]]:
    """Problems by split, in the dataset's order.

    Test problems are placed first: what repeats a test or validation problem (same statement, or same reference up to
    variable names) leaves train, never the other way round. Dropped too: problems whose own reference fails their
    tests, and those whose tests cannot be judged without handing the answers to the program.

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
            audit.drop(problem, "in no split")
        else:
            by_split[problem.split].append(with_roles(problem, params.shown_tests))
    without_leaks(by_split, audit)
    limited = {split: _first(by_split[split], params.limits, split, audit) for split in SPLITS}
    sound = {split: _sound(limited[split], judge, audit) for split in SPLITS}
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
                audit.drop(problem, f"repeats a problem of {clash}")
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
        audit.drop(problem, "over the limit")
    return problems[:limit]


def _sound(problems: list[Problem], judge: Judge, audit: Audit) -> list[Problem]:
    """Problems whose tests can be judged and whose reference, where there is one, passes them."""
    judgeable = []
    for problem in problems:
        refused = unsplittable(problem)
        if refused:
            audit.drop(problem, "its tests cannot be judged outside the program", refused[0])
        else:
            judgeable.append(problem)
    checked = [problem for problem in judgeable if problem.reference]
    audit.no_reference += len(judgeable) - len(checked)
    verdicts = judge.judge_all((problem, problem.reference[0]) for problem in checked)
    for problem, judgement in zip(checked, verdicts, strict=True):
        if judgement.passed_all is True:
            audit.reference_passes += 1
        else:
            audit.drop(problem, f"its own reference does not pass ({judgement.verdict})", judgement.error or "")
    return [problem for problem in judgeable if problem.task_id not in audit.dropped]
