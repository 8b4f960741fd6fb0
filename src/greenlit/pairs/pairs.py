"""Preference pairs: a program that passes is preferred to one that fails.

Hygiene: unlike programs only (equal up to renaming counts once), failures that came near the goal first, every
candidate used as evenly as possible, at most `max_pairs` per problem, truncated completions never.

Where problems have no tests, the completion with the higher reward is preferred, if the difference is large enough; the
largest differences first.
"""

import itertools
import math
import random
from collections import Counter
from collections.abc import Iterator

from greenlit.pairs.nbest import by_reward, learnt, ranked
from greenlit.types import Annotated, Pair, Problem

VERDICT_FIELDS = (
    "passed",
    "passed_hidden",
    "passed_all",
    "verdict",
    "tests_passed",
    "tests_total",
    "error",
    "match",
    "rewards",
    "reward",
)


def preference_pairs(
    problem: Problem,
    prompt: str | list[dict[str, str]],
    rows: list[Annotated],
    max_pairs: int,
    end: str,
    margin: float = 0.0,
) -> Iterator[Pair]:
    """Yield a problem's pairs.

    Args:
        prompt: as rendered for the model.
        end: the tokenizer's end-of-sequence token, put behind plain-text completions.
        margin: least difference of the rewards, where the problem has no tests.
    """
    chat = not isinstance(prompt, str)
    if problem.kind == "completion":
        found = _apart(by_reward(problem, rows, chat), max_pairs, margin)
    else:
        found = _spread(*ranked(rows), max_pairs)
    for chosen, rejected in found:
        yield Pair(
            prompt=prompt,
            chosen=completion_of(prompt, learnt(problem, chosen, chat), end),
            rejected=completion_of(prompt, learnt(problem, rejected, chat), end),
            task_id=problem.task_id,
            chosen_idx=chosen.candidate_idx,
            rejected_idx=rejected.candidate_idx,
            reason=_reason(problem, rejected),
        )


def _reason(problem: Problem, rejected: Annotated) -> str:
    if problem.kind == "completion":
        return "higher reward"
    return "pass over near miss" if rejected.tests_passed else f"pass over {rejected.verdict}"


def _apart(best_first: list[Annotated], most: int, margin: float) -> list[tuple[Annotated, Annotated]]:
    """Pairs whose rewards lie apart: every completion used as evenly as possible, the largest differences first."""
    count = len(best_first)
    every = ((best_first[place], best_first[other]) for place in range(count) for other in range(place + 1, count))
    apart = [
        (difference, place, pair)
        for place, pair in enumerate(every)
        if (difference := (pair[0].reward or 0.0) - (pair[1].reward or 0.0)) >= margin
    ]
    used: Counter[int] = Counter()
    chosen: list[tuple[Annotated, Annotated]] = []
    while apart and len(chosen) < most:
        best = min(apart, key=lambda one: (sum(used[row.candidate_idx] for row in one[2]), -one[0], one[1]))
        apart.remove(best)
        used.update(row.candidate_idx for row in best[2])
        chosen.append(best[2])
    return chosen


def completion_of(prompt: str | list[dict[str, str]], text: str, end: str) -> str | list[dict[str, str]]:
    """A completion in TRL's form: text up to and with the end token behind a text, a message behind messages."""
    return text + end if isinstance(prompt, str) else [{"role": "assistant", "content": text}]


def _spread(passing: list[Annotated], failing: list[Annotated], most: int) -> list[tuple[Annotated, Annotated]]:
    """Distinct combinations that use every candidate as evenly as possible, the best ranked first."""
    if not passing or not failing:
        return []
    passes, fails = len(passing), len(failing)
    round_trip = math.lcm(passes, fails)
    return [
        (passing[place % passes], failing[(place + place // round_trip) % fails])
        for place in range(min(most, passes * fails))
    ]


def shuffle_verdicts(rows: list[Annotated], seed: int) -> list[Annotated]:
    """Placebo: deal the verdicts of one problem's candidates out among them at random, in each round by itself.

    Pass rates stay as they are; what a program is no longer says anything about its verdict.
    """
    found: list[Annotated] = []
    for number, group in itertools.groupby(rows, key=lambda row: row.round or 0):
        dealt = list(group)
        verdicts = [{field: getattr(row, field) for field in VERDICT_FIELDS} for row in dealt]
        place = f"{seed}\0{dealt[0].task_id}" + (f"\0{number}" if number else "")
        random.Random(place).shuffle(verdicts)
        found += [row.model_copy(update=verdict) for row, verdict in zip(dealt, verdicts, strict=True)]
    return found
