"""Which of our settings become which of TRL's for the online methods, and TRL's figures by the names of our logs."""

import math
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from greenlit.config import OnlineParams
from greenlit.training.arguments import trainer_arguments

_SERVER = "VLLM_SERVER_BASE_URL"


def online_arguments(params: OnlineParams, output_dir: Path, seed: int, cuda: bool, steps: int) -> dict[str, Any]:
    """Arguments of trl.GRPOConfig and trl.RLOOConfig.

    The order of the problems is ours, a whole run's in one epoch (training/online.py), so TRL shuffles nothing.
    """
    arguments = trainer_arguments(params, output_dir, seed, cuda)
    del arguments["max_length"]
    return arguments | {
        "num_train_epochs": 1,
        "max_steps": steps,
        "shuffle_dataset": False,
        "remove_unused_columns": False,
        "num_generations": params.group_size,
        "num_generations_eval": params.group_size,
        "num_iterations": params.iterations,
        "steps_per_generation": params.accumulate,
        "per_device_eval_batch_size": params.group_size,
        "max_completion_length": params.max_new_tokens,
        "temperature": params.temperature,
        "top_p": params.top_p,
        "top_k": params.top_k,
        "beta": params.beta,
        "epsilon": params.clip_range,
        "log_completions": False,
        **_vllm_arguments(params),
    }


def _vllm_arguments(params: OnlineParams) -> dict[str, Any]:
    if params.vllm is None:
        return {"use_vllm": False}
    arguments: dict[str, Any] = {"use_vllm": True, "vllm_mode": params.vllm.mode}
    if params.vllm.mode == "server":
        return arguments | ({"vllm_server_base_url": os.environ[_SERVER]} if _SERVER in os.environ else {})
    return arguments | {
        "vllm_gpu_memory_utilization": params.vllm.gpu_memory_utilization,
        "vllm_tensor_parallel_size": params.vllm.tensor_parallel_size,
        "vllm_enable_sleep_mode": params.vllm.sleep,
        "vllm_max_model_length": params.max_length,
    }


_CLEAR = {
    "clip_ratio/region_mean": "clip_ratio",
    "completions/clipped_ratio": "completions/truncated",
    "eval_completions/clipped_ratio": "eval_completions/truncated",
}
_LEFT_OUT = (
    "reward/mean", "reward/std", "rewards/reward/", "truncated", "tokens/", "clip_ratio/", "num_tokens",
    "step_time", "runtime", "samples_per_second", "steps_per_second", "model_preparation_time",
)  # fmt: skip
"""Beginnings of names whose figure stands under another name, or in timings.jsonl."""
_DETAILS = (
    "terminated_length",
    "min_length",
    "max_length",
    "eval_loss",
    "eval_reward_std",
    "eval_frac_reward_zero_std",
)


def clear_names(logs: Mapping[str, Any]) -> dict[str, float]:
    """TRL's log row under the names of our logs: numbers only, each once.

    `reward`, `reward_std`, `reward/none` (share without one), `rewards/<name>/mean|std|none`, `pass/visible`,
    `pass/hidden`, `gap`, `verdict/<v>`, `kl` (nats per token), `entropy` (nats per token), `clip_ratio` (share of
    tokens, or of completions for RLOO), `frac_reward_zero_std` (share of groups), `zero_variance/...`,
    `completions/mean_length` (tokens), `completions/truncated`; `eval_...` on held-out problems.
    """
    clear = {}
    for name, value in logs.items():
        if not isinstance(value, int | float) or math.isnan(value):
            continue
        name = _CLEAR.get(name, name)
        plain = name.removeprefix("eval_")
        if plain.startswith(_LEFT_OUT) or name.endswith(_DETAILS):
            continue
        clear[name] = value
    return clear
