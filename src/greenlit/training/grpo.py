"""Group relative policy optimisation: https://arxiv.org/abs/2402.03300

    advantage = (reward - mean of the group) / (standard deviation of the group + 1e-4)
    loss = -mean over tokens of min(ratio * advantage, clip(ratio) * advantage) + beta * KL(model || start model)

A group is `group_size` completions of one problem; ratio = p(token) / p(token when it was sampled). `loss_type` says
over what the mean is taken, `scale_rewards` by what advantages are divided (https://arxiv.org/abs/2503.20783 on why
neither is innocent). TRL owns the loop and the loss; see training/rollouts.py for what we changed.
"""

from pathlib import Path
from typing import Any

from greenlit.config import GrpoParams
from greenlit.training.callbacks import Log
from greenlit.training.holdout import Row
from greenlit.training.online_arguments import online_arguments
from greenlit.training.online_loop import OnlineRun, fit_online
from greenlit.training.watching import Watch


def trl_arguments(params: GrpoParams, output_dir: Path, seed: int, cuda: bool, steps: int) -> dict[str, Any]:
    """Arguments of trl.GRPOConfig."""
    high = params.clip_range if params.clip_range_high is None else params.clip_range_high
    return online_arguments(params, output_dir, seed, cuda, steps) | {
        "loss_type": params.loss_type,
        "scale_rewards": params.scale_rewards,
        "epsilon_high": high,
        "entropy_coef": params.entropy_coef,
        "mask_truncated_completions": params.mask_truncated,
    }


def train_grpo(
    params: GrpoParams,
    rows: list[Row],
    held_out: list[Row],
    start: Path,
    work: Path,
    adapter: Path,
    seed: int,
    log: Log,
    reward: Any,
    watch: Watch,
) -> dict[str, Any]:
    """Train on problems {prompt, task_id}; save to `adapter`; see `fit_online`."""
    from trl import GRPOConfig, GRPOTrainer

    def configured(steps: int, cuda: bool) -> Any:
        return GRPOConfig(**trl_arguments(params, work, seed, cuda, steps))

    run = OnlineRun("grpo", params, rows, held_out, start, work, adapter, seed, log, reward, watch)
    return fit_online(run, GRPOTrainer, configured)
