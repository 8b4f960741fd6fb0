"""APPS: https://huggingface.co/datasets/codeparrot/apps (MIT; statements belong to their sites)

A row, shortened (the columns of the raw files; `problem_id` is `id` there):
    problem_id    2404
    question      Given an array arr of positive integers sorted in a strictly increasing order, and an integer k. ...
    solutions     JSON text, a list: ["class Solution:\\n    def findKthPositive(self, ...", ...]; or nothing
    input_output  JSON text: {"fn_name": "findKthPositive", "inputs": [[[2, 3, 4], 5]], "outputs": [9]}; or nothing
    difficulty    introductory | interview | competition
    url           https://leetcode.com/problems/kth-missing-positive-number/
    starter_code  class Solution:\\n    def findKthPositive(self, arr: List[int], k: int) -> int:\\n        or ""

`contest.py` says how the tests read. The tests are few, often one: expect grade B from the oracle audit.
"""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any
from urllib.parse import urlsplit

from greenlit.problems.contest import Unusable, checker_of, fields_of
from greenlit.problems.records import Dropped, check_columns
from greenlit.types import Problem

_COLUMNS: dict[str, type | tuple[type, ...]] = {
    "question": str, "solutions": (str, list), "input_output": str, "difficulty": str, "url": str, "starter_code": str,
}  # fmt: skip


def load_apps(rows: Iterable[Mapping[str, Any]]) -> Iterator[Problem | Dropped]:
    """Yield the problems in the file's own order, or why a row gives none.

    The official halves number their problems alike, and lie in two files; each file gets splits by the hash of the id.

    Raises:
        DataError: a row lacks a column; the message names the row and the column.
    """
    for number, row in enumerate(rows, start=1):
        key = "problem_id" if "problem_id" in row else "id"
        check_columns(f"apps: row {number}", row, {key: int, **_COLUMNS})
        task_id = f"apps/{row[key]}"
        try:
            yield _problem(task_id, row)
        except Unusable as why:
            yield Dropped(task_id, *why.args)


def _problem(task_id: str, row: Mapping[str, Any]) -> Problem:
    host = (urlsplit(row["url"]).hostname or "").removeprefix("www.")
    fields = fields_of(task_id, row, checker_of(row["question"]), wrapped=host == "codewars.com")
    return Problem(**fields, source=f"apps/{host}" if host else "apps")
