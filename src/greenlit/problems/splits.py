"""From an adapter's problems to train, validation and test: roles, leaks, limits, and the oracle audit.

Problems stream: what waits lies on disk (spool.py), and memory does not grow with the size of the dataset.
"""

from collections.abc import Iterable, Iterator

from greenlit.config import Limits, PrepareParams
from greenlit.errors import DataError
from greenlit.execution.cache import VerdictCache
from greenlit.execution.judges import Judge
from greenlit.execution.untested import Untested
from greenlit.problems.audit import Audit
from greenlit.problems.contamination import EvaluationSide
from greenlit.problems.oracle import audit_oracles
from greenlit.problems.records import Dropped
from greenlit.problems.spool import Spool
from greenlit.scratch import FirstPlaces
from greenlit.stage.progress import progress
from greenlit.types import SPLITS, Problem, Split

AUDITED_TOGETHER, AUDITED_BYTES = 256, 4 << 20
"""Problems in memory at a time, by number and by the length of their lines."""


def split_problems(
    problems: Iterable[Problem | Dropped],
    params: PrepareParams,
    judge: Judge | Untested,
    audit: Audit,
    seed: int = 0,
    cache: VerdictCache | None = None,
    benchmarks: Iterable[tuple[str, Problem]] = (),
    ngrams: bool = True,
) -> Spool:
    """Problems by split, in the dataset's order.

    Test problems are placed first: what repeats a test or validation problem, or one of a benchmark (see
    contamination.py), leaves train, never the other way round. Then the oracle audit (see oracle.py) puts those into
    quarantine that are not fit to learn from. A split may end up empty: see `all_filled`.

    Args:
        benchmarks: what else is measured on, each problem with the benchmark's name.
        ngrams: compare statements by runs of words, too.

    Raises:
        DataError: a task_id stands twice.
    """
    spool, first_place = Spool(), FirstPlaces()
    for place, problem in enumerate(problems):
        if first_place(problem.task_id, place) != place:
            raise DataError(f"task_id: {problem.task_id!r} stands twice in the dataset")
        if isinstance(problem, Dropped):
            audit.drop(problem.task_id, problem.reason, problem.detail)
        elif problem.split is None:
            audit.drop(problem.task_id, "in no split")
        else:
            asked = with_roles(problem, params.shown_tests)
            answer_format = params.answer_format if problem.kind == "program" else "code"
            spool.add(problem.split, asked.model_copy(update={"answer_format": answer_format}))
    with EvaluationSide(ngrams) as measured:
        without_leaks(spool, measured, benchmarks, params.limits, audit)
        audit.checked = measured.facts()
    total = sum(spool.counts.values())
    with progress("prepare audit", total, "problems") as bar:
        for batch in _batches(spool):
            audited = [(split, problem) for split, _, problem in batch]
            cases = audit_oracles(audited, params, judge, seed, cache, bar)
            for (split, place, _), case in zip(batch, cases, strict=True):
                audit.add(case)
                if case.reason:
                    spool.drop(split, place)
    return spool


def _batches(spool: Spool) -> Iterator[list[tuple[Split, int, Problem]]]:
    """All problems, few at a time."""
    batch: list[tuple[Split, int, Problem]] = []
    size = 0
    for split in SPLITS:
        for place, line in spool.lines(split):
            batch.append((split, place, Problem.model_validate_json(line)))
            size += len(line)
            if len(batch) == AUDITED_TOGETHER or size >= AUDITED_BYTES:
                yield batch
                batch, size = [], 0
    if batch:
        yield batch


def all_filled(counts: dict[Split, int], dataset: str, evaluation_only: bool) -> None:
    """Later stages need problems in every split.

    Raises:
        DataError: a split is empty; of a dataset for evaluation only, train and validation always are.
    """
    empty = [split for split in SPLITS if not counts[split]]
    found = ", ".join(f"{split} {count}" for split, count in counts.items())
    if empty and evaluation_only:
        raise DataError(
            f"{dataset}: for evaluation only: all its problems are test problems, and nothing may learn from them",
            hint="the audit is done; to train, set another dataset.name; only to measure, set `methods: {}`",
        )
    if empty:
        raise DataError(
            f"{dataset}: {' and '.join(empty)}: no problems left (found {found}; expected one at least in each)",
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


def without_leaks(
    spool: Spool,
    measured: EvaluationSide,
    benchmarks: Iterable[tuple[str, Problem]],
    limits: Limits,
    audit: Audit,
) -> None:
    """Drop from train what is measured on, from validation what test has, and what is over the limits.

    Problems of test that are over its limit count as measured on all the same: others measure on all of it.
    """
    for _, problem in spool.rows("test"):
        measured.add("test", problem)
    _keep("test", spool, None, limits.test, audit)
    _keep("validation", spool, measured, limits.validation, audit)
    for _, problem in spool.rows("validation"):
        measured.add("validation", problem)
    for name, problem in benchmarks:
        measured.add(name, problem)
    _keep("train", spool, measured, limits.train, audit)


def _keep(split: Split, spool: Spool, measured: EvaluationSide | None, limit: int | None, audit: Audit) -> None:
    """Keep the first problems that are measured on nowhere, up to the limit."""
    kept = 0
    for place, problem in spool.rows(split):
        over = limit is not None and kept >= limit
        leak = measured.leak(problem) if measured and not over else None
        if leak:
            audit.leak(problem.task_id, split, leak)
        elif over:
            audit.drop(problem.task_id, "over the limit")
        if leak or over:
            spool.drop(split, place)
        else:
            kept += 1
