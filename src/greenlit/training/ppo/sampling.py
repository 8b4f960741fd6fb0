"""Completions from the model in training, batched, with a key-value cache.

A loop of our own, because it is a large part of a step: prompts are read once for all their completions, rows that
have ended leave the batch, and a token costs one random number (inverse transform sampling) instead of one per word of
the vocabulary. On the starter model that is five times as fast as `generate` (docs/lab-book.md).

Shapes: _P prompt, _B completion (prompt by prompt), _T token of a completion, _L token of a prompt, _V vocabulary.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from greenlit.config import PpoParams
from greenlit.errors import DataError
from greenlit.generation.forward import left_padded, next_logits
from greenlit.generation.sampling import candidate_stream, keep_likeliest

if TYPE_CHECKING:
    from torch import Tensor

_COMPACT_BELOW = 0.75
"""Share of open rows below which the ended ones leave the batch; each time copies the cache."""


def uniform_numbers(seed: int, occasion: str, places: Sequence[int], tokens: int) -> "Tensor":
    """(B, T) numbers in [0, 1), the row of each place a stream of its own.

    So a completion depends on its place in the whole batch, but not on the process that writes it.
    """
    import numpy as np
    import torch

    return torch.from_numpy(np.stack([candidate_stream(seed, occasion, place).random(tokens) for place in places]))


def sample(
    lm: Any, prompts_P: Sequence[list[int]], uniform_B_T: "Tensor", params: PpoParams, ends: frozenset[int], pad: int
) -> list[list[int]]:
    """Token ids of the completions, each with its end token unless it ran into `max_new_tokens`.

    Args:
        lm: a causal language model in evaluation mode.
        uniform_B_T: one number per token; B is a multiple of P, and a prompt's completions are neighbours.

    Raises:
        DataError: the model computes NaN.
    """
    import torch
    from transformers import DynamicCache

    copies = len(uniform_B_T) // len(prompts_P)
    ids_P_L, mask_P_L, positions_P_L = left_padded(prompts_P, pad, lm.device)
    cache = DynamicCache(config=lm.config)
    with torch.inference_mode():
        logits_P_V = next_logits(lm, cache, ids_P_L, mask_P_L, positions_P_L)
        cache.batch_repeat_interleave(copies)
        rows = _Rows(mask_P_L.repeat_interleave(copies, 0), uniform_B_T.to(lm.device), ends, pad)
        logits_B_V = logits_P_V.repeat_interleave(copies, 0)
        while True:
            tokens_B = _drawn(logits_B_V, rows.numbers(), params)
            rows.add(tokens_B)
            if rows.finished():
                return rows.completions()
            kept = rows.compact()
            if kept is not None:
                cache.batch_select_indices(kept)
            logits_B_V = next_logits(lm, cache, *rows.inputs())


class _Rows:
    """The completions so far; those still being written are rows of the batch."""

    def __init__(self, mask_B_L: "Tensor", uniform_B_T: "Tensor", ends: frozenset[int], pad: int) -> None:
        import torch

        self._mask, self._uniform = mask_B_L, uniform_B_T
        self._ends = torch.tensor(sorted(ends), device=mask_B_L.device)
        self._pad = pad
        self._place = torch.arange(len(mask_B_L), device=mask_B_L.device)
        self._open = torch.ones(len(mask_B_L), dtype=torch.bool, device=mask_B_L.device)
        self._tokens = torch.full_like(uniform_B_T, pad, dtype=torch.long)
        self._lengths = torch.zeros_like(self._place)
        self._step = 0

    def numbers(self) -> "Tensor":
        """The random number (B) of each row's next token."""
        return self._uniform[self._place, self._step]

    def add(self, tokens_B: "Tensor") -> None:
        """One more token for each open row."""
        import torch

        self._tokens[self._place, self._step] = tokens_B.masked_fill(~self._open, self._pad)
        self._lengths[self._place] += self._open
        self._open &= ~torch.isin(tokens_B, self._ends)
        self._step += 1

    def finished(self) -> bool:
        return self._step == self._tokens.shape[1] or not bool(self._open.any())

    def compact(self) -> "Tensor | None":
        """Let ended rows go, once they are many; the indices of those that stay."""
        if float(self._open.float().mean()) >= _COMPACT_BELOW:
            return None
        kept = self._open.nonzero()[:, 0]
        self._mask, self._place, self._open = self._mask[kept], self._place[kept], self._open[kept]
        return kept

    def inputs(self) -> tuple["Tensor", "Tensor", "Tensor"]:
        """Last tokens, attention mask and positions for the model."""
        import torch

        self._mask = torch.cat([self._mask, torch.ones_like(self._mask[:, :1])], dim=1)
        last_B_1 = self._tokens[self._place, self._step - 1][:, None]
        return last_B_1, self._mask, self._mask.sum(1, keepdim=True) - 1

    def completions(self) -> list[list[int]]:
        lengths = self._lengths.tolist()
        return [row[:length] for row, length in zip(self._tokens.tolist(), lengths, strict=True)]


def _drawn(logits_B_V: "Tensor", uniform_B: "Tensor", params: PpoParams) -> "Tensor":
    """A token per row: the first whose cumulated probability exceeds the row's number."""
    import torch

    kept_B_V = keep_likeliest(logits_B_V.float() / params.temperature, params.top_k, params.top_p)
    cumulated_B_V = kept_B_V.double().softmax(-1).cumsum(-1)
    total_B_1 = cumulated_B_V[:, -1:]
    if not bool(torch.isfinite(total_B_1).all()):
        raise DataError(
            "ppo: the model computes NaN while it samples",
            hint="dtype: float32; a model that diverged is trained anew with a lower learning_rate",
        )
    return torch.searchsorted(cumulated_B_V, uniform_B[:, None] * total_B_1, right=True)[:, 0].clamp(
        max=logits_B_V.shape[1] - 1
    )
