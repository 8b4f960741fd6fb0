"""The training methods by name. Each is `train(params, rows, start, work, seed, log) -> facts`; TRL owns the loop."""

from collections.abc import Callable, Mapping
from typing import Any

from greenlit.training.dpo import train_dpo
from greenlit.training.sft import train_sft

METHODS: Mapping[str, Callable[..., dict[str, Any]]] = {"sft": train_sft, "dpo": train_dpo}

REWARDS_MEAN: Mapping[str, str] = {
    "sft": "supervised fine-tuning imitates the best programs and has no reward of its own",
    "dpo": "implicit rewards of DPO, beta * (log p - log p of the start model), means over a batch of pairs; "
    "accuracies: share of pairs whose chosen program has the higher one",
}
"""What the numbers in a run's rewards.json are."""
