"""Who goes on to the next round of adaptive sampling, by execution.

A problem is done when enough of its programs pass, and enough fail, to make its pairs of. What counts is what `build`
counts: unlike programs (equal up to renaming counts once) that ended by themselves and have a verdict. A verdict that
could not be found out counts for neither side. Programs run under the limits of `annotate`, which finds their verdicts
in the cache afterwards and runs none of them again.
"""

import itertools
import sys
from collections.abc import Iterable, Sequence
from functools import partial

from greenlit.cluster.judging import judge_of_stage
from greenlit.config import AdaptiveParams
from greenlit.errors import ConfigError
from greenlit.execution.cache import VerdictCache, judged
from greenlit.execution.cheats.gate import refuse_forgeable
from greenlit.generation.rounds import GoOn, RowsOf
from greenlit.problems.files import kind_of
from greenlit.program_metrics import ast_hash
from greenlit.stage.progress import Progress
from greenlit.types import Candidate, Problem


def by_execution(params: AdaptiveParams, problems: Sequence[Problem], workers: int) -> GoOn:
    """Decides by verdicts.

    Raises:
        ConfigError: the problems have no tests, or no judge that is allowed works here.
        SandboxError: the judge in use can be fooled, or does not work on this machine.
    """
    if kind_of(problems) == "completion":
        raise ConfigError(
            "generate.adaptive: these problems have no tests, so that nothing passes or fails",
            hint="adaptive: null samples n completions of each",
        )
    with judge_of_stage("program", params.limits, 1, earns=True) as judge:  # not after an hour of sampling
        print(judge.banner, file=sys.stderr)
        refuse_forgeable(judge)
    return partial(_not_done, params, workers)


def _not_done(
    params: AdaptiveParams, workers: int, bar: Progress, number: int, problems: Sequence[Problem], rows_of: RowsOf
) -> list[str]:
    """The task_ids of those that need more, in their order."""
    rows = ((problem, row) for problem in problems for row in rows_of(problem.task_id))
    for_judge, for_us = itertools.tee(rows)
    going_on = []
    with (
        judge_of_stage("program", params.limits, workers, earns=True) as judge,
        VerdictCache() as cache,
        bar.part(f"verdicts of round {number}", len(problems), "problems") as done,
    ):
        judgements = judged(judge, ((problem, row.solution) for problem, row in for_judge), cache)
        for task_id, group in itertools.groupby(for_us, key=lambda one: one[0].task_id):
            verdicts = [(row, next(judgements).passed) for _, row in group]
            done.advance()
            if not enough(params, verdicts):
                going_on.append(task_id)
    return going_on


def enough(params: AdaptiveParams, verdicts: Iterable[tuple[Candidate, bool | None]]) -> bool:
    """Are there enough unlike programs of either kind?"""
    unlike: dict[bool, set[str]] = {True: set(), False: set()}
    for row, passed in verdicts:
        if passed is not None and row.finish_reason != "length":
            unlike[passed].add(ast_hash(row.solution))
    return len(unlike[True]) >= params.passes and len(unlike[False]) >= params.fails
