"""From an adapter's problems to train, validation and test: roles, leaks, limits, and the oracle audit."""

from collections.abc import Iterable, Iterator

from greenlit.config import Limits, PrepareParams
from greenlit.errors import DataError
from greenlit.execution.cache import VerdictCache
from greenlit.execution.judges import Judge
from greenlit.execution.untested import Untested
from greenlit.problems.audit import Audit
from greenlit.problems.oracle import audit_oracles
from greenlit.problems.records import Dropped
from greenlit.program_metrics import ast_hash
from greenlit.types import SPLITS, Problem, Split


def split_problems(
    problems: Iterable[Problem | Dropped],
    params: PrepareParams,
    judge: Judge | Untested,
    audit: Audit,
    seed: int = 0,
    cache: VerdictCache | None = None,
) -> dict[Split, list[Problem]]:
    """Problems by split, in the dataset's order.

    Test problems are placed first: what repeats a test or validation problem (same statement, or same reference up to
    variable names) leaves train, never the other way round. Then the oracle audit (see oracle.py) puts those into
    quarantine that are not fit to learn from. A split may end up empty: see `all_filled`.

    Raises:
        DataError: a task_id stands twice.
    """
    by_split: dict[Split, list[Problem]] = {split: [] for split in SPLITS}
    seen: set[str] = set()
    for problem in problems:
        if problem.task_id in seen:
            raise DataError(f"task_id: {problem.task_id!r} stands twice in the dataset")
        seen.add(problem.task_id)
        if isinstance(problem, Dropped):
            audit.drop(problem.task_id, problem.reason, problem.detail)
        elif problem.split is None:
            audit.drop(problem.task_id, "in no split")
        else:
            by_split[problem.split].append(with_roles(problem, params.shown_tests))
    without_leaks(by_split, audit)
    limited = ((split, row) for split in SPLITS for row in _first(by_split[split], params.limits, split, audit))
    audit.cases = audit_oracles(limited, params, judge, seed, cache)
    kept = [case for case in audit.cases if not case.reason]
    return {split: [case.problem for case in kept if case.split == split] for split in SPLITS}


def all_filled(by_split: dict[Split, list[Problem]], dataset: str, evaluation_only: bool) -> None:
    """Later stages need problems in every split.

    Raises:
        DataError: a split is empty; of a dataset for evaluation only, train and validation always are.
    """
    empty = [split for split in SPLITS if not by_split[split]]
    counts = ", ".join(f"{split} {len(rows)}" for split, rows in by_split.items())
    if empty and evaluation_only:
        raise DataError(
            f"{dataset}: for evaluation only: all its problems are test problems, and nothing may learn from them",
            hint="the audit of its problems is done; to train, set another dataset.name",
        )
    if empty:
        raise DataError(
            f"{dataset}: {' and '.join(empty)}: no problems left (found {counts}; expected one at least in each)",
            hint="the reasons are in audit.json; give more problems, or each a `split`, or another dataset.variant",
        )


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
                audit.drop(problem.task_id, f"repeats a problem of {clash}")
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
        audit.drop(problem.task_id, "over the limit")
    return problems[:limit]
