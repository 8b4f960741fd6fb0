"""The files of q problems: a folder per problem as rows, and what lies beside native problems; see q.py."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from greenlit.errors import DataError
from greenlit.jsonl import not_utf8, read_json, read_json_lines
from greenlit.problems.sources import copy_local, rows_of_folders

STATEMENTS = ("HumanEval.jsonl", "HumanEval.jsonl.gz")
HELPERS = "qython.q"
BESIDE = (*STATEMENTS, HELPERS)
_SPLITS = ("train", "validation", "test")
_COLUMNS = {
    "problem_description": ("problem_description.txt",),
    "python_solution": ("python_sol.py", "sol.py"),
    "q_solution": ("q_sol.q", "sol.q"),
}
_CASE = {
    "python_test_code": "test_case_{}.py",
    "q_test_code": "q_test_case_{}.q",
    "python_expected_output": "python_exact_ans_test_case_{}.txt",
    "q_expected_output": "q_exact_ans_test_case_{}.txt",
    "correct_answer": "test_case_{}_correct_ans.txt",
}
_NUMBER = re.compile(r"(?:q_)?test_case_(\d+)\.(?:q|py)")


def fetch_local(path: str, folder: Path) -> dict[str, Any]:
    """Bring what dataset.path names into the raw folder: a file and what lies beside it, or folders as rows.

    Raises:
        ConfigError: there is nothing there.
    """
    source = Path(path)
    if not source.is_dir():
        return _with_beside(path, folder)
    return rows_of_folders(path, folder_rows, folder / "q.jsonl", "two-sum/q_test_case_1.q")


def _with_beside(path: str, folder: Path) -> dict[str, Any]:
    facts = copy_local(path, folder)
    found = [file for name in BESIDE if (file := Path(path).with_name(name)).is_file() and file != Path(path)]
    return {**facts, "beside": [copy_local(str(file), folder) for file in found]}


def folder_rows(root: Path) -> Iterator[dict[str, Any]]:
    """A row per problem folder, in the order of the names; `split` where they lie below train/ or test/.

    Raises:
        DataError: a file is not UTF-8, or entry.json is no JSON object.
    """
    halves = [(name, root / name) for name in _SPLITS if (root / name).is_dir()]
    for split, half in halves or [(None, root)]:
        for folder in sorted(path for path in half.iterdir() if path.is_dir() and not path.name.startswith(".")):
            yield {**_row(folder), **({"split": split} if split else {})}


def _row(folder: Path) -> dict[str, Any]:
    entry = read_json(folder / "entry.json") if (folder / "entry.json").is_file() else {}
    if not isinstance(entry, dict):
        raise DataError(f"{folder / 'entry.json'}: must be a JSON object (found {type(entry).__name__})")
    numbers = {int(found[1]) for path in folder.iterdir() if (found := _NUMBER.fullmatch(path.name))}
    return {
        "problem_id": entry.get("task_id") or folder.name,
        "problem_name": folder.name,
        "difficulty": entry.get("difficulty"),
        "tags": entry.get("tags"),
        **{column: _text(folder, *names) for column, names in _COLUMNS.items()},
        "test_cases": [
            {"test_case_number": number, **{key: _text(folder, name.format(number)) for key, name in _CASE.items()}}
            for number in sorted(numbers)
        ],
    }


def _text(folder: Path, *names: str) -> str | None:
    """What stands in the first of these files that there is."""
    for name in names:
        path = folder / name
        if path.is_file():
            try:
                return path.read_text(encoding="utf-8")
            except UnicodeDecodeError as error:
                raise DataError(f"{path}: {not_utf8(error)}") from None
    return None


def read_statements(folder: Path) -> dict[str, str]:
    """HumanEval's prompts by task_id, where its file lies in the raw folder."""
    for name in STATEMENTS:
        if (folder / name).is_file():
            return {str(row.get("task_id")): str(row.get("prompt")) for _, row in read_json_lines(folder / name)}
    return {}


def read_helpers(folder: Path) -> str:
    """qython.q, where it lies in the raw folder."""
    return _text(folder, HELPERS) or ""
