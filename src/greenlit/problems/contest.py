"""What APPS and TACO share: tests as `input_output`, programs of contest sites, statements with a judge of their own.

    {"inputs": ["3\\n2 2 3\\n...", ...], "outputs": ["1\\n6\\n-1\\n", ...]}                  standard input and output
    {"fn_name": "findKthPositive", "inputs": [[[2, 3, 4, 7, 11], 5]], "outputs": [9]}        a call per test

Some records hold an input or output as a list of lines. What a call should return stands bare, but in a list of its own
where the problem comes from codewars: the source says which, never the value. JSON has no whole numbers as keys, so
keys that read like ones become ones again in arguments, as the datasets' own graders do it.
"""

import json
import re
import textwrap
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from greenlit.problems.own import split_of
from greenlit.problems.prompts import with_prelude
from greenlit.problems.records import compiles, plain_lines, profile_for
from greenlit.types import CallTest, Checker, StdioTest

REFERENCES = 5
"""Solutions kept of each problem: some have hundreds, and the first that passes is all that is used."""
TEST_BYTES, PROBLEM_BYTES = 1 << 20, 16 << 20
"""Of a test, and of all tests of a problem, as JSON: some inputs are many megabytes. What is over is left out, and the
problem tagged with how many: `tests_left_out:3`."""
STDIO_FRAME = "Read the input from standard input and print the answer to standard output."
PRELUDE = """\
import sys
import time
import itertools
from itertools import accumulate, product, permutations, combinations
import collections
from collections import Counter, OrderedDict, deque, defaultdict, ChainMap
from functools import lru_cache
import math
from math import sqrt, sin, cos, tan, ceil, fabs, floor, gcd, exp, log, log2
import fractions
from typing import *
import random
import heapq
from heapq import *
"""
"""Before programs of leetcode.com, which imports for its users: the lines both datasets' graders put there, without
numpy, and with all of typing in place of List and Tuple."""

_ANY_ANSWER = re.compile(
    r"(?:print|output|return|find|report|display|give|provide|construct)\s+any\b(?!\s*(?:more|thing|extra))"
    r"|\bany (?:one )?of them\b(?! arb)|(?:print|output) one of\b"
    r"|\bany (?:valid|correct|suitable|possible|optimal|such) (?:\w+ )?"
    r"(?:answer|solution|output|order|permutation|string|array|sequence|way|one)"
    r"|(?:print|output|return|list)\b[^.]{0,80}\bin (?:any|arbitrary) order\b"
    r"|don't forget to flush|do not forget to (?:output end of line and )?flush"
    r"|(?:multiple|many|several|more than one) (?:\w+ ){0,2}(?:answers?|solutions?),? (?:\w+ ){0,3}any\b",
    re.IGNORECASE,
)
_TOLERANCE = re.compile(
    r"(?:absolute|relative)\s+(?:\w+\s+){0,3}error|error (?:of|should|must|not|less|at most|does)|"
    r"(?:within|precision(?: of)?|less than|accuracy(?: of)?)\s+\$?10\s*\^?\s*\{?\s*[-−–]\s*\{?\d",
    re.IGNORECASE,
)
_ANY_CASE = re.compile(
    r"(?:any|arbitrary|either) (?:letter )?(?:case|register)|case[- ]insensitive|"
    r"(?:upper|lower)(?:[- ]?case)? or (?:upper|lower)[- ]?case",
    re.IGNORECASE,
)


class Unusable(Exception):
    """The record gives no problem: reason, detail."""


def fields_of(task_id: str, row: Mapping[str, Any], checker: Checker | None, wrapped: bool) -> dict[str, Any]:
    """What both datasets make of a row: the fields of a `Problem`, all but its source and limits.

    Args:
        checker: how answers are compared; None where several may be right.
        wrapped: what a call should return stands in a list of its own (codewars).

    Raises:
        Unusable: nothing can be made of it.
    """
    if checker is None:
        raise Unusable("several answers may be right")
    tests, name, left_out = read_tests(row["input_output"], wrapped, checker)
    solutions = read_solutions(row["solutions"])
    prelude = prelude_of(row["starter_code"], solutions, name)
    question = plain_lines(row["question"]).strip()
    return {
        "task_id": task_id,
        "prompt": question if name else f"{question}\n\n{STDIO_FRAME}",
        "entry_point": name,
        "starter_code": plain_lines(row["starter_code"]),
        "prelude": prelude,
        "tests": tests,
        "reference": [with_prelude(code, prelude) for code in solutions],
        "profile": profile_for(solutions),
        "split": split_of(task_id),
        "difficulty": row.get("difficulty"),
        "tags": [f"tests_left_out:{left_out}"] if left_out else [],
    }


