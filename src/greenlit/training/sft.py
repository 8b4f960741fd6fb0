"""Supervised fine-tuning on programs that pass (rejection sampling, https://arxiv.org/abs/2308.01825).

    loss = -log p(program | prompt) / tokens, over the program's tokens only

TRL owns the loop.
"""

from pathlib import Path
from typing import Any

from greenlit.config import SftParams
from greenlit.training.arguments import trainer_arguments
from greenlit.training.callbacks import Log
from greenlit.training.trainer import Row, fit


def trl_arguments(params: SftParams, output_dir: Path, seed: int, cuda: bool) -> dict[str, Any]:
    """Arguments of trl.SFTConfig."""
    return trainer_arguments(params, output_dir, seed, cuda) | {"completion_only_loss": True, "packing": False}


def train_sft(
    params: SftParams, rows: list[Row], start: Path, work: Path, adapter: Path, seed: int, log: Log
) -> dict[str, Any]:
    """Train on rows {prompt, completion}; save to `adapter`; see `trainer.fit`."""
    import torch
    from trl import SFTConfig, SFTTrainer

    arguments = SFTConfig(**trl_arguments(params, work, seed, torch.cuda.is_available()))
    return fit("sft", params, rows, start, work, adapter, log, SFTTrainer, arguments)
