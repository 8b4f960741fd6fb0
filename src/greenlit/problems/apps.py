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

from greenlit.problems.contest import STDIO_FRAME, Unusable, checker_of, prelude_of, read_solutions, read_tests
from greenlit.problems.own import split_of
from greenlit.problems.prompts import with_prelude
from greenlit.problems.records import Dropped, check_columns, plain_lines, profile_for
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
    checker = checker_of(row["question"])
    if checker is None:
        raise Unusable("several answers may be right")
    host = (urlsplit(row["url"]).hostname or "").removeprefix("www.")
    tests, name = read_tests(row["input_output"], host == "codewars.com", checker)
    solutions = read_solutions(row["solutions"])
    prelude = prelude_of(row["starter_code"], solutions, name)
    question = plain_lines(row["question"]).strip()
    return Problem(
        task_id=task_id,
        prompt=question if name else f"{question}\n\n{STDIO_FRAME}",
        entry_point=name,
        starter_code=plain_lines(row["starter_code"]),
        prelude=prelude,
        tests=tests,
        reference=[with_prelude(code, prelude) for code in solutions],
        profile=profile_for(solutions),
        split=split_of(task_id),
        difficulty=row["difficulty"],
        source=f"apps/{host}" if host else "apps",
    )
