"""Which round's model is taken: decided on validation, and only where the gain is more than chance.

    round k becomes the best when the paired difference of pass@1, round k - best so far, has its interval above 0

(of edit similarity, where problems have no tests). The base is round 0 and the best to begin with. So a tie goes to
the earlier one, and the base may win. Every round is one more look at validation, which flatters the winner a little;
the figure to believe is that of test.
"""

from collections.abc import Mapping
from typing import Any

from greenlit.evaluation.compare import compare, metrics_of

SPLIT = "validation"


class Choice:
    """The rounds so far, and which of them is the best."""

    def __init__(self, base: Mapping[str, Any]) -> None:
        """Begin with the base model's evaluation document."""
        self.documents = [base]
        self.best = 0
        self.against: list[int | None] = [None]
        """The round that each was compared with."""
        self.changes: list[dict[str, Any] | None] = [None]
        """What `compare` said; of each round the difference to the best before it."""
        self.better: list[bool | None] = [None]
        """Was each more than chance above the best before it?"""

    @property
    def metrics(self) -> list[str]:
        """The figures of a round; the first decides."""
        return metrics_of(self.documents[0])

    @property
    def without_gain(self) -> int:
        """Rounds since the best."""
        return len(self.documents) - 1 - self.best

    def add(self, document: Mapping[str, Any]) -> bool:
        """Add the next round's evaluation document; True if it is the best now.

        Raises:
            MismatchError: it was made differently, or holds other problems.
        """
        change = compare(self.documents[self.best], document, SPLIT)
        self.against.append(self.best)
        self.changes.append(change)
        self.documents.append(document)
        better = is_gain(change[self.metrics[0]])
        self.better.append(better)
        if better:
            self.best = len(self.documents) - 1
        return better


def is_gain(delta: Mapping[str, Any]) -> bool:
    """Is a paired difference above 0, its interval too? Not where no problem could be measured on both sides."""
    return delta["value"] is not None and delta["low"] > 0.0
