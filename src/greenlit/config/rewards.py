"""The `rewards` section of params.yaml: what a completion earns, on candidates and during online training."""

from pydantic import Field

from greenlit.config.section import Section


class RewardsParams(Section):
    """Rewards by name, and how they become one number."""

    weights: dict[str, float] = Field(default={"tests": 1.0})
    """Weight of each reward in the mean; 0 measures it only. Names: rewards.REWARDS, `custom`, `judge`, `model`."""
    model: str = "assets/models/base"
    """Folder of the learned reward (a result of `reward_models`); the base stands for none."""
