"""Made problems and candidates in the manner of MBPP and of programming contests; nothing here is from a dataset.

A problem is one of `made_functions.py` (three asserts) or `made_programs.py` (five inputs) with a number put in for `K`
and inputs drawn by a fixed seed. Half of its candidates are right, four in ten have one change that may make them wrong
(problems/mutants.py), one in ten is broken as models break programs. No two candidates have the same text, so that
nothing is judged only once where two were asked for.
"""

import ast
import inspect
import io
import itertools
import random
import re
import sys
import textwrap
from collections.abc import Callable, Iterator
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any

from made_functions import FUNCTIONS
from made_programs import PROGRAMS

from greenlit.config import AnnotateParams
from greenlit.execution.judges import Judge
from greenlit.problems.mbpp import load_mbpp, read_mbpp_file
from greenlit.problems.mutants import mutants
from greenlit.types import AssertTest, Problem, StdioTest

MODULES = ("collections", "heapq", "itertools", "math", "re", "sys")
WORDS = ("python", "Level", "a1b22", "snake_case", "noon", "is", "Fun", "kayak", "test12", "banana", "of", "code")
MIX = {"right": 5, "wrong": 4, "broken": 1}
WRONG_PER_PROBLEM = 4

Draw = random.Random


def _numbers(draw: Draw) -> list[int]:
    return [draw.randint(-20, 60) for _ in range(draw.randint(3, 9))]


def _words(draw: Draw) -> str:
    return " ".join(draw.choices(WORDS, k=draw.randint(1, 5)))


def _pairs(draw: Draw) -> list[tuple[int, int]]:
    return [(draw.randint(0, 9), draw.randint(0, 30)) for _ in range(draw.randint(2, 5))]


def _table(draw: Draw) -> list[list[int]]:
    rows, columns = draw.randint(2, 4), draw.randint(2, 4)
    return [[draw.randint(0, 9) for _ in range(columns)] for _ in range(rows)]


ARGUMENTS: dict[str, Callable[[Draw], Any]] = {
    "items": _numbers, "others": _numbers, "text": _words, "pairs": _pairs, "table": _table,
    "n": lambda draw: draw.randint(0, 30), "m": lambda draw: draw.randint(1, 30),
    "x": lambda draw: round(draw.uniform(1, 20), 2), "y": lambda draw: round(draw.uniform(1, 20), 2),
    "word": lambda draw: draw.choice(WORDS), "counts": lambda draw: {word: draw.randint(0, 9) for word in WORDS[:5]},
    "point": lambda draw: (draw.randint(-9, 9), draw.randint(-9, 9)),
    "other": lambda draw: (draw.randint(-9, 9), draw.randint(-9, 9)),
}  # fmt: skip
INPUTS: dict[str, Callable[[Draw], str]] = {
    "numbers": lambda draw: " ".join(str(draw.randint(-50, 200)) for _ in range(draw.randint(1, 8))),
    "words": _words,
}


def assert_problems() -> Iterator[Problem]:
    """Without end; the first 250 or so are like MBPP's, then the numbers in them grow large."""
    for number in itertools.count():
        function, constant = FUNCTIONS[number % len(FUNCTIONS)], 2 + number // len(FUNCTIONS)
        name = f"{function.__name__}_{constant}"
        code = _with_imports(_filled(inspect.getsource(function), constant).replace(function.__name__, name, 1))
        names: dict[str, Any] = {}
        exec(code, names)
        draw = Draw(number)
        calls = [[ARGUMENTS[argument](draw) for argument in inspect.signature(function).parameters] for _ in range(3)]
        shown = [(", ".join(map(repr, call)), names[name](*call)) for call in calls]
        tests = [AssertTest(code=f"assert {name}({given}) == {found!r}") for given, found in shown]
        yield Problem(task_id=f"made/{number}", entry_point=name, reference=[code], tests=tests)


