"""Give every candidate its verdict, metrics and rewards, streaming, in the order of the candidates."""

import itertools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from greenlit.errors import MismatchError
from greenlit.execution.cache import VerdictCache, judged
from greenlit.execution.judgement import AnyJudge, Judgement
from greenlit.jsonl import shortened
from greenlit.problems.prompts import prompt_hash, render
from greenlit.program_metrics import novelties, program_metrics
from greenlit.rewards.sample import Rate, Rated, Sample
from greenlit.rewards.speed import reference_runs, times
from greenlit.rewards.tests import rated_by_tests
from greenlit.stage.progress import Progress
from greenlit.text_match import match_of
from greenlit.types import Annotated, Candidate, Match, Problem

_Waiting = tuple[Candidate, Judgement, float | None, Sample]
"""A candidate, what became of it, its novelty, and what its rewards are found from."""
RATED_TOGETHER = 256
"""Candidates whose rewards are found together: one process of ruff, one request after the other to a model."""


def annotate(
    problems: Mapping[str, Problem],
    candidates: Iterable[Candidate],
    judge: AnyJudge,
    bar: Progress,
    cache: VerdictCache | None = None,
    rate: Rate = rated_by_tests,
    references: int = 0,
) -> Iterator[tuple[Annotated, Judgement]]:
    """Yield each candidate with its verdict, and the judgement with its times.

    Candidates of one problem must stand together, as `generate` writes them.

    Args:
        cache: verdicts found before, so that a stage that was killed does not start at nothing.
        rate: finds the rewards; by default the share of the tests alone.
        references: runs of each problem's reference, for a `rate` that compares times.

    Raises:
        MismatchError: a candidate of an unknown problem.
    """
    for_judge, for_rows = itertools.tee(_groups(problems, candidates))
    jobs = (
        (problem, code)
        for problem, rows in for_judge
        for code in (*reference_runs(problem, references), *(row.solution for row in rows))
    )
    judgements = judged(judge, jobs, cache)
    waiting: list[_Waiting] = []
    for problem, rows in for_rows:
        known = times([next(judgements) for _ in reference_runs(problem, references)])
        chat = rows[0].prompt_hash == prompt_hash(render(problem, True))
        for row, new in zip(rows, novelties([row.solution for row in rows]), strict=True):
            judgement = next(judgements)
            bar.advance()
            waiting.append((row, judgement, new, _sample(problem, row, judgement, known, chat)))
        if len(waiting) >= RATED_TOGETHER:
            yield from _rated(waiting, rate)
            waiting = []
    yield from _rated(waiting, rate)


def _groups(
    problems: Mapping[str, Problem], candidates: Iterable[Candidate]
) -> Iterator[tuple[Problem, list[Candidate]]]:
    for task_id, rows in itertools.groupby(candidates, key=lambda row: row.task_id):
        if task_id not in problems:
            raise MismatchError(
                f"candidates: task_id: {shortened(task_id)} is none of the {len(problems)} problems",
                hint="dvc repro generate: candidates and problems of different runs?",
            )
        yield problems[task_id], list(rows)


def _sample(problem: Problem, row: Candidate, judgement: Judgement, known: tuple[float, ...], chat: bool) -> Sample:
    truncated = row.finish_reason == "length"
    return Sample(problem, row.text, row.solution, judgement, row.tokens, truncated, chat, known, bool(row.round))


def _rated(waiting: Sequence[_Waiting], rate: Rate) -> Iterator[tuple[Annotated, Judgement]]:
    found = rate([sample for *_, sample in waiting])
    for (row, judgement, novelty, sample), rated in zip(waiting, found, strict=True):
        yield _annotated(row, judgement, novelty, rated, match_of(sample.code, sample.problem)), judgement


def _annotated(
    row: Candidate, judgement: Judgement, novelty: float | None, rated: Rated, match: Match | None
) -> Annotated:
    metrics = program_metrics(row.solution, row.tokens).model_copy(update={"novelty": novelty})
    annotated = Annotated(
        **row.model_dump(),
        passed=judgement.passed,
        passed_hidden=judgement.passed_hidden,
        passed_all=judgement.passed_all,
        verdict=judgement.verdict,
        tests_passed=judgement.tests_passed,
        tests_total=judgement.tests_total,
        error=judgement.error,
        level=judgement.level,
        metrics=metrics,
        match=match,
    )
    return annotated.model_copy(update={"rewards": dict(rated.rewards), "reward": rated.reward})


def timing(row: Candidate, judgement: Judgement) -> dict[str, Any]:
    """The row of timings.jsonl."""
    return {
        "task_id": row.task_id,
        "candidate_idx": row.candidate_idx,
        "cpu_s": judgement.cpu_s,
        "wall_s": judgement.wall_s,
    }
