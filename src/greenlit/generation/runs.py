"""Requests that go together: one prompt, and consecutive candidates of one problem."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from greenlit.generation.request import Prompt, Request
from greenlit.generation.seeds import request_seed


@dataclass(frozen=True)
class Run:
    """Samples `first`, `first + 1`, ... of one prompt; or the greedy completion, alone."""

    task_id: str
    prompt: Prompt
    seed: int
    first: int
    count: int

    @property
    def greedy(self) -> bool:
        """The likeliest token at every step."""
        return self.first < 0

    @property
    def request_seed(self) -> int:
        """The seed of the first sample; the others' follow."""
        return request_seed(self.seed, self.task_id, self.first)

    def rest(self, missing: Iterable[int]) -> list["Run"]:
        """What is left of it: the candidates of these indices, as few runs as possible."""
        runs: list[Run] = []
        for index in sorted(missing):
            if runs and runs[-1].first + runs[-1].count == index:
                runs[-1] = Run(self.task_id, self.prompt, self.seed, runs[-1].first, runs[-1].count + 1)
            else:
                runs.append(Run(self.task_id, self.prompt, self.seed, index, 1))
        return runs


def runs_of(requests: Iterable[Request], longest: int | None = None) -> Iterator[Run]:
    """What is not done of the requests, in their order.

    Args:
        longest: samples of one run at most.
    """
    last: Run | None = None
    for request in requests:
        if request.done:
            continue
        if last is not None and _continues(last, request) and (longest is None or last.count < longest):
            last = Run(last.task_id, last.prompt, last.seed, last.first, last.count + 1)
            continue
        if last is not None:
            yield last
        last = Run(request.task_id, request.prompt, request.seed, request.candidate_idx, 1)
    if last is not None:
        yield last


def _continues(run: Run, request: Request) -> bool:
    same = (run.task_id, run.seed, run.prompt) == (request.task_id, request.seed, request.prompt)
    return same and not run.greedy and run.first + run.count == request.candidate_idx
