"""The files that other tools read: one function per format, from a problem to a row.

humaneval       https://github.com/openai/human-eval: task_id, prompt, entry_point, canonical_solution, test. A program
                is prompt + completion + test + `check(entry_point)`
evalplus        https://github.com/evalplus/evalplus, its own HumanEvalPlus format, read where HUMANEVAL_OVERRIDE_PATH
                says: inputs only, what should come out is found by running the reference. Shown and reward tests
                become `base_input`, hidden ones `plus_input`
livecodebench   https://github.com/LiveCodeBench/LiveCodeBench, its code generation rows: tests as JSON text, shown ones
                public and the others private. A platform, a difficulty and a date must be there: where a problem has
                none, they are leetcode (calls) or codeforces (stdin), medium, and 1970
trl             https://huggingface.co/docs/trl/dataset_formats, prompt-completion: for SFT as it is; GRPO and RLOO take
                the prompt, and find the tests by task_id (greenlit.rewards.execution)
"""

import json
from collections.abc import Callable, Mapping
from typing import Any

from greenlit.data.calls import Call, Unexportable, calls_of, is_json
from greenlit.data.completions import completion_of, indented
from greenlit.data.signatures import function_of, signature_end
from greenlit.problems.prompts import render
from greenlit.types import AssertTest, CallTest, Problem, ScriptTest, StdioTest

UNDATED = "1970-01-01T00:00:00"
_DIFFICULTIES = {
    "easy": "easy", "introductory": "easy",
    "medium": "medium", "medium_hard": "medium", "interview": "medium",
    "hard": "hard", "very_hard": "hard", "competition": "hard",
}  # fmt: skip
_PLATFORMS = ("leetcode", "codeforces", "atcoder")


def humaneval_row(problem: Problem) -> dict[str, Any]:
    """Keys in the order of HumanEval.jsonl.

    Raises:
        Unexportable: see the reasons in docs/data.md; so for the other formats.
    """
    found = completion_of(problem)
    return {
        "task_id": problem.task_id,
        "prompt": found.prompt,
        "entry_point": problem.entry_point,
        "canonical_solution": found.solution,
        "test": check_script(problem),
    }


def check_script(problem: Problem) -> str:
    """All tests as one `def check(candidate)`; a single script that has one stays as it is."""
    scripts = [test for test in problem.tests if isinstance(test, ScriptTest)]
    if len(scripts) == len(problem.tests) == 1 and not problem.setup and _has_check(scripts[0].code):
        return scripts[0].code
    head, body = [f"{problem.setup.rstrip()}\n"] if problem.setup.strip() else [], []
    for test in problem.tests:
        if test.checker != "exact":
            raise Unexportable(f"a test compares by checker {test.checker}")
        if isinstance(test, StdioTest):
            raise Unexportable("a test is a stdio, no call of a function")
        if isinstance(test, ScriptTest):
            head.append(f"{test.code.rstrip()}\n")
            if _has_check(test.code):
                name = f"_check_{len(head)}"
                head.append(f"{name} = check\n")
                body.append(f"    {name}(candidate)\n")
        elif isinstance(test, AssertTest):
            body.append(indented(test.code))
        elif isinstance(test, CallTest):
            arguments = ", ".join(map(repr, test.input))
            body.append(f"    assert candidate({arguments}) == {test.output!r}\n")
    return "\n".join([*head, "def check(candidate):\n" + ("".join(body) or "    pass\n")])


def _has_check(code: str) -> bool:
    return function_of(code, "check") is not None


def evalplus_row(problem: Problem) -> dict[str, Any]:
    """Keys of HumanEvalPlus.jsonl; `contract` is empty, since nothing says which inputs are allowed."""
    if not problem.reference:
        raise Unexportable("it has no reference to find the expected values with")
    if "." in (problem.entry_point or ""):
        raise Unexportable("its entry_point is no plain function")
    calls = calls_of(problem)
    if not all(is_json(call.arguments) for call in calls):
        raise Unexportable("an argument is lost in JSON (a tuple, a set, ...)")
    if problem.setup.strip():
        raise Unexportable("its tests need set-up code")
    row = humaneval_row(problem)
    return {
        **row,
        "contract": "",
        "base_input": [call.arguments for call in calls if call.role != "hidden"],
        "atol": 0,
        "plus_input": [call.arguments for call in calls if call.role == "hidden"],
    }


