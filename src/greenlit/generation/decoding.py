"""A batch of completions, token by token: the loop of the transformers backend.

    prompts   read once each, padded on the left, whatever the number of their completions
    cache     keys and values in memory that is taken once (`kv_cache`)
    rows      a completion that has ended leaves the batch as soon as that pays
    tokens    chosen by `Sampler`, which repeats

Shapes: _P prompts, _B rows (completions still in the batch), _T positions, _V vocabulary.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from greenlit.generation.forward import left_padded, next_logits
from greenlit.generation.kv_cache import deal, keys_and_values
from greenlit.generation.sampling import Sampler
from greenlit.generation.stop_texts import StopTexts

if TYPE_CHECKING:
    from torch import Tensor

_COMPACT_BELOW = 0.75
"""Share of open rows below which the ended ones leave the batch; each time copies the cache."""


@dataclass(frozen=True)
class Written:
    """One completion."""

    place: int
    """Which of the batch."""
    tokens: list[int]
    """Its end token among them, if it wrote one."""
    logprob: float
    """Sum over the tokens, in nats."""


@dataclass(frozen=True)
class Model:
    """What the loop needs to know of a model."""

    lm: Any
    layers: int
    """That keep keys and values."""
    end_tokens: frozenset[int]
    pad_token: int


def write(
    model: Model,
    prompts_P: Sequence[list[int]],
    prompt_of: Sequence[int],
    sampler: Sampler,
    max_new_tokens: int,
    stop_texts: StopTexts | None = None,
) -> Iterator[list[Written]]:
    """Yield, step by step, the completions that have ended.

    Args:
        prompt_of: for each completion the place of its prompt in `prompts_P`.
        sampler: with one stream for each completion.
        max_new_tokens: longest completion.
    """
    import torch

    with torch.inference_mode():
        ids_P_T, mask_P_T, positions_P_T = left_padded(prompts_P, model.pad_token, model.lm.device)
        cache = keys_and_values(model.layers)
        logits_P_V = next_logits(model.lm, cache, ids_P_T, mask_P_T, positions_P_T)
        dealt_B = torch.tensor(prompt_of, device=logits_P_V.device)
        width = ids_P_T.shape[1]
        rows = _Rows(mask_P_T[dealt_B], positions_P_T[dealt_B, -1:], max_new_tokens)
        deal(cache, dealt_B, width + max_new_tokens)
        logits_B_V = logits_P_V[dealt_B]
    for step in range(max_new_tokens):
        with torch.inference_mode():
            tokens_B, logprob_B = sampler.choose(logits_B_V, rows.places_B, rows.open_B)
            ended = rows.add(tokens_B, logprob_B, model.end_tokens, stop_texts)
        if ended:
            yield ended
        if not rows.open_B.any():
            return
        with torch.inference_mode():
            if rows.open_B.mean() < _COMPACT_BELOW:
                deal(cache, rows.compact(), width + max_new_tokens)
            logits_B_V = next_logits(model.lm, cache, *rows.inputs(width + step + 1))


class _Rows:
    """The completions in the batch."""

    def __init__(self, mask_B_T: "Tensor", position_B_1: "Tensor", max_new_tokens: int) -> None:
        import torch

        count = len(mask_B_T)
        new_B_T = torch.ones((count, max_new_tokens), dtype=mask_B_T.dtype, device=mask_B_T.device)
        self._mask_B_T = torch.cat([mask_B_T, new_B_T], dim=1)
        self._position_B_1 = position_B_1
        self.places_B = np.arange(count)
        self.open_B = np.ones(count, dtype=bool)
        self._tokens = np.zeros((count, max_new_tokens), dtype=np.int64)
        self._logprobs = np.zeros(count)
        self._step = 0

    def add(
        self, tokens_B: np.ndarray, logprob_B: np.ndarray, end_tokens: frozenset[int], stop_texts: StopTexts | None
    ) -> list[Written]:
        """One more token for each open row; the completions that end with it."""
        self._tokens[self.places_B, self._step] = tokens_B
        self._logprobs[self.places_B] += np.where(self.open_B, logprob_B, 0.0)
        self._step += 1
        ends_B = np.isin(tokens_B, list(end_tokens))
        if self._step == self._tokens.shape[1]:
            ends_B[:] = True
        if stop_texts is not None:
            for row in np.flatnonzero(self.open_B & ~ends_B):
                ends_B[row] = stop_texts.end(self._tokens[self.places_B[row], : self._step])
        ends_B &= self.open_B
        self.open_B &= ~ends_B
        return [
            Written(int(place), self._tokens[place, : self._step].tolist(), float(self._logprobs[place]))
            for place in self.places_B[ends_B]
        ]

    def compact(self) -> "Tensor":
        """Let ended rows go; the places, among the rows, of those that stay."""
        import torch

        kept_B = np.flatnonzero(self.open_B)
        self.places_B, self.open_B = self.places_B[kept_B], self.open_B[kept_B]
        rows_B = torch.from_numpy(kept_B).to(self._mask_B_T.device)
        self._mask_B_T, self._position_B_1 = self._mask_B_T[rows_B], self._position_B_1[rows_B]
        return rows_B

    def inputs(self, width: int) -> tuple["Tensor", "Tensor", "Tensor"]:
        """Last tokens, attention mask over `width` positions, and positions for the model."""
        import torch

        last_B_1 = torch.from_numpy(self._tokens[self.places_B, self._step - 1 : self._step])
        self._position_B_1 = self._position_B_1 + 1
        return last_B_1.to(self._mask_B_T.device), self._mask_B_T[:, :width], self._position_B_1
