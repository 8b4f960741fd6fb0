"""tests: how many of a problem's shown and reward tests pass; hidden ones never count.

    fraction         passed / total
    all_or_nothing   1 if all pass, else 0
    weighted         sum of w over the tests that pass / sum of w over all;  w = weight of the role * its own `weight`

plus `all_pass_bonus` where all pass. None when the sandbox could not say.
"""

import math
from collections.abc import Sequence

from greenlit.config import RewardsParams
from greenlit.config.rewards import TestsParams
from greenlit.errors import DataError
from greenlit.execution.judgement import Judgement
from greenlit.jsonl import shortened
from greenlit.rewards.sample import Rated, Sample
from greenlit.types import Problem


def tests(samples: Sequence[Sample], params: RewardsParams) -> list[float | None]:
    """In [0, 1 + bonus]; 0 for a program that never ran; None for `infra`."""
    return [_of(sample.problem, sample.judgement, params.tests) for sample in samples]


def _of(problem: Problem, judgement: Judgement | None, params: TestsParams) -> float | None:
    if judgement is None or judgement.passed is None or not judgement.tests_total:
        return None
    if params.kind == "all_or_nothing":
        share = float(judgement.passed)
    elif params.kind == "fraction":
        share = judgement.tests_passed / judgement.tests_total
    else:
        share = _weighted(problem, judgement, params)
    return share + params.all_pass_bonus if judgement.passed else share


def _weighted(problem: Problem, judgement: Judgement, params: TestsParams) -> float:
    by_role = {"shown": params.shown_weight, "reward": params.reward_weight}
    earned = total = 0.0
    for found in judgement.tests:
        if found.role in by_role:
            weight = by_role[found.role] * own_weight(problem, found.index)
            total += weight
            earned += weight * (found.passed is True)
    return earned / total if total else float(judgement.passed is True)


def own_weight(problem: Problem, index: int) -> float:
    """The `weight` that stands at a test itself; 1 where there is none.

    Raises:
        DataError: it is no number above 0.
    """
    said = (problem.tests[index].model_extra or {}).get("weight", 1.0)
    if isinstance(said, bool) or not isinstance(said, int | float) or not 0 < said < math.inf:
        raise DataError(
            f"{shortened(problem.task_id)}: tests.{index}.weight: must be a number > 0 (found {shortened(said)})"
        )
    return float(said)


def rated_by_tests(samples: Sequence[Sample]) -> list[Rated]:
    """The fraction of tests alone, which is what everything earns by default."""
    return [Rated({"tests": value}, value) for value in tests(samples, RewardsParams())]
