"""Sampling that repeats: Gumbel-max with one counter-based generator per candidate.

argmax(logits / T + g) with g ~ Gumbel(0, 1) is a sample from softmax(logits / T) (Gumbel 1954; Maddison et al. 2014,
https://arxiv.org/abs/1411.0030). Each candidate draws its g from a Philox stream keyed by (seed, task_id,
candidate_idx), so what it writes depends on nothing else: not on the batch it shares, its row, or the process.

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
        self.streams_B = streams_B
        self.temperature, self.top_k, self.top_p = temperature, top_k, top_p
        self.end_tokens = end_tokens
        self.logprobs_B = np.zeros(len(streams_B))
        self._open_B = np.ones(len(streams_B), dtype=bool)

    def __call__(self, input_ids: "torch.Tensor", scores: "torch.Tensor") -> "torch.Tensor":
        """(B, T) ids and (B, V) logits → (B, V) perturbed logits."""
        import torch

        logits_B_V = scores.float()
        perturbed_B_V = keep_likeliest(logits_B_V / self.temperature, self.top_k, self.top_p)
        perturbed_B_V = perturbed_B_V + torch.from_numpy(self._noise(logits_B_V.shape[1])).to(scores.device)
        greedy_B = torch.tensor([stream is None for stream in self.streams_B], device=scores.device)
        perturbed_B_V = torch.where(greedy_B[:, None], logits_B_V, perturbed_B_V)
        self._add_logprobs(logits_B_V, perturbed_B_V.argmax(-1))
        return perturbed_B_V

    def _noise(self, vocabulary: int) -> np.ndarray:
        noise_B_V = np.zeros((len(self.streams_B), vocabulary), dtype=np.float32)
        for row, stream in enumerate(self.streams_B):
            if stream is not None and self._open_B[row]:
                stream.standard_exponential(out=noise_B_V[row], dtype=np.float32)
        drawn_B = np.array([stream is not None for stream in self.streams_B]) & self._open_B
        with np.errstate(divide="ignore"):
            noise_B_V[drawn_B] = -np.log(noise_B_V[drawn_B])
        return noise_B_V

    def _add_logprobs(self, logits_B_V: "torch.Tensor", chosen_B: "torch.Tensor") -> None:
        chosen_logit_B = logits_B_V.gather(1, chosen_B[:, None])[:, 0]
        logprob_B = (chosen_logit_B - logits_B_V.logsumexp(-1)).double().cpu().numpy()
        self.logprobs_B += np.where(self._open_B, logprob_B, 0.0)
        self._open_B &= ~np.isin(chosen_B.cpu().numpy(), list(self.end_tokens))


def keep_likeliest(logits_B_V: "torch.Tensor", top_k: int, top_p: float) -> "torch.Tensor":
    """Set to -inf what top-k and then top-p (nucleus, https://arxiv.org/abs/1904.09751) leave out."""
    if 0 < top_k < logits_B_V.shape[-1]:
        kth_B = logits_B_V.topk(top_k, dim=-1).values[:, -1:]
        logits_B_V = logits_B_V.masked_fill(logits_B_V < kth_B, float("-inf"))
    if top_p < 1.0:
        sorted_B_V, order_B_V = logits_B_V.sort(dim=-1, descending=True)
        before_B_V = sorted_B_V.softmax(-1).cumsum(-1) - sorted_B_V.softmax(-1)
        drop_B_V = (before_B_V >= top_p).scatter(1, order_B_V, before_B_V >= top_p)
        logits_B_V = logits_B_V.masked_fill(drop_B_V, float("-inf"))
    return logits_B_V
