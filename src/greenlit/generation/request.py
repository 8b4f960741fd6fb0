"""What is asked of a model, and what comes back."""

from dataclasses import dataclass
from typing import Literal

Prompt = str | list[dict[str, str]]
"""Text that is continued, or messages for a chat template."""


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
    """The model wrote its end token, or a stop text, rather than running into max_new_tokens."""
    logprob: float | None
    """Sum over the tokens, under the unmodified distribution; None where the backend does not tell."""
    stopped: bool = False
    """By a stop text, as far as the backend tells it from an end token."""
    served_by: str | None = None
    """The model that an endpoint says it is."""

    @property
    def finish_reason(self) -> Literal["eos", "stop", "length"]:
        """As it stands in the candidate's row."""
        return "stop" if self.stopped else "eos" if self.ended else "length"
