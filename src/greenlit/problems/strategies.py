"""Hints on how to solve a problem, so that its candidates differ in more than chance: one per candidate, in turn.

The Bern project sampled each candidate with another hint, from a catalogue and from the model itself. Here a hint is
part of the prompt that a candidate is sampled with, and not of the prompt that is trained on: what it led to is learnt
without it.
"""

from collections.abc import Sequence

STRATEGIES = {
    "none": "",
    "loop": "Use a plain loop.",
    "recursion": "Use recursion.",
    "comprehension": "Use comprehensions and generator expressions.",
    "builtins": "Use built-in functions and the standard library where they help.",
    "functional": "Use small pure functions, map, filter and reduce.",
    "sorting": "Sort the data first.",
    "hashing": "Use a dictionary or a set for fast look-ups.",
    "two_pointers": "Use two pointers or a sliding window.",
    "dynamic_programming": "Use dynamic programming.",
    "arithmetic": "Look for a closed formula.",
    "early_return": "Handle the special cases first and return early.",
    "short": "Write as little code as possible.",
    "explicit": "Write every step out, with clear names.",
}
"""Name in params.yaml → what the model is told."""


def strategy_of(strategies: Sequence[str], candidate_idx: int) -> str | None:
    """The hint of one candidate: a text of STRATEGIES by its name, or the words themselves; None for none.

    The greedy candidate (-1) has none, so that it says what the model does by itself.
    """
    if not strategies or candidate_idx < 0:
        return None
    named = strategies[candidate_idx % len(strategies)]
    return STRATEGIES.get(named, named) or None
