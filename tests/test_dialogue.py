"""Tests with code of their own: the script decides, the program only answers, and nothing it sends gets by unread."""

import gzip
import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from conftest import LEVELS
from hypothesis import given
from hypothesis import strategies as st

from greenlit.config import AnnotateParams
from greenlit.execution import encoding, values, verdicts
from greenlit.execution.dialogue import CALLS, CallRelay
from greenlit.execution.judgement import Judgement
from greenlit.execution.judges import Judge
from greenlit.execution.level import Dialogue, Run
from greenlit.execution.split import plan_tests, unsplittable
from greenlit.types import AssertTest, Problem, ScriptTest

PARAMS = AnnotateParams(allow_portable=True, timeout_s=2.0, cpu_min_s=0.3, cpu_max_s=1.0, memory_mib=256)
LIMITS = verdicts.Limits(cpu_s=1, wall_s=2, memory_mib=256, output_bytes=1 << 20)
LOOP = "def check(candidate):\n    for i in range(3):\n        assert candidate(i) == i * i, 'square'\n"


def problem(test: str, code: str = "def f(x): return x * x", entry: str = "f", setup: str = "") -> Problem:
    return Problem(
        task_id="t", entry_point=entry, reference=[code], setup=setup, tests=[ScriptTest(code=test, role="reward")]
    )


SQUARE = problem(LOOP)


@pytest.fixture(scope="module")
def judge() -> Iterator[Judge]:
    with Judge(PARAMS, workers=1) as judge:
        yield judge


RIGHT = {
    "loop": (LOOP, "def f(x): return x * x"),
    "comprehension": ("assert all(f(i) == i * i for i in range(3))", "def f(x): return x * x"),
    "calls check itself": (LOOP + "check(f)\n", "def f(x): return x * x"),
    "named arguments": ("for i in (1, 2):\n    assert f(a=i, b=[i]) == [i, i]", "def f(a, b): return [a, *b]"),
    "helper of the reference": (
        "for i in (1, 2):\n    assert f(encoded(i)) == i",
        "def encoded(x): return [x]\ndef f(x): return x[0]",
    ),
    "random": ("import random\nfor _ in '12':\n    n = random.random()\n    assert f(n) == n", "def f(x): return x"),
    "argument changed": (
        "for a in ([2, 1], [3, 1]):\n    b = {'x': a}\n    f(a, b=b)\n    assert a[0] == 1 and b == {1: 2}",
        "def f(a, b): a.sort(); b.clear(); b[1] = 2",
    ),
    "argument kept": (
        "for a in ([2, 1], [3, 1]):\n    assert f(a) == sorted(a) and a[0] > 1",
        "def f(a): return sorted(a)",
    ),
    "methods of the answer": (
        "for i in (1, 2):\n    d = f(i)\n    d.setdefault(9, i)\n    assert d[9] == i and '{}'.format(d[0]) == '[]'",
        "def f(i): return {0: []}",
    ),
    "exception wanted": (
        "for bad in (0, 'x'):\n    try: f(bad)\n    except (ValueError, TypeError) as e:\n"
        "        assert 'no' in str(e)",
        "def f(x):\n    raise ValueError('no') if x == 0 else TypeError('no')",
    ),
    "iterator": ("for n in (1, 2):\n    assert list(f(n)) == [0] * n", "def f(n): yield from [0] * n"),
    "key function": ("assert sorted([3, 1], key=f) == [3, 1]", "def f(x): return -x"),
    "kept state": (
        "class Counter:\n    n = 0\nfor i in range(3):\n    Counter.n += 1\n    assert f() == Counter.n",
        "import itertools\nc = itertools.count(1)\ndef f(): return next(c)",
    ),
    "much": ("for i in range(40):\n    s = chr(i + 64) * 60000\n    assert f(s) == s", "def f(x): return x"),
    "types": (
        "import decimal, fractions, datetime, collections\n"
        "for v in (None, True, 2 ** 70, 0.5, 1j, 'ü\\ud800', b'a', (1,), {1, 2}, frozenset({1}), {1: [2]}, range(3),\n"
        "          decimal.Decimal('1.0'), fractions.Fraction(1, 3), datetime.date(2020, 1, 2),\n"
        "          datetime.datetime(2020, 1, 2, 3), collections.deque([1]), float('inf'), bytearray(b'x')):\n"
        "    assert f(v) == v and type(f(v)) is type(v)",
        "def f(x): return x",
    ),
}  # fmt: skip


