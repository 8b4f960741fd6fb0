"""What a backend is: requests in, completions out, as they finish. `sample.BACKENDS` names them all."""

from collections import abc
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

from greenlit.config import SamplingParams
from greenlit.generation.request import Completion, Request

More = Callable[[], list[Request]]
"""Asked when all that was asked for has been yielded: what comes next, for a model that is loaded; empty: nothing."""


def no_more() -> list[Request]:
    """There is one round of requests."""
    return []


class Generator(Protocol):
    """Completes requests. One that costs money takes a `budget` besides (see `budget.Budget`)."""

    def __call__(
        self, model: Path, requests: list[Request], params: SamplingParams, workers: int, more: More = no_more
    ) -> abc.Generator[list[Completion], None, None]:
        """Yield completions as they finish, in any order; of requests that are done none, or again the same.

        Args:
            model: directory of the model.
            workers: processes on a CPU.
            more: further requests, once all of these are yielded.
        """
        ...
