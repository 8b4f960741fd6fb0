"""Does a judge agree with execution, and what else does it go by? Area under the curve, length and position.

    AUC = P(score of a passing program > score of a failing one) + P(equal) / 2
        = (R - n_pass (n_pass + 1) / 2) / (n_pass n_fail)        R: sum of the passing programs' ranks, ties averaged

(Mann and Whitney 1947; https://en.wikipedia.org/wiki/Mann%E2%80%93Whitney_U_test). 0.5 is what a coin gives. It is
taken in two ways, since a judge that only tells easy problems from hard ones looks good on all programs together, and
teaches nothing about any one problem:

    auc          over all programs together; interval by resampling problems with all their programs
    auc_within   the mean over problems with both a pass and a fail of the AUC among that problem's programs; interval
                 as of every figure here (see `evaluation.compare.interval`)
"""

from collections import defaultdict
from collections.abc import Callable, Hashable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from greenlit.evaluation.compare import interval
from greenlit.feedback.judge import Comparison

Places = NDArray[np.int64]


@dataclass(frozen=True)
class Rated:
    """A program that both execution and the judge have something to say of."""

    task_id: str
    passed: bool
    score: float
    length: int
    """Characters."""


def auc(passed_N: ArrayLike, scores_N: ArrayLike) -> float | None:
    """Area under the ROC curve, ties counted half; None without both a pass and a fail."""
    passed_N = np.asarray(passed_N, dtype=bool)
    passes, fails = int(passed_N.sum()), int((~passed_N).sum())
    if not passes or not fails:
        return None
    _, place_N, counts_V = np.unique(np.asarray(scores_N, dtype=np.float64), return_inverse=True, return_counts=True)
    ranks_V = np.cumsum(counts_V) - (counts_V - 1) / 2
    return float(ranks_V[place_N][passed_N].sum() - passes * (passes + 1) / 2) / (passes * fails)


def auc_overall(rated: Sequence[Rated], confidence: float, resamples: int, seed: int) -> dict[str, Any]:
    """{"value", "low", "high", "n"}: of all programs together; n counts programs."""
    passed_N, scores_N = np.array([row.passed for row in rated]), np.array([row.score for row in rated])

    def of(drawn_N: Places, _: Places) -> float | None:
        return auc(passed_N[drawn_N], scores_N[drawn_N])

    return _resampled(rated, of, confidence, resamples, seed)


def auc_within(rated: Sequence[Rated], confidence: float, resamples: int, seed: int) -> dict[str, Any]:
    """{"value", "low", "high", "n"}: of programs of the same problem; n counts problems."""
    found = [
        auc([rated[place].passed for place in places], [rated[place].score for place in places])
        for places in _by(rated, lambda row: row.task_id)
    ]
    return interval([one for one in found if one is not None], confidence, resamples, seed).as_dict()


def length_correlation(rated: Sequence[Rated], confidence: float, resamples: int, seed: int) -> dict[str, Any]:
    """Correlation of score and log length among programs of the same problem with the same verdict.

    Execution tells nothing between these, so that what length explains here is the judge's taste. Pearson's, of the
    differences from the mean of their (problem, verdict); null where nothing differs.
    """
    groups = _by(rated, lambda row: (row.task_id, row.passed))
    alike = [rated[place] for places in groups if len(places) > 1 for place in places]
    passed_N, scores_N = np.array([row.passed for row in alike]), np.array([row.score for row in alike])
    lengths_N = np.log(np.array([max(row.length, 1) for row in alike], dtype=np.float64))

    def of(drawn_N: Places, copies_N: Places) -> float | None:
        _, group_N = np.unique(2 * copies_N + passed_N[drawn_N], return_inverse=True)
        score_N, length_N = _centred(scores_N[drawn_N], group_N), _centred(lengths_N[drawn_N], group_N)
        size = float(np.sqrt((score_N**2).sum() * (length_N**2).sum()))
        return float((score_N * length_N).sum()) / size if size > _NOTHING else None

    return _resampled(alike, of, confidence, resamples, seed)


def position_bias(compared: Sequence[Comparison]) -> dict[str, Any]:
    """How often the order decides: share of pairs whose answer flips with it, share of `first` among all answers."""
    clear = [one for one in compared if one.flipped is not None]
    chosen = [place for one in clear for place in (one.forward, one.backward) if place != "equal"]
    return {
        "pairs": len(compared),
        "unanswered": len(compared) - len(clear),
        "flips": sum(one.flipped is True for one in clear),
        "flip_share": sum(one.flipped is True for one in clear) / len(clear) if clear else None,
        "first_share": chosen.count("first") / len(chosen) if chosen else None,
    }


_NOTHING = 1e-12


def _centred(values_N: NDArray[np.float64], group_N: Places) -> NDArray[np.float64]:
    return values_N - (np.bincount(group_N, values_N) / np.bincount(group_N))[group_N]


def _by(rated: Sequence[Rated], name: Callable[[Rated], Hashable]) -> list[list[int]]:
    """Places of the rows of each name."""
    places: dict[Hashable, list[int]] = defaultdict(list)
    for place, row in enumerate(rated):
        places[name(row)].append(place)
    return list(places.values())


def _resampled(
    rated: Sequence[Rated],
    statistic: Callable[[Places, Places], float | None],
    confidence: float,
    resamples: int,
    seed: int,
) -> dict[str, Any]:
    """A statistic with its percentile bootstrap interval over problems; resamples that have none are left out.

    Args:
        statistic: of drawn rows: their places, and which of the drawn problems each belongs to.
    """
    problems = [np.array(places) for places in _by(rated, lambda row: row.task_id)]
    nothing = {"value": None, "low": None, "high": None, "n": len(rated)}
    if not problems:
        return nothing

    def of(drawn: Iterable[int]) -> float | None:
        taken = [problems[place] for place in drawn]
        return statistic(np.concatenate(taken), np.repeat(np.arange(len(taken)), [len(one) for one in taken]))

    value = of(range(len(problems)))
    if value is None:
        return nothing
    rng = np.random.default_rng(seed)
    drawn = (rng.integers(len(problems), size=len(problems)) for _ in range(resamples))
    found = [one for one in map(of, drawn) if one is not None]
    low, high = np.quantile(found, [(1 - confidence) / 2, (1 + confidence) / 2]) if found else (value, value)
    return nothing | {"value": value, "low": float(low), "high": float(high)}
