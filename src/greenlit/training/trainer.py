"""What the methods have in common around TRL's trainers: load, leave out what is too long, resume, save."""

import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from greenlit.config import TrainingParams
from greenlit.errors import ConfigError, DataError
from greenlit.models import load_tokenizer, load_weights
from greenlit.problems.prompts import prompt_ids
from greenlit.stage.progress import progress
from greenlit.training.advice import Watch, memory_told
from greenlit.training.arguments import lora_config
from greenlit.training.callbacks import Log, is_measurement, measure_callback, repeatable, step_callback
from greenlit.training.checkpoints import Checkpoints, checkpoint_callback, say_resumed
from greenlit.training.holdout import Row, hold_out, problem_of
from greenlit.training.launch import postponed_for_all, processes, read_cpu_checkpoints

COMPLETIONS = ("completion", "chosen", "rejected")
"""Columns of a row that hold what a model is to write, or not."""


def load_start(start: Path, params: TrainingParams | None = None) -> tuple[Any, Any]:
    """The model to train, and its tokenizer.

    In fp32; frozen weights stay in the bfloat16 they are stored in where that is computed in, or in 4 bits.

    Raises:
        ConfigError: 4 bits where there is no CUDA or no bitsandbytes.
    """
    from datasets import disable_progress_bars

    disable_progress_bars()
    options = {} if params is None else quantization(params)
    tokenizer = load_tokenizer(start)
    tokenizer.padding_side = "right"
    return load_weights(start, frozen_dtype(start, params), **options), tokenizer


def frozen_dtype(start: Path, params: TrainingParams | None) -> str:
    """The precision to keep the start model's weights in."""
    from transformers import AutoConfig

    if params is None or params.lora is None or params.dtype != "bfloat16":
        return "float32"
    return "bfloat16" if "bfloat16" in str(AutoConfig.from_pretrained(str(start)).dtype) else "float32"


def quantization(params: TrainingParams) -> dict[str, Any]:
    """What loads weights in 4 bits (QLoRA's NF4, its constants quantized too); nothing where that is not wanted.

    Raises:
        ConfigError: there is no CUDA, or no bitsandbytes.
    """
    if params.quantize is None:
        return {}
    from importlib.util import find_spec

    import torch
    from transformers import BitsAndBytesConfig

    if not torch.cuda.is_available():
        raise ConfigError("quantize: 4bit needs an NVIDIA GPU (found none)", hint="quantize: null")
    if find_spec("bitsandbytes") is None:
        raise ConfigError("quantize: 4bit needs bitsandbytes, which is not installed", hint="pip install bitsandbytes")
    return {
        "quantization_config": BitsAndBytesConfig(
            load_in_4bit=True,
            bnb_4bit_quant_type="nf4",
            bnb_4bit_use_double_quant=True,
            bnb_4bit_compute_dtype=getattr(torch, params.dtype),
        )
    }


def leave_out_long(rows: list[Row], columns: tuple[str, ...], tokenizer: Any, max_length: int) -> tuple[list[Row], int]:
    """Rows whose prompt and longest completion fit into max_length tokens, and how many did not.

    TRL would cut them, and teach the model to stop in the middle of a program.

    Raises:
        DataError: none is left.
    """
    kept = [row for row in rows if _longest(row, columns, tokenizer) <= max_length]
    if not kept:
        raise DataError(
            f"nothing to learn from: {len(rows)} rows, all longer than max_length = {max_length} tokens"
            if rows
            else "nothing to learn from: no rows at all",
            hint="raise max_length"
            if rows
            else "too few candidates passed (or failed): sample more, or start from a stronger model",
        )
    return kept, len(rows) - len(kept)


def longest_row(model: Any, params: TrainingParams) -> int:
    """Tokens that a row may have: `max_length`, or what the model has positions for."""
    positions = getattr(model.config, "max_position_embeddings", None)
    return params.max_length if positions is None else min(params.max_length, positions)


def _longest(row: Row, columns: tuple[str, ...], tokenizer: Any) -> int:
    prompt = len(prompt_ids(tokenizer, row["prompt"]))
    texts = [row[c] if isinstance(row[c], str) else row[c][-1]["content"] for c in columns]
    return prompt + max((len(tokenizer(text, add_special_tokens=False)["input_ids"]) for text in texts), default=0)


def steps_in(rows: int, params: TrainingParams) -> int:
    """Optimizer steps of a run."""
    batches = math.ceil(rows / (params.batch_size * processes()))
    steps = math.ceil(math.ceil(batches / params.accumulate) * params.epochs)
    return steps if params.max_steps is None else params.max_steps


