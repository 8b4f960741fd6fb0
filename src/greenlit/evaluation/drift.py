"""Has a model become worse since it was measured first? The paired difference on the problems of both measurements.

Refreshed data may have lost problems and won others. Those in both are compared, as `compare` does it; a problem whose
text was changed under the same id counts as the same problem.
"""

from collections.abc import Mapping
from typing import Any

from greenlit.evaluation.compare import compare, metrics_of


def drift(first: Mapping[str, Any], now: Mapping[str, Any], split: str) -> dict[str, Any] | None:
    """The change of the first figure (pass@k with the smallest k) on the problems that both evaluations hold.

    Returns:
        {"metric", "value", "low", "high", "n", "p"}; None where no problem is in both, or none could be measured.

    Raises:
        MismatchError: they were made with other settings.
    """
    both = _problems(first, split).keys() & _problems(now, split).keys()
    if not both:
        return None
    metric = metrics_of(now)[0]
    delta = compare(_only(first, split, both), _only(now, split, both), split)[metric]
    return None if delta["value"] is None else {"metric": metric, **delta}


def is_regression(delta: Mapping[str, Any], margin: float) -> bool:
    """Is the change below -margin beyond chance?"""
    return bool(delta["high"] < -margin)


def _problems(document: Mapping[str, Any], split: str) -> Mapping[str, Any]:
    return document["splits"].get(split, {}).get("problems", {})


def _only(document: Mapping[str, Any], split: str, kept: set[str]) -> dict[str, Any]:
    rows = {task_id: row for task_id, row in _problems(document, split).items() if task_id in kept}
    return {**document, "splits": {**document["splits"], split: {**document["splits"][split], "problems": rows}}}