def checker_of(statement: str) -> Checker | None:
    """How an answer is compared, as far as the statement tells; None where several answers may be right.

    Phrases, so a guess: tried on the 603 test problems of TACO at hand that are marked by hand (63 of 74 with
    many answers found, 8 of 482 ordinary ones taken for such; the phrases were chosen with these in sight).
    """
    if _ANY_ANSWER.search(statement):
        return None
    if _TOLERANCE.search(statement):
        return "float"
    return "case_insensitive" if _ANY_CASE.search(statement) else "exact"


def read_tests(
    input_output: str, wrapped: bool, checker: Checker
) -> tuple[list[StdioTest] | list[CallTest], str | None, int]:
    """The tests, the name of the function they call (None for standard input), and how many are too large.

    Args:
        wrapped: what a call should return stands in a list of its own (codewars).

    Raises:
        Unusable: there are none, or they cannot be read.
    """
    try:
        content = json.loads(input_output) if input_output else None
    except (ValueError, RecursionError) as error:
        raise Unusable("its tests cannot be read", str(error)) from None
    if not content or not isinstance(content, dict) or not content.get("inputs"):
        raise Unusable("it has no tests", "")
    inputs, outputs = content["inputs"], content.get("outputs") or []
    if not isinstance(inputs, list) or not isinstance(outputs, list):
        raise Unusable("its tests cannot be read", "inputs and outputs must be lists")
    if len(inputs) != len(outputs):
        raise Unusable("its tests cannot be read", f"{len(inputs)} inputs, {len(outputs)} outputs")
    pairs = list(_small(zip(inputs, outputs, strict=True)))
    if not pairs:
        raise Unusable("its tests are too large", f"over {TEST_BYTES >> 10} KiB each")
    left_out = len(inputs) - len(pairs)
    extra = {} if checker == "exact" else {"checker": checker}
    name = content.get("fn_name")
    if name is None:
        return [StdioTest(input=_text(given), output=_text(wanted), **extra) for given, wanted in pairs], None, left_out
    if not all(isinstance(given, list) for given in inputs):
        raise Unusable("its tests cannot be read", "an input is no list of arguments")
    if wrapped and all(isinstance(wanted, list) and len(wanted) == 1 for wanted in outputs):
        pairs = [(given, wanted[0]) for given, wanted in pairs]
    calls = [
        CallTest(input=[_with_numbers_as_keys(value) for value in given], output=wanted, **extra)
        for given, wanted in pairs
    ]
    return calls, str(name), left_out


def _small(pairs: Iterable[tuple[Any, Any]]) -> Iterator[tuple[Any, Any]]:
    """Those that are not too large, in their order, while there is room for them."""
    room = PROBLEM_BYTES
    for pair in pairs:
        size = sum(len(value) if isinstance(value, str) else len(json.dumps(value)) for value in pair)
        if size <= min(TEST_BYTES, room):
            room -= size
            yield pair


def read_solutions(solutions: Any) -> list[str]:
    """The first solutions of a record: a list, a JSON list as text, or nothing.

    Raises:
        Unusable: it is neither.
    """
    if isinstance(solutions, str):
        try:
            solutions = json.loads(solutions) if solutions else []
        except (ValueError, RecursionError) as error:
            raise Unusable("its solutions cannot be read", str(error)) from None
    if solutions is not None and (isinstance(solutions, Mapping) or not isinstance(solutions, Iterable)):
        raise Unusable("its solutions cannot be read", f"no list of programs, but {type(solutions).__name__}")
    listed = [] if solutions is None else list(solutions)
    return [_as_program(plain_lines(str(code))) for code in listed[:REFERENCES]]


def _as_program(code: str) -> str:
    """A solution that runs on its own: the datasets' grader puts all but imports into a function, and some need that.

    They `return` at the top, or call the top's variables `nonlocal`.
    """
    if compiles(code):
        return code
    lines = code.split("\n")
    imports = [line for line in lines if line.startswith(("import ", "from "))]
    rest = "\n".join(line for line in lines if line not in imports)
    body = "\n".join([*imports, f"def program():\n{textwrap.indent(rest, '    ')}\n\n\nprogram()\n"])
    return body if compiles(body) else code


def prelude_of(starter_code: str, solutions: list[str], fn_name: str | None) -> str:
    """Imports that leetcode.com makes for its users' `class Solution`; other sites make none."""
    shown = starter_code or (solutions[0] if solutions else "")
    return PRELUDE if fn_name and re.search(r"^class Solution\b", shown, re.MULTILINE) else ""


def _text(value: Any) -> str:
    if isinstance(value, list):
        return "\n".join(map(str, value)) + "\n"
    return str(value)


def _with_numbers_as_keys(value: Any) -> Any:
    if not isinstance(value, dict) or not value:
        return value
    if not all(re.fullmatch(r"-?\d{1,18}", key) for key in value):
        return value
    return {int(key): item for key, item in value.items()}
