"""What the online methods that TRL runs have in common: arguments, logging by clear names, resuming, saving."""

import math
import os
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from greenlit.config import OnlineParams
from greenlit.jsonl import read_json, write_json
from greenlit.training.advice import memory_told
from greenlit.training.arguments import lora_config, trainer_arguments
from greenlit.training.callbacks import Log, is_measurement
from greenlit.training.checkpoints import Checkpoints
from greenlit.training.holdout import Row
from greenlit.training.online import fitting, groups_at_once, optimizer_steps, order_of_run, problems_per_batch
from greenlit.training.rollouts import with_rollouts
from greenlit.training.step_files import COMPLETIONS, TIMINGS, StepFile, rounded
from greenlit.training.trainer import load_start, save, trained
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


@dataclass(frozen=True)
class OnlineRun:
    """What an online method is called with."""

    method: str
    """Name for the progress bar."""
    params: OnlineParams
    rows: list[Row]
    """{"prompt", "task_id"}, in the order of a curriculum if there is one."""
    held_out: list[Row]
    """The same, measured before the first step, every `eval_steps` and at the end."""
    start: Path
    work: Path
    adapter: Path
    seed: int
    log: Log
    reward: Any
    """See rewards/online.py."""
    watch: Watch


def fit_online(run: OnlineRun, trainer_class: Any, configured: Callable[[int, bool], Any]) -> dict[str, Any]:
    """Train with one of TRL's online trainers, from the last checkpoint in `work` if there is one; save to `adapter`.

    Beside its checkpoints, `work` gets completions.jsonl (some of each batch, to read) and timings.jsonl.

    Args:
        configured: steps and whether there is CUDA -> TRL's configuration.

    Returns:
        facts: problems used and left out, steps, completions sampled, mean training loss, why it ended early; `eval`
        where problems are held out.

    Raises:
        DataError: no problem fits into max_length.
        ConfigError: the training diverged, or the settings need more memory than there is.
        Stopped: a signal came; a checkpoint was written.
    """
    import torch
    from accelerate import PartialState

    params, work = run.params, run.work
    cuda = torch.cuda.is_available()
    processes = PartialState(cpu=not cuda).num_processes
    with memory_told(run.method, params), ExitStack() as stack:
        model, tokenizer = load_start(run.start, params)
        kept, left_out = fitting(run.rows, params, tokenizer)
        held, too_long = fitting(run.held_out, params, tokenizer) if run.held_out else ([], 0)
        early = ended_early(work)
        steps = early["step"] if early else optimizer_steps(len(kept), params, processes)
        arguments = configured(steps, cuda)
        arguments.per_device_eval_batch_size = groups_at_once(len(held), params) * params.group_size
        order = order_of_run(len(kept), params, steps, run.seed, processes)
        files = stack.enter_context(RunFiles(work))

        def with_ours(**given: Any) -> Any:
            given["train_dataset"] = given["train_dataset"].select(order)
            trainer = with_rollouts(trainer_class)(params, kept, run.reward, files.sampled, **given)
            files.of(trainer)
            return trainer

        trainer = trained(
            run.method, params, model, tokenizer, (kept, held), work,
            lambda step, metrics: run.log(step, clear_names(metrics)), with_ours, arguments,
            lora=lora_config(params, model), steps=steps, loss_tells=False,
            callbacks=[watch_callback(run.watch, work, files.took, bool(held))],
            resumable=lambda step: step % params.iterations == 0,
        )  # fmt: skip
        save(trainer, run.adapter)
    done, history = trainer.state.global_step, trainer.state.log_history
    early = ended_early(work)
    batches = math.ceil(done / params.iterations)
    losses = [row["loss"] for row in history if "loss" in row]
    return {
        "problems": len(kept),
        "left_out_too_long": left_out + too_long,
        "steps": done,
        "completions": batches * problems_per_batch(params, processes) * params.group_size,
        "train_loss": math.fsum(losses) / len(losses),
        "ended_early": early["reason"] if early else None,
        **({"eval": measured(history, len(held))} if held else {}),
    }


class RunFiles:
    """completions.jsonl and timings.jsonl of a run; a context manager."""

    def __init__(self, work: Path) -> None:
        newest = Checkpoints(work, 1).newest()
        done = int(newest.name.rpartition("-")[2]) if newest else -1
        self._table, self._timings = StepFile(work / COMPLETIONS, done), StepFile(work / TIMINGS, done)
        self._trainer: Any = None

    def of(self, trainer: Any) -> None:
        """Whose run it is."""
        self._trainer = trainer

    def sampled(self, mode: str, advantages_B: Sequence[float]) -> None:
        """Some completions of the batch that was just judged: what was written, what it earned and taught."""
        if not self._trainer.is_world_process_zero():
            return
        step, last = self._trainer.state.global_step + (mode == "train"), self._trainer.reward.last
        shown = list(zip(advantages_B[-len(last) :], last, strict=True))[:SHOWN]  # it may have come in pieces
        self._table.write([{"step": step, "of": mode, "advantage": float(f"{one:.4g}"), **row} for one, row in shown])

    def took(self, step: int, step_s: float) -> None:
        """The seconds of a step."""
        if self._trainer.is_world_process_zero():
            self._timings.write([{"step": step, **rounded({**self._trainer.clock.taken(), "step_s": step_s}, 4)}])

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._table.__exit__(kind, error, trace)
        self._timings.__exit__(kind, error, trace)


def watch_callback(watch: Watch, work: Path, took: Callable[[int, float], None], measures: bool) -> Any:
    """A transformers TrainerCallback that shows every step to `watch`, and ends the run when that says so."""
    from transformers import TrainerCallback

    class Watched(TrainerCallback):
        def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
            for row in state.log_history:  # of a run that goes on
                if is_kept(row):
                    watch(row["step"], clear_names({key: row[key] for key in row if key != "step"}))

        def on_log(self, args: Any, state: Any, control: Any, logs: Mapping[str, Any], **_: Any) -> None:
            step = state.global_step
            if "step_time" in logs:
                took(step, logs["step_time"])
            reason = watch(step, clear_names(logs)) if is_kept(logs) else None
            if reason and step < state.max_steps:
                write_json(work / _ENDED, {"step": step, "reason": reason})
                control.should_training_stop = control.should_save = True
                control.should_evaluate = measures and "loss" in logs

    return Watched()


def is_kept(logs: Mapping[str, Any]) -> bool:
    """Is this the log of a step or a measurement, and not what sums a run up?"""
    return "loss" in logs or is_measurement(logs)


def ended_early(work: Path) -> dict[str, Any] | None:
    """Where and why this run, or an earlier process of it, ended before its time."""
    return read_json(work / _ENDED) if (work / _ENDED).exists() else None


def measured(history: Sequence[Mapping[str, Any]], problems: int) -> dict[str, Any]:
    """What came of the problems held out: before the first step, and at the end."""
    rows = [clear_names(row) for row in history if is_measurement(row)]

    def plain(row: Mapping[str, float]) -> dict[str, float]:
        return {name.removeprefix("eval_"): row[name] for name in row if name.startswith("eval_")}

    return {"problems": problems, "before": plain(rows[0]), "after": plain(rows[-1])}
