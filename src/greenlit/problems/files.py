"""Files of problems."""

from collections.abc import Iterator
from pathlib import Path

from greenlit.errors import DataError
from greenlit.jsonl import read_numbered_rows, shortened
from greenlit.scratch import FirstPlaces
from greenlit.types import Problem


def read_problems(path: Path) -> dict[str, Problem]:
    """The problems of a file by task_id, in its order.

    Raises:
        DataError: malformed, empty, or a task_id stands twice.
    """
    problems: dict[str, Problem] = {}
    for _, problem in unlike_problems(path):
        problems[problem.task_id] = problem
    return problems


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
