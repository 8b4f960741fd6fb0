"""LeetCodeDataset: https://huggingface.co/datasets/newfacade/LeetCodeDataset (Apache-2.0; statements: LeetCode)

A row of v0.3, shortened:
    task_id              shortest-distance-after-road-addition-queries-i
    prompt               import random\\n...\\nfrom typing import *\\n...\\nclass ListNode: ...\\ndef list_node ...
    starter_code         class Solution:\\n    def shortestDistanceAfterQueries(self, n: int, ...) -> List[int]:\\n
    completion           class Solution:\\n    def shortestDistanceAfterQueries( ...        (the reference)
    entry_point          Solution().shortestDistanceAfterQueries
    test                 def check(candidate):\\n    assert candidate(n = 7,queries = [[0, 5], ...]) == [2, 2, 2]\\n ...
    problem_description  You are given an integer n and a 2D integer array queries. ...
    difficulty           Medium
    tags                 ["Breadth-First Search", "Graph", "Array"]
and question_id, estimated_date, input_output (may hold `Error: ...`), query, response (may be empty): not used.
v0.2 has neither of the last three, nor starter_code: `meta` holds question_title (the whole statement), lang_code
(the starter) and difficulty; it has two or three tests a problem, v0.3 about a hundred.

The dataset's program is prompt + completion + test + `check({entry_point})`. So `prompt`, which is imports and helper
classes, becomes the `prelude` of every program, the reference's too. Each assert of `check` becomes a test of its own,
calling the entry point.

"in any order" makes the comparison unordered, "within 10^-5" a comparison of floats; problems that ask for any of
several answers are left out, with the reason: their tests know only one.
"""

import ast
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from greenlit.execution.parsing import UNPARSABLE, parsed
from greenlit.problems.own import official_split
from greenlit.problems.prompts import with_prelude
from greenlit.problems.records import Dropped, check_columns, plain_lines, profile_for
from greenlit.types import AssertTest, Checker, Problem, ScriptTest, Test

_COLUMNS: dict[str, type | tuple[type, ...]] = {
    "task_id": str, "prompt": str, "completion": str, "entry_point": str, "test": str,
}  # fmt: skip
_NEW: dict[str, type | tuple[type, ...]] = {
    "problem_description": str, "starter_code": str, "difficulty": str, "tags": list,
}  # fmt: skip
_META: dict[str, type | tuple[type, ...]] = {"question_title": str, "lang_code": str, "difficulty": str}
_ANY_ANSWER = re.compile(
    r"\b(?:return|choose|find|output)\s+any\s+(?:one|of|valid|such|answer|solution|possible|array|string|permutation)"
    r"|\bany (?:one )?of (?:them|these)\b(?! is)|\bany valid (?:answer|array|string|permutation|sequence|way)\b",
    re.IGNORECASE,
)
_ANY_ORDER = re.compile(r"\b(?:in|are) any order\b", re.IGNORECASE)
_TOLERANCE = re.compile(r"(?:within|less than) 10\s*\^?\s*-\s*\d", re.IGNORECASE)


def load_leetcode(rows: Iterable[Mapping[str, Any]]) -> Iterator[Problem | Dropped]:
    """Yield the problems in the file's own order, or why a row gives none.

    Splits are the dataset's own where the row tells (`split`), with a tenth of train for validation; else by the hash.

    Raises:
        DataError: a row lacks a column; the message names the row and the column.
    """
    for number, row in enumerate(rows, start=1):
        place = f"leetcode: row {number}"
        check_columns(place, row, _COLUMNS)
        if "meta" in row:
            check_columns(f"{place}: meta", row["meta"], _META)
            meta = row["meta"]
            statement, starter = meta["question_title"], f"{meta['lang_code'].rstrip()}\n        "
            difficulty, tags = meta["difficulty"], list(meta.get("tags") or [])
        else:
            check_columns(place, row, _NEW)
            statement, starter = row["problem_description"], row["starter_code"]
            difficulty, tags = row["difficulty"], list(row["tags"])
        task_id = f"leetcode/{row['task_id']}"
        checker = checker_of(statement)
        if checker is None:
            yield Dropped(task_id, "several answers may be right")
            continue
        prelude, test = plain_lines(row["prompt"]), plain_lines(row["test"])
        reference = [with_prelude(plain_lines(row["completion"]), prelude)]
        yield Problem(
            task_id=task_id,
            prompt=plain_lines(statement).strip(),
            entry_point=row["entry_point"],
            starter_code=plain_lines(starter),
            prelude=prelude,
            tests=_tests(test, row["entry_point"], checker),
            reference=reference,
            profile=profile_for(reference),
            split=official_split(task_id, row.get("split")),
            difficulty=difficulty,
            source="leetcode",
            tags=tags,
        )


def checker_of(statement: str) -> Checker | None:
    """How answers are compared, as far as a statement of leetcode.com tells; None where several may be right."""
    if _ANY_ANSWER.search(statement):
        return None
    if _ANY_ORDER.search(statement):
        return "unordered"
    return "float" if _TOLERANCE.search(statement) else "exact"


def _tests(test: str, entry_point: str, checker: Checker) -> list[Test]:
    """One test per assert of `check`; the script as a whole where there is more in it than asserts.

    An assert that hands the answer to a helper stays a script: the helper's word must not come from the program.
    """
    extra: dict[str, Any] = {} if checker == "exact" else {"checker": checker}
    try:
        (check,) = parsed(test).body
        entry = parsed(entry_point).body[0].value
        if not isinstance(check, ast.FunctionDef) or not all(isinstance(line, ast.Assert) for line in check.body):
            return [ScriptTest(code=test, **extra)]
    except (*UNPARSABLE, AttributeError):  # nothing that parses: the judge says what is wrong with it
        return [ScriptTest(code=test, **extra)]
    parameter = check.args.args[0].arg
    tests: list[Test] = []
    for line in check.body:
        if _compares_answer(line.test, parameter):
            tests.append(AssertTest(code=ast.unparse(_CallsOf(parameter, entry).visit(line)), **extra))
        else:
            tests.append(ScriptTest(code=f"def check({parameter}):\n    {ast.unparse(line)}\n", **extra))
    return tests


def _compares_answer(node: ast.expr, parameter: str) -> bool:
    """`candidate(...) == ...`, with nothing around the call."""
    call = node.left if isinstance(node, ast.Compare) else node
    return isinstance(call, ast.Call) and isinstance(call.func, ast.Name) and call.func.id == parameter


_INFINITY = ast.Call(ast.Name("float", ast.Load()), [ast.Constant("inf")], [])


class _CallsOf(ast.NodeTransformer):
    """Puts the entry point in place of check's parameter, and a number in place of `inf`, which the prelude defines."""

    def __init__(self, parameter: str, entry: ast.expr) -> None:
        self.parameter, self.entry = parameter, entry

    def visit_Name(self, node: ast.Name) -> ast.AST:
        if node.id == self.parameter:
            return self.entry
        return _INFINITY if node.id == "inf" else node
