"""Give every candidate its verdict, metrics and rewards, streaming, in the order of the candidates."""

import itertools
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from greenlit.errors import MismatchError
from greenlit.execution.cache import VerdictCache, judged
from greenlit.execution.judgement import Judgement
from greenlit.execution.judges import Judge
from greenlit.jsonl import shortened
from greenlit.program_metrics import novelties, program_metrics
from greenlit.rewards.sample import Sample
from greenlit.rewards.tests import rated_by_tests
from greenlit.stage.progress import Progress
from greenlit.types import Annotated, Candidate, Problem


def annotate(
    problems: Mapping[str, Problem],
    candidates: Iterable[Candidate],
    judge: Judge,
    bar: Progress,
    cache: VerdictCache | None = None,
) -> Iterator[tuple[Annotated, Judgement]]:
    """Yield each candidate with its verdict, and the judgement with its times.

    Candidates of one problem must stand together, as `generate` writes them.

    Args:
        cache: verdicts found before, so that a stage that was killed does not start at nothing.

    Raises:
        MismatchError: a candidate of an unknown problem.
    """
    for_judge, for_rows = itertools.tee(_groups(problems, candidates))
    jobs = ((problem, row.solution) for problem, rows in for_judge for row in rows)
    judgements = judged(judge, jobs, cache)
    for problem, rows in for_rows:
        novelty = novelties([row.solution for row in rows])
        for row, new in zip(rows, novelty, strict=True):
            judgement = next(judgements)
            bar.advance()
            yield _annotated(problem, row, judgement, new), judgement


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


def _annotated(problem: Problem, row: Candidate, judgement: Judgement, novelty: float | None) -> Annotated:
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
    )
    (rated,) = rated_by_tests([Sample(problem, row.text, row.solution, judgement)])
    return annotated.model_copy(update={"rewards": dict(rated.rewards), "reward": rated.reward})


def timing(row: Candidate, judgement: Judgement) -> dict[str, Any]:
    """The row of timings.jsonl."""
    return {
        "task_id": row.task_id,
        "candidate_idx": row.candidate_idx,
        "cpu_s": judgement.cpu_s,
        "wall_s": judgement.wall_s,
    }
