"""hybrid: the rewards of one sample as one number.

    reward = clip(scale * sum_i w_i r_i / sum_i w_i)        over the rewards i that have something to say

A reward that is None leaves the mean, of numerator and denominator; one of weight 0 is measured and never counts.

**What counts only for programs that pass.** `speed`, `style`, `documentation` and `complexity`, and what
`only_passing` names, are 0 for a program that does not pass, whatever they would say; and 0, not None, so that they
stay in its mean. If they left it, a failing program would be measured by fewer things than a passing one: with weights
1 for `tests` and 1 for `style`, two of three tests would earn 2/3, and a passing program of poor style 1/2. So words
that please a quality reward (a docstring, type hints, a short program) can never lift a failing program:

- its reward is at most what it would be if those rewards had no say;
- no failing program earns more than a passing one that the other rewards value as high. With `tests` and rewards that
  count only for programs that pass, and they alone, every failing program earns less than every passing one.

They are None only for reasons that lie in the problem or the machine (no reference, another language), and then for
every program of the problem, so that the same things are compared.

**What could not be found out.** A sample earns None, never 0, where a reward with a weight above 0 went wrong on it
(raised, hung, NaN), or where its verdict is unknown and some such reward depends on it: the mean of the rest would be
another quantity, and a program that breaks the judge would be rewarded for its looks.
"""

import math
from collections.abc import Collection, Mapping

from greenlit.config import RewardsParams
from greenlit.config.rewards import REWARD_NAMES
from greenlit.rewards.sample import Sample

QUALITY = frozenset({"speed", "style", "documentation", "complexity"})
"""Rewards that count only for programs that pass, always."""
OF_THE_VERDICT = frozenset({"tests", "execution"})
"""Rewards that are None where the verdict is unknown, beside those that count only for programs that pass."""


def only_passing(params: RewardsParams) -> frozenset[str]:
    """Rewards that count only for programs that pass."""
    return QUALITY | frozenset(params.only_passing)


def counted(name: str, value: float | None, sample: Sample, params: RewardsParams) -> float | None:
    """What a reward's value counts: 0 or None, instead, where it counts only for programs that pass."""
    if value is None or name not in only_passing(params) or sample.passed:
        return value
    return None if sample.passed is None else 0.0


def hybrid(
    parts: Mapping[str, float | None], sample: Sample, params: RewardsParams, faults: Collection[str] = ()
) -> float | None:
    """The one number of a sample.

    Args:
        parts: each reward that has a weight, as `counted` leaves it.
        faults: rewards that went wrong on it.
    """
    weighing = {name: weight for name, weight in params.weights.items() if weight > 0}
    if any(name in weighing for name in faults) or _unknown(weighing, sample, params):
        return None
    said = [(weight, parts[name]) for name, weight in _in_order(weighing) if parts.get(name) is not None]
    if not said:
        return None
    total = math.fsum(weight for weight, _ in said)
    return shaped(math.fsum(weight * value for weight, value in said if value is not None) / total, params)


def shaped(mean: float, params: RewardsParams) -> float:
    """Scaled and clipped."""
    value = params.scale * mean
    return value if params.clip is None else min(max(value, params.clip[0]), params.clip[1])


def _unknown(weighing: Mapping[str, float], sample: Sample, params: RewardsParams) -> bool:
    """Was it run, without our finding out what we need?"""
    if sample.judgement is None or sample.passed is not None:
        return False
    return any(name in OF_THE_VERDICT or name in only_passing(params) for name in weighing)


def _in_order(weighing: Mapping[str, float]) -> list[tuple[str, float]]:
    """In one order, however params.yaml lists them: a sum of floats depends on it."""
    return [(name, weighing[name]) for name in REWARD_NAMES if name in weighing]
