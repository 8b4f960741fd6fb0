"""hybrid: the rewards of one sample as one number.

    reward = clip(scale * (sum_i w_i r_i / sum_i w_i + w_length r_length))    over the i that have something to say

A reward that is None leaves the mean, numerator and denominator; one of weight 0 is measured and never counts; `length`
is a penalty beside the mean.

**What counts only for programs that pass.** `speed`, `style`, `documentation` and `complexity`, and what
`only_passing` names, are 0 for a program that does not pass, whatever they would say; and 0, not None, so that they
stay in its mean. If they left it, a failing program would be measured by fewer things than a passing one: with weights
1 for `tests` and 1 for `style`, two of three tests would earn 2/3, and a passing program of poor style 1/2. So words
that please a quality reward (a docstring, type hints, brevity) can't lift a failing program at all, and:

- with `tests` and rewards that count only for programs that pass, every failing program earns less than every passing
  one, whatever the weights: at most  w_tests t / W  with t < 1, against  w_tests / W  and more;
- beside others (`format`, `judge`, ...), no failing program earns more than a passing one that these value as high. How
  much they may say against the tests is what their weights mean; name them in `only_passing` to rule it out.

**What could not be found out.** A sample earns None, never 0, where a reward with a weight above 0 went wrong on it
(raised, hung, NaN), or where its verdict is unknown and some such reward depends on it: the mean of the rest would be
another quantity, and a program that breaks the judge would be rewarded for its looks.
"""

import math
from collections.abc import Collection, Mapping

from greenlit.config import RewardsParams
from greenlit.config.rewards import PENALTY
from greenlit.rewards.sample import Sample

QUALITY = frozenset({"speed", "style", "documentation", "complexity"})
"""Rewards that count only for programs that pass, always."""
OF_THE_VERDICT = frozenset({"tests", "execution"})
"""Rewards that are None where the verdict is unknown, beside those that count only for programs that pass."""


def only_passing(params: RewardsParams) -> frozenset[str]:
    """Rewards that count only for programs that pass."""
    return QUALITY | frozenset(params.only_passing)


def counted(name: str, value: float | None, sample: Sample, params: RewardsParams) -> float | None:
    """A reward's value; 0 or None instead, where it counts only for programs that pass and this one does not."""
    if name not in only_passing(params) or sample.passed:
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
    penalty = weighing.pop(PENALTY, 0.0) * (parts.get(PENALTY) or 0.0)
    said = [(weight, value) for name, weight in weighing.items() if (value := parts.get(name)) is not None]
    if not said:
        return None
    mean = math.fsum(weight * value for weight, value in said) / math.fsum(weight for weight, _ in said)
    return shaped(mean + penalty, params)


def shaped(value: float, params: RewardsParams) -> float:
    """Scaled and clipped."""
    value *= params.scale
    return value if params.clip is None else min(max(value, params.clip[0]), params.clip[1])


def _unknown(weighing: Mapping[str, float], sample: Sample, params: RewardsParams) -> bool:
    """Was it run, without our finding out what we need?"""
    if sample.judgement is None or sample.passed is not None:
        return False
    return any(name in OF_THE_VERDICT or name in only_passing(params) for name in weighing)
