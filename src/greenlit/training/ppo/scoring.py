"""What completions earn: the reward function is asked in a thread of its own, while the model goes on."""

import math
from collections.abc import Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from types import TracebackType
from typing import Any, Protocol, Self

from greenlit.errors import DataError
from greenlit.training.ppo.problems import Prompt


class Reward(Protocol):
    """A reward function, called as TRL calls them: by keyword, with every column of the rows.

    One that has a method `measured() -> dict[str, float]` is asked after each call for what else it saw.
    """

    def __call__(
        self, *, prompts: list[Any], completions: list[Any], completion_ids: list[list[int]], **columns: list[Any]
    ) -> Sequence[float | None]: ...


Scores = tuple[list[float | None], Mapping[str, float]]
"""Rewards in the order of the completions, and what the reward function measured besides."""


class Scoring:
    """Asks the reward function, from one thread that is always the same."""

    def __init__(self, reward: Reward, tokenizer: Any) -> None:
        self._reward, self._tokenizer = reward, tokenizer
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="reward")

    def ask(self, prompts: Sequence[Prompt], completions: Sequence[list[int]]) -> "Future[Scores]":
        """Begin to score one completion of each prompt."""
        return self._thread.submit(self._scores, list(prompts), list(completions))

    def _scores(self, prompts: list[Prompt], completions: list[list[int]]) -> Scores:
        texts = self._tokenizer.batch_decode(completions, skip_special_tokens=True, clean_up_tokenization_spaces=False)
        chat = not isinstance(prompts[0].row["prompt"], str)
        given = self._reward(
            prompts=[prompt.row["prompt"] for prompt in prompts],
            completions=[[{"role": "assistant", "content": text}] for text in texts] if chat else texts,
            completion_ids=completions,
            **{name: [prompt.row[name] for prompt in prompts] for name in prompts[0].row if name != "prompt"},
        )
        if len(given) != len(completions):
            raise DataError(
                f"ppo: the reward function returned {len(given)} rewards for {len(completions)} completions",
                hint="one for each, in their order; None for one that could not be found out",
            )
        measured = getattr(self._reward, "measured", dict)()
        return [_known(score) for score in given], measured

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._thread.shutdown(wait=True, cancel_futures=True)


def _known(score: float | None) -> float | None:
    """None for what could not be found out, also where the function says it with a nan."""
    return float(score) if score is not None and math.isfinite(score) else None
