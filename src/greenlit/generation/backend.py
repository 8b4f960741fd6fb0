"""What a backend is: requests in, completions out, as they finish. `sample.BACKENDS` names them all."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from greenlit.config import SamplingParams

Prompt = str | list[dict[str, str]]
"""Text to go on from, or messages."""


@dataclass(frozen=True)
class Request:
    """One completion to write."""

    task_id: str
    candidate_idx: int
    prompt: Prompt
    seed: int
    done: bool = False
    """Sampled before. It stays in its batch all the same: who shares a batch shows in the last digits of logprob."""

    @property
    def greedy(self) -> bool:
        """Candidate -1 takes the likeliest token at every step."""
        return self.candidate_idx < 0


@dataclass(frozen=True)
class Completion:
    """What the model wrote for a request."""

    task_id: str
    candidate_idx: int
    text: str
    tokens: int
    ended: bool
    """The model wrote its end token or a stop text, rather than running into max_new_tokens."""
    logprob: float | None
    """Sum over the tokens, under the unmodified distribution; None where the backend does not tell."""
    served_by: str | None = None
    """The model that an endpoint says it is."""


class Generator(Protocol):
    """Completes requests. One that costs money takes a `budget` besides (see `budget.Budget`)."""

    def __call__(
        self, model: Path, requests: list[Request], params: SamplingParams, workers: int
    ) -> Iterator[list[Completion]]:
        """Yield completions as they finish, in any order; of requests that are done none, or again the same.

        Args:
            model: directory of the model.
            workers: processes on a CPU.
        """
        ...