@pytest.mark.parametrize(("test", "code"), RIGHT.values(), ids=RIGHT.keys())
def test_right_programs_pass(judge: Judge, test: str, code: str) -> None:
    asked = problem(test, code)
    assert unsplittable(asked) == []
    assert plan_tests(asked).tests[0].script
    found = judge.judge(asked, code)
    assert found.passed, found
    assert judge.prepare(asked).reference_cpu_s is not None


NODES = """
class ListNode:
    def __init__(self, val=0, next=None): self.val = val; self.next = next
class TreeNode:
    def __init__(self, val=0, left=None, right=None): self.val = val; self.left = left; self.right = right
def list_node(values):
    return ListNode(values[0], list_node(values[1:])) if values else None
def is_same_list(a, b):
    while a and b and a.val == b.val: a, b = a.next, b.next
    return a is None and b is None
def is_same_tree(a, b):
    if not a or not b: return a is b
    return a.val == b.val and is_same_tree(a.left, b.left) and is_same_tree(a.right, b.right)
"""
REVERSE = """
class Solution:
    def flip(self, head):
        last = None
        while head: head.next, last, head = last, head, head.next
        return last
"""


@pytest.mark.parametrize(
    ("code", "passed"),
    [
        (NODES + REVERSE, True),
        (REVERSE, True),
        ("class Solution:\n  def flip(self, head): return head", False),
        ("class Solution:\n  def flip(self, head):\n    if head: head.next = head\n    return head", False),
        ("class ListNode:\n  val = next = None\n  def __eq__(s, o): return True\n  def __bool__(s): return False\n"
         "class Solution:\n  def flip(self, head): return ListNode()", False),
        ("class ListNode:\n  def __getattr__(s, n): return s\n"
         "class Solution:\n  def flip(self, head): return ListNode()", False),
    ],
)  # fmt: skip
def test_linked_lists_cross_as_data(judge: Judge, code: str, passed: bool) -> None:
    test = (
        "def check(candidate):\n"
        "    assert is_same_list(candidate(head = list_node([1, 2, 3])), list_node([3, 2, 1]))\n"
        "    assert is_same_list(candidate(head = list_node(list(range(300)))), list_node(list(range(299, -1, -1))))\n"
        "    assert is_same_list(candidate(head = list_node([])), list_node([]))\n"
    )
    assert judge.judge(problem(test, NODES + REVERSE, "Solution().flip"), code).passed is passed


MIRROR = """
class Solution:
    def mirror(self, t):
        if t: t.left, t.right = self.mirror(t.right), self.mirror(t.left)
        return t
"""


@pytest.mark.parametrize(
    ("code", "passed"),
    [
        (NODES + MIRROR, True),
        (MIRROR, True),
        ("class Solution:\n  def mirror(self, t): return t", False),
        ("class Solution:\n  def mirror(self, t): t.left = t; return t", False),
    ],
)
def test_trees_cross_as_data(judge: Judge, code: str, passed: bool) -> None:
    test = (
        "def check(candidate):\n    t = TreeNode(1, TreeNode(2, None, TreeNode(3)), None)\n"
        "    assert is_same_tree(candidate(t), TreeNode(1, None, TreeNode(2, TreeNode(3), None)))\n"
    )
    assert judge.judge(problem(test, NODES + MIRROR, "Solution().mirror"), code).passed is passed


