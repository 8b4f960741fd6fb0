"""Tests are taken apart so that the program only ever sees inputs, and the verdict stays what the assert says."""

import ast
import sys

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from greenlit.execution import child_calls, encoding, expressions, split, verdicts
from greenlit.execution.level import Request, Run
from greenlit.execution.split import plan_tests, unsplittable
from greenlit.types import AssertTest, CallTest, Problem, ScriptTest

LIMITS = verdicts.Limits(cpu_s=5, wall_s=10, memory_mib=512, output_bytes=1 << 20)


class InProcess:
    """Answers as the candidate's process would, in this process: for our own harmless programs only."""

    def __init__(self) -> None:
        self.requests: list[Request] = []

    def run(self, request: Request) -> Run:
        self.requests.append(request)
        names: dict = {"__name__": "candidate"}
        exec(request.code, names)
        if request.setup is not None:
            exec(request.setup, names)
        local: dict = {}
        lines = []
        for index, step in enumerate(request.steps):
            try:
                lines.append(f'[{index},"value",{child_calls.answer(step, names, local, 1 << 20)}]'.encode())
            except Exception as error:
                lines.append(encoding.error_frame(index, error).encode())
        return Run(started=True, lines=lines, ended="answered", cpu_s=0.0, wall_s=0.0)


def problem(*tests: str, code: str = "def f(*a): return a", entry: str | None = "f", setup: str = "") -> Problem:
    return Problem(
        task_id="t", entry_point=entry, reference=[code], setup=setup, tests=[AssertTest(code=test) for test in tests]
    )


def script(text: str, code: str, entry: str = "f") -> Problem:
    return Problem(task_id="t", entry_point=entry, reference=[code], tests=[ScriptTest(code=text)])


def outcomes(asked: Problem, code: str | None = None, level: InProcess | None = None) -> list[str]:
    found = verdicts.judge(plan_tests(asked), code or asked.reference[0], level or InProcess(), LIMITS)
    return [test.kind for test in found.tests]


def asked_of_candidate(asked: Problem) -> list[str]:
    """What the candidate's process is told to evaluate."""
    return [step.source for test in plan_tests(asked).tests for step in test.steps if step.source]


SQUARE = "def f(x): return x * x"


@pytest.mark.parametrize(
    ("code", "test", "holes"),
    [
        (SQUARE, "assert f(2) == 4", ["f(2)"]),
        (SQUARE, "assert 4 == f(2)", ["f(2)"]),
        (SQUARE, "assert (f(2)) == 4, 'message'", ["f(2)"]),
        (SQUARE, "assert int(f(2.0)) == 4", ["f(2.0)"]),
        (SQUARE, "assert not f(0)", ["f(0)"]),
        (SQUARE, "assert f(2)", ["f(2)"]),
        (SQUARE, "assert 3 < f(2) <= 4 != f(3)", ["f(2)", "f(3)"]),
        (SQUARE, "assert f(2) in (4, 5) and f(1) not in [2]", ["f(2)", "f(1)"]),
        (SQUARE, "assert abs(f(1.1) - 1.21) < 1e-9", ["f(1.1)"]),
        (SQUARE, "assert math.isclose(f(1.1), 1.21)", ["f(1.1)"]),
        (SQUARE, "assert f(\n  2,\n) == 4", ["f(2)"]),
        (SQUARE, "assert f(2) is not None and isinstance(f(2), int)", ["f(2)", "f(2)"]),
        (SQUARE, "assert [f(1), *[2]] == [1, 2]", ["f(1)"]),
        (SQUARE, "assert f(3) % 2 == 1 and -f(1) == -1 and f(2) ** 2 == 16", ["f(3)", "f(1)", "f(2)"]),
        (SQUARE, "assert 5 if f(0) else f(1)", ["f(0)", "f(1)"]),
        ("def f(x): return [x, x, 1]", "assert set(f(2)) == set([1, 2])", ["f(2)"]),
        ("def f(x): return [x, x, 1]", "assert sorted(f(2)) == [1, 2, 2]", ["f(2)"]),
        ("def f(x): return [x, x, 1]", "assert f(2)[0] == 2 and f(2)[1:] == [2, 1]", ["f(2)[0]", "f(2)[1:]"]),
        ("def f(x): return [x]", "assert all(n == 2 for n in f(2))", ["f(2)"]),
        ("def f(x): return [x]", "assert {n: n for n in f(2)} == {2: 2}", ["f(2)"]),
        ("def f(x): return 'ab'", "assert f(1).startswith('a')", ["f(1)"]),
        ("def f(x): return 'ab'", "assert ''.join(sorted(f(1).upper())) == 'AB'", ["f(1)"]),
        ("def sum(a, b): return a - b", "assert sum(3, 1) == 2", ["sum(3, 1)"]),
        ("def check(n): return n", "assert check(70) == 70", ["check(70)"]),
        ("def f(p): return p.a\nclass Pair:\n def __init__(s, a): s.a = a", "assert f(Pair(3)) == 3", ["f(Pair(3))"]),
        ("class S:\n def get(self, x): return [x]", "assert S().get(1).count(1) == 1", ["S().get(1)"]),
    ],
)
def test_holes_are_what_only_the_program_can_evaluate(code: str, test: str, holes: list[str]) -> None:
    entry = "sum" if "def sum" in code else "check" if "def check" in code else "S" if "class S" in code else "f"
    asked = problem(test, code=code, entry=entry)
    assert asked_of_candidate(asked) == holes
    assert outcomes(asked) == ["passed"]


