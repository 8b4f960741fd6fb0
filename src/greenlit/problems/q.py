"""Problems in q, the language of kdb+, in three layouts. NOT RUN: no q was at hand, so no reference here ran either.

https://huggingface.co/datasets/morganstanley/sft-python-q-problems (Apache-2.0; statements: LeetCode), a row in words:
    problem_id           two-sum                     problem_name  1_two-sum
    difficulty           Easy                        tags          ["Array", ...]
    problem_description  Given an array of integers `nums` and an integer `target`, return indices ...
    python_solution      def solve(nums, target):\\n ...
    q_solution           solve:{[nums;target] ...}
    test_cases           [{"test_case_number": 1, "q_test_code": "result:solve[(2;7;11;15);9];\\nshow result;",
                           "q_expected_output": "0 1", "python_test_code": "print(solve(nums = [2,7,11,15], ...))",
                           "python_expected_output": "[0, 1]", "correct_answer": ...}, ...]
and leetcode_id, metadata: not used.

A folder per problem, as github.com/brendanhogan/fullstack_finetuning_q writes such rows, below train/ and test/ or not:
    problem_description.txt, python_sol.py, q_sol.q, test_case_1.py, python_exact_ans_test_case_1.txt, q_test_case_1.q,
    q_exact_ans_test_case_1.txt; older ones have sol.py, sol.q, test_case_1_correct_ans.txt; entry.json if there is one

Native q for HumanEval, github.com/gabiteodoru/human-eval-curated (MIT), a row:
    task_id     HumanEval/0
    q_solution  has_close_elements: {[numbers; threshold] ...}
    q_test      candidate: has_close_elements;\\n\\ncheck:{[candidate]\\n    .qython.assert[candidate[...] = 1b]; ... }
It says nothing of the task: the statements come from a HumanEval.jsonl or .jsonl.gz beside it, and some tests need its
qython.q, beside it too. All of it is the test split, as HumanEval is for evaluation only.

`dataset.variant` says what is asked: description_to_q (the default), python_to_q, or q_to_python (programs in Python).
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from greenlit.errors import DataError
from greenlit.problems.mbpp import called_by_all
from greenlit.problems.own import official_split
from greenlit.problems.q_tests import printed_test, shown_test
from greenlit.problems.records import Dropped, check_columns, plain_lines
from greenlit.types import AssertTest, Problem, ScriptTest

VARIANTS = ("description_to_q", "python_to_q", "q_to_python")
_TEXT = (str, type(None))
_COLUMNS: dict[str, type | tuple[type, ...]] = {
    "problem_id": (str, int), "problem_description": _TEXT, "python_solution": _TEXT, "q_solution": _TEXT,
    "test_cases": list,
}  # fmt: skip
_NATIVE: dict[str, type | tuple[type, ...]] = {"task_id": str, "q_solution": str, "q_test": str}
_CANDIDATE = re.compile(r"candidate:\s*(\.?[A-Za-z][\w.]*);")
_HELPER = re.compile(r"\.qython\.(?!assert2?\b)\w+")
_CALLED = re.compile(r"\(\.Q\.s ([A-Za-z.][\w.]*)\[")


def load_q(
    rows: Iterable[Mapping[str, Any]],
    variant: str = "description_to_q",
    statements: Mapping[str, str] | None = None,
    helpers: str = "",
) -> Iterator[Problem | Dropped]:
    """Yield the problems in the file's own order, or why a row gives none.

    Splits are the dataset's own where the row tells (`split`), with a tenth of train for validation; else by the hash.

    Args:
        variant: which of VARIANTS.
        statements: of native rows: HumanEval's prompts by task_id.
        helpers: of native rows: qython.q.

    Raises:
        DataError: a row lacks a column; the message names the row and the column.
    """
    for number, row in enumerate(rows, start=1):
        place = f"q: row {number}"
        if "q_test" in row:
            check_columns(place, row, _NATIVE)
            yield _native(row, statements or {}, helpers)
        else:
            check_columns(place, row, _COLUMNS)
            yield _problem(place, row, variant)


def _problem(place: str, row: Mapping[str, Any], variant: str) -> Problem | Dropped:
    task_id = f"q/{row['problem_id']}"
    to_python = variant == "q_to_python"
    asked = {"description_to_q": "problem_description", "python_to_q": "python_solution", "q_to_python": "q_solution"}
    text = plain_lines(row[asked[variant]] or "").strip()
    solution = plain_lines(row["python_solution" if to_python else "q_solution"] or "").strip()
    if not text:
        return Dropped(task_id, f"it has no {asked[variant]}")
    tests = [test for case in row["test_cases"] if (test := _test(place, case, to_python)) is not None]
    unread = len(list(row["test_cases"])) - len(tests)
    if not tests:
        return Dropped(task_id, "its tests cannot be read" if unread else "it has no tests", f"{unread} of them")
    entry = called_by_all(solution, tests) if to_python else _called_by_all(tests)
    if entry is None:
        return Dropped(task_id, "its tests do not call one function")
    return Problem(
        task_id=task_id,
        prompt=_prompt(text, variant, entry),
        language="python" if to_python else "q",
        entry_point=entry,
        tests=[AssertTest(code=test) for test in tests],
        reference=[solution + "\n"] if solution else [],
        split=official_split(task_id, row.get("split")),
        difficulty=row.get("difficulty"),
        source=f"q/{variant}",
        tags=[*(row.get("tags") or []), *([f"tests_left_out:{unread}"] if unread else [])],
    )


def _test(place: str, case: Any, to_python: bool) -> str | None:
    """A test's assertion; None where it is of a form that we do not read, or is of the other language only."""
    if not isinstance(case, Mapping):
        raise DataError(f"{place}: column `test_cases` must hold objects (found {type(case).__name__})")
    language = "python" if to_python else "q"
    code, output = case.get(f"{language}_test_code"), case.get(f"{language}_expected_output")
    output = case.get("correct_answer") if output is None else output
    if not isinstance(code, str) or not isinstance(output, str):
        return None
    return (printed_test if to_python else shown_test)(plain_lines(code), plain_lines(output).strip())