WRONG = {
    "wrong": ("def f(x): return x + x", "failed"),
    "right at first": ("def f(x): return x * x if x < 2 else 0", "failed"),
    "none": ("def f(x): pass", "failed"),
    "raises": ("def f(x): return 1 / x", "error"),
    "raises at the start": ("1 / 0", "error"),
    "raises an assertion": ("def f(x): assert False", "failed"),
    "missing": ("def g(x): return x * x", "error"),
    "syntax": ("def f(x: return", "syntax"),
    "memory": ("def f(x): return [0] * 10 ** 9", "memory"),
    "loops": ("def f(x):\n  while True: pass", "timeout"),
    "sleeps": ("import time\ndef f(x): time.sleep(60)", "timeout"),
    "large": ("def f(x): return 'x' * 10 ** 7", "error"),
    "endless": ("import itertools\ndef f(x): return itertools.count()", "error"),
    "exits": ("def f(x): exit(0)", "error"),
    "exits at once": ("import os\ndef f(x): os._exit(0)", "error"),
    "exits at the start": ("import os\nos._exit(0)", "error"),
    "crashes": ("import ctypes\ndef f(x): ctypes.string_at(0)", "error"),
}
PASSED = "b'[\"passed\"]\\n'"
ANSWER = """os.write(4, b'[%s,"value",["t",[["i","0"],["n"]]]]\\n'"""
ATTACKS = {
    "equal object": "class E:\n  def __eq__(s, o): return True\n  def __ne__(s, o): return False\ndef f(x): return E()",
    "equal number": "class E(int):\n  def __eq__(s, o): return True\ndef f(x): return E(7)",
    "exception with a method": "class E(AssertionError):\n  def __init__(s, *a): pass\ndef f(x): raise E",
    "last word instead of an answer": f"import os\ndef f(x):\n  os.write(4, {PASSED}); os._exit(0)",
    "last word at the start": f"import os, time\nos.write(4, {PASSED}); time.sleep(5)",
    "last word to the script": f"import os\nfor fd in range(64):\n  try: os.write(fd, {PASSED})\n"
    "  except OSError: pass\n"
    "def f(x): return 0",
    "answers before the questions": f"import os\nfor n in (0, 1, 4):\n  {ANSWER % 0})\ndef f(x): return 7",
    "two answers": f"import os\ndef f(x):\n  {ANSWER % 0} * 2)\n  return 7",
    "another's answer": f"import os\ndef f(x):\n  {ANSWER % 5})\n  return 7",
    "boolean index": f"import os\ndef f(x):\n  {ANSWER % 'false'})\n  return 7",
    "deep answer": "import os\ndef f(x):\n  os.write(4, b'[' * 50000 + b'\\n')\n  return 7",
    "flood": "import os\ndef f(x):\n  while True: os.write(4, b'x' * 60000)",
    "flood of lines": "import os\ndef f(x):\n  while True: os.write(4, b'x\\n' * 30000)",
    "reads its calls itself": "import os\ndef f(x):\n  os.read(5, 100)\n  return 7",
    "arguments that grow": "def f(x): return object()",
    "forks": "import os\ndef f(x):\n  os.fork()\n  return x * x",
}  # fmt: skip


@pytest.mark.parametrize(("code", "verdict"), WRONG.values(), ids=WRONG.keys())
def test_wrong_programs_do_not_pass(judge: Judge, code: str, verdict: str) -> None:
    found = judge.judge(SQUARE, code)
    assert (found.passed, found.verdict) == (False, verdict), found


