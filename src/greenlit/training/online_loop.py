"""One run of an online method that TRL runs: load, train from the last checkpoint, end when the watch says so, save."""

import math
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from greenlit.config import OnlineParams
from greenlit.jsonl import read_json, write_json
from greenlit.training.advice import memory_told
from greenlit.training.arguments import lora_config
from greenlit.training.callbacks import Log, is_measurement
from greenlit.training.holdout import Row
from greenlit.training.online import (
    easiest_first,
    fitting,
    groups_at_once,
    optimizer_steps,
    order_of_run,
    problems_per_batch,
)
from greenlit.training.online_arguments import clear_names
from greenlit.training.rollouts import with_rollouts
from greenlit.training.step_files import RunFiles
from greenlit.training.trainer import load_start, save_adapter, trained
from greenlit.training.watching import Watch

BEST, ENDED, START_REWARDS = "best", "ended.json", "start_rewards.json"
"""In the work folder: the weights that measured best, where and why the run ended before its time, and what the start
model earns on each problem."""


@dataclass(frozen=True)
class OnlineRun:
    """What an online method is called with."""

    method: str
    """Name for the progress bar."""
    params: OnlineParams
    rows: list[Row]
    """{"prompt", "task_id"}."""
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

    params = run.params
    cuda = torch.cuda.is_available()
    state = PartialState(cpu=not cuda)
    processes = state.num_processes
    with memory_told(run.method, params), RunFiles(run.work, writes=state.is_main_process) as files:
        model, tokenizer = load_start(run.start, params)
        kept, left_out = fitting(run.rows, params, tokenizer)
        held, too_long = fitting(run.held_out, params, tokenizer) if run.held_out else ([], 0)
        early = ended_early(run.work)
        steps = early["step"] if early else optimizer_steps(len(kept), params, processes)
        arguments = configured(steps, cuda)
        arguments.per_device_eval_batch_size = groups_at_once(len(held), params) * params.group_size
        trainer = trained(
            run.method, params, model, tokenizer, (kept, held), run.work,
            lambda step, metrics: run.log(step, clear_names(metrics)),
            lambda **given: _built(run, trainer_class, kept, steps, files, given), arguments,
            lora=lora_config(params, model), steps=steps, loss_tells=False,
            callbacks=[watch_callback(run, files, bool(held))],
            resumable=lambda step: step % params.iterations == 0,
        )  # fmt: skip
        _save_last_or_best(trainer, run)
    return {
        "problems": len(kept),
        "left_out_too_long": left_out + too_long,
        **_facts(trainer.state, params, processes, len(held)),
        "ended_early": (ended_early(run.work) or {}).get("reason"),
    }


def _built(
    run: OnlineRun, trainer_class: Any, rows: list[Row], steps: int, files: RunFiles, given: dict[str, Any]
) -> Any:
    """The trainer, with the problems of the whole run in the order in which they are asked."""
    from datasets import Dataset

    trainer = with_rollouts(trainer_class)(run.params, rows, run.reward, files.sampled, **given)
    files.trainer = trainer
    ordered = rows if run.params.curriculum == "none" else by_ease(trainer, rows, run)
    order = order_of_run(len(rows), run.params, steps, run.seed, trainer.accelerator.num_processes)
    trainer.train_dataset = Dataset.from_list(ordered).select(order)
    return trainer


def by_ease(trainer: Any, rows: list[Row], run: OnlineRun) -> list[Row]:
    """The rows as a curriculum: easiest first for the start model, measured on them once and noted in `work`."""
    note = run.work / START_REWARDS
    if note.exists():
        rewards = [math.nan if reward is None else reward for reward in read_json(note)]
    else:
        rewards = trainer.mean_rewards(rows)
        if trainer.is_world_process_zero():
            write_json(note, [None if math.isnan(reward) else reward for reward in rewards])
    return easiest_first(rows, rewards, run.seed)


def _facts(state: Any, params: OnlineParams, processes: int, held_out: int) -> dict[str, Any]:
    batches = math.ceil(state.global_step / params.iterations)
    losses = [row["loss"] for row in state.log_history if "loss" in row]
    facts = {
        "steps": state.global_step,
        "completions": batches * problems_per_batch(params, processes) * params.group_size,
        "train_loss": math.fsum(losses) / len(losses),
    }
    return facts | ({"eval": measured(state.log_history, held_out)} if held_out else {})


def measured(history: Sequence[Mapping[str, Any]], problems: int) -> dict[str, Any]:
    """What came of the problems held out: before the first step, and at the end."""
    rows = [clear_names(row) for row in history if is_measurement(row)]

    def plain(row: Mapping[str, float]) -> dict[str, float]:
        return {name.removeprefix("eval_"): row[name] for name in row if name.startswith("eval_")}

    return {"problems": problems, "before": plain(rows[0]), "after": plain(rows[-1])}


def watch_callback(run: OnlineRun, files: RunFiles, measures: bool) -> Any:
    """A transformers TrainerCallback that shows every step to the run's watch, which may end it, and keeps the best."""
    from transformers import TrainerCallback

    class Watched(TrainerCallback):
        best = -math.inf

        def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
            for row in state.log_history:  # of a run that goes on
                if _is_kept(row):
                    run.watch(row["step"], clear_names({key: row[key] for key in row if key != "step"}))
                    self.best = max(self.best, row.get("eval_reward", -math.inf))

        def on_log(self, args: Any, state: Any, control: Any, logs: Mapping[str, Any], **_: Any) -> None:
            step = state.global_step
            if "step_time" in logs:
                files.took(step, logs["step_time"])
            if run.params.patience is not None and logs.get("eval_reward", -math.inf) > self.best:
                self.best = logs["eval_reward"]
                keep_best(files.trainer, run.work)
            reason = run.watch(step, clear_names(logs)) if _is_kept(logs) else None
            if reason and step < state.max_steps:
                write_json(run.work / ENDED, {"step": step, "reason": reason})
                control.should_training_stop = control.should_save = True
                control.should_evaluate = measures and "loss" in logs

    return Watched()


def keep_best(trainer: Any, work: Path) -> None:
    """The weights as they are, in place of those that measured best before."""
    part = work / f".{BEST}.part"
    save_adapter(trainer, part)
    if trainer.is_world_process_zero():
        shutil.rmtree(work / BEST, ignore_errors=True)
        part.replace(work / BEST)


def _save_last_or_best(trainer: Any, run: OnlineRun) -> None:
    best = run.work / BEST
    if run.params.patience is None or not best.exists():
        save_adapter(trainer, run.adapter)
    elif trainer.is_world_process_zero():
        shutil.copytree(best, run.adapter, dirs_exist_ok=True)


def _is_kept(logs: Mapping[str, Any]) -> bool:
    """Is this the log of a step or a measurement, and not what sums a run up?"""
    return "loss" in logs or is_measurement(logs)


def ended_early(work: Path) -> dict[str, Any] | None:
    """Where and why this run, or an earlier process of it, ended before its time."""
    return read_json(work / ENDED) if (work / ENDED).exists() else None
