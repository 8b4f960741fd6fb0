"""MBPP+ and HumanEval+: https://github.com/evalplus/evalplus (Apache-2.0), in the layout called OriginFmt

On the hub as evalplus/mbppplus (378 rows) and evalplus/humanevalplus (164).

A row of MBPP+, shortened:
    task_id       793
    prompt        Write a python function to find the last position of an element in a sorted array.
    code          def last(arr,x):\\n    return len(arr)-arr[::-1].index(x) - 1\\n
    test_imports  []
    test_list     ["assert last([1,2,3],1) == 0", ...]        MBPP's own tests; some contradict the mended reference
    test          import numpy as np\\n...\\ninputs = [[[1, 2, 3], 1], ...]\\nresults = [0, ...]\\n
                  for i, (inp, exp) in enumerate(zip(inputs, results)):\\n    assertion(last(*inp), exp, 0)\\n
HumanEval+ has HumanEval's columns, and such a `test` inside `def check(candidate)`.

`plus_scripts.py` says how the scripts read: an assert for each input.

MBPP+ holds tasks of all of MBPP's splits, under MBPP's ids, and keeps these splits here: what is trained on MBPP or on
MBPP+ is measured on ids 11 to 510 only (224 tasks), never on one that it was trained on. HumanEval+ is for evaluation
only.
"""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from greenlit.errors import DataError
from greenlit.problems.humaneval import load_humaneval
from greenlit.problems.mbpp import called_by_all, split_of_id
from greenlit.problems.plus_scripts import tests_of
from greenlit.problems.records import check_columns, check_texts, plain_lines
from greenlit.types import AssertTest, Problem, ScriptTest

_COLUMNS: dict[str, type | tuple[type, ...]] = {
    "task_id": int, "prompt": str, "code": str, "test_imports": list, "test_list": list, "test": str,
}  # fmt: skip
ENTRY_TESTS = 3
"""Tests looked at to find out which function is asked for."""


def load_mbppplus(rows: Iterable[Mapping[str, Any]]) -> Iterator[Problem]:
    """Yield the problems of MBPP+ in the file's own order; nothing is dropped.

    Splits follow from the ids, as MBPP's; the tasks meant as examples for prompts get none.

    Raises:
        DataError: a row lacks a column; the message names the row and the column.
    """
    for number, row in enumerate(rows, start=1):
        place = f"mbppplus: row {number}"
        _refuse_native(place, row)
        check_columns(place, row, _COLUMNS)
        check_texts(place, row, ("test_imports", "test_list"))
        yield _mbpp_problem(place, row)


def load_humanevalplus(rows: Iterable[Mapping[str, Any]]) -> Iterator[Problem]:
    """Yield the problems of HumanEval+ in the file's own order; nothing is dropped.

    Raises:
        DataError: a row lacks a column; the message names the row and the column.
    """

    def checked() -> Iterator[Mapping[str, Any]]:
        for number, row in enumerate(rows, start=1):
            _refuse_native(f"humanevalplus: row {number}", row)
            yield row

    yield from load_humaneval(checked(), "humanevalplus")


def _refuse_native(place: str, row: Mapping[str, Any]) -> None:
    if "plus_input" in row:
        raise DataError(
            f"{place}: evalplus's native layout, which holds inputs and not what they should give",
            hint="take the OriginFmt file, e.g. MbppPlus-OriginFmt.jsonl, or the hub's evalplus/mbppplus",
        )


def _mbpp_problem(place: str, row: Mapping[str, Any]) -> Problem:
    task_id = int(row["task_id"])
    place = f"{place} (task_id {task_id})"
    split = split_of_id(task_id, place)
    code = plain_lines(row["code"])
    tests = tests_of(row["test"])
    if isinstance(tests[0], ScriptTest):  # which shows nobody what the function is called
        tests = [*(AssertTest(code=plain_lines(text).strip()) for text in row["test_list"]), *tests]
    asked = [test.code for test in tests if isinstance(test, AssertTest)][:ENTRY_TESTS]
    return Problem(
        task_id=f"mbpp/{task_id}",
        prompt=plain_lines(row["prompt"]).strip(),
        entry_point=called_by_all(code, asked),
        setup="\n".join(row["test_imports"]),
        tests=tests,
        reference=[code],
        split=split,
        source="mbppplus",
        tags=["prompt"] if split is None else [],
    )
