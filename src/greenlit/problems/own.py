"""Own problems: a JSONL file of Problem records (see greenlit.types.Problem), named in dataset.path.

A row, shortened:
    task_id      add-one
    prompt       Add one to a number.
    tests        [{"kind": "assert", "code": "assert inc(1) == 2"}, {"kind": "call", "input": [5], "output": 6}]
    reference    ["def inc(x): return x + 1"]          recommended: without it, broken tests go unnoticed
    split        train | validation | test             optional
"""

import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from greenlit.errors import DataError
from greenlit.problems.files import unlike_problems
from greenlit.types import CallTest, Problem, Split

TEST_SHARE, VALIDATION_SHARE = 0.2, 0.1


def load_own(path: Path) -> Iterator[Problem]:
    """Yield the problems in the file's order; those without a split get one by the hash of their task_id.

    The hash keeps a problem where it is when others are added: of a large set, 70 % train, 10 % validation, 20 % test.

    Raises:
        DataError: `file:line: field: what`; also for an empty file, a task_id that stands twice, and a test that no
            program can pass because it expects NaN.
    """
    for number, problem in unlike_problems(path):
        for place, test in enumerate(problem.tests):
            if isinstance(test, CallTest) and _holds_nan(test.output):
                raise DataError(
                    f"{path}:{number}: tests.{place}.call.output: NaN equals nothing, not even itself: "
                    "no program could pass",
                    hint="test it with an assert, e.g. `assert math.isnan(f(1))`",
                )
        yield problem if problem.split else problem.model_copy(update={"split": split_of(problem.task_id)})


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
