"""The completions of a step as tensors.

Shapes: _B completion, _T token of a completion, _L token of prompt and completion, both padded on the right, _N
completion tokens, one completion after the other.
"""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any, Self

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class Batch:
    """Prompts with their completions."""

    ids_B_L: "Tensor"
    mask_B_L: "Tensor"
    """1 at tokens, 0 at padding."""
    predicts_B_L: "Tensor"
    """True where a completion's token comes next."""
    tokens_B_T: "Tensor"
    written_B_T: "Tensor"
    """True at a completion's tokens."""

    def flat(self, values_B_T: "Tensor") -> "Tensor":
        """(B, T) values at completions' tokens, as (N)."""
        return values_B_T[self.written_B_T]

    def spread(self, values_N: "Tensor") -> "Tensor":
        """(N) values in their places of (B, T), 0 behind a completion's end."""
        spread_B_T = values_N.new_zeros(self.written_B_T.shape)
        spread_B_T[self.written_B_T] = values_N
        return spread_B_T

    def rows(self, index: Sequence[int]) -> Self:
        """Some of the completions, with no more padding than they need."""
        import torch

        chosen = torch.tensor(list(index), device=self.ids_B_L.device)
        length = int(self.mask_B_L[chosen].sum(1).max())
        tokens = int(self.written_B_T[chosen].sum(1).max())
        cut = {
            field.name: getattr(self, field.name)[chosen, : length if field.name.endswith("_L") else tokens]
            for field in fields(self)
        }
        return type(self)(**cut)


@dataclass(frozen=True)
class Experience(Batch):
    """Completions with what is to be learned from them."""

    counted_B_T: "Tensor"
    """1 at the tokens of completions that have a reward, else 0."""
    logprob_B_T: "Tensor"
    """Under the policy that wrote them, in nats."""
    value_B_T: "Tensor"
    """As expected by the policy that wrote them; 0 without a value function."""
    advantage_B_T: "Tensor"
    return_B_T: "Tensor"


def make_batch(prompts_B: Sequence[list[int]], completions_B: Sequence[list[int]], pad: int, device: Any) -> Batch:
    """Tensors of prompts and completions; no completion is empty."""
    import torch

    def padded(rows: list[list[int]], filling: int) -> "Tensor":
        width = max(len(row) for row in rows)
        return torch.tensor([row + [filling] * (width - len(row)) for row in rows], device=device)

    pairs = list(zip(prompts_B, completions_B, strict=True))
    return Batch(
        ids_B_L=padded([prompt + completion for prompt, completion in pairs], pad),
        mask_B_L=padded([[1] * (len(prompt) + len(completion)) for prompt, completion in pairs], 0),
        predicts_B_L=padded(
            [[0] * (len(prompt) - 1) + [1] * len(written) + [0] for prompt, written in pairs], 0
        ).bool(),
        tokens_B_T=padded([completion for _, completion in pairs], pad),
        written_B_T=padded([[1] * len(completion) for _, completion in pairs], 0).bool(),
    )
