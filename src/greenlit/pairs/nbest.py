"""Rank a problem's candidates: passing ones from plain to complicated, then failures from near-miss to hopeless.

Programs that are equal up to variable names count once (alpha-normalised AST). Truncated completions and candidates
without a verdict take no part.
"""

from collections.abc import Iterable, Sequence

from greenlit.types import Annotated, Best, Metrics, NBest, Problem


def eligible(row: Annotated) -> bool:
    """Can something be learnt from this candidate? It ended by itself and has a verdict."""
    return row.passed is not None and row.finish_reason != "length" and row.metrics is not None


def ranked(rows: Iterable[Annotated]) -> tuple[list[Annotated], list[Annotated]]:
    """Unlike passing candidates, best first, and unlike failing ones, nearest miss first."""
    usable = [row for row in rows if eligible(row)]
    passing = _unlike(sorted((row for row in usable if row.passed), key=_plainness))
    failing = _unlike(sorted((row for row in usable if not row.passed), key=_nearness))
    return passing, failing


def _plainness(row: Annotated) -> tuple[float, ...]:
    metrics = _metrics(row)
    return (
        metrics.loc,
        metrics.cyclomatic_complexity or 0,
        metrics.nesting_depth or 0,
        metrics.tokens,
        -(metrics.novelty or 0.0),
        row.candidate_idx,
    )


def _nearness(row: Annotated) -> tuple[float, ...]:
    runs = row.verdict not in {"syntax", "no_code"}
    return (not runs, -row.tests_passed / max(row.tests_total, 1), row.verdict != "failed", row.candidate_idx)


def _metrics(row: Annotated) -> Metrics:
    assert row.metrics is not None  # `eligible` saw to it
    return row.metrics


def _unlike(rows: list[Annotated]) -> list[Annotated]:
    first: dict[str, Annotated] = {}
    for row in rows:
        first.setdefault(_metrics(row).ast_hash, row)
    return list(first.values())


def n_best(
    problem: Problem,
    prompt: str | list[dict[str, str]],
    rows: list[Annotated],
    passes: int,
    fails: int,
    shown_by_people: Sequence[Best] = (),
) -> NBest:
    """The row of nbest.jsonl: at most `passes` passing and `fails` failing candidates, demonstrations before them."""
    passing, failing = ranked(rows)
    return NBest(
        id=problem.task_id,
        entry_point=problem.entry_point,
        prompt=prompt,
        best_list=[*shown_by_people, *(_entry(row) for row in [*passing[:passes], *failing[:fails]])],
        num_pass=sum(row.passed is True for row in rows),
        num_uniq=len(passing),
        num_fail=sum(row.passed is False for row in rows),
        fail_uniq=len(failing),
    )


def _entry(row: Annotated) -> Best:
    metrics = _metrics(row)
    score = {
        "loc": metrics.loc,
        "tokens": metrics.tokens,
        "cyclomatic_complexity": metrics.cyclomatic_complexity,
        "nesting_depth": metrics.nesting_depth,
        "novelty": metrics.novelty,
        "reward": row.reward,
    }
    return Best(candidate_idx=row.candidate_idx, code=row.solution, text=row.text, passed=bool(row.passed), score=score)