def _called_by_all(tests: list[str]) -> str | None:
    """The function that all assertions of ours call, `(.Q.s solve[...]) ~ ...`."""
    names = {found[1] for test in tests if (found := _CALLED.match(test))}
    return names.pop() if len(names) == 1 else None


def _prompt(text: str, variant: str, entry: str) -> str:
    if variant == "description_to_q":
        return f"{text}\n\nWrite a q function `{entry}` that solves it."
    source, target = ("Python", "q") if variant == "python_to_q" else ("q", "Python")
    fence = source.lower()
    return f"Translate this {source} program to {target}, with a function `{entry}`:\n```{fence}\n{text}\n```"


def _native(row: Mapping[str, Any], statements: Mapping[str, str], helpers: str) -> Problem | Dropped:
    task_id = f"q/{row['task_id']}"
    test = plain_lines(row["q_test"])
    named = _CANDIDATE.match(test)
    if not named:
        return Dropped(task_id, "its test names no function")
    needs_helpers = _HELPER.search(test) is not None
    if needs_helpers and not helpers:
        return Dropped(task_id, "its test needs qython.q, which does not lie beside the file")
    statement = statements.get(row["task_id"])
    entry = named[1]
    task = f"Write a q function `{entry}`"
    return Problem(
        task_id=task_id,
        prompt=f"{task} that does what this Python function should:\n\n{statement.strip()}"
        if statement
        else f"{task}.",
        language="q",
        entry_point=entry,
        setup=helpers if needs_helpers else "",
        tests=[ScriptTest(code=test)],
        reference=[plain_lines(row["q_solution"])],
        split="test",
        source="q/humaneval",
        tags=[] if statement else ["no_statement"],
    )