def test_expected_values_never_reach_the_candidate() -> None:
    asked = script(
        "def check(candidate):\n    wanted = [99887766]\n    a = [1]\n    assert candidate(a) == wanted\n"
        "    assert sorted(candidate(a)) == [99887766], 'not 99887766'\n",
        "def f(a): return [99887765]",
    )
    level = InProcess()
    assert outcomes(asked, level=level) == ["failed"]
    assert "99887766" not in repr([level.requests, [consts(step) for step in level.requests[0].steps]])


def consts(step: tuple) -> list[object]:
    return [part.co_consts for part in step if hasattr(part, "co_consts")]


@pytest.mark.parametrize(
    ("text", "code", "kind"),
    [
        ("def check(candidate):\n    assert candidate(2) == 4\n    assert candidate(3) == 9", SQUARE, "passed"),
        ("def check(candidate):\n    assert candidate(2) == 4\n    assert candidate(3) == 8", SQUARE, "failed"),
        ("METADATA = {'a': 1}\n\ndef check(f):\n    'doc'\n    assert True\n    assert f(2) == 4", SQUARE, "passed"),
        ("def check(c):\n    x = c(2)\n    assert x == 4 and x + 1 == 5", SQUARE, "passed"),
        ("def check(c):\n    x = 3\n    y = x * x\n    assert c(x) == y", SQUARE, "passed"),
        ("def check(c):\n    a, b = c([1, 2])\n    assert a == 1 and b == 2", "def f(x): return x", "passed"),
        ("def check(c):\n    a = [2, 1]\n    c(a)\n    assert a == [1, 2]", "def f(a): a.sort()", "passed"),
        ("def check(c):\n    a = [2, 1]\n    c(a)\n    assert a == [1, 2]", "def f(a): return sorted(a)", "failed"),
        ("def check(c):\n    a = [2, 1]\n    assert c(a) == sorted(a)", "def f(a): return sorted(a)", "passed"),
        ("a = [1]\nassert f(a) == [1]\nassert f([2]) == [2]", "def f(a): return a", "passed"),
        ("import math\nassert f(2) == math.sqrt(16)", SQUARE, "passed"),
        ("def check(c):\n    print\n    assert c(2) == 4\ncheck(f)", SQUARE, "passed"),
        ("s = f(1)\ns.push(2)\nassert s.top() == 2", "class f:\n def __init__(s, x): pass\n def push(s, x): s.x = x\n"
         " def top(s): return s.x", "passed"),
        ("c = f()\nassert c.get(1) == 2", "class f:\n def get(s, x): return 2", "passed"),
    ],
)  # fmt: skip
def test_straight_line_scripts(text: str, code: str, kind: str) -> None:
    asked = script(text, code)
    assert unsplittable(asked) == []
    assert outcomes(asked) == [kind]


