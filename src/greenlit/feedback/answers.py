"""Read a judge's answer strictly: the object that was asked for, or None. Nothing is searched for in a text.

A program can make a careless judge repeat its words. So the whole answer must be the object (in a fence of its own at
most), with exactly its keys, each once, whole numbers in their range, and the mark, which no program can hold.
"""

import json
import re
from typing import Any

from greenlit.feedback.rubrics import HIGHEST, Rubric

_FENCE = re.compile(r"```(?:json)?[ \t]*\n(.*)\n[ \t]*```", re.DOTALL)
_LONGEST = 100_000
"""Characters of an answer that is looked at."""


def score_of(text: str, mark: str, rubric: Rubric) -> float | None:
    """sum_c weight_c * score_c / (HIGHEST * sum_c weight_c), in [0, 1]; None where the answer is not as asked for."""
    answer = _object(text, {"mark", "reason", *rubric.weights}, mark)
    if answer is None:
        return None
    given = {name: answer[name] for name in rubric.weights}
    if any(type(value) is not int or not 0 <= value <= HIGHEST for value in given.values()):
        return None
    total = sum(weight * given[name] for name, weight in rubric.weights.items())
    return round(total / (HIGHEST * sum(rubric.weights.values())), 9)  # equal sums in another order are equal scores


def better_of(text: str, mark: str) -> str | None:
    """`first`, `second` or `equal`; None where the answer is not as asked for."""
    answer = _object(text, {"mark", "reason", "better"}, mark)
    better = answer["better"] if answer else None
    return better if better in ("first", "second", "equal") else None


def _object(text: str, keys: set[str], mark: str) -> dict[str, Any] | None:
    if len(text) > _LONGEST:
        return None
    fenced = _FENCE.fullmatch(text.strip())
    try:
        answer = json.loads(fenced[1] if fenced else text, object_pairs_hook=_each_once)
    except (ValueError, RecursionError):
        return None
    as_asked = isinstance(answer, dict) and answer.keys() == keys
    if not as_asked or answer["mark"] != mark or not isinstance(answer["reason"], str):
        return None
    return answer


def _each_once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    content = dict(pairs)
    if len(content) != len(pairs):
        raise ValueError("a key stands twice")
    return content
