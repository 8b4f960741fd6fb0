"""Own problems: a file of Problem records (see greenlit.types.Problem), JSON Lines or a JSON list.

A row, shortened:
    task_id      add-one
    prompt       Add one to a number.
    tests        [{"kind": "assert", "code": "assert inc(1) == 2"}, {"kind": "call", "input": [5], "output": 6}]
    reference    ["def inc(x): return x + 1"]          recommended: without it, broken tests go unnoticed
    split        train | validation | test             optional
or a simple record with test_cases: see own_rows.py.
"""

import hashlib
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from greenlit.errors import DataError
from greenlit.jsonl import first_fault, shortened
from greenlit.problems.own_rows import own_rows, plain_row
from greenlit.types import CallTest, Problem, Split

TEST_SHARE, VALIDATION_SHARE = 0.2, 0.1


def load_own(path: Path) -> Iterator[Problem]:
    """Yield the problems in the file's order; those without a split get one by the hash of their task_id.

    The hash keeps a problem where it is when others are added: of a large set, 70 % train, 10 % validation, 20 % test.

    Raises:
        DataError: `file:line: field: what`; also for an empty file, a task_id that stands twice, and a test that no
            program can pass because it expects NaN.
    """
    lines: dict[str, int] = {}
    read: Counter[str] = Counter()
    for number, row in own_rows(path):
        place = f"{path}:{number}"
        problem = _problem(plain_row(row, place, read), place)
        first = lines.setdefault(problem.task_id, number)
        if first != number:
            raise DataError(
                f"{place}: task_id: {shortened(problem.task_id)} stands on line {first} already",
                hint="each problem needs a task_id of its own",
            )
        yield problem if problem.split else problem.model_copy(update={"split": split_of(problem.task_id)})
    if not lines:
        raise DataError(f"{path}: no problems in it (the file is empty)", hint="one JSON object per line")
    if read:
        print(
            f"{path}: of the outputs given as text {read['literals']} were read as the values they spell "
            f'("5" as 5), {read["texts"]} spell none and stay text',
            file=sys.stderr,
        )


def _problem(row: Any, place: str) -> Problem:
    if not isinstance(row, dict):
        raise DataError(f"{place}: must be a JSON object (found {shortened(row)})")
    try:
        problem = Problem.model_validate(row)
    except ValidationError as error:
        raise DataError(f"{place}: {first_fault(error)}") from None
    for number, test in enumerate(problem.tests):
        if isinstance(test, CallTest) and _holds_nan(test.output):
            raise DataError(
                f"{place}: tests.{number}.call.output: NaN equals nothing, not even itself: no program could pass",
                hint="test it with an assert, e.g. `assert math.isnan(f(1))`",
            )
    return problem


def _holds_nan(value: Any) -> bool:
    if isinstance(value, list | dict):
        return any(map(_holds_nan, value.values() if isinstance(value, dict) else value))
    return value != value


def split_of(task_id: str) -> Split:
    """The split that a task_id falls into."""
    place = int.from_bytes(hashlib.sha256(task_id.encode()).digest()[:8]) / 2**64
    if place < TEST_SHARE:
        return "test"
    return "validation" if place < TEST_SHARE + VALIDATION_SHARE else "train"


def official_split(task_id: str, said: str | None) -> Split:
    """The dataset's own test split, and its own train split with a tenth of it for validation; the hash's without.

    Args:
        said: what the row says of its split; None where it says nothing.
    """
    drawn = split_of(task_id)
    if said is None:
        return drawn
    return "test" if said == "test" else "validation" if drawn == "validation" else "train"
