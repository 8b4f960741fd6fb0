"""What the online methods that TRL runs have in common: arguments, logging by clear names, resuming, saving."""

import math
import os
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from greenlit.config import OnlineParams
from greenlit.jsonl import read_json, write_json
from greenlit.stage.progress import progress
from greenlit.stage.stopping import postponed
from greenlit.training.arguments import lora_config, trainer_arguments
from greenlit.training.callbacks import Log
from greenlit.training.checkpoints import Checkpoints, checkpoint_callback
from greenlit.training.online import Row, fitting, groups_at_once, optimizer_steps, order_of_run
from greenlit.training.rollouts import with_rollouts
from greenlit.training.step_files import COMPLETIONS, TIMINGS, StepFile, rounded
from greenlit.training.trainer import load_start, order_module_names, save_adapter, silence
from greenlit.training.watching import Watch

SHOWN = 16
"""Completions of each batch that go into the table."""
_ENDED = "ended.json"
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
    "eval_pass/visible": "eval_pass",
    "eval_pass/hidden": "eval_pass_hidden",
}
_LEFT_OUT = (
    "reward/mean", "reward/std", "rewards/reward/", "truncated", "tokens/", "clip_ratio/", "num_tokens",
    "step_time", "runtime", "samples_per_second", "steps_per_second", "model_preparation_time",
)  # fmt: skip
"""Beginnings of names whose figure stands under another name, or in timings.jsonl."""
_DETAILS = ("terminated_length", "min_length", "eval_loss", "eval_reward_std", "eval_frac_reward_zero_std")


