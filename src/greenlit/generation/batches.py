"""Which completions are written together.

Prompts of like length share a batch, the longest first, so that little is padding and the last batches are short ones.
The completions of one problem stay together where they can: its prompt is read once for all of them. What shares a
batch depends on the requests and settings alone, since it shows in the last digit of a log-probability.
"""

import itertools
from collections.abc import Callable, Hashable, Iterator, Sequence
from dataclasses import dataclass, field

from greenlit.config import SamplingParams
from greenlit.generation.request import Prompt, Request

_FULL_ENOUGH = 0.75
"""Share of its size from which a batch is closed rather than a problem's completions split over two."""


@dataclass
class Batch:
    """Completions written together; all have the same standing in it, done before or not."""

    prompts: list[list[int]] = field(default_factory=list)
    """Token ids of the different prompts, the longest first."""
    requests: list[Request] = field(default_factory=list)
    prompt_of: list[int] = field(default_factory=list)
    """For each request the place of its prompt."""

    def add(self, request: Request, prompt: list[int]) -> None:
        """One more; requests of one prompt come one after the other."""
        if not self.prompts or self.prompts[-1] is not prompt:
            self.prompts.append(prompt)
        self.requests.append(request)
        self.prompt_of.append(len(self.prompts) - 1)


def batches(
    requests: Sequence[Request], params: SamplingParams, tokenize: Callable[[Prompt], list[int]]
) -> Iterator[Batch]:
    """Yield the batches: at most `batch_size` completions, and at most `batch_tokens` tokens with their prompts."""
    ids: dict[Hashable, list[int]] = {}
    together: dict[Hashable, list[Request]] = {}
    for request in requests:
        key = _key(request.prompt)
        if key not in ids:
            ids[key] = tokenize(request.prompt)
        together.setdefault(key, []).append(request)
    batch = Batch()
    for key in sorted(together, key=lambda key: -len(ids[key])):
        group = together[key]
        room = _room(batch, ids[key], params)
        if batch.requests and len(batch.requests) + len(group) > room and len(batch.requests) >= _FULL_ENOUGH * room:
            yield batch
            batch = Batch()
        for request in group:
            if batch.requests and len(batch.requests) >= _room(batch, ids[key], params):
                yield batch
                batch = Batch()
            batch.add(request, ids[key])
    if batch.requests:
        yield batch


def _room(batch: Batch, prompt: list[int], params: SamplingParams) -> int:
    """How many completions the batch may hold: all are padded to its longest prompt."""
    longest = len(batch.prompts[0]) if batch.prompts else len(prompt)
    return max(1, min(params.batch_size, params.batch_tokens // (longest + params.max_new_tokens)))


def _key(prompt: Prompt) -> Hashable:
    if isinstance(prompt, str):
        return prompt
    return tuple(itertools.chain.from_iterable(sorted(message.items()) for message in prompt))
