"""Rows held out of training to measure on: whole problems, so that nothing of them was learnt.

A problem is known by its prompt: rows with the same prompt stay together, whatever file they come from.
"""

import hashlib
import json
from collections import Counter
from collections.abc import Sequence
from typing import Any

from greenlit.errors import DataError

Row = dict[str, Any]


def problem_of(row: Row) -> str:
    """What rows of one problem share: 16 hex digits of the prompt's hash."""
    return hashlib.sha256(json.dumps(row["prompt"], sort_keys=True).encode()).hexdigest()[:16]


def hold_out(rows: Sequence[Row], count: int, seed: int) -> tuple[list[Row], list[Row]]:
    """Rows to train on and rows held out, both in their order.

    Problems are drawn in the order of a hash of seed and prompt until they have `count` rows: the same problems are
    held out whatever the order of the rows, and a row more or less moves few of them.

    Args:
        count: rows to hold out at least; 0 holds out none.

    Raises:
        DataError: nothing would be left to train on.
    """
    if count == 0:
        return list(rows), []
    problems_R = [problem_of(row) for row in rows]
    sizes = Counter(problems_R)
    held: set[str] = set()
    held_rows = 0
    for problem in sorted(sizes, key=lambda one: hashlib.sha256(f"{seed} {one}".encode()).digest()):
        if held_rows >= count:
            break
        held.add(problem)
        held_rows += sizes[problem]
    if len(held) == len(sizes):
        raise DataError(
            f"eval_rows = {count}: nothing is left to train on (found {len(rows)} rows of {len(sizes)} problems; a "
            "problem is held out whole)",
            hint="lower eval_rows, or give more problems",
        )
    pairs = list(zip(rows, problems_R, strict=True))
    return [row for row, name in pairs if name not in held], [row for row, name in pairs if name in held]
