"""What the methods have in common around TRL's trainers: load, leave out what is too long, resume, save."""

import math
from pathlib import Path
from typing import Any

from greenlit.config import TrainingParams
from greenlit.errors import DataError
from greenlit.models import load_tokenizer, load_weights
from greenlit.problems.prompts import prompt_ids
from greenlit.stage.progress import progress
from greenlit.stage.stopping import postponed
from greenlit.training.arguments import lora_config
from greenlit.training.callbacks import Log, step_callback
from greenlit.training.checkpoints import Checkpoints, checkpoint_callback

Row = dict[str, Any]


def load_start(start: Path) -> tuple[Any, Any]:
    """The model to train, in fp32, and its tokenizer."""
    from datasets import disable_progress_bars

    disable_progress_bars()
    tokenizer = load_tokenizer(start)
    tokenizer.padding_side = "right"
    return load_weights(start, "float32"), tokenizer


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


def _longest(row: Row, columns: tuple[str, ...], tokenizer: Any) -> int:
    prompt = len(prompt_ids(tokenizer, row["prompt"]))
    texts = [row[c] if isinstance(row[c], str) else row[c][-1]["content"] for c in columns]
    return prompt + max(len(tokenizer(text, add_special_tokens=False)["input_ids"]) for text in texts)


def steps_in(rows: int, params: TrainingParams) -> int:
    """Optimizer steps of a run on one process."""
    batches = math.ceil(rows / params.batch_size)
    return math.ceil(math.ceil(batches / params.accumulate) * params.epochs)


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
) -> dict[str, Any]:
    """Train with a TRL trainer, from the last checkpoint in `work` if there is one, and save to `adapter`.

    Args:
        method: name for the progress bar.
        rows: {"prompt", one or more completions}.
        trainer_class: its `args` are `arguments`, whose output_dir is `work`.

    A run that goes on logs the steps before its checkpoint once more, from the checkpoint's own record.

    Returns:
        facts: rows used and left out, steps, mean training loss over all steps.

    Raises:
        DataError: no row fits into max_length.
        Stopped: a signal came; a checkpoint was written.
    """
    from datasets import Dataset

    model, tokenizer = load_start(start)
    columns = tuple(key for key in rows[0] if key != "prompt") if rows else ()
    kept, left_out = leave_out_long(rows, columns, tokenizer, params.max_length)
    steps = steps_in(len(kept), params)
    checkpoints = Checkpoints(work, params.keep_checkpoints)
    newest = checkpoints.newest()
    with progress(f"train {method}", steps, "steps") as bar, postponed() as stopping:

        def on_step(step: int, metrics: Any) -> None:
            log(step, metrics)
            bar.advance(step - bar.done)

        trainer = trainer_class(
            model=model,
            args=arguments,
            train_dataset=Dataset.from_list(kept),
            processing_class=tokenizer,
            peft_config=lora_config(params),
            callbacks=[step_callback(on_step), checkpoint_callback(checkpoints, stopping)],
        )
        _silence(trainer)
        order_module_names(trainer.model)
        trainer.train(resume_from_checkpoint=str(newest) if newest else None)
    trainer.save_model(str(adapter))
    for stray in ("README.md", "training_args.bin"):
        (adapter / stray).unlink(missing_ok=True)
    losses = [row["loss"] for row in trainer.state.log_history if "loss" in row]
    return {
        "rows": len(kept),
        "left_out_too_long": left_out,
        "steps": steps,
        "train_loss": math.fsum(losses) / len(losses),
    }


def order_module_names(model: Any) -> None:
    """PEFT keeps the names of the adapted modules in a set, whose order in adapter_config.json no seed decides."""
    for config in getattr(model, "peft_config", {}).values():
        if isinstance(config.target_modules, set):
            config.target_modules = sorted(config.target_modules)


def _silence(trainer: Any) -> None:
    """With its bar off, the Trainer prints every log row to stdout; ours go to the log and the bar."""
    from transformers import PrinterCallback

    trainer.remove_callback(PrinterCallback)
