"""Files of problems."""

import itertools
from collections import deque
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TypeVar

from greenlit.errors import DataError
from greenlit.jsonl import read_numbered_rows, shortened
from greenlit.scratch import FirstPlaces
from greenlit.types import Kind, Problem

Found = TypeVar("Found")
"""A problem, or what stands where a record gives none."""


def read_problems(path: Path) -> dict[str, Problem]:
    """The problems of a file by task_id, in its order.

    Raises:
        DataError: malformed, empty, a task_id stands twice, or they are of two kinds.
    """
    problems: dict[str, Problem] = {}
    for _, problem in unlike_problems(path):
        problems[problem.task_id] = problem
    kind_of(problems.values())
    return problems


def kind_of(problems: Iterable[Problem]) -> Kind:
    """The kind that all of them are of; `program` where there are none.

    Raises:
        DataError: they are of two kinds, which no figure could count together.
    """
    kind, rest = of_one_kind(problems)
    deque(rest, maxlen=0)
    return kind


def of_one_kind(found: Iterable[Found]) -> tuple[Kind, Iterator[Found]]:
    """The kind of the first problem, and all that was found, streaming, which raises at a problem of another kind."""
    source, waiting = iter(found), list[Found]()
    first = None
    for one in source:
        waiting.append(one)
        if isinstance(one, Problem):
            first = one
            break
    kind: Kind = first.kind if first else "program"
    return kind, _of_kind(kind, itertools.chain(waiting, source))


def _of_kind(kind: Kind, found: Iterable[Found]) -> Iterator[Found]:
    for one in found:
        if isinstance(one, Problem) and one.kind != kind:
            raise DataError(
                f"{one.task_id}: kind: {one.kind}, among problems of kind {kind}: with and without tests, nothing can "
                "be counted together",
                hint="make two datasets of them",
            )
        yield one


def unlike_problems(path: Path) -> Iterator[tuple[int, Problem]]:
    """Stream (line number, problem).

    Raises:
        DataError: as `read_problems`; a repeated task_id is told with both its lines.
    """
    first_place, number = FirstPlaces(), 0
    for number, problem in read_numbered_rows(path, Problem):
        first = first_place(problem.task_id, number)
        if first != number:
            raise DataError(
                f"{path}:{number}: task_id: {shortened(problem.task_id)} stands on line {first} already",
                hint="each problem needs a task_id of its own",
            )
        yield number, problem
    if not number:
        raise DataError(f"{path}: no problems in it (the file is empty)", hint="one JSON object per line")
