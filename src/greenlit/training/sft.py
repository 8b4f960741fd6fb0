"""Supervised fine-tuning on programs that pass (rejection sampling, https://arxiv.org/abs/2308.01825).

    loss = -log p(program | prompt) / tokens, over the program's tokens only

TRL owns the loop.
"""

from pathlib import Path
from typing import Any

from greenlit.config import SftParams
from greenlit.training.arguments import lora_config, trainer_arguments
from greenlit.training.callbacks import Log
from greenlit.training.trainer import Row, leave_out_long, load_start, run, steps_in


def trl_arguments(params: SftParams, output_dir: Path, seed: int, cuda: bool) -> dict[str, Any]:
    """Arguments of trl.SFTConfig."""
    return trainer_arguments(params, output_dir, seed, cuda) | {"completion_only_loss": True, "packing": False}


def train_sft(
    params: SftParams, rows: list[Row], start: Path, work: Path, adapter: Path, seed: int, log: Log
) -> dict[str, Any]:
    """Train on rows {prompt, completion}; save the adapter (or the full model) to `adapter`.

    Returns:
        facts: rows used and left out, steps, mean training loss.

    Raises:
        DataError: no row fits into max_length.
    """
    import torch
    from datasets import Dataset
    from trl import SFTConfig, SFTTrainer

    model, tokenizer = load_start(start)
    kept, left_out = leave_out_long(rows, ("completion",), tokenizer, params.max_length)
    columns = [{key: row[key] for key in ("prompt", "completion")} for row in kept]
    arguments = SFTConfig(**trl_arguments(params, work, seed, torch.cuda.is_available()))

    def make_trainer(callbacks: list[Any]) -> Any:
        return SFTTrainer(
            model=model,
            args=arguments,
            train_dataset=Dataset.from_list(columns),
            processing_class=tokenizer,
            peft_config=lora_config(params),
            callbacks=callbacks,
        )

    steps = steps_in(len(kept), params)
    loss = run(make_trainer, "sft", steps, work, adapter, log)
    return {"rows": len(kept), "left_out_too_long": left_out, "steps": steps, "train_loss": loss}