@pytest.mark.parametrize("level", LEVELS)
def test_closing_what_it_answers_on_does_not_help(level: str) -> None:
    """In a jail 3, 4 and 5 are one socket: until all are closed it is open, and the program a sleeper."""
    half = "error" if level == "portable" else "timeout"
    expected = {(4,): half, (4, 5): half, (3, 4, 5): "error"}
    with Judge(PARAMS, workers=1, level=level) as judge:
        for descriptors, verdict in expected.items():
            code = (
                "import contextlib, os, time\ndef f(x):\n"
                f"  for fd in {descriptors}:\n    with contextlib.suppress(OSError): os.close(fd)\n  time.sleep(60)"
            )
            found = judge.judge(SQUARE, code)
            assert (found.passed, found.verdict) == (False, verdict), (descriptors, found)


@pytest.mark.parametrize("code", ATTACKS.values(), ids=ATTACKS.keys())
def test_attacks_do_not_pass(judge: Judge, code: str) -> None:
    found = judge.judge(SQUARE, code)
    assert found.passed is False, found
    assert found.verdict in {"failed", "error", "timeout"}, found
    assert judge.judge(SQUARE, "def f(x): return x ** 2").passed


@pytest.mark.parametrize(
    "error", ["StopIteration", "StopIteration()", "StopAsyncIteration", "GeneratorExit", "SystemExit"]
)
def test_an_exception_cannot_end_the_tests_loop(judge: Judge, error: str) -> None:
    asked = problem("for answer in map(f, range(3)):\n    assert answer == 7", "def f(x): return 7")
    assert judge.judge(asked, asked.reference[0]).passed
    assert judge.judge(asked, f"def f(x): raise {error}").passed is False


def test_a_failure_names_the_line_of_the_test(judge: Judge) -> None:
    assert judge.judge(SQUARE, "def f(x): return 7").error == ("test 0: assert candidate(i) == i * i, 'square' square")


def infra(found: Judgement) -> bool:
    return found.passed is None and found.verdict == "infra"


@pytest.mark.parametrize(
    ("test", "said"),
    [
        ("for i in range(3):\n    assert f(undefined) == i * i", "undefined"),
        ("import no_such_module\nfor i in range(3):\n    assert f(i) == i * i", "no_such_module"),
        ("import os\nos._exit(0)\nfor i in range(3):\n    assert f(i) == i * i", "did not finish"),
        ("for i in ():\n    assert f(i) == i", "before it called"),
        ("for i in range(3):\n    assert f(lambda: i) == i", "no plain value"),
        ("while True:\n    pass\nfor i in range(3):\n    assert f(i) == i", "did not finish"),
    ],
)  # fmt: skip
def test_what_is_the_tests_own_fault_leaves_it_open(judge: Judge, test: str, said: str) -> None:
    found = judge.judge(problem(test), "def f(x): return x * x")
    assert infra(found), found
    assert said in str(found.error)


def test_an_object_handed_back_as_an_argument_is_the_programs_fault(judge: Judge) -> None:
    asked = problem("for i in (1, 2):\n    assert f(f(i)) == i", "def f(x): return x")
    found = judge.judge(asked, "class A: pass\ndef f(x): return A()")
    assert (found.passed, found.verdict) == (False, "error")


def test_a_test_that_goes_on_for_ever_by_the_programs_answers_is_not_open(judge: Judge) -> None:
    """Else a program could turn a failure into `we could not find out`."""
    calls = problem("n = 9\nwhile n:\n    n = f(n)\nassert n == 0", "def f(n): return n - 1")
    assert judge.judge(calls, calls.reference[0]).passed
    assert judge.judge(calls, "def f(n): return n").passed is False
    computes = problem("for n in (3, 4):\n    for _ in range(f(n)): pass\n    assert f(n) == n", "def f(n): return n")
    assert judge.judge(computes, computes.reference[0]).passed
    found = judge.judge(computes, "def f(n): return 10 ** 18")
    assert (found.passed, found.verdict) == (False, "timeout"), found


def test_the_program_sees_no_expected_value_of_the_set_up() -> None:
    asked = problem("for i in (1, 2):\n    assert f(i) == WANTED[i]", setup="import math\nWANTED = {1: 77, 2: 88}")
    script = plan_tests(asked).tests[0].script
    assert script and script.definitions.co_names == ("math",)
    assert 77 not in script.definitions.co_consts