def clear_names(logs: Mapping[str, Any]) -> dict[str, float]:
    """TRL's log row under the names of our logs: numbers only, each once.

    `reward`, `reward_std`, `reward/none` (share without one), `rewards/<name>/mean|std|none`, `pass/visible`,
    `pass/hidden`, `gap`, `verdict/<v>`, `kl` (nats per token), `entropy` (nats per token), `clip_ratio` (share of
    tokens, or of completions for RLOO), `frac_reward_zero_std` (share of groups), `zero_variance/...`,
    `completions/mean_length` and `max_length` (tokens), `completions/truncated`; `eval_...` on held-out problems.
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


def fit_online(
    method: str,
    params: OnlineParams,
    rows: list[Row],
    held_out: list[Row],
    start: Path,
    work: Path,
    adapter: Path,
    seed: int,
    log: Log,
    reward: Any,
    watch: Watch,
    trainer_class: Any,
    configured: Callable[[int, bool], Any],
) -> dict[str, Any]:
    """Train with one of TRL's online trainers, from the last checkpoint in `work` if there is one; save to `adapter`.

    Beside its checkpoints, `work` gets completions.jsonl (some of each batch, to read) and timings.jsonl.

    Args:
        method: name for the progress bar.
        rows: {"prompt", "task_id"}, in the order of a curriculum if there is one.
        held_out: the same, measured on every `eval_steps` and at the end.
        configured: steps and whether there is CUDA -> TRL's configuration.

    Returns:
        facts: problems used, held out and left out, steps, completions sampled, mean training loss, why it ended early.

    Raises:
        DataError: no problem fits into max_length; the training diverged.
        Stopped: a signal came; a checkpoint was written.
    """
    import torch
    from accelerate import PartialState
    from datasets import Dataset

    model, tokenizer = load_start(start)
    cuda = torch.cuda.is_available()
    processes = PartialState(cpu=not cuda).num_processes
    kept, left_out = fitting(rows, params, tokenizer)
    measured, too_long = fitting(held_out, params, tokenizer) if held_out else ([], 0)
    ended = _ended(work)
    steps = ended["step"] if ended else optimizer_steps(len(kept), params, processes)
    order = order_of_run(len(kept), params, seed, processes)
    arguments = configured(steps, cuda)
    if measured:
        arguments.per_device_eval_batch_size = groups_at_once(len(measured), params) * params.group_size
    checkpoints = Checkpoints(work, params.keep_checkpoints)
    newest = checkpoints.newest()
    done = int(newest.name.rpartition("-")[2]) if newest else 0
    with ExitStack() as stack:
        bar = stack.enter_context(progress(f"train {method}", steps, "steps"))
        stopping = stack.enter_context(postponed())
        table, timings = (stack.enter_context(StepFile(work / name, done)) for name in (COMPLETIONS, TIMINGS))

        def on_step(step: int, metrics: Mapping[str, float]) -> None:
            log(step, metrics)
            bar.advance(step - bar.done)

        def sampled(mode: str, advantages_B: list[float]) -> None:
            if trainer.is_world_process_zero():
                step = trainer.state.global_step + (mode == "train")
                table.write(completion_rows(step, mode, reward.last, advantages_B))

        def took(step: int, step_s: float) -> None:
            timings.write([{"step": step, **rounded({**trainer.clock.taken(), "step_s": step_s}, 4)}])

        trainer = with_rollouts(trainer_class)(
            params=params,
            problems=kept,
            reward=reward,
            sampled=sampled,
            model=model,
            args=arguments,
            train_dataset=Dataset.from_list(kept).select(order),
            eval_dataset=Dataset.from_list(measured) if measured else None,
            processing_class=tokenizer,
            peft_config=lora_config(params),
            callbacks=[
                loop_callback(params, work, on_step, took, watch, bool(measured)),
                checkpoint_callback(checkpoints, stopping, allowed=lambda step: step % params.iterations == 0),
            ],
        )
        silence(trainer)
        order_module_names(trainer.model)
        trainer.train(resume_from_checkpoint=str(newest) if newest else None)
    save_adapter(trainer, adapter)
    losses = [row["loss"] for row in trainer.state.log_history if "loss" in row]
    ended = _ended(work)
    return {
        "problems": len(kept),
        "held_out": len(measured),
        "left_out_too_long": left_out + too_long,
        "steps": trainer.state.global_step,
        "completions": _batches(trainer.state.global_step, params) * params.batch_size * params.accumulate * processes,
        "train_loss": math.fsum(losses) / len(losses),
        "ended_early": ended["reason"] if ended else None,
    }


def completion_rows(
    step: int, mode: str, judged: list[Mapping[str, Any]], advantages_B: list[float]
) -> list[dict[str, Any]]:
    """The first completions of a batch, as they go into the table: what was written, what it earned and taught."""
    shown = list(zip(judged, advantages_B, strict=True))[:SHOWN]
    return [{"step": step, "of": mode, "advantage": float(f"{value:.4g}"), **row} for row, value in shown]


def loop_callback(
    params: OnlineParams,
    work: Path,
    log: Log,
    took: Callable[[int, float], None],
    watch: Watch,
    measures: bool,
) -> Any:
    """A transformers TrainerCallback: logs by clear names, measures when it is time, ends when `watch` says so."""
    from transformers import TrainerCallback

    class Loop(TrainerCallback):
        def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
            for row in state.log_history:  # of a run that goes on
                if _is_kept(row):
                    metrics = clear_names({key: row[key] for key in row if key != "step"})
                    log(row["step"], metrics)
                    watch(row["step"], metrics)

        def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
            every, step = params.eval_steps, state.global_step
            if measures and (step >= state.max_steps or (every is not None and step % every == 0)):
                control.should_evaluate = True

        def on_log(self, args: Any, state: Any, control: Any, logs: Mapping[str, Any], **_: Any) -> None:
            if not _is_kept(logs):
                return
            step, metrics = state.global_step, clear_names(logs)
            log(step, metrics)
            if "step_time" in logs:
                took(step, logs["step_time"])
            reason = watch(step, metrics)
            if reason and step < state.max_steps:
                write_json(work / _ENDED, {"step": step, "reason": reason})
                control.should_training_stop = control.should_save = True
                control.should_evaluate = measures and "loss" in logs

    return Loop()


def _is_kept(logs: Mapping[str, Any]) -> bool:
    """Is this the log of a step or a measurement, and not what sums a run up?"""
    return "loss" in logs or any(name.startswith("eval_") for name in logs)


def _ended(work: Path) -> dict[str, Any] | None:
    """Why and where an earlier process of this run ended it before its time."""
    return read_json(work / _ENDED) if (work / _ENDED).exists() else None


def _batches(steps: int, params: OnlineParams) -> int:
    return math.ceil(steps / params.iterations)