def stdio_problems() -> Iterator[Problem]:
    """Without end; five inputs each."""
    kinds = list(PROGRAMS.items())
    for number in itertools.count():
        program, content = kinds[number % len(kinds)]
        body = inspect.getsource(program).split("\n", 1)[1]
        code = _with_imports(_filled(textwrap.dedent(body), 2 + number // len(kinds)))
        draw = Draw(number)
        inputs = [_lines(draw, INPUTS[content]) for _ in range(5)]
        tests = [StdioTest(input=text, output=_printed(code, text)) for text in inputs]
        yield Problem(task_id=f"made-stdio/{number}", reference=[code], tests=tests)


def _filled(source: str, constant: int) -> str:
    return re.sub(r"\bK\b", str(constant), source).lstrip("\n")


def _with_imports(code: str) -> str:
    needed = [f"import {module}\n" for module in MODULES if re.search(rf"\b{module}\.", code)]
    return "".join(needed) + "\n" * (2 * bool(needed)) + code


def _lines(draw: Draw, line: Callable[[Draw], str]) -> str:
    count = draw.randint(1, 6)
    return "\n".join([str(count), *(line(draw) for _ in range(count))]) + "\n"


def _printed(code: str, text: str) -> str:
    """What a program of ours prints."""
    before, sys.stdin = sys.stdin, io.StringIO(text)
    try:
        with redirect_stdout(io.StringIO()) as printed:
            exec(code, {"__name__": "__main__"})
    finally:
        sys.stdin = before
    return printed.getvalue()


def programs(problem: Problem) -> dict[str, list[str]]:
    """Kind → some programs for the problem."""
    code = problem.reference[0].replace("\r\n", "\n").rstrip() + "\n"
    lines = code.splitlines()
    return {
        "right": [
            code,
            ast.unparse(ast.parse(code)) + "\n",
            f'"""A solution, explained at some length, as models like to do."""\nfrom typing import List\n\n{code}',
        ],
        "wrong": [mutant.code for mutant in mutants(code, 0, problem.task_id, WRONG_PER_PROBLEM)],
        "broken": [
            code[: len(code) * 2 // 3],
            f"```python\n{code}```\n",
            code.replace(":\n", "\n", 1),
            f"import quick_solutions\n{code}",
            "\n".join([*lines[:-1], re.sub(r"return |print\(", r"\g<0>result_of", lines[-1])]) + "\n",
        ],
    }


def candidates(problems: list[Problem], count: int) -> list[list[str]]:
    """`count` programs for each problem, no two with the same text. Changed ones that run for ever are left out."""
    made = [programs(problem) for problem in problems]
    _drop_endless(problems, made)
    draw = Draw(0)
    numbers = itertools.count()
    result = []
    for kinds in made:
        there = [kind for kind in MIX if kinds[kind]]
        drawn = draw.choices(there, [MIX[kind] for kind in there], k=count)
        result.append([f"{draw.choice(kinds[kind])}# {next(numbers)}\n" for kind in drawn])
    return result


def _drop_endless(problems: list[Problem], made: list[dict[str, list[str]]]) -> None:
    jobs = [(problem, code) for problem, kinds in zip(problems, made, strict=True) for code in kinds["wrong"]]
    with Judge(AnnotateParams(allow_portable=True), workers=2) as judge:
        verdicts = [judgement.verdict for judgement in judge.judge_all(jobs)]
    endless = {code for (_, code), verdict in zip(jobs, verdicts, strict=True) if verdict in {"timeout", "memory"}}
    for kinds in made:
        kinds["wrong"] = [code for code in kinds["wrong"] if code not in endless]


def mbpp_problems(path: Path) -> Iterator[Problem]:
    """MBPP's own problems whose three asserts all compare one call with a literal, which evalplus needs."""
    for problem in load_mbpp(*read_mbpp_file(path)):
        try:
            calls(problem)
        except (ValueError, AttributeError):
            continue
        yield problem.model_copy(update={"tests": [test for test in problem.tests if test.role != "hidden"]})


def calls(problem: Problem) -> tuple[list[list[Any]], list[Any]]:
    """(arguments of each assert's call, expected values).

    Raises:
        ValueError, AttributeError: an assert has another form.
    """
    inputs, expected = [], []
    for test in problem.tests:
        compared: Any = ast.parse(test.code).body[0].test
        if compared.left.func.id != problem.entry_point or compared.left.keywords:
            raise ValueError(test.code)
        inputs.append([ast.literal_eval(argument) for argument in compared.left.args])
        expected.append(ast.literal_eval(compared.comparators[0]))
    return inputs, expected


def endless(problem: Problem) -> str:
    """A program that never comes back."""
    return f"def {problem.entry_point}(*arguments):\n    while True:\n        pass\n"
