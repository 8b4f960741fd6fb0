"""What is wrong with a well-formed problem, as far as it shows without running anything."""

import ast
import difflib
import re
from collections.abc import Iterator
from typing import Any

from greenlit.data.faults import Fault
from greenlit.execution.languages import LANGUAGES
from greenlit.execution.parsing import UNPARSABLE, parsed
from greenlit.execution.split import unsplittable
from greenlit.jsonl import one_line, shortened
from greenlit.problems.prompts import defines
from greenlit.types import AssertTest, CallTest, Problem, ScriptTest, StdioTest


def meaning(line: int, problem: Problem) -> Iterator[Fault]:
    """Faults of a well-formed problem that show without running anything."""
    if problem.language not in LANGUAGES:
        close = difflib.get_close_matches(problem.language.lower(), LANGUAGES, n=1, cutoff=0.4)
        message = f"no language {shortened(problem.language)}"
        fix = f"did you mean {close[0]}?" if close else f"one of {', '.join(LANGUAGES)}"
        yield Fault(line, "language", "unknown language", message, fix)
        return
    if not problem.prompt.strip() and not problem.starter_code.strip():
        message = "nothing is asked: neither prompt nor starter_code"
        yield Fault(line, "prompt", "no statement", message, "say in words what the program should do")
    yield from _of_roles(line, problem)
    yield from _of_tests(line, problem)
    if problem.language == "python":
        yield from _of_programs(line, problem)
        yield from _of_judge(line, problem)


def _of_judge(line: int, problem: Problem) -> Iterator[Fault]:
    """Tests that the judge refuses, and of which nothing was said yet."""
    told = {".".join(fault.field.split(".")[:2]) for fault in _of_tests(line, problem)}
    for place, reason in map(_parted, unsplittable(problem)):
        if f"tests.{place}" not in told and (problem.entry_point or "entry_point" not in reason):
            fix = "compare what a call of the program returns with a literal"
            yield Fault(line, f"tests.{place}", "test that cannot be judged", one_line(reason), fix)


def _parted(refusal: str) -> tuple[str, str]:
    """`test 3: why` → 3, why."""
    head, _, reason = refusal.partition(": ")
    return head.removeprefix("test "), reason


def _of_roles(line: int, problem: Problem) -> Iterator[Fault]:
    roles = {test.role for test in problem.tests}
    if roles == {"hidden"}:
        message = "all tests are hidden: nothing could be rewarded"
        yield Fault(line, "tests", "all tests hidden", message, 'leave "role" out of some of them')
    if roles == {"shown"}:
        message = "all tests are shown: the prompt gives every answer away"
        yield Fault(line, "tests", "all tests shown", message, 'leave "role" out of some of them, or add more tests')


def _of_tests(line: int, problem: Problem) -> Iterator[Fault]:
    calls = [place for place, test in enumerate(problem.tests) if isinstance(test, CallTest)]
    if calls and not problem.entry_point:
        fix = 'name the function: "entry_point": "inc"'
        yield Fault(line, "entry_point", "no entry point", f"tests.{calls[0]} calls a function, but which?", fix)
    seen: dict[str, int] = {}
    answers: dict[str, tuple[int, str]] = {}
    for place, test in enumerate(problem.tests):
        field = f"tests.{place}"
        content = repr(sorted(test.model_dump(exclude={"role"}).items()))
        first = seen.setdefault(content, place)
        if first != place:
            yield Fault(line, field, "repeated test", f"the same as tests.{first}", "delete one of them")
        elif isinstance(test, CallTest | StdioTest):
            before, output = answers.setdefault(repr(test.input), (place, repr(test.output)))
            if output != repr(test.output):
                message = f"contradicts tests.{before}: the same input, another output"
                yield Fault(line, field, "contradicting tests", message, "no program can pass both: correct one")
        yield from _of_test(line, field, test, problem)


def _of_test(line: int, field: str, test: Any, problem: Problem) -> Iterator[Fault]:
    if isinstance(test, CallTest):
        if holds_nan(test.output):
            message = "NaN equals nothing, not even itself: no program could pass"
            fix = "test it with an assert, e.g. `assert math.isnan(f(1))`"
            yield Fault(line, f"{field}.output", "NaN", message, fix)
    elif isinstance(test, AssertTest | ScriptTest) and problem.language == "python":
        try:
            body = parsed(test.code.strip() if test.kind == "assert" else test.code).body
        except UNPARSABLE as error:
            message = f"does not parse ({one_line(str(error), 120)})"
            yield Fault(line, f"{field}.code", "test that does not parse", message, "correct the Python code")
            return
        if not any(isinstance(node, ast.Assert) for part in body for node in ast.walk(part)):
            message = f"there is no assert in it (found {shortened(test.code.strip())})"
            yield Fault(line, f"{field}.code", "no assert", message, "assert inc(1) == 2")


def holds_nan(value: Any) -> bool:
    """NaN anywhere in a value that came from JSON."""
    if isinstance(value, list | dict):
        return any(map(holds_nan, value.values() if isinstance(value, dict) else value))
    return bool(value != value)


def _of_programs(line: int, problem: Problem) -> Iterator[Fault]:
    name = (problem.entry_point or "").rpartition(".")[2]
    for place, code in enumerate(problem.reference):
        field = f"reference.{place}"
        try:
            parsed(code)
        except UNPARSABLE as error:
            message = f"does not parse ({one_line(str(error), 120)})"
            yield Fault(line, field, "reference that does not parse", message, "correct the Python code")
            continue
        bound = re.search(rf"^{re.escape(name)}\s*=[^=]", code, re.MULTILINE) if name else None
        if name and not defines(code, name) and not bound:
            message = f"does not define entry_point {shortened(problem.entry_point)}"
            fix = f"name its function {name}, or set entry_point to {_defined(code) or 'the name of its function'}"
            yield Fault(line, field, "entry point not defined", message, fix)


def _defined(code: str) -> str:
    """The functions that a program defines at its top."""
    names = [node.name for node in parsed(code).body if isinstance(node, ast.FunctionDef | ast.ClassDef)]
    return " or ".join(one_line(name, 40) for name in names[:3])
