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

from greenlit.jsonl import read_rows
from greenlit.types import Problem, Split

TEST_SHARE, VALIDATION_SHARE = 0.2, 0.1


def load_own(path: Path) -> Iterator[Problem]:
    """Yield the problems in the file's order; those without a split get one by the hash of their task_id.

    The hash keeps a problem where it is when others are added: of a large set, 70 % train, 10 % validation, 20 % test.

    Raises:
        DataError: `file:line: field: what`.
    """
    for problem in read_rows(path, Problem):
        yield problem if problem.split else problem.model_copy(update={"split": split_of(problem.task_id)})


def split_of(task_id: str) -> Split:
    """The split that a task_id falls into."""
    place = int.from_bytes(hashlib.sha256(task_id.encode()).digest()[:8]) / 2**64
    if place < TEST_SHARE:
        return "test"
    return "validation" if place < TEST_SHARE + VALIDATION_SHARE else "train"
