"""REINFORCE, leave-one-out: https://arxiv.org/abs/2402.14740

    return = reward - beta * sum over tokens of log(p(token) / p of the start model)
    advantage = return - mean return of the group's other completions
    loss = -mean over completions of min(ratio * advantage, clip(ratio) * advantage)

A group is `group_size` completions of one problem; ratio = p(completion) / p(completion when it was sampled). TRL owns
the loop and the loss; see training/rollouts.py for what we changed.
"""

from pathlib import Path
from typing import Any

from greenlit.config import RlooParams
from greenlit.training.callbacks import Log
from greenlit.training.holdout import Row
from greenlit.training.online_arguments import online_arguments
from greenlit.training.online_loop import OnlineRun, fit_online
from greenlit.training.watching import Watch


def trl_arguments(params: RlooParams, output_dir: Path, seed: int, cuda: bool, steps: int) -> dict[str, Any]:
    """Arguments of trl.RLOOConfig."""
    return online_arguments(params, output_dir, seed, cuda, steps) | {
        "normalize_advantages": params.normalize_advantages,
        "mask_truncated_completions": params.mask_truncated,
    }


def train_rloo(
    params: RlooParams,
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
    from trl import RLOOConfig, RLOOTrainer

    def configured(steps: int, cuda: bool) -> Any:
        return RLOOConfig(**trl_arguments(params, work, seed, cuda, steps))

    run = OnlineRun("rloo", params, rows, held_out, start, work, adapter, seed, log, reward, watch)
    return fit_online(run, RLOOTrainer, configured)
