"""What a reward model is worth: how often it prefers the chosen completion, beside what length alone achieves.

    accuracy = mean over problems of the mean over a problem's pairs of [r(chosen) > r(rejected)], 1/2 where equal

The unit is the problem, since pairs of one problem share their programs; intervals by bootstrap over problems. The
baseline prefers the shorter completion, or the longer one, whichever is right more often on the pairs learnt from; a
reward model that is no better has learnt to count tokens.
"""

from collections.abc import Sequence
from typing import Any, Literal

import numpy as np

from greenlit.evaluation.compare import interval, sign_flip_p
from greenlit.training.holdout import Row, problem_of

CONFIDENCE, RESAMPLES = 0.95, 10_000
Preference = Literal["shorter", "longer"]


def accuracy(rows: Sequence[Row], scores: Sequence[tuple[float, float]]) -> float:
    """Mean over problems.

    Args:
        rows: pairs; only their prompts matter.
        scores: of (chosen, rejected).
    """
    return float(np.mean(list(_by_problem(rows, _right(scores)).values())))


def baseline_of(rows: Sequence[Row]) -> Preference:
    """Which length is preferred in these pairs."""
    return "shorter" if accuracy(rows, _lengths(rows, "shorter")) >= 0.5 else "longer"


def measured(
    rows: Sequence[Row], scores: Sequence[tuple[float, float]], prefers: Preference, seed: int
) -> dict[str, Any]:
    """Accuracy of the scores and of the length baseline on these pairs, and their paired difference, with intervals.

    Args:
        rows: pairs with `chosen_ids` and `rejected_ids`.
    """
    learned_P = _by_problem(rows, _right(scores))
    length_P = _by_problem(rows, _right(_lengths(rows, prefers)))
    change_P = [learned_P[problem] - length_P[problem] for problem in learned_P]
    difference = interval(change_P, CONFIDENCE, RESAMPLES, seed, bounds=(-1.0, 1.0)).as_dict()
    return {
        "accuracy": interval(list(learned_P.values()), CONFIDENCE, RESAMPLES, seed).as_dict(),
        "length_baseline": {
            "prefers": prefers,
            "accuracy": interval(list(length_P.values()), CONFIDENCE, RESAMPLES, seed).as_dict(),
        },
        "difference": {**difference, "p": sign_flip_p(change_P, RESAMPLES, seed)},
        "confidence": CONFIDENCE,
    }


def _lengths(rows: Sequence[Row], prefers: Preference) -> list[tuple[float, float]]:
    """Scores by length alone; prompts are the same on both sides."""
    sign = -1.0 if prefers == "shorter" else 1.0
    return [(sign * len(row["chosen_ids"]), sign * len(row["rejected_ids"])) for row in rows]


def _right(scores: Sequence[tuple[float, float]]) -> list[float]:
    return [0.5 if chosen == rejected else float(chosen > rejected) for chosen, rejected in scores]


def _by_problem(rows: Sequence[Row], values: Sequence[float]) -> dict[str, float]:
    """Mean of each problem, in the order of their names."""
    grouped: dict[str, list[float]] = {}
    for row, value in zip(rows, values, strict=True):
        grouped.setdefault(problem_of(row), []).append(value)
    return {problem: float(np.mean(grouped[problem])) for problem in sorted(grouped)}
