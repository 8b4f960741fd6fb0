"""Texts that end a completion, looked for in what the model has written, never in the prompt."""

from collections.abc import Sequence
from typing import Any

import numpy as np

_LONGEST_CHARACTER_BYTES = 4


class StopTexts:
    """Has a completion come to one of these texts?

    A text may be spread over tokens, and a token may hold more than it. Only the last tokens are looked at, and only
    where the newest one can hold the end of a stop text.
    """

    def __init__(self, texts: Sequence[str], tokenizer: Any) -> None:
        self._texts, self._tokenizer = list(texts), tokenizer
        longest_bytes = max(len(text.encode()) for text in texts)
        self._window = longest_bytes + _LONGEST_CHARACTER_BYTES
        self._last = {text[-1] for text in texts}
        # A piece of a longer character, or a space that a tokenizer drops at the start, does not show in one token.
        self._shows = all(last.isascii() and last != " " for last in self._last)
        self._may_end: dict[int, bool] = {}

    def end(self, tokens: np.ndarray) -> bool:
        """Do these tokens hold a stop text, which the last of them has ended?"""
        if self._shows and not self._can_end(int(tokens[-1])):
            return False
        text = self._decode(tokens[-self._window :].tolist())
        return any(stop in text for stop in self._texts)

    def cut(self, text: str) -> tuple[str, bool]:
        """A completion up to the first stop text, and whether there is one."""
        places = [place for stop in self._texts if (place := text.find(stop)) >= 0]
        return (text[: min(places)], True) if places else (text, False)

    def _can_end(self, token: int) -> bool:
        if token not in self._may_end:
            self._may_end[token] = any(last in self._decode([token]) for last in self._last)
        return self._may_end[token]

    def _decode(self, tokens: list[int]) -> str:
        return str(self._tokenizer.decode(tokens, skip_special_tokens=True, clean_up_tokenization_spaces=False))
