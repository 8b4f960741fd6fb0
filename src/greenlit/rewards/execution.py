"""execution_reward: the share of a problem's tests that a completion passes, as a reward function for TRL's trainers.

    with execution_reward(problems, params.annotate) as reward:
        GRPOTrainer(model, reward_funcs=reward, train_dataset=dataset, ...).train()

The dataset needs the columns `prompt` and `task_id`. It is `online.OnlineReward` with the reward `tests` alone.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from greenlit.config import AnnotateParams, RewardsParams
from greenlit.config.rewards import TestsParams
from greenlit.rewards.online import OnlineReward


class ExecutionReward(OnlineReward):
    """Callable as TRL calls reward functions."""

    __name__ = "execution"

    def __call__(  # type: ignore[override]
        self, prompts: Sequence[Any], completions: Sequence[Any], task_id: Sequence[str] | None = None, **columns: Any
    ) -> list[float | None]:
        """As `OnlineReward`; by position, task_id comes third."""
        return super().__call__(prompts, completions, task_id=task_id, **columns)


def execution_reward(
    problems: Mapping[str, Any] | Iterable[Any],
    params: AnnotateParams,
    *,
    workers: int | None = None,
    all_or_nothing: bool = False,
) -> ExecutionReward:
    """The reward of these problems' tests.

    Args:
        problems: records or dicts of the problem format, as a list or by task_id.
        params: limits, as `annotate` has them.
        workers: processes of each trainer process; None takes GREENLIT_WORKERS or one per core.
        all_or_nothing: 1 for all tests, else 0, instead of the share that passes.
    """
    tests = TestsParams(kind="all_or_nothing" if all_or_nothing else "fraction")
    return ExecutionReward(problems, params, RewardsParams(tests=tests), workers=workers)
