"""Direct preference optimisation on execution pairs: https://arxiv.org/abs/2305.18290

    m    = [log p(chosen) - log ref(chosen)] - [log p(rejected) - log ref(rejected)]
    loss = -log sigmoid(beta * m) + sft_weight * -log p(chosen) / tokens

TRL owns the loop and the loss; with LoRA the reference is the start model with the adapter switched off. The second
term (RPO, https://arxiv.org/abs/2404.19733) keeps the chosen programs likely, which plain DPO does not. `loss_type`
puts other losses of TRL in the first term's place, or several beside each other; formulas and papers:
https://huggingface.co/docs/trl/dpo_trainer#loss-functions.
"""

from pathlib import Path
from typing import Any

from greenlit.config import DpoParams
from greenlit.training.arguments import trainer_arguments
from greenlit.training.callbacks import Log
from greenlit.training.trainer import Row, fit


def trl_arguments(params: DpoParams, output_dir: Path, seed: int, cuda: bool) -> dict[str, Any]:
    """Arguments of trl.DPOConfig."""
    return trainer_arguments(params, output_dir, seed, cuda) | {
        "beta": params.beta,
        "loss_type": list(params.losses),
        "loss_weights": list(params.losses.values()),
        "label_smoothing": params.label_smoothing,
    }


def train_dpo(
    params: DpoParams, rows: list[Row], start: Path, work: Path, adapter: Path, seed: int, log: Log
) -> dict[str, Any]:
    """Train on pairs {prompt, chosen, rejected}; save to `adapter`; see `trainer.fit`."""
    import torch
    from trl import DPOConfig, DPOTrainer

    arguments = DPOConfig(**trl_arguments(params, work, seed, torch.cuda.is_available()))
    return fit("dpo", params, rows, start, work, adapter, log, DPOTrainer, arguments)
