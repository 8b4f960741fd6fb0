"""Figures of completions without tests: how near they come to the held-back text, instead of pass@k.

    edit_similarity          mean over a problem's samples of 1 - Levenshtein distance / length of the longer
    exact_match              share of a problem's samples that are the held-back text
    greedy_edit_similarity   the same two of the greedy completion
    greedy_exact_match

each averaged over the problems. `passed` is null throughout: nobody ran anything.
"""

from dataclasses import dataclass, field
from statistics import fmean, variance
from typing import Any

from greenlit.types import Annotated, Match

METRICS = ("edit_similarity", "exact_match", "greedy_edit_similarity", "greedy_exact_match")
GREEDY = "greedy_edit_similarity"
"""The figure of the likeliest completion that won and lost problems are counted by."""


@dataclass
class MatchTally:
    """What is remembered of one problem's completions."""

    similarities: list[float] = field(default_factory=list)
    exact: int = 0
    greedy: Match | None = None

    def add(self, row: Annotated) -> None:
        """Count a candidate; one without a match is of a problem with tests."""
        if row.match is None:
            return
        if row.decoding == "greedy":
            self.greedy = row.match
        else:
            self.similarities.append(row.match.edit_similarity)
            self.exact += row.match.exact

    def figures(self) -> dict[str, Any]:
        """The problem's entry in an evaluation's table; `variance` is that of its samples' edit similarity."""
        samples, greedy = self.similarities, self.greedy
        return {
            "n": len(samples),
            "edit_similarity": fmean(samples),
            "exact_match": self.exact / len(samples),
            "greedy_edit_similarity": greedy.edit_similarity if greedy else None,
            "greedy_exact_match": float(greedy.exact) if greedy else None,
            "variance": variance(samples) if len(samples) > 1 else None,
        }