def fit(
    method: str,
    params: TrainingParams,
    rows: list[Row],
    start: Path,
    work: Path,
    adapter: Path,
    log: Log,
    trainer_class: Any,
    arguments: Any,
    *,
    steps: Callable[[int, TrainingParams], int] = steps_in,
    callbacks: Sequence[Any] = (),
    loss_tells: bool = True,
) -> dict[str, Any]:
    """Train with a TRL trainer, from the last checkpoint in `work` if there is one, and save to `adapter`.

    Args:
        method: name for the progress bar.
        rows: {"prompt", one or more completions, further columns}.
        trainer_class: its `args` are `arguments`, whose output_dir is `work`.
        steps: of so many rows; for the progress bar.
        callbacks: more transformers TrainerCallbacks.
        loss_tells: a loss far above its start means that the training has run away.

    A run that goes on logs the steps before its checkpoint once more, from the checkpoint's own record.

    Returns:
        facts: rows used and left out, steps, mean training loss over all steps; `eval` where rows are held out.

    Raises:
        DataError: no row fits into max_length, or all would be held out.
        ConfigError: the loss became nan or ran away, or the settings need more memory than there is.
        WorldError: others hold the memory.
        Stopped: a signal came; a checkpoint was written.
    """
    with memory_told(method, params):
        model, tokenizer = load_start(start, params)
        columns = tuple(key for key in rows[0] if key in COMPLETIONS) if rows else ()
        kept, left_out = leave_out_long(rows, columns, tokenizer, longest_row(model, params))
        kept, held = hold_out(kept, params.eval_rows or 0, arguments.seed)
        trainer = trained(
            method, params, model, tokenizer, (kept, held), work, log, trainer_class, arguments,
            lora=lora_config(params, model), steps=steps(len(kept), params), callbacks=callbacks, loss_tells=loss_tells,
        )  # fmt: skip
        save_adapter(trainer, adapter)
    history = trainer.state.log_history
    losses = [row["loss"] for row in history if "loss" in row]
    facts = {
        "rows": len(kept),
        "left_out_too_long": left_out,
        "steps": trainer.state.global_step,
        "train_loss": math.fsum(losses) / len(losses),
    }
    return facts | ({"eval": measurements(history, held)} if held else {})


def trained(
    method: str,
    params: TrainingParams,
    model: Any,
    tokenizer: Any,
    rows: tuple[list[Row], list[Row]],
    work: Path,
    log: Log,
    trainer_class: Any,
    arguments: Any,
    *,
    lora: Any,
    steps: int,
    callbacks: Sequence[Any] = (),
    loss_tells: bool = True,
    resumable: Callable[[int], bool] = lambda step: True,
) -> Any:
    """A TRL trainer that has come to the end of its training.

    Args:
        rows: to train on, and held out.
        lora: peft's configuration, or None.
        resumable: can a run go on from the state after this step?
    """
    from datasets import Dataset, disable_progress_bars

    disable_progress_bars()
    kept, held = rows
    checkpoints = Checkpoints(work, params.keep_checkpoints)
    newest = checkpoints.newest()
    watch = Watch(method, params, loss_tells)
    arguments.eval_on_start = bool(held) and newest is None
    with progress(f"train {method}", steps, "steps") as bar, postponed_for_all() as stopping:

        def on_step(step: int, metrics: Any) -> None:
            watch(step, metrics)
            log(step, metrics)
            if step > bar.done:
                bar.advance(step - bar.done)

        trainer = trainer_class(
            model=model,
            args=arguments,
            train_dataset=Dataset.from_list(kept),
            eval_dataset=Dataset.from_list(held) if held else None,
            processing_class=tokenizer,
            peft_config=lora,
            callbacks=[
                step_callback(on_step),
                *([measure_callback(params.eval_steps)] if held else []),
                *callbacks,
                checkpoint_callback(checkpoints, stopping, allowed=resumable, every=params.save_steps),
            ],
        )
        silence(trainer)
        order_module_names(trainer.model)
        set_adapter_dropout(trainer.model, params)
        if newest and processes() > 1:
            read_cpu_checkpoints()
        if newest:
            say_resumed(newest)
        with watch.forgetting(checkpoints):
            trainer.train(resume_from_checkpoint=str(newest) if newest else None)
            watch.require_sound(trainer.model)
        if held and not stopping() and not _is_measured(trainer.state):  # a callback ended it early
            trainer.evaluate()
    return trainer


def save_adapter(trainer: Any, adapter: Path) -> None:
    """Write what was trained, and nothing beside it."""
    trainer.save_model(str(adapter))
    for stray in ("README.md", "training_args.bin"):
        (adapter / stray).unlink(missing_ok=True)


def measurements(history: Sequence[dict[str, Any]], held: Sequence[Row]) -> dict[str, Any]:
    """What came of the rows held out: before the first step, and at the end."""
    measured = [row for row in history if is_measurement(row)]

    def plain(row: dict[str, Any]) -> dict[str, Any]:
        return {key.removeprefix("eval_"): value for key, value in repeatable(row).items() if key.startswith("eval_")}

    return {
        "rows": len(held),
        "problems": len({problem_of(row) for row in held}),
        "before": plain(measured[0]),
        "after": plain(measured[-1]),
    }


def _is_measured(state: Any) -> bool:
    return any(is_measurement(row) and row["step"] == state.global_step for row in state.log_history)


def order_module_names(model: Any) -> None:
    """PEFT keeps the names of the adapted modules in a set, whose order in adapter_config.json no seed decides."""
    for config in getattr(model, "peft_config", {}).values():
        if isinstance(config.target_modules, set):
            config.target_modules = sorted(config.target_modules)


def set_adapter_dropout(model: Any, params: TrainingParams) -> None:
    """Turn the adapter's dropout on again, which TRL's preference trainers turn off with all the rest.

    Their reference is the model without its adapter: it stays without dropout, as they want it.
    """
    import torch

    if params.lora is None:
        return
    for path, module in model.named_modules():
        if "lora_dropout" in path.split(".") and isinstance(module, torch.nn.Dropout):
            module.p = params.lora.dropout


def silence(trainer: Any) -> None:
    """With its bar off, the Trainer prints every log row to stdout; ours go to the log and the bar."""
    from transformers import PrinterCallback

    trainer.remove_callback(PrinterCallback)