# --- the relay by itself ---


def line(*parts: object) -> bytes:
    return json.dumps(parts).encode()


def value(thing: object) -> list:
    return json.loads(encoding.encode(thing, 1 << 20))


def asked_relay(arguments: object = ([1], {})) -> CallRelay:
    relay = CallRelay(1 << 20)
    assert relay.from_script(line(0, "call", value(arguments)))
    return relay


def test_the_relay_passes_calls_and_answers_on() -> None:
    relay = asked_relay()
    assert relay.waits_for_program
    passed_on = relay.from_program(line(0, "value", value((5, None))))
    assert values.decode(json.loads(passed_on)[2]) == (5, None)
    assert not relay.waits_for_program
    assert relay.from_script(b'["passed"]') is None
    assert relay.last == ["passed"]


@pytest.mark.parametrize(
    "answer",
    [
        b"", b"[]", b"x", b'["passed"]', b'{"a":1}', b"[0]", line(1, "value", value((5, None))),
        line(False, "value", value((5, None))),
        line(0, "value", value(5)), line(0, "value", value([5, None])), line(0, "value", value((5, 5))),
        line(0, "value", value((5, ([], [])))), line(0, "value", ["?"]), line(0, "value"),
        line(0, "call", value((5, None))),
        line(0, "error", "zz", ""), line(0, "error"), line(0, "passed"), line(-1, "error", "", ""), b"[" * 100_000,
        line(0, "value", value((5, None))) + b" " * (2 << 20),
    ],
)  # fmt: skip
def test_the_relay_ends_the_test_on_anything_else(answer: bytes) -> None:
    relay = asked_relay()
    assert relay.from_program(answer) is None
    assert relay.fault and relay.fault.kind in {"error", "infra"}


@given(st.recursive(st.none() | st.integers() | st.text() | st.floats(), st.lists, max_leaves=20))
def test_nothing_unasked_passes(content: object) -> None:
    relay = CallRelay(1 << 20)
    assert relay.from_program(json.dumps(content).encode()) is None
    assert relay.fault


@given(st.binary(max_size=40))
def test_what_is_passed_on_is_json_written_here(answer: bytes) -> None:
    relay = asked_relay()
    passed_on = relay.from_program(answer)
    assert passed_on is None or json.loads(passed_on)


def test_the_relay_bounds_calls_and_bytes() -> None:
    relay = CallRelay(1 << 30)
    call = value(([1], {}))
    for count in range(CALLS):
        assert relay.from_script(line(count, "call", call))
        assert relay.from_program(line(count, "value", value((1, None))))
    assert relay.from_script(line(CALLS, "call", call)) is None
    assert relay.fault
    small = CallRelay(100)
    assert small.from_script(line(0, "call", value((["x" * 200], {})))) is None
    assert small.fault


class Played:
    """A level whose dialogues end as told."""

    def __init__(self, *runs: tuple[Run, Run], last: list | None = None, answered: int = 0) -> None:
        self.runs = list(runs)
        self.last = last
        self.answered = answered

    def converse(self, dialogue: Dialogue) -> tuple[Run, Run]:
        dialogue.relay.last = self.last
        dialogue.relay.calls = dialogue.relay.answered = self.answered
        return self.runs.pop(0)


def kind(level: Played) -> str:
    return verdicts.judge(plan_tests(SQUARE), "def f(x): return x", level, LIMITS).tests[0].kind


STARTED, NOT = Run(started=True, ended="answered"), Run()


def test_starts_that_fail_are_tried_again() -> None:
    assert kind(Played((STARTED, NOT), (NOT, NOT), (STARTED, STARTED), last=["passed"], answered=1)) == "passed"
    assert kind(Played((NOT, NOT), (STARTED, NOT), (NOT, NOT))) == "infra"


