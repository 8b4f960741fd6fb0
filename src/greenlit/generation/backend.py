"""What a backend is: requests in, completions out, as they finish. `sample.BACKENDS` names them all."""

from collections.abc import Iterator
from pathlib import Path
from typing import Protocol

from greenlit.config import SamplingParams
from greenlit.generation.request import Completion, Request


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
