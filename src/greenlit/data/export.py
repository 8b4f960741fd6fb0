"""Write a dataset as the file of another tool; what does not fit is counted by reason, never left out in silence."""

import functools
import json
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from greenlit.data.calls import Unexportable
from greenlit.data.formats import FORMATS, trl_row
from greenlit.errors import DataError
from greenlit.jsonl import atomic_write
from greenlit.problems.records import Dropped
from greenlit.types import Problem

LEARNS = "trl"
"""The format that models are trained from; the others measure."""


@dataclass
class Exported:
    """What became of the problems."""

    written: int = 0
    other_splits: int = 0
    without_completion: int = 0
    left_out: Counter[str] = field(default_factory=Counter)
    """Reason → problems."""


def row_maker(to: str, chat: bool) -> Callable[[Problem], dict[str, Any]]:
    """The function that makes rows of a format."""
    return functools.partial(trl_row, chat=chat) if to == LEARNS else FORMATS[to]


def export(rows: Iterable[Problem | Dropped], to: str, out: Path, split: str | None, chat: bool = False) -> Exported:
    """Write the problems of a split (all, where None) as JSON Lines, atomically, streaming.

    Raises:
        DataError: nothing of it can be written; no file is made.
    """
    found, make = Exported(), row_maker(to, chat)
    with atomic_write(out) as stream:
        for row in rows:
            if isinstance(row, Dropped):
                found.left_out[f"dropped by the adapter: {row.reason}"] += 1
            elif split is not None and row.split != split:
                found.other_splits += 1
            else:
                _write(stream, row, make, found)
        if not found.written:
            counted = [*found.left_out.most_common(), ("of other splits", found.other_splits)]
            reasons = "; ".join(f"{count} {reason}" for reason, count in counted if count) or "no problems"
            raise DataError(f"--to {to}: nothing to write ({reasons})", hint="--split all takes every split")
    return found


def _write(stream: Any, problem: Problem, make: Callable[[Problem], dict[str, Any]], found: Exported) -> None:
    try:
        row = make(problem)
    except Unexportable as why:
        found.left_out[str(why)] += 1
        return
    found.written += 1
    found.without_completion += "prompt" in row and "completion" not in row and "canonical_solution" not in row
    stream.write(json.dumps(row, ensure_ascii=False) + "\n")
