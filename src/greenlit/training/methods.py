"""The training methods by name. Each is `train(params, rows, start, work, seed, log) -> facts`; TRL owns the loop."""

from collections.abc import Callable, Mapping
from typing import Any

from greenlit.training.dpo import train_dpo
from greenlit.training.sft import train_sft

METHODS: Mapping[str, Callable[..., dict[str, Any]]] = {"sft": train_sft, "dpo": train_dpo}
