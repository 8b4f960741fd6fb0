"""Rewards that say nothing about a program: what methods.py --placebo lets the online methods learn from.

A copy of this file lies as custom/placebo.py in the copy of the project, where `rewards.custom` names its functions.
"""

import random
from collections import defaultdict


def constant(completions: list[str]) -> list[float]:
    """1 for every completion."""
    return [1.0] * len(completions)


def shuffled(task_id: list[str], completions: list[str], passed: list[bool | None]) -> list[float | None]:
    """The verdicts of each problem's completions, dealt out among them at random; None where there is none to deal."""
    places = defaultdict(list)
    for place, name in enumerate(task_id):
        places[name].append(place)
    dealt: list[float | None] = [None] * len(completions)
    for name, own in places.items():
        verdicts = [None if passed[place] is None else float(passed[place]) for place in own]
        random.Random("\0".join([name, *(completions[place] for place in own)])).shuffle(verdicts)
        for place, verdict in zip(own, verdicts, strict=True):
            dealt[place] = verdict
    return dealt


def batch(completions: list[str], passed: list[bool | None]) -> list[float | None]:
    """The verdicts of all completions, dealt out among them: nothing is left of how hard a problem is, either.

    For methods whose baseline is not the problem's own mean: PPO learns from pass rates of problems.
    """
    places = [place for place, verdict in enumerate(passed) if verdict is not None]
    verdicts = [float(bool(passed[place])) for place in places]
    random.Random("\0".join(completions)).shuffle(verdicts)
    dealt: list[float | None] = [None] * len(completions)
    for place, verdict in zip(places, verdicts, strict=True):
        dealt[place] = verdict
    return dealt