@pytest.mark.parametrize(
    "asked",
    [
        script("def check(c):\n    for i in range(3):\n        assert c(i) == i * i", SQUARE),
        problem("assert all(f(i) == i * i for i in range(3))", code=SQUARE),
        problem("assert sorted(f(2), key=lambda x: x) == []"),
        problem("assert open('/etc/passwd') == f(2)"),
        problem("assert f(2) == ().__class__.__bases__"),
        problem("assert np.allclose(f(2), 4)", setup="import numpy as np"),
        problem("assert close(f(2), 4)", setup="def close(a, b): return True"),
        problem("assert close(f(2), 4)", code="def close(a, b): return a == b\n" + SQUARE),
        problem("assert f(1) == WANTED", setup="WANTED = [1]"),
        problem("assert sorted([1], key=f) == [1]"),
        problem("assert 'a{}'.format(f(1)) == 'a1'"),
    ],
)
def test_what_cannot_be_split_gets_a_process_of_its_own(asked: Problem) -> None:
    assert unsplittable(asked) == []
    (test,) = plan_tests(asked).tests
    assert test.script and not test.steps


@pytest.mark.parametrize(
    ("asked", "reasons"),
    [
        (problem("assert f(2) =="), ["does not compile"]),
        (problem("x = 1"), ["no assert"]),
        (problem("assert f(1) == 1", setup="def ("), ["set-up"]),
        (problem("assert all(f(S(i)) for i in (1, 2))", code="class S: pass\n" + SQUARE), ["inside", "class of the"]),
        (problem("assert [f(i) for i in (1, 2)] == WANTED").model_copy(update={"reference": []}), ["inside", "WANTED"]),
        (problem("assert [f(i) for i in (1, 2)]", entry=None), ["inside", "entry_point"]),
        (
            Problem(
                task_id="t", entry_point="f", tests=[AssertTest(code="assert [f(i) for i in '1']", checker="float")]
            ),
            ["inside", "checker float"],
        ),
    ],
)
def test_what_cannot_be_judged_is_said_and_never_guessed(asked: Problem, reasons: list[str]) -> None:
    (said,) = unsplittable(asked)
    for reason in reasons:
        assert reason in said
    found = verdicts.judge(plan_tests(asked), SQUARE, InProcess(), LIMITS)
    assert [(test.passed, test.kind) for test in found.tests] == [(None, "unsplittable")]


def test_the_setup_runs_after_the_program() -> None:
    code = "class Node:\n    def __init__(self, v): self.v = v\ndef f(node): return node.v"
    assert outcomes(problem("assert f(root) == 7", code=code, setup="root = Node(7)")) == ["passed"]


def test_an_exception_counts_only_where_python_would_meet_it() -> None:
    code = "def f(x): return 1 // x"
    assert outcomes(problem("assert f(1) or f(0)", "assert f(0) or f(1)", code=code)) == ["passed", "error"]


def test_hidden_tests_run_last() -> None:
    asked = problem("assert f(1) == 1", "assert f(2) == 4", code=SQUARE)
    hidden = asked.tests[0].model_copy(update={"role": "hidden"})
    plan = plan_tests(asked.model_copy(update={"tests": [hidden, asked.tests[1]]}))
    assert [test.index for test in plan.tests] == [1, 0]


@pytest.mark.parametrize(
    ("code", "entry", "given", "wanted", "kind"),
    [
        (SQUARE, "f", [3], 9, "passed"),
        ("def f(a): return tuple(a)", "f", [[1, 2]], [1, 2], "passed"),
        ("def f(a): return {1: (2,)}", "f", [0], {"1": [2]}, "passed"),
        ("def f(a): return [2, 1]", "f", [0], [1, 2], "failed"),
        ("class Solution:\n def f(self, x): return x", "f", [1], 1, "passed"),
        ("class Solution:\n def f(self, x): return x", "Solution().f", [1], 1, "passed"),
        ("def g(x): return x", "f", [1], 1, "error"),
        (SQUARE, "f", [float("inf")], float("inf"), "passed"),
    ],
)
def test_call_tests(code: str, entry: str, given: list, wanted: object, kind: str) -> None:
    asked = Problem(task_id="t", entry_point=entry, tests=[CallTest(input=given, output=wanted)])
    assert outcomes(asked, code) == [kind]


def test_checkers_change_what_equals_means() -> None:
    tests = [
        AssertTest(code="assert f(3) == 0.3", checker="float"),
        AssertTest(code="assert f(3) == 0.3"),
        CallTest(input=[3], output=0.3, checker="float"),
    ]
    asked = Problem(task_id="t", entry_point="f", tests=tests)
    assert outcomes(asked, "def f(x): return 0.1 + 0.2") == ["passed", "failed", "passed"]


