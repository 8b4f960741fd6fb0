"""Measure what the policy thought of its completions, and improve it on them.

Shapes: _B completion, _T token of a completion, _N completion tokens of a minibatch, _V vocabulary.
"""

import math
import random
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from greenlit.config import PpoParams
from greenlit.errors import ConfigError
from greenlit.training.ppo.batch import Batch, Experience
from greenlit.training.ppo.losses import policy_losses, token_entropies, token_logprobs, value_losses
from greenlit.training.ppo.monitors import Sums

if TYPE_CHECKING:
    from torch import Tensor

BETAS, EPSILON = (0.9, 0.999), 1e-8
"""AdamW's, as transformers has them."""


@dataclass(frozen=True)
class Opinion:
    """What the policy thought of its completions while it wrote them, (B, T) each."""

    logprob_B_T: "Tensor"
    value_B_T: "Tensor"
    kl_B_T: "Tensor"
    """log p - log ref of the tokens, in nats; 0 where that was not asked for."""


class Learner:
    """Policy, optimizer and schedule.

    Args:
        policy: as `policy.load_policy` returns it.
        reference: gives the start model, as `policy.reference_of` returns it.
        machine: accelerate's Accelerator.
        steps: of the whole run, each with several optimizer steps.
    """

    def __init__(
        self,
        params: PpoParams,
        policy: Any,
        reference: Callable[[], AbstractContextManager[Any]],
        machine: Any,
        steps: int,
    ) -> None:
        import torch
        from transformers import get_scheduler

        self.params, self.policy, self.machine = params, policy, machine
        self._reference = reference
        self._wrapped = machine.prepare(policy)
        self._trained = [weight for weight in policy.parameters() if weight.requires_grad]
        self.optimizer = torch.optim.AdamW(
            _groups(policy, params), lr=params.learning_rate, betas=BETAS, eps=EPSILON, fused=True
        )
        updates = steps * params.iterations * params.batch_size // (params.minibatch_size * params.accumulate)
        self.scheduler = get_scheduler(
            params.schedule,
            self.optimizer,
            num_warmup_steps=math.ceil(params.warmup_ratio * updates),
            num_training_steps=updates,
        )
        self.updates = 0
        self.learning_rate = 0.0
        """Of the last optimizer step."""

    def measure(self, batch: Batch, penalized: bool, sums: Sums) -> Opinion:
        """One pass of the policy and one of the start model; adds `entropy`, `kl` and `kl_completion` to the sums.

        Args:
            penalized: the reward depends on the KL divergence; else it is only measured, on one minibatch.
        """
        import torch

        params, rows = self.params, range(len(batch.ids_B_L))
        parts = [batch.rows(rows[at : at + params.minibatch_size]) for at in rows[:: params.minibatch_size]]
        logprobs, values, kls = [], [], []
        self.policy.eval()
        with torch.no_grad():
            for part in parts:
                logits_N_V, value_N = self._forward(self.policy, part)
                sums.add("entropy", token_entropies(logits_N_V, params.temperature))
                logprobs.append(token_logprobs(logits_N_V, part.flat(part.tokens_B_T), params.temperature))
                values.append(torch.zeros_like(logprobs[-1]) if value_N is None else value_N)
            with self._reference() as reference:
                for part, logprob_N in zip(parts if penalized else parts[:1], logprobs, strict=False):
                    logits_N_V, _ = self._forward(reference, part)
                    kls.append(logprob_N - token_logprobs(logits_N_V, part.flat(part.tokens_B_T), params.temperature))
                    sums.add("kl", kls[-1])
                    sums.add("kl_completion", part.spread(kls[-1]).sum(1))
        known_N = torch.cat(kls)
        logprob_N = torch.cat(logprobs)
        kl_N = torch.cat([known_N, logprob_N.new_zeros(len(logprob_N) - len(known_N))])
        return Opinion(batch.spread(logprob_N), batch.spread(torch.cat(values)), batch.spread(kl_N))

    def _forward(self, policy: Any, batch: Batch) -> tuple["Tensor", "Tensor | None"]:
        with self.precision():
            return policy(batch.ids_B_L, batch.mask_B_L, batch.predicts_B_L)

    def precision(self) -> AbstractContextManager[Any]:
        """Within, the model computes in `dtype`."""
        import torch

        if self.params.dtype == "float32":
            return nullcontext()
        return torch.autocast(self.machine.device.type, getattr(torch, self.params.dtype))

    def update(self, experience: Experience, order: random.Random, sums: Sums) -> float:
        """`iterations` passes over the completions, in minibatches; returns the largest probability ratio met.

        Raises:
            ConfigError: a gradient is not finite; the weights are as before it.
        """
        self.policy.train()
        worst = [self._optimizer_step(experience, rows, sums) for rows in self._minibatches(experience, order)]
        return max(worst)

    def _minibatches(self, experience: Experience, order: random.Random) -> Iterator[list[list[int]]]:
        """For each optimizer step, the completions of its minibatches."""
        size, together = self.params.minibatch_size, self.params.accumulate
        for _ in range(self.params.iterations):
            places = list(range(len(experience.ids_B_L)))
            order.shuffle(places)
            pieces = [places[at : at + size] for at in range(0, len(places), size)]
            yield from (pieces[at : at + together] for at in range(0, len(pieces), together))

    def _optimizer_step(self, experience: Experience, pieces: list[list[int]], sums: Sums) -> float:
        parts = [experience.rows(rows) for rows in pieces]
        tokens = float(self.machine.reduce(sum(part.counted_B_T.sum() for part in parts), "sum"))
        if not tokens:
            return 1.0  # no completion with a reward among them
        share = self.machine.num_processes / tokens  # gradients are averaged over processes
        ratios = []
        for number, part in enumerate(parts, start=1):
            together = nullcontext() if number == len(parts) else self.machine.no_sync(self._wrapped)
            with together:
                loss, ratio = self._loss(part, sums)
                self.machine.backward(loss * share)
            ratios.append(ratio)
        self._descend(sums)
        return float(self.machine.gather(max(ratios)).max())

    def _loss(self, part: Experience, sums: Sums) -> tuple["Tensor", "Tensor"]:
        """Sum of the loss over the minibatch's tokens, and the largest ratio; see losses.py."""
        params, old_N, weight_N = self.params, part.flat(part.logprob_B_T), part.flat(part.counted_B_T)
        logits_N_V, value_N = self._forward(self._wrapped, part)
        logprob_N = token_logprobs(logits_N_V, part.flat(part.tokens_B_T), params.temperature)
        policy_N = policy_losses(logprob_N, old_N, part.flat(part.advantage_B_T), params.clip_range)
        loss_N = policy_N
        if value_N is not None:
            old_value_N, return_N = part.flat(part.value_B_T), part.flat(part.return_B_T)
            value_loss_N = value_losses(value_N, old_value_N, return_N, params.value_clip)
            loss_N = loss_N + params.value_coef * value_loss_N
            sums.add("loss/value", value_loss_N, weight_N)
        if params.entropy_coef:
            loss_N = loss_N - params.entropy_coef * token_entropies(logits_N_V, params.temperature)
        log_ratio_N = (logprob_N - old_N).detach()
        ratio_N = log_ratio_N.exp()
        sums.add("loss", loss_N, weight_N)
        sums.add("loss/policy", policy_N, weight_N)
        sums.add("approx_kl", ratio_N - 1.0 - log_ratio_N, weight_N)
        sums.add("clip_ratio", ((ratio_N - 1.0).abs() > params.clip_range).float(), weight_N)
        return (loss_N * weight_N).sum(), (ratio_N * weight_N).max()

    def _descend(self, sums: Sums) -> None:
        norm = self.machine.clip_grad_norm_(self._trained, self.params.max_grad_norm)
        if not bool(norm.isfinite()):
            params = self.params
            raise ConfigError(
                f"ppo: optimizer step {self.updates + 1}: the gradient is {float(norm)}: the training diverged",
                hint=f"lower learning_rate (found {params.learning_rate:g}) or iterations (found {params.iterations}), "
                f"raise beta (found {params.beta:g}), or scale the rewards down; the last checkpoint is from before it",
            )
        sums.add("grad_norm", norm)
        self.learning_rate = float(self.scheduler.get_last_lr()[0])
        self.optimizer.step()
        self.scheduler.step()
        self.optimizer.zero_grad(set_to_none=True)
        self.updates += 1


def _groups(policy: Any, params: PpoParams) -> list[dict[str, Any]]:
    """Weights with decay, weights without (biases, norms), the value head with its own learning rate."""
    trained = [weight for weight in policy.lm.parameters() if weight.requires_grad]
    groups = [
        {"params": [weight for weight in trained if weight.ndim > 1], "weight_decay": params.weight_decay},
        {"params": [weight for weight in trained if weight.ndim <= 1], "weight_decay": 0.0},
    ]
    if policy.value_head is not None:
        rate = params.value_learning_rate or params.learning_rate
        groups.append({"params": list(policy.value_head.parameters()), "lr": rate, "weight_decay": 0.0})
    return [group for group in groups if group["params"]]
