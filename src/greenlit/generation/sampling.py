"""Sampling that repeats: each candidate draws from a counter-based stream of its own.

On a CPU by Gumbel-max: argmax(logits / T + g) with g ~ Gumbel(0, 1) is a sample from softmax(logits / T) (Gumbel 1954;
Maddison et al. 2014, https://arxiv.org/abs/1411.0030). A candidate's g come from a Philox stream keyed by (seed,
task_id, candidate_idx), so what it writes depends on nothing else: not on the batch it shares, its row, or the process.

On an accelerator by inverse transform, with one number of the same stream per token: a number per word of a vocabulary
of 150,000 would have to be drawn on the CPU, and would take longer than the model.

Shapes: _B rows of a batch, _V vocabulary.
"""

import hashlib
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import torch


def candidate_stream(seed: int, task_id: str, candidate_idx: int) -> np.random.Generator:
    """The random numbers of one candidate."""
    digest = hashlib.blake2b(f"{seed}\0{task_id}\0{candidate_idx}".encode(), digest_size=16).digest()
    return np.random.Generator(np.random.Philox(key=int.from_bytes(digest, "little")))


class Sampler:
    """Chooses the next token of each row; rows without a stream take the likeliest.

    Args:
        inverse: inverse transform instead of Gumbel-max; None: where the logits are on an accelerator.
    """

    def __init__(
        self,
        streams: Sequence[np.random.Generator | None],
        temperature: float,
        top_k: int = 0,
        top_p: float = 1.0,
        min_p: float = 0.0,
        inverse: bool | None = None,
    ) -> None:
        self.streams = streams
        self.temperature, self.top_k, self.top_p, self.min_p = temperature, top_k, top_p, min_p
        self._inverse = inverse
        self._noise = np.zeros((0, 0), dtype=np.float32)

    def choose(
        self, logits_B_V: "torch.Tensor", rows_B: np.ndarray, open_B: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """A token for each row, and its log-probability in nats under the unmodified distribution.

        Args:
            rows_B: places of the rows among the streams.
            open_B: rows that go on; the others draw nothing, and what is chosen for them means nothing.
        """
        logits_B_V = logits_B_V.float()
        streams = [self.streams[row] if is_open else None for row, is_open in zip(rows_B, open_B, strict=True)]
        sampled_B = np.array([stream is not None for stream in streams])
        chosen_B = logits_B_V.argmax(-1) if not sampled_B.all() else None
        if sampled_B.any():
            kept_B_V = logits_B_V if self.temperature == 1.0 else logits_B_V / self.temperature
            kept_B_V = keep_likeliest(kept_B_V, self.top_k, self.top_p, self.min_p)
            inverse = logits_B_V.device.type != "cpu" if self._inverse is None else self._inverse
            drawn_B = self._by_inverse(kept_B_V, streams) if inverse else self._by_gumbel(kept_B_V, streams)
            chosen_B = drawn_B if chosen_B is None else _where(sampled_B, drawn_B, chosen_B)
        assert chosen_B is not None
        logit_B = logits_B_V.gather(1, chosen_B[:, None])[:, 0]
        logprob_B = (logit_B - logits_B_V.logsumexp(-1)).double()
        return chosen_B.cpu().numpy(), logprob_B.cpu().numpy()

    def _by_gumbel(self, kept_B_V: "torch.Tensor", streams: Sequence[np.random.Generator | None]) -> "torch.Tensor":
        import torch

        rows, vocabulary = kept_B_V.shape
        if self._noise.shape[0] < rows or self._noise.shape[1] != vocabulary:
            self._noise = np.ones((rows, vocabulary), dtype=np.float32)
        noise_B_V = self._noise[:rows]
        for row, stream in enumerate(streams):
            if stream is not None:
                stream.standard_exponential(out=noise_B_V[row], dtype=np.float32)
        with np.errstate(divide="ignore"):
            gumbel_B_V = -np.log(noise_B_V)
        return (kept_B_V + torch.from_numpy(gumbel_B_V).to(kept_B_V.device)).argmax(-1)

    def _by_inverse(self, kept_B_V: "torch.Tensor", streams: Sequence[np.random.Generator | None]) -> "torch.Tensor":
        """The first token whose cumulated probability exceeds the row's number."""
        import torch

        drawn_B = np.array([0.0 if stream is None else stream.random() for stream in streams])
        uniform_B_1 = torch.from_numpy(drawn_B).to(kept_B_V.device)[:, None]
        cumulated_B_V = kept_B_V.double().softmax(-1).cumsum(-1)
        places_B = torch.searchsorted(cumulated_B_V, uniform_B_1 * cumulated_B_V[:, -1:], right=True)[:, 0]
        return places_B.clamp(max=kept_B_V.shape[1] - 1)


def _where(sampled_B: np.ndarray, drawn_B: "torch.Tensor", likeliest_B: "torch.Tensor") -> "torch.Tensor":
    import torch

    return torch.where(torch.from_numpy(sampled_B).to(drawn_B.device), drawn_B, likeliest_B)


class GumbelMax:
    """A transformers LogitsProcessor: after it, the argmax is the sample; rows without a stream stay greedy.

    It also sums up each row's log-probability under the unmodified distribution, up to and with its end token.
    """

    def __init__(
        self,
        streams_B: Sequence[np.random.Generator | None],
        temperature: float,
        top_k: int,
        top_p: float,
        end_tokens: frozenset[int],
    ) -> None:
        self._sampler, self._ends = Sampler(streams_B, temperature, top_k, top_p), sorted(end_tokens)
        self._rows_B = np.arange(len(streams_B))
        self.open_B = np.ones(len(streams_B), dtype=bool)
        self.logprobs_B = np.zeros(len(streams_B))
        self.lengths_B = np.zeros(len(streams_B), dtype=np.int64)
        """Tokens of each row, with its end token."""

    @classmethod
    def around(cls, sampler: Sampler, end_tokens: frozenset[int]) -> "GumbelMax":
        """With a sampler that is there already."""
        made = cls(sampler.streams, sampler.temperature, sampler.top_k, sampler.top_p, end_tokens)
        made._sampler = sampler
        return made

    def __call__(self, input_ids: "torch.Tensor", scores: "torch.Tensor") -> "torch.Tensor":
        """(B, T) ids and (B, V) logits → (B, V), 0 at the chosen tokens and -inf elsewhere."""
        import torch

        chosen_B, logprob_B = self._sampler.choose(scores, self._rows_B, self.open_B)
        self.logprobs_B += np.where(self.open_B, logprob_B, 0.0)
        self.lengths_B += self.open_B
        self.open_B &= ~np.isin(chosen_B, self._ends)
        places_B_1 = torch.from_numpy(chosen_B).to(scores.device)[:, None]
        return torch.full_like(scores, float("-inf")).scatter(1, places_B_1, 0.0)

    def close(self, rows_B: np.ndarray) -> None:
        """These rows have ended in another way, e.g. by a stop text: they draw no more, and their sums stay."""
        self.open_B &= ~rows_B


def keep_likeliest(logits_B_V: "torch.Tensor", top_k: int, top_p: float, min_p: float = 0.0) -> "torch.Tensor":
    """Set to -inf what top-k, then top-p (nucleus, https://arxiv.org/abs/1904.09751), then min-p leave out.

    Args:
        min_p: share of the likeliest token's probability below which a token is left out.
    """
    if 0 < top_k < logits_B_V.shape[-1]:
        kth_B = logits_B_V.topk(top_k, dim=-1).values[:, -1:]
        logits_B_V = logits_B_V.masked_fill(logits_B_V < kth_B, float("-inf"))
    if top_p < 1.0:
        sorted_B_V, order_B_V = logits_B_V.sort(dim=-1, descending=True)
        before_B_V = sorted_B_V.softmax(-1).cumsum(-1) - sorted_B_V.softmax(-1)
        drop_B_V = (before_B_V >= top_p).scatter(1, order_B_V, before_B_V >= top_p)
        logits_B_V = logits_B_V.masked_fill(drop_B_V, float("-inf"))
    if min_p > 0.0:
        least_B_1 = logits_B_V.amax(-1, keepdim=True) + float(np.log(min_p))
        logits_B_V = logits_B_V.masked_fill(logits_B_V < least_B_1, float("-inf"))
    return logits_B_V
