"""The PPO loss, token by token: https://arxiv.org/abs/1707.06347 (policy), its reference code (value clipping).

    ratio = p(token) / p_old(token)
    policy = -min(ratio * A, clip(ratio, 1 - c, 1 + c) * A)
    value  = max((V - R)^2, (clip(V, V_old - c_v, V_old + c_v) - R)^2) / 2
    loss   = policy + value_coef * value - entropy_coef * entropy, mean over the tokens

Log-probabilities are those of the sampled distribution, softmax(logits / temperature).

Shapes: _N completion tokens of a batch, one completion after the other, _V vocabulary.
"""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor


def token_logprobs(logits_N_V: "Tensor", tokens_N: "Tensor", temperature: float) -> "Tensor":
    """Log-probability of each token, in nats; no (N, V) table besides the logits is kept for the gradient."""
    scaled_N_V = _at_least_single(logits_N_V) / temperature
    return scaled_N_V.gather(1, tokens_N[:, None])[:, 0] - scaled_N_V.logsumexp(-1)


def token_entropies(logits_N_V: "Tensor", temperature: float) -> "Tensor":
    """Entropy of each token's distribution, in nats."""
    logprobs_N_V = (_at_least_single(logits_N_V) / temperature).log_softmax(-1)
    return -(logprobs_N_V.exp() * logprobs_N_V).sum(-1)


def policy_losses(logprob_N: "Tensor", old_N: "Tensor", advantage_N: "Tensor", clip_range: float) -> "Tensor":
    """Clipped surrogate of each token."""
    import torch

    ratio_N = (logprob_N - old_N).exp()
    clipped_N = ratio_N.clamp(1.0 - clip_range, 1.0 + clip_range)
    return -torch.minimum(ratio_N * advantage_N, clipped_N * advantage_N)


def value_losses(value_N: "Tensor", old_N: "Tensor", return_N: "Tensor", clip: float | None) -> "Tensor":
    """Half the squared error of each token's value; with `clip`, of the worse of the value and its clipped twin."""
    import torch

    error_N = (value_N - return_N).square()
    if clip is not None:
        near_N = old_N + (value_N - old_N).clamp(-clip, clip)
        error_N = torch.maximum(error_N, (near_N - return_N).square())
    return error_N / 2


def _at_least_single(logits_N_V: "Tensor") -> "Tensor":
    import torch

    return logits_N_V.to(torch.promote_types(logits_N_V.dtype, torch.float32))
