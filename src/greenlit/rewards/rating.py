"""All rewards of a batch of samples, and the one number of each."""

import math
from collections.abc import Mapping, Sequence

from greenlit.config import RewardsParams
from greenlit.config.rewards import REWARD_NAMES
from greenlit.errors import ConfigError
from greenlit.rewards.hybrid import counted, hybrid
from greenlit.rewards.sample import Rated, Reward, Sample
from greenlit.rewards.speed import speed
from greenlit.rewards.tests import tests

REWARDS: Mapping[str, Reward] = {"tests": tests, "speed": speed}
"""Name in `rewards.weights` -> the function."""


def rate(samples: Sequence[Sample], params: RewardsParams) -> list[Rated]:
    """Every reward that has a weight, of every sample, and what they come to.

    Raises:
        ConfigError: a reward cannot be had with these settings.
    """
    values = {name: _values(name, samples, params) for name in REWARD_NAMES if name in params.weights}
    return [
        _rated({name: column[place] for name, column in values.items()}, sample, params)
        for place, sample in enumerate(samples)
    ]


def _values(name: str, samples: Sequence[Sample], params: RewardsParams) -> Sequence[float | None]:
    if name not in REWARDS:
        raise ConfigError(f"params.yaml: rewards.weights.{name}: there is no such reward here")
    values = REWARDS[name](samples, params)
    if len(values) != len(samples):
        raise AssertionError(f"{name}: {len(values)} rewards for {len(samples)} samples")
    return values


def _rated(values: Mapping[str, float | None], sample: Sample, params: RewardsParams) -> Rated:
    faults = tuple(name for name, value in values.items() if value is not None and not math.isfinite(value))
    parts = {name: None if name in faults else counted(name, value, sample, params) for name, value in values.items()}
    return Rated(parts, hybrid(parts, sample, params, faults), faults)
