"""execution: does the program run at all?  reward = 1 if a shown or reward test got an answer, right or wrong, else 0.

What raises, runs out of time or memory, or does not compile gives none. None when the sandbox could not say.
"""

from collections.abc import Sequence

from greenlit.config import RewardsParams
from greenlit.execution.judgement import Judgement
from greenlit.rewards.sample import Sample


def execution(samples: Sequence[Sample], params: RewardsParams) -> list[float | None]:
    """1, 0 or None."""
    return [_of(sample.judgement) for sample in samples]


def _of(judgement: Judgement | None) -> float | None:
    seen = [test for test in judgement.tests if test.role != "hidden"] if judgement else []
    if any(test.passed or test.kind == "failed" for test in seen):
        return 1.0
    return None if all(test.passed is None for test in seen) else 0.0
