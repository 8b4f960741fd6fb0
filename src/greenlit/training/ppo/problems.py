"""Which problems are sampled, and in which order.

Every pass over the problems is a permutation of its own, seeded by its number, so that a position in the order says
all there is to know about it. With a curriculum, every pass begins with what the start model does best.
"""

import math
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from greenlit.config import PpoParams
from greenlit.errors import DataError
from greenlit.jsonl import read_json, write_json
from greenlit.problems.prompts import prompt_ids
from greenlit.training.trainer import Row


@dataclass(frozen=True)
class Prompt:
    """A row of the data, read by the tokenizer."""

    row: Row
    ids: list[int]


def read_prompts(rows: Sequence[Row], tokenizer: Any, longest: int) -> list[Prompt]:
    """The rows whose prompt has at most `longest` tokens."""
    prompts = (Prompt(row, prompt_ids(tokenizer, row["prompt"])) for row in rows)
    return [prompt for prompt in prompts if len(prompt.ids) <= longest]


def check_prompts(prompts: Sequence[Prompt], rows: Sequence[Row], params: PpoParams, longest: int) -> None:
    """
    Raises:
        DataError: nothing to learn from.
    """
    if not rows:
        raise DataError("ppo: nothing to learn from: no problems at all", hint="look at the file that `reads` names")
    if not prompts:
        raise DataError(
            f"ppo: nothing to learn from: the prompts of all {len(rows)} problems are longer than {longest} tokens, "
            f"which is what max_length and the model's context leave beside max_new_tokens = {params.max_new_tokens}",
            hint="raise max_length, or lower max_new_tokens",
        )


class Order:
    """The endless sequence of problems.

    Args:
        count: problems.
        shuffled: else every pass takes them as they come.
    """

    def __init__(self, count: int, seed: int, shuffled: bool) -> None:
        self._count, self._seed, self._shuffled = count, seed, shuffled
        self._pass = lru_cache(maxsize=2)(self._permutation)

    def at(self, position: int, count: int) -> list[int]:
        """Indices of the problems at these positions of the sequence."""
        places = (divmod(place, self._count) for place in range(position, position + count))
        return [self._pass(number)[index] for number, index in places]

    def _permutation(self, number: int) -> list[int]:
        order = list(range(self._count))
        if self._shuffled:
            random.Random(f"{self._seed}/ppo/problems/{number}").shuffle(order)
        return order


def by_ease(
    prompts: Sequence[Prompt],
    note: Path,
    mean_rewards: Callable[[Sequence[Prompt]], list[float | None]],
    machine: Any,
    seed: int,
) -> list[Prompt]:
    """The prompts by falling reward of the start model, equals by chance, those of which nothing is known last.

    Args:
        note: file that keeps what was measured, for a run that goes on.
        mean_rewards: measures the model as it is.
    """
    if note.exists():
        rewards = read_json(note)
    else:
        rewards = mean_rewards(prompts)
        if machine.is_main_process:
            write_json(note, rewards)
        machine.wait_for_everyone()
    chance = random.Random(f"curriculum {seed}")
    keys = [(reward is None, -(reward or 0.0), chance.random()) for reward in rewards]
    return [prompt for _, prompt in sorted(zip(keys, prompts, strict=True), key=lambda pair: pair[0])]


def steps_of(problems: int, params: PpoParams, processes: int) -> int:
    """Steps of a run: `max_steps`, else `epochs` passes over the problems."""
    if params.max_steps is not None:
        return params.max_steps
    per_step = params.batch_size // params.group_size * processes
    return math.ceil(problems * params.epochs / per_step)
