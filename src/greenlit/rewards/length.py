"""length: the soft overlong penalty of DAPO, https://arxiv.org/abs/2503.14476.

    reward = 0                                          for tokens <= max_tokens - buffer_tokens
             (max_tokens - buffer_tokens - tokens) / buffer_tokens        between
             -1                                         for tokens >= max_tokens

None where nobody counted tokens. A penalty: times its weight it is added to the mean of the others, as in the paper.
"""

from collections.abc import Sequence

from greenlit.config import RewardsParams
from greenlit.config.rewards import LengthParams
from greenlit.rewards.sample import Sample


def length(samples: Sequence[Sample], params: RewardsParams) -> list[float | None]:
    """In [-1, 0]."""
    return [None if sample.tokens is None else overlong(sample.tokens, params.length) for sample in samples]


def overlong(tokens: int, params: LengthParams) -> float:
    """The formula."""
    beyond = tokens - (params.max_tokens - params.buffer_tokens)
    return -min(1.0, max(0.0, beyond / params.buffer_tokens))
