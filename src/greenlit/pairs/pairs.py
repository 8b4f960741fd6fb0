"""Preference pairs: a program that passes is preferred to one that fails.

Hygiene: unlike programs only (equal up to renaming counts once), failures that came near the goal first, every
candidate used as evenly as possible, at most `max_pairs` per problem, truncated completions never.
"""

import math
import random
from collections.abc import Iterator

from greenlit.pairs.nbest import ranked
from greenlit.types import Annotated, Pair, Problem

VERDICT_FIELDS = (
    "passed",
    "passed_hidden",
    "passed_all",
    "verdict",
    "tests_passed",
    "tests_total",
    "error",
    "rewards",
    "reward",
)


def preference_pairs(
    problem: Problem, prompt: str | list[dict[str, str]], rows: list[Annotated], max_pairs: int, end: str
) -> Iterator[Pair]:
    """Yield a problem's pairs.

    Args:
        prompt: as rendered for the model.
        end: the tokenizer's end-of-sequence token, put behind plain-text completions.
    """
    passing, failing = ranked(rows)
    for chosen, rejected in _spread(passing, failing, max_pairs):
        reason = "pass over near miss" if rejected.tests_passed else f"pass over {rejected.verdict}"
        yield Pair(
            prompt=prompt,
            chosen=completion_of(prompt, chosen.text, end),
            rejected=completion_of(prompt, rejected.text, end),
            task_id=problem.task_id,
            chosen_idx=chosen.candidate_idx,
            rejected_idx=rejected.candidate_idx,
            reason=reason,
        )


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
    """Placebo: deal the verdicts of one problem's candidates out among them at random.

    Pass rates stay as they are; what a program is no longer says anything about its verdict.
    """
    verdicts = [{field: getattr(row, field) for field in VERDICT_FIELDS} for row in rows]
    random.Random(f"{seed}\0{rows[0].task_id}" if rows else seed).shuffle(verdicts)
    return [row.model_copy(update=verdict) for row, verdict in zip(rows, verdicts, strict=True)]