def livecodebench_row(problem: Problem) -> dict[str, Any]:
    """Keys of livecodebench/code_generation."""
    if problem.language != "python":
        raise Unexportable("its programs are not written in Python")
    functional = not all(isinstance(test, StdioTest) for test in problem.tests)
    tests = _functional(problem) if functional else _stdin(problem)
    name = (problem.entry_point or "").rpartition(".")[2]
    host = next((word for word in _PLATFORMS if word in problem.source.lower()), None)
    return {
        "question_title": problem.task_id,
        "question_content": problem.prompt,
        "platform": host or ("leetcode" if functional else "codeforces"),
        "question_id": problem.task_id,
        "contest_id": problem.source or "greenlit",
        "contest_date": UNDATED,
        "starter_code": _starter(problem) if functional else "",
        "difficulty": _DIFFICULTIES.get((problem.difficulty or "").lower(), "medium"),
        "public_test_cases": json.dumps([test for role, test in tests if role == "shown"]),
        "private_test_cases": json.dumps([test for role, test in tests if role != "shown"]),
        "metadata": json.dumps({"func_name": name} if functional else {}),
    }


def _functional(problem: Problem) -> list[tuple[str, dict[str, str]]]:
    """Arguments as lines of JSON; of the answer's types only the outermost may be a tuple."""
    rows = []
    for call in calls_of(problem):
        expected = list(call.expected) if isinstance(call.expected, tuple) else call.expected
        if not is_json(call.arguments) or not is_json(expected):
            raise Unexportable("an argument or an answer is lost in JSON (a tuple, a set, ...)")
        if not call.arguments:
            raise Unexportable("a test calls without arguments")
        rows.append((call.role, _case(call, expected)))
    return rows


def _case(call: Call, expected: Any) -> dict[str, str]:
    return {
        "input": "\n".join(map(json.dumps, call.arguments)),
        "output": json.dumps(expected),
        "testtype": "functional",
    }


def _stdin(problem: Problem) -> list[tuple[str, dict[str, str]]]:
    rows = []
    for test in problem.tests:
        assert isinstance(test, StdioTest)
        if test.checker != "exact":
            raise Unexportable(f"a test compares by checker {test.checker}")
        rows.append((test.role, {"input": test.input, "output": test.output, "testtype": "stdin"}))
    return rows


def _starter(problem: Problem) -> str:
    """Where an answer begins; without one, LiveCodeBench would ask for a program that reads standard input."""
    if problem.starter_code.strip():
        return problem.starter_code
    code = problem.reference[0] if problem.reference else ""
    found = function_of(code, problem.entry_point or "")
    if found is None or "." in (problem.entry_point or ""):
        raise Unexportable("it has no starter code, and no reference to take one from")
    text = "".join(code.splitlines(keepends=True)[found.lineno - 1 : found.end_lineno])
    return f"{text[: signature_end(text)]}\n    "


def trl_row(problem: Problem, chat: bool = False) -> dict[str, Any]:
    """The prompt as Greenlit renders it and, where there is a reference, the completion a model should write."""
    prompt = render(problem, chat)
    row: dict[str, Any] = {"prompt": prompt}
    if problem.reference:
        program = problem.reference[0].removeprefix(problem.prelude).lstrip("\n")
        if chat:
            fenced = f"```{problem.language}\n{program.rstrip()}\n```"
            row["completion"] = [{"role": "assistant", "content": fenced}]
        else:
            row["completion"] = _continuation(problem, program)
    return row | {"task_id": problem.task_id}


def _continuation(problem: Problem, program: str) -> str:
    """What follows the starter code, which a plain prompt ends with."""
    if not problem.starter_code:
        return program
    for whole in (problem.reference[0], program):
        if whole.startswith(problem.starter_code):
            return whole[len(problem.starter_code) :]
    raise Unexportable("its reference does not begin with its starter code")


FORMATS: Mapping[str, Callable[[Problem], dict[str, Any]]] = {
    "humaneval": humaneval_row,
    "evalplus": evalplus_row,
    "trl": trl_row,
    "livecodebench": livecodebench_row,
}
