"""All rewards of a batch of samples, and the one number of each."""

import math
from collections.abc import Mapping, Sequence

from greenlit.config import RewardsParams
from greenlit.config.rewards import PENALTY, REWARD_NAMES
from greenlit.errors import ConfigError
from greenlit.rewards.complexity import complexity
from greenlit.rewards.custom import custom
from greenlit.rewards.documentation import documentation
from greenlit.rewards.form import form
from greenlit.rewards.hybrid import OF_THE_VERDICT, counted, hybrid, only_passing
from greenlit.rewards.judge import judge
from greenlit.rewards.length import length
from greenlit.rewards.model import model
from greenlit.rewards.overlap import overlap
from greenlit.rewards.runs import execution
from greenlit.rewards.sample import Rated, Reward, Sample
from greenlit.rewards.speed import speed
from greenlit.rewards.style import style
from greenlit.rewards.syntax import syntax
from greenlit.rewards.tests import tests
from greenlit.types import Kind

REWARDS: Mapping[str, Reward] = {
    "tests": tests,
    "speed": speed,
    "syntax": syntax,
    "execution": execution,
    "style": style,
    "documentation": documentation,
    "complexity": complexity,
    "format": form,
    "overlap": overlap,
    "length": length,
    "custom": custom,
    "judge": judge,
    "model": model,
}
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


def require_rewards(kind: Kind, params: RewardsParams) -> None:
    """What has a weight must have something to say about problems of this kind.

    Raises:
        ConfigError: a reward asks whether a program passes, and there are no tests; or nothing else is left.
    """
    weighing = [name for name, weight in params.weights.items() if weight > 0]
    if kind == "program":
        return
    asking = [name for name in weighing if name in OF_THE_VERDICT | only_passing(params)]
    if asking:
        raise ConfigError(
            f"params.yaml: rewards.weights.{asking[0]}: asks whether a program passes, and these problems (kind: "
            "completion) have no tests",
            hint="weights: {overlap: 0.8, syntax: 0.2}; what counts only for programs that pass cannot count here",
        )


def of_candidates(params: RewardsParams, kind: Kind = "program") -> RewardsParams:
    """The rewards of `annotate`: all but `model`, which is learnt from what annotate writes.

    Where nothing else has a weight, the tests have; where there are none, `overlap`.
    """
    weights = {name: weight for name, weight in params.weights.items() if name != "model"}
    if not any(weight for name, weight in weights.items() if name != PENALTY):
        weights["tests" if kind == "program" else "overlap"] = 1.0
    return params.model_copy(update={"weights": weights})


def _values(name: str, samples: Sequence[Sample], params: RewardsParams) -> Sequence[float | None]:
    if name not in REWARDS:
        raise ConfigError(f"params.yaml: rewards.weights.{name}: there is no such reward here")
    return REWARDS[name](samples, params)


def _rated(values: Mapping[str, float | None], sample: Sample, params: RewardsParams) -> Rated:
    faults = tuple(name for name, value in values.items() if value is not None and not math.isfinite(value))
    parts = {name: None if name in faults else counted(name, value, sample, params) for name, value in values.items()}
    return Rated(parts, hybrid(parts, sample, params, faults), faults)
