"""MBPP: https://huggingface.co/datasets/google-research-datasets/mbpp (CC-BY-4.0)

A row of `full`, shortened:
    task_id              601
    text                 Write a function to find the longest chain which can be formed from the given set of pairs.
    code                 class Pair(object): ...\\r\\ndef max_chain_length(arr, n): ...
    test_list            ["assert max_chain_length([Pair(5, 24), Pair(15, 25)], 4) == 3", ...]      always three
    test_setup_code      "" (two tasks only: `root = Node(1)`, with the reference's own class Node)
    challenge_test_list  [] (eleven tasks have some)

`sanitized` calls the text `prompt`, has `test_imports` instead of the set-up, and three to seven tests.
"""

import ast
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from greenlit.errors import DataError
from greenlit.execution.parsing import UNPARSABLE, parsed
from greenlit.jsonl import read_json, read_json_lines
from greenlit.problems.records import check_columns, check_texts, plain_lines
from greenlit.types import AssertTest, Problem, Split

VARIANTS = ("full", "sanitized")
_COLUMNS: dict[str, dict[str, type]] = {
    "full": {"text": str, "test_setup_code": str, "challenge_test_list": list},
    "sanitized": {"prompt": str, "test_imports": list},
}
_LISTS = ("test_list", "test_imports", "challenge_test_list")
_COMMON: dict[str, type] = {"task_id": int, "code": str, "test_list": list}
_SPLITS: tuple[tuple[range, Split | None], ...] = (
    (range(1, 11), None),
    (range(11, 511), "test"),
    (range(511, 601), "validation"),
    (range(601, 975), "train"),
)


def read_mbpp_file(path: Path) -> tuple[list[dict[str, Any]], str]:
    """The rows of a local file and which variant they are: upstream, `full` is JSONL and `sanitized` one JSON array.

    Raises:
        DataError: neither of the two.
    """
    try:
        with path.open("rb") as stream:
            start = stream.read(64)
    except FileNotFoundError:
        raise DataError(f"{path}: no such file") from None
    if path.suffix != ".gz" and start.lstrip(b"\xef\xbb\xbf \t\r\n").startswith(b"["):
        rows = read_json(path)
    else:
        rows = [row for _, row in read_json_lines(path)]
    if not rows or not all(isinstance(row, dict) for row in rows):
        raise DataError(f"{path}: no rows of MBPP in it")
    for variant, columns in _COLUMNS.items():
        if next(iter(columns)) in rows[0]:
            return rows, variant
    raise DataError(f"{path}: row 1: has neither column `text` (full) nor `prompt` (sanitized)")


def load_mbpp(rows: Iterable[Mapping[str, Any]], variant: str = "full") -> Iterator[Problem]:
    """Yield the problems in the file's own order; nothing is dropped silently.

    The file has no split column; the splits follow from the ids as on the hub. Ids 1 to 10 are meant as examples for
    few-shot prompts: they get no split, and the tag `prompt`. Challenge tests are hidden tests; other roles are left to
    the prepare stage.

    Raises:
        DataError: a row lacks a column; the message names the row and the column.
    """
    if variant not in VARIANTS:
        raise DataError(f"mbpp has no variant {variant!r}: it has {', '.join(VARIANTS)}")
    for number, row in enumerate(rows, start=1):
        place = f"mbpp ({variant}): row {number}"
        if isinstance(row.get("task_id"), int):
            place += f" (task_id {row['task_id']})"
        check_columns(place, row, {**_COMMON, **_COLUMNS[variant]})
        check_texts(place, row, _LISTS)
        yield _problem(number, row, variant)


def _problem(number: int, row: Mapping[str, Any], variant: str) -> Problem:
    task_id = int(row["task_id"])
    split = split_of_id(task_id, f"mbpp ({variant}): row {number}")
    code = plain_lines(row["code"])  # nearly all code is CRLF, four rows hold a bare CR
    tests = [plain_lines(test).strip() for test in row["test_list"]]
    if not tests:
        raise DataError(f"mbpp ({variant}): row {number} (task_id {task_id}): column `test_list` is empty")
    challenge = [plain_lines(test).strip() for test in row.get("challenge_test_list", [])] if variant == "full" else []
    prompt = plain_lines(row["text" if variant == "full" else "prompt"]).strip()
    setup = plain_lines(row["test_setup_code"] if variant == "full" else "\n".join(row["test_imports"]))
    tags = ["prompt"] if split is None else []
    classes = _classes_used(code, setup)
    if classes:
        # The tests build their inputs from a class that only the reference defines: show it, and bring it along.
        tags.append("needs_class")
        prompt = f"{prompt}\n\nThe arguments are built from:\n{classes}"
        setup = f"{classes}\n{setup}"
    return Problem(
        task_id=f"mbpp/{task_id}",
        prompt=prompt,
        entry_point=called_by_all(code, tests),
        setup=setup,
        tests=[AssertTest(code=test) for test in tests] + [AssertTest(code=test, role="hidden") for test in challenge],
        reference=[code],
        split=split,
        source=f"mbpp/{variant}",
        tags=tags,
    )


def split_of_id(task_id: int, place: str) -> Split | None:
    """The split of a task of MBPP; None for the ten that are meant as examples for prompts.

    Raises:
        DataError: MBPP has no such task.
    """
    for ids, name in _SPLITS:
        if task_id in ids:
            return name
    raise DataError(f"{place}: column `task_id` must be 1 to 974 (found {task_id})")


def _parse(code: str) -> list[ast.stmt]:
    try:
        return parsed(code).body
    except UNPARSABLE:
        return []


def _classes_used(code: str, setup: str) -> str:
    """Source of the reference's classes that the set-up constructs."""
    used = {node.id for part in _parse(setup) for node in ast.walk(part) if isinstance(node, ast.Name)}
    classes = [node for node in _parse(code) if isinstance(node, ast.ClassDef) and node.name in used]
    return "\n\n".join(ast.unparse(node) for node in classes)


def called_by_all(code: str, tests: list[str]) -> str | None:
    """The name that every test calls and the reference defines; a function before a class that tests only construct."""
    defined = {
        node.name: node
        for node in _parse(code)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef)
    }
    called = [_called_names(test) for test in tests]
    common = [name for name in defined if all(name in names for names in called)]
    functions = [name for name in common if not isinstance(defined[name], ast.ClassDef)]
    return next(iter(functions or common), None)


def _called_names(test: str) -> set[str]:
    calls = (node.func for part in _parse(test) for node in ast.walk(part) if isinstance(node, ast.Call))
    return {function.id for function in calls if isinstance(function, ast.Name)}