@pytest.mark.parametrize(
    "text",
    ["[0] * f", "2 ** f", "range(f)", "1 << f", "'a' * f", "math.factorial(f)", "f ** f ** f", "pow(f, f)", "f * [0]"],
)
def test_a_candidates_number_cannot_exhaust_the_judge(text: str) -> None:
    evaluator = expressions.Evaluator({"f": lambda: 10**9})
    with pytest.raises(OverflowError):
        evaluator.value(ast.parse(text, mode="eval").body)


literals = st.recursive(
    st.none() | st.booleans() | st.integers(-3, 3) | st.sampled_from([0.5, -1.0, 1e9]) | st.text("ab", max_size=2),
    lambda inner: (
        st.lists(inner, max_size=3) | st.tuples(inner) | st.dictionaries(st.integers(0, 2), inner, max_size=2)
    ),
    max_leaves=4,
)
FORMS = [
    "{call} == {value}", "{value} == {call}", "{call} != {value}", "not {call}", "{call}", "{call} in [{value}, 1]",
    "len({call}) == {number}", "{call} is None", "{call} < {value}", "{number} <= {call} < 3", "str({call}) == {text}",
    "sorted({call}) == {value}", "{call}[0] == {value}", "isinstance({call}, (int, str))", "{call} == {call}",
    "[x for x in {call}] == {value}", "{call} or {value}", "set({call}) == set({value})", "abs({call}) == {number}",
    "{call}.count({value}) == {number}", "{call} + {call} == {value}", "max({call}, default=0) == {number}",
    "any({call}) and all({call})", "dict(enumerate({call})) == {value}", "{call} == {value} if {call} else {number}",
]  # fmt: skip


@settings(max_examples=400, deadline=None)
@given(returned=literals, value=literals, number=st.integers(-3, 3), form=st.sampled_from(FORMS))
def test_the_verdict_is_what_running_the_assert_says(returned: object, value: object, number: int, form: str) -> None:
    text = "assert " + form.format(call="f()", value=repr(value), number=number, text=repr(str(value)))
    code = f"def f(): return {returned!r}"
    names: dict = {}
    exec(code, names)
    try:
        exec(text, names)
        expected = "passed"
    except AssertionError:
        expected = "failed"
    except Exception:
        expected = "error"
    assert outcomes(problem(text, code=code)) == [expected], (text, code)


def test_importing_the_executor_loads_neither_torch_nor_pydantic_in_a_worker() -> None:
    import subprocess

    probe = (
        "import sys, greenlit.execution.worker; print([m for m in ('torch', 'pydantic', 'numpy') if m in sys.modules])"
    )
    out = subprocess.run([sys.executable, "-c", probe], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "[]"


def parts(asked: Problem) -> list[tuple]:
    """All that a plan says, comparable."""
    return [
        (
            [(step.content, step.source) for step in test.steps],
            [(ast.dump(check.expression), check.holes, check.steps_before, check.literal) for check in test.checks],
            test.refusal,
        )
        for test in plan_tests(asked).tests
    ]


@pytest.mark.parametrize(
    "test",
    [
        "assert f(2) == 4",
        "assert f(2) == [1, (2, -3), {'a': None}, {5, 6}, 1 + 2j]; assert f(1)[0] == 1",
        "assert f(f(2)).x['a'] == 16\nassert f(0) == ()",
        "assert f(2) == set()",
        "assert f(2) == {**{}}",
        "assert f(2) == {[]}",
        "assert 4 == f(2)",
        "assert f(2) == 4, 'message'",
        "assert f(2) == 4 == f(2)",
        "assert f(2).lower() == 'a'",
        "assert f(2) == E",
        "assert E == [1]",
        "assert f(2) == (yield)",
        "assert f(x=2, x=3) == 4",
        "x = f(2)\nassert x == 4",
        "assert f(" + "[" * 90 + "]" * 90 + ") == 1",
    ],
)
def test_the_short_way_to_split_simple_asserts_comes_to_the_same(test: str, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = problem(test, code=SQUARE, setup="E = [1]")
    short = parts(asked)
    monkeypatch.setattr(split._Writer, "literal_asserts", lambda *_: False)
    assert short == parts(asked)


def test_a_message_quotes_the_assert_as_it_stands_in_the_test() -> None:
    found = verdicts.judge(
        plan_tests(problem("assert  f('é')==(4) # four", code=SQUARE)), "def f(x): return x + x", InProcess(), LIMITS
    )
    assert found.tests[0].error == "test 0: assert  f('é')==(4): got 'éé'"
