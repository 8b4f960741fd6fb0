"""Run programs that are no candidates: demonstrations, and what an AI judge rewrote."""

import sys
from collections.abc import Sequence

from greenlit.config import AnnotateParams
from greenlit.execution.cache import VerdictCache, judged
from greenlit.execution.cheats.gate import refuse_forgeable
from greenlit.execution.judgement import Judgement
from greenlit.execution.untested import judge_for
from greenlit.problems.files import kind_of
from greenlit.stage.hardware import workers
from greenlit.types import Problem


def run_programs(jobs: Sequence[tuple[Problem, str]], limits: AnnotateParams) -> list[Judgement]:
    """Judgements in the order of the programs, under the limits that candidates have.

    Raises:
        SandboxError: the judge in use can be fooled, or does not work on this machine.
    """
    if not jobs:
        return []
    kind = kind_of(problem for problem, _ in jobs)
    with judge_for(kind, limits, workers()) as judge, VerdictCache() as cache:
        print(judge.banner, file=sys.stderr)
        refuse_forgeable(judge)
        return list(judged(judge, jobs, cache))
