"""Rank a problem's candidates: passing ones from plain to complicated, then failures from near-miss to hopeless.

Programs that are equal up to variable names count once (alpha-normalised AST). Truncated completions and candidates
without a verdict take no part.

Completions of problems without tests neither pass nor fail. They are ranked by reward, and the best are kept which earn
at least `build.least_reward`. What is learnt of them is what the extractor took, up to the end of the block; one that
ran out of tokens takes no part, unless its block had ended before.
"""

from collections.abc import Iterable, Sequence

from greenlit.pairs.groups import first_round
from greenlit.types import Annotated, Best, Metrics, NBest, Problem


def learnt(problem: Problem, row: Annotated, chat: bool) -> str:
    """What a model is to write: the completion as it was written; of a text that goes on with a file, what counts."""
    if problem.kind == "program" or chat:
        return row.text
    return row.solution.removeprefix(problem.starter_code)


def by_reward(problem: Problem, rows: Iterable[Annotated], chat: bool) -> list[Annotated]:
    """Unlike completions of a problem without tests that came to an end, the highest reward first."""
    usable = [
        row
        for row in rows
        if row.reward is not None
        and row.solution
        and row.metrics is not None
        and (row.finish_reason == "eos" or (not chat and len(learnt(problem, row, chat)) < len(row.text)))
    ]
    return _unlike(sorted(usable, key=lambda row: (-_reward(row), row.tokens, row.candidate_idx)))


def _reward(row: Annotated) -> float:
    assert row.reward is not None  # `by_reward` saw to it
    return row.reward


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
    least_reward: float = 0.0,
) -> NBest:
    """The row of nbest.jsonl: at most `passes` passing and `fails` failing candidates, demonstrations before them.

    Args:
        least_reward: of a completion without tests.
    """
    chat = not isinstance(prompt, str)
    if problem.kind == "completion":
        passing, failing = [row for row in by_reward(problem, rows, chat) if _reward(row) >= least_reward], []
    else:
        passing, failing = ranked(rows)
    first = first_round(rows)
    of_first = (passing, failing) if len(first) == len(rows) else ranked(first)
    return NBest(
        id=problem.task_id,
        entry_point=problem.entry_point,
        prompt=prompt,
        best_list=[*shown_by_people, *(_entry(problem, row, chat) for row in [*passing[:passes], *failing[:fails]])],
        num_pass=sum(row.passed is True for row in first) if problem.tests else None,
        num_uniq=len(of_first[0]),
        num_fail=sum(row.passed is False for row in first) if problem.tests else None,
        fail_uniq=len(of_first[1]),
    )


def _entry(problem: Problem, row: Annotated, chat: bool) -> Best:
    metrics = _metrics(row)
    score = {
        "loc": metrics.loc,
        "tokens": metrics.tokens,
        "cyclomatic_complexity": metrics.cyclomatic_complexity,
        "nesting_depth": metrics.nesting_depth,
        "novelty": metrics.novelty,
        "reward": row.reward,
    }
    return Best(
        candidate_idx=row.candidate_idx,
        code=row.solution,
        text=learnt(problem, row, chat),
        passed=row.passed,
        score=score,
    )
