"""What completions earn: the reward function is asked as TRL asks it, or judges while the model goes on."""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

from greenlit.errors import DataError
from greenlit.training.ppo.problems import Prompt


class Reward(Protocol):
    """A reward function, called as TRL calls them: by keyword, with every column of the rows.

    One that has `submit(prompts, completions, task_id, completion_ids) -> Future` is asked by it, and judges while the
    model goes on; one that has `measured() -> dict[str, float]` is asked after each call for what else it saw.
    """

    def __call__(
        self, *, prompts: list[Any], completions: list[Any], completion_ids: list[list[int]], **columns: list[Any]
    ) -> Sequence[float | None]: ...


Scores = tuple[list[float | None], Mapping[str, float]]
"""Rewards in the order of the completions, and what the reward function measured besides."""
_OUR_OWN = ("reward/mean", "reward/std", "rewards/reward/", "truncated", "tokens/")
"""Beginnings of names that a reward function may measure too, and that our log has under another name."""


class Scoring:
    """Asks the reward function."""

    def __init__(self, reward: Reward, tokenizer: Any) -> None:
        self._reward, self._tokenizer = reward, tokenizer

    def ask(self, prompts: Sequence[Prompt], completions: list[list[int]]) -> Callable[[], Scores]:
        """Begin to score one completion of each prompt; what is returned waits for the scores."""
        texts = self._tokenizer.batch_decode(completions, skip_special_tokens=True, clean_up_tokenization_spaces=False)
        chat = not isinstance(prompts[0].row["prompt"], str)
        asked = {
            "prompts": [prompt.row["prompt"] for prompt in prompts],
            "completions": [[{"role": "assistant", "content": text}] for text in texts] if chat else texts,
            "completion_ids": completions,
        }
        columns = {name: [prompt.row[name] for prompt in prompts] for name in prompts[0].row if name != "prompt"}
        if hasattr(self._reward, "submit"):
            pending = self._reward.submit(**asked, task_id=columns["task_id"])
            return lambda: self._scores(pending.result(), len(completions))
        given = self._reward(**asked, **columns)
        return lambda: self._scores(given, len(completions))

    def _scores(self, given: Sequence[float | None], completions: int) -> Scores:
        if len(given) != completions:
            raise DataError(
                f"ppo: the reward function returned {len(given)} rewards for {completions} completions",
                hint="one for each, in their order; None for one that could not be found out",
            )
        measured = getattr(self._reward, "measured", dict)()
        kept = {name: value for name, value in measured.items() if not name.startswith(_OUR_OWN)}
        return [_known(score) for score in given], kept


def _known(score: float | None) -> float | None:
    """None for what could not be found out, also where the function says it with a nan."""
    return float(score) if score is not None and math.isfinite(score) else None
