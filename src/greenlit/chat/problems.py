"""A problem as a person types it, and as a row of the `file` dataset (see `problems.own`)."""

import ast
import hashlib
import json
import re
from dataclasses import dataclass
from pathlib import Path

from greenlit.appending import Appending
from greenlit.errors import DataError
from greenlit.jsonl import one_line, read_json_lines
from greenlit.types import AssertTest, Problem


@dataclass(frozen=True)
class Typed:
    """A problem, and the tests as they were typed; the first one stands in the prompt."""

    problem: Problem
    tests: tuple[str, ...]


def problem_of(text: str, tests: str) -> Typed:
    """A problem of words and asserts; without tests a program only has to run.

    Raises:
        DataError: a test is no assert.
    """
    lines = tuple(line.strip() for line in tests.splitlines() if line.strip())
    for line in lines:
        if not _is_assert(line):
            raise DataError(f"tests: must be asserts, one a line (found {one_line(line, 60)})", hint="assert f(1) == 2")
    asserts = [AssertTest(code=line, role="reward" if place else "shown") for place, line in enumerate(lines)]
    problem = Problem(
        task_id=name_of(text, lines),
        prompt=text.strip(),
        entry_point=_called(lines),
        tests=asserts or [AssertTest(code="assert True")],
        source="chat",
    )
    return Typed(problem, lines)


def name_of(text: str, tests: tuple[str, ...]) -> str:
    """A task_id: the first words, and a hash that tells problems of the same words apart."""
    words = re.findall(r"[a-z0-9]+", text.lower())[:4]
    digest = hashlib.sha256("\0".join([text.strip(), *tests]).encode("utf-8", "surrogatepass")).hexdigest()[:8]
    return "-".join([*words, digest])


def _is_assert(line: str) -> bool:
    try:
        body = ast.parse(line).body
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return False
    return len(body) == 1 and isinstance(body[0], ast.Assert)


def _called(tests: tuple[str, ...]) -> str | None:
    """The function that the first test calls first."""
    for line in tests[:1]:
        calls = [node for node in ast.walk(ast.parse(line)) if isinstance(node, ast.Call)]
        names = [call.func.id for call in calls if isinstance(call.func, ast.Name)]
        own = [name for name in names if name not in _BUILT_IN]
        return own[0] if own else None
    return None


_BUILT_IN = frozenset(dir(__builtins__) if not isinstance(__builtins__, dict) else __builtins__)


def save_problem(path: Path, typed: Typed, reference: str | None) -> str:
    """Add the problem to a file, unless it stands there; say what was done.

    Args:
        reference: a program that passes its tests.

    Raises:
        DataError: the file is none of problems.
        BlockingIOError: another process writes to it.
    """
    task_id = typed.problem.task_id
    if path.exists() and any(row.get("task_id") == task_id for _, row in read_json_lines(path)):
        return f"{path}: {task_id} stands there already"
    row = {
        "task_id": task_id,
        "prompt": typed.problem.prompt,
        "entry_point": typed.problem.entry_point,
        "reference": [] if reference is None else [reference],
        "tests": [{"kind": "assert", "code": code} for code in typed.tests],
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    with Appending(path) as file:
        file.append([json.dumps(row, ensure_ascii=False).encode("utf-8", "replace") + b"\n"])
    missing = "" if reference else "; no program passed, so it has no reference: broken tests would go unnoticed"
    return f"{path}: added {task_id}{missing}\nto learn from it: dataset: {{name: file, path: {path}}}"
