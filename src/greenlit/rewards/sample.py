"""What a reward is told of a completion, and what the rewards make of it."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from greenlit.execution.judgement import Judgement
from greenlit.problems.prompts import render
from greenlit.types import Problem


@dataclass(frozen=True)
class Sample:
    """A completion of a problem, its program, and what became of that."""

    problem: Problem
    text: str
    """What the model wrote, without the end-of-sequence token; of messages the last one's."""
    code: str
    """The program taken from it, with the problem's prelude; empty where there is none."""
    judgement: Judgement | None = None
    """None: nobody ran it."""
    tokens: int | None = None
    """Length of the completion, the end-of-sequence token included; None where nobody counted."""
    truncated: bool | None = None
    """It ran out of tokens; None where nobody can tell."""
    chat: bool = False
    """The model was asked by messages."""
    reference_cpu_s: tuple[float, ...] = ()
    """CPU seconds of each run of the problem's reference under the same tests; empty where nobody asked for them."""
    chosen: bool = False
    """Of a later round of adaptive sampling: it was sampled because of others' verdicts, and so is in no mean."""

    @property
    def passed(self) -> bool | None:
        """All shown and reward tests pass; None where we could not find out."""
        return self.judgement.passed if self.judgement else None

    @property
    def prompt(self) -> str | list[dict[str, str]]:
        """What the model was asked."""
        return render(self.problem, self.chat)


@dataclass(frozen=True)
class Rated:
    """What a sample earns."""

    rewards: Mapping[str, float | None]
    """Each reward that has a weight; None where it has nothing to say, or went wrong."""
    reward: float | None
    """The one number; None where it could not be found out."""
    faults: tuple[str, ...] = ()
    """Rewards that went wrong on this sample."""


Reward = Callable[[Sequence[Sample], Any], Sequence[float | None]]
"""(samples, RewardsParams) -> one value per sample, in their order.

None: nothing to say about this sample, it leaves the mean. NaN or infinite: it went wrong, the sample is left out.
"""
Rate = Callable[[Sequence[Sample]], list[Rated]]
