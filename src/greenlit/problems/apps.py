"""APPS: https://huggingface.co/datasets/codeparrot/apps (MIT; statements belong to their sites)

A row, shortened (the columns of the raw files; `problem_id` is `id` there):
    problem_id    2404
    question      Given an array arr of positive integers sorted in a strictly increasing order, and an integer k. ...
    solutions     JSON text, a list: ["class Solution:\\n    def findKthPositive(self, ...", ...]; or nothing
    input_output  JSON text: {"fn_name": "findKthPositive", "inputs": [[[2, 3, 4], 5]], "outputs": [9]}; or nothing
    difficulty    introductory | interview | competition
    url           https://leetcode.com/problems/kth-missing-positive-number/
    starter_code  class Solution:\\n    def findKthPositive(self, arr: List[int], k: int) -> int:\\n        or ""

The same as github.com/hendrycks/apps has it on disk, a folder per problem:
    train/0000/{question.txt, input_output.json, solutions.json, metadata.json, starter_code.py}

`contest.py` says how the tests read. The tests are few, often one: expect grade B from the oracle audit.
"""

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from greenlit.errors import DataError
from greenlit.jsonl import not_utf8, read_json
from greenlit.problems.contest import Unusable, checker_of, fields_of
from greenlit.problems.own import official_split
from greenlit.problems.records import Dropped, check_columns
from greenlit.types import Problem

_COLUMNS: dict[str, type | tuple[type, ...]] = {
    "question": str, "solutions": (str, list), "input_output": str, "difficulty": str, "url": str, "starter_code": str,
}  # fmt: skip


def load_apps(rows: Iterable[Mapping[str, Any]]) -> Iterator[Problem | Dropped]:
    """Yield the problems in the file's own order, or why a row gives none.

    The official halves number their problems alike: where the row tells its half (`split`), its id does too, and a
    tenth of train is for validation; else splits follow from the hash of the id.

    Raises:
        DataError: a row lacks a column; the message names the row and the column.
    """
    for number, row in enumerate(rows, start=1):
        key = "problem_id" if "problem_id" in row else "id"
        check_columns(f"apps: row {number}", row, {key: int, **_COLUMNS})
        half = row.get("split")
        task_id = f"apps/{half}/{row[key]}" if half else f"apps/{row[key]}"
        try:
            yield _problem(task_id, row)
        except Unusable as why:
            yield Dropped(task_id, *why.args)


def _problem(task_id: str, row: Mapping[str, Any]) -> Problem:
    host = (urlsplit(row["url"]).hostname or "").removeprefix("www.")
    fields = fields_of(task_id, row, checker_of(row["question"]), wrapped=host == "codewars.com")
    fields["split"] = official_split(task_id, row.get("split"))
    return Problem(**fields, source=f"apps/{host}" if host else "apps")


def folder_rows(root: Path) -> Iterator[dict[str, Any]]:
    """A row per problem folder below train/ and test/, in the order of their numbers.

    Raises:
        DataError: a folder without a number, a file that is not UTF-8, or metadata.json that is no JSON object.
    """
    for split in ("train", "test"):
        half = root / split
        for folder in sorted(path for path in half.iterdir() if path.is_dir()) if half.is_dir() else []:
            if not folder.name.isdecimal():
                raise DataError(f"{folder}: must be named by its problem's number, as in {split}/0000")
            told = read_json(folder / "metadata.json") if (folder / "metadata.json").is_file() else {}
            if not isinstance(told, dict):
                raise DataError(f"{folder / 'metadata.json'}: must be a JSON object (found {type(told).__name__})")
            yield {
                "problem_id": int(folder.name),
                "split": split,
                "question": _text(folder / "question.txt"),
                "solutions": _text(folder / "solutions.json"),
                "input_output": _text(folder / "input_output.json"),
                "starter_code": _text(folder / "starter_code.py"),
                "difficulty": str(told.get("difficulty") or ""),
                "url": str(told.get("url") or ""),
            }


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8") if path.is_file() else ""
    except UnicodeDecodeError as error:
        raise DataError(f"{path}: {not_utf8(error)}") from None
