"""Files of problems."""

from pathlib import Path

from greenlit.errors import DataError
from greenlit.jsonl import read_rows
from greenlit.types import Problem


def read_problems(path: Path) -> dict[str, Problem]:
    """The problems of a file by task_id, in its order.

    Raises:
        DataError: malformed, empty, or a task_id stands twice.
    """
    problems: dict[str, Problem] = {}
    for problem in read_rows(path, Problem):
        if problem.task_id in problems:
            raise DataError(f"{path}: task_id: {problem.task_id!r} stands twice")
        problems[problem.task_id] = problem
    if not problems:
        raise DataError(f"{path}: no problems in it")
    return problems
