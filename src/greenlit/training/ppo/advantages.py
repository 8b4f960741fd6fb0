"""What each token of a completion earns, and by how much it was better than expected.

    r_t = score at the completion's last token - beta * (log p(t) - log ref(t))            reward with KL penalty
    A_t = sum over l >= 0 of (gamma * lam)^l * delta_{t+l}                                 GAE
    delta_t = r_t + gamma * V_{t+1} - V_t, with V = 0 after the last token

The KL estimator is k1 (log-ratio of the sampled token): unbiased, and as a reward it needs no gradient of its own
(http://joschu.net/blog/kl-approx.html). GAE: https://arxiv.org/abs/1506.02438.

Shapes: _B completion, _T token of a completion, padded on the right.
"""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

_LARGEST_ERROR, _GAIN = 0.2, 0.1


def token_rewards(score_B: "Tensor", kl_B_T: "Tensor", written_B_T: "Tensor", beta: float) -> "Tensor":
    """(B, T) rewards: the penalty at every token, the score at the last one.

    Args:
        score_B: what each completion earns as a whole.
        kl_B_T: log p - log ref of the tokens, in nats.
        written_B_T: True at a completion's tokens; each has one at least.
    """
    rewards_B_T = (-beta * kl_B_T).masked_fill(~written_B_T, 0.0)
    last_B_1 = written_B_T.sum(1, keepdim=True) - 1
    return rewards_B_T.scatter_add(1, last_B_1, score_B[:, None].to(rewards_B_T.dtype))


def gae(
    rewards_B_T: "Tensor", values_B_T: "Tensor", written_B_T: "Tensor", gamma: float, lam: float
) -> tuple["Tensor", "Tensor"]:
    """Advantages and returns (advantage + value), (B, T) both, 0 behind a completion's end.

    Args:
        values_B_T: what was expected from each token on, before it was written; all 0 without a value function, where
            `lam` 1 makes the advantage the discounted return.
    """
    import torch

    values_B_T = values_B_T.masked_fill(~written_B_T, 0.0)
    advantages_B_T = torch.zeros_like(rewards_B_T)
    advantage_B = next_value_B = torch.zeros_like(rewards_B_T[:, 0])
    for token in reversed(range(rewards_B_T.shape[1])):
        delta_B = rewards_B_T[:, token] + gamma * next_value_B - values_B_T[:, token]
        advantage_B = (delta_B + gamma * lam * advantage_B).masked_fill(~written_B_T[:, token], 0.0)
        advantages_B_T[:, token] = advantage_B
        next_value_B = values_B_T[:, token]
    return advantages_B_T, advantages_B_T + values_B_T


def next_beta(beta: float, kl: float, target: float) -> float:
    """The KL coefficient for the next step, steered towards the target (https://arxiv.org/abs/1909.08593, 2.2).

        error = clip(kl / target - 1, -0.2, 0.2);  beta <- beta * (1 + 0.1 * error)

    Args:
        kl: measured KL divergence per completion, in nats.
        target: the same, as wished for.
    """
    error = min(max(kl / target - 1.0, -_LARGEST_ERROR), _LARGEST_ERROR)
    return beta * (1.0 + _GAIN * error)
