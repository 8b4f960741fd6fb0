"""Calibrate a judge on annotated candidates: agreement with execution, and what it goes by besides.

What is asked: the scores of some unlike programs of each problem, as many passing as failing ones where there are both;
and one passing against one failing program of each problem, in both orders.
"""

import random
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import zip_longest
from typing import Any

from greenlit.feedback.agreement import Rated, auc_overall, auc_within, length_correlation, position_bias
from greenlit.feedback.judge import AiJudge
from greenlit.pairs.nbest import ranked
from greenlit.types import FORMAT_VERSION, Annotated, Problem

CONFIDENCE = 0.95
RESAMPLES = 2_000


@dataclass(frozen=True)
class Extent:
    """How much is asked."""

    problems: int = 60
    """Problems; those with both passing and failing candidates come first."""
    programs: int = 4
    """Programs of each."""


@dataclass(frozen=True)
class Sample:
    """The programs of one problem that are asked about."""

    problem: Problem
    rows: list[Annotated]

    @property
    def unequal(self) -> tuple[Annotated, Annotated] | None:
        """One that passes and one that fails, where there are both."""
        passing, failing = (next((row for row in self.rows if row.passed is said), None) for said in (True, False))
        return (passing, failing) if passing and failing else None


def draw(candidates: Iterable[tuple[Problem, list[Annotated]]], extent: Extent, seed: int) -> list[Sample]:
    """Problems and programs, drawn from the seed."""
    samples = []
    for problem, rows in candidates:
        chance = random.Random(f"{seed}\0{problem.task_id}")
        sides = [chance.sample(side, len(side)) for side in ranked(rows)]
        several = [row for both in zip_longest(*sides) for row in both if row is not None and row.solution.strip()]
        if several:
            samples.append(Sample(problem, several[: extent.programs]))
    random.Random(seed).shuffle(samples)
    samples.sort(key=lambda sample: sample.unequal is None)  # stable: the draw decides among equals
    return samples[: extent.problems]


def calibrate(judge: AiJudge, samples: list[Sample], dataset: str, seed: int) -> dict[str, Any]:
    """The calibration as a JSON-able dict.

    Raises:
        WorldError: the judge answered nothing.
    """
    asked = [(sample.problem, row) for sample in samples for row in sample.rows]
    scores = judge.scores([(problem, row.solution) for problem, row in asked])
    judge.require_answers(len(asked), sum(score is not None for score in scores))
    rated = [
        Rated(problem.task_id, bool(row.passed), score, len(row.solution))
        for (problem, row), score in zip(asked, scores, strict=True)
        if score is not None
    ]
    settings = (CONFIDENCE, RESAMPLES, seed)
    return {
        "format": FORMAT_VERSION,
        "judge": judge.identity,
        "dataset": dataset,
        "seed": seed,
        "confidence": CONFIDENCE,
        "problems": len(samples),
        "programs": len(asked),
        "passing": sum(row.passed is True for _, row in asked),
        "unscored": len(asked) - len(rated),
        "auc": auc_overall(rated, *settings),
        "auc_within": auc_within(rated, *settings),
        "length_correlation": length_correlation(rated, *settings),
        "position": _positions(judge, samples, seed),
        "served_by": sorted(judge.served_by),
        "faults": dict(judge.faults.counts),
        "cost": {"calls": judge.budget.calls, "tokens": judge.budget.tokens},
    }


def _positions(judge: AiJudge, samples: list[Sample], seed: int) -> dict[str, Any]:
    """Pass against fail, in both orders; which of them stands first in the first order is drawn."""
    chance = random.Random(seed)
    unequal = [(sample.problem, chance.sample(both, 2)) for sample in samples if (both := sample.unequal)]
    compared = judge.comparisons([(problem, *(row.solution for row in both)) for problem, both in unequal])
    right = [
        bool(both[one.better].passed)
        for (_, both), one in zip(unequal, compared, strict=True)
        if one.better is not None
    ]
    told = position_bias(compared)
    return {**told, "clear": len(right), "clear_and_right": sum(right)}


def extent_of(samples: list[Sample]) -> dict[str, int]:
    """What is going to be asked, for a progress bar."""
    unequal = sum(sample.unequal is not None for sample in samples)
    return {"scores": sum(len(sample.rows) for sample in samples), "comparisons": 2 * unequal}
