"""model: what a reward model, learned from preference pairs, says of a completion.

    reward = (r(prompt, completion) - mean) / std

mean and std of r over the completions of pairs it has not learnt from: 0 is a program as they come, 1 a standard
deviation better. None for a completion that is longer than what it was trained on.
"""

from collections.abc import Sequence
from functools import cache
from pathlib import Path

from greenlit.config import RewardsParams
from greenlit.rewards.learned import Completion, LearnedReward
from greenlit.rewards.sample import Sample


def model(samples: Sequence[Sample], params: RewardsParams) -> list[float | None]:
    """What the reward model in `rewards.model` says.

    Raises:
        DataError: there is none.
    """
    completions: list[Completion] = [
        [{"role": "assistant", "content": sample.text}] if sample.chat else sample.text for sample in samples
    ]
    return _learned(Path(params.model)).scores([sample.prompt for sample in samples], completions)


@cache
def _learned(folder: Path) -> LearnedReward:
    return LearnedReward(folder)
