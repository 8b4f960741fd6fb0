"""The training methods by name; TRL owns the loop of all but PPO.

Offline ones are `train(params, rows, start, work, adapter, seed, log) -> facts`; online ones sample while they train:
`train(params, rows, held_out, start, work, adapter, seed, log, reward, watch) -> facts`.
"""

from collections.abc import Callable, Mapping
from typing import Any

from greenlit.training.dpo import train_dpo
from greenlit.training.grpo import train_grpo
from greenlit.training.ppo.loop import train_ppo
from greenlit.training.rloo import train_rloo
from greenlit.training.sft import train_sft

METHODS: Mapping[str, Callable[..., dict[str, Any]]] = {
    "sft": train_sft,
    "dpo": train_dpo,
    "grpo": train_grpo,
    "rloo": train_rloo,
    "ppo": train_ppo,
}

_EARNED = (
    "what sampled programs earn; reward: mean over a batch's completions of the number that is learnt from; "
    "<name>/mean, /std, /none: each reward of params.yaml (none: share of completions it could not be found out for)"
)
REWARDS_MEAN: Mapping[str, str] = {
    "sft": "supervised fine-tuning imitates the best programs and has no reward of its own",
    "dpo": "implicit rewards of DPO, beta * (log p - log p of the start model), means over a batch of pairs; "
    "accuracies: share of pairs whose chosen program has the higher one",
    "grpo": _EARNED,
    "rloo": _EARNED,
    "ppo": _EARNED,
}
"""What the numbers in a run's rewards.json are."""