def test_a_script_that_never_called_decides_nothing() -> None:
    assert kind(Played((STARTED, STARTED), last=["passed"])) == "infra"
    assert kind(Played((STARTED, STARTED), last=["failed", 1, ""])) == "infra"


def test_a_killed_script_decides_nothing() -> None:
    killed = Run(started=True, ended="exited", signal=9)
    assert kind(Played((killed, Run(started=True)), answered=1)) == "infra"


# --- real records ---


def humaneval(folder: Path) -> list[Problem]:
    path = folder / "humaneval" / "HumanEval.jsonl.gz"
    if not path.is_file():
        pytest.skip("needs HumanEval in ../shared/data")
    rows = [json.loads(row) for row in gzip.decompress(path.read_bytes()).splitlines()]
    return [
        Problem(
            task_id=row["task_id"],
            entry_point=row["entry_point"],
            starter_code=row["prompt"],
            reference=[row["prompt"] + row["canonical_solution"]],
            tests=[ScriptTest(code=row["test"])],
        )
        for row in rows
    ]


def test_all_of_humaneval_is_judged_and_its_solutions_pass(shared_data: Path) -> None:
    problems = humaneval(shared_data)
    assert [why for one in problems for why in unsplittable(one)] == []
    with Judge(AnnotateParams(allow_portable=True, timeout_s=10), workers=2) as judge:
        found = list(judge.judge_all((one, one.reference[0]) for one in problems))
    assert [one.task_id for one, judged in zip(problems, found, strict=True) if judged.passed is not True] == []
    assert len(found) == 164


@pytest.mark.parametrize("wrong", ["None", "7", "'22'", "a[0]", "[]", "object()", "exit(0)"])
def test_wrong_solutions_fail_where_humaneval_has_code_of_its_own(shared_data: Path, judge: Judge, wrong: str) -> None:
    problems = [one for one in humaneval(shared_data) if any(test.script for test in plan_tests(one).tests)]
    assert len(problems) == 5
    for one in problems:
        assert judge.judge(one, f"def {one.entry_point}(*a): return {wrong}").passed is False


def test_leetcodes_references_pass_where_they_build_lists_and_trees(shared_data: Path, judge: Judge) -> None:
    path = shared_data / "leetcode" / "LeetCodeDataset-v0.2.0-train.jsonl.gz"
    if not path.is_file():
        pytest.skip("needs LeetCodeDataset in ../shared/data")
    rows = [json.loads(row) for row in gzip.decompress(path.read_bytes()).splitlines()]
    problems = [
        Problem(
            task_id=row["meta"]["question_title"][:20],
            entry_point=row["entry_point"],
            reference=[f"{row['prompt']}\n{row['completion']}"],
            tests=[ScriptTest(code=row["test"])],
        )
        for row in rows
        if "is_same_" in row["test"]
    ]
    assert len(problems) == 46
    assert all(test.script for one in problems for test in plan_tests(one).tests)
    found = list(judge.judge_all((one, one.reference[0]) for one in problems))
    assert [judged.error for judged in found if judged.passed is not True] == []
    empty = "class Solution:\n    def __getattr__(self, name): return lambda *a, **k: {0}\n"
    for wrong in ("None", "ListNode(7)", "TreeNode(7)", "object()"):
        jobs = [(one, f"{one.reference[0]}\n{empty.format(wrong)}") for one in problems]
        assert not any(judged.passed is not False for judged in judge.judge_all(jobs))


def test_mixed_tests_of_a_problem_are_judged_together(judge: Judge) -> None:
    tests = [AssertTest(code="assert f(2) == 4"), ScriptTest(code=LOOP), AssertTest(code="assert f(3) == 9")]
    asked = SQUARE.model_copy(update={"tests": tests})
    assert judge.judge(asked, "def f(x): return x * x").tests_passed == 3
    assert [test.kind for test in judge.judge(asked, "def f(x): return 4").tests] == ["passed", "failed", "failed"]
