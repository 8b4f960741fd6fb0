"""Whole programs: several inputs share a process where that changes nothing, and have their own where it might."""

from collections.abc import Iterator, Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from greenlit.config import AnnotateParams
from greenlit.execution import encoding, values, verdicts
from greenlit.execution.judges import Judge
from greenlit.execution.level import Request, Run
from greenlit.execution.split import plan_tests
from greenlit.execution.stdio import leaves_nothing
from greenlit.types import Problem, StdioTest

PARAMS = AnnotateParams(allow_portable=True, timeout_s=2.0, cpu_min_s=0.3, cpu_max_s=1.0, memory_mib=256)
LIMITS = verdicts.Limits(cpu_s=1, wall_s=2, memory_mib=256, output_bytes=1 << 20)


def problem(*pairs: tuple[str, str]) -> Problem:
    return Problem(task_id="t", tests=[StdioTest(input=given, output=wanted) for given, wanted in pairs])


DOUBLE = problem(("1\n", "2\n"), ("20\n", "40\n"), ("-3\n", "-6\n"), ("0\n", "0\n"))
RIGHT = "print(2 * int(input()))"


@pytest.fixture(scope="module")
def judge() -> Iterator[Judge]:
    with Judge(PARAMS, workers=1) as judge:
        yield judge


SHAREABLE = {
    "input": RIGHT,
    "stdin": "import sys\nfor line in sys.stdin: print(2 * int(line))",
    "readline": "import sys\ninput = sys.stdin.readline\nprint(2 * int(input()))",
    "buffer": "import sys\nsys.stdout.buffer.write(b'%d' % (2 * int(sys.stdin.buffer.read())))",
    "open 0": "print(2 * int(open(0).read()))",
    "open 0 kept": "f = open(0)\ndef g(): return f\nprint(2 * int(g().read()))",
    "open 1 kept": "out = open(1, 'w')\nout.write(str(2 * int(input())))",
    "os": "import os\nos.write(1, b'%d' % (2 * int(os.read(0, os.fstat(0).st_size))))",
    "fast": "import sys, io, os\n"
    "class Fast(io.IOBase):\n  newlines = 0\n  def __init__(s, f): s.fd = f.fileno(); s.b = io.BytesIO()\n"
    "  def write(s, t): s.b.write(t.encode())\n  def flush(s): os.write(s.fd, s.b.getvalue()); s.b = io.BytesIO()\n"
    "n = int(sys.stdin.readline())\nsys.stdout = Fast(sys.stdout)\nsys.stdout.write(str(2 * n))",
    "detached": "import sys, io\nsys.stdin = io.TextIOWrapper(sys.stdin.detach())\n"
    "sys.stdout = io.TextIOWrapper(sys.stdout.detach())\nprint(2 * int(input()))",
    "closed": "import sys\nn = int(input())\nsys.stdout.write(str(2 * n))\nsys.stdout.close()\nsys.stdin.close()",
    "exit": "import sys\nprint(2 * int(input()))\nsys.exit()",
    "exit 0": "print(2 * int(input()))\nexit(0)",
    "__main__": "def main(): print(2 * int(input()))\nif __name__ == '__main__': main()",
    "main module": "import __main__\nn = 2 * int(input())\nprint(__main__.n)",
    "fresh names": "try: seen\nexcept NameError: seen = 0\nseen += 1\nprint(2 * int(input()) if seen == 1 else seen)",
    "cached": "import functools\n@functools.cache\ndef f(n): return 2 * n\nprint(f(int(input())))",
    "random": "import random\nr = random.random()\nrandom.seed(0)\nassert r == random.random()\n"
    "print(2 * int(input()))",
    "recursion": "import sys\nn = int(input())\nassert sys.getrecursionlimit() < 2000\nsys.setrecursionlimit(30000)\n"
    "def f(k): return 0 if k == 0 else 1 + f(k - 1)\nprint(2 * n + f(20000) - 20000)",
    "decimal": "import decimal\nassert decimal.getcontext().prec == 28\ndecimal.getcontext().prec = 4\n"
    "print(decimal.Decimal(input()) * 2)",
    "digits": "import sys\nassert sys.get_int_max_str_digits() == 4300\nsys.set_int_max_str_digits(0)\n"
    "print(2 * int(input()))",
    "folder": "import os\nassert len(os.listdir('.')) == 0\nos.mkdir('a')\nos.chdir('a')\nprint(2 * int(input()))\n"
    "os.chdir('..')\nos.rmdir('a')",
    "sys.path": "import sys\nassert 'x' not in sys.path + sys.argv\nsys.path.append('x')\nsys.argv += ['x']\n"
    "print(2 * int(input()))",
    "excepthook": "import sys\nassert sys.excepthook is sys.__excepthook__\nsys.excepthook = None\n"
    "print(2 * int(input()))",
    "blanks": "print('  ', 2 * int(input()), '\\r\\n\\n')",
    "decimals": "print(2.0 * int(input()))",
}  # fmt: skip


@pytest.mark.parametrize("code", SHAREABLE.values(), ids=SHAREABLE.keys())
def test_right_programs_pass_in_company_and_alone(judge: Judge, code: str) -> None:
    found = judge.judge(DOUBLE, code)
    assert found.passed, found
    for test in DOUBLE.tests:
        alone = judge.judge(DOUBLE.model_copy(update={"tests": [test]}), code)
        assert alone.passed, alone


WRONG = {
    "wrong": ("print(int(input()))", ["failed", "failed", "failed", "passed"]),
    "late": ("n = int(input())\nprint(2 * n if n < 10 else n)", ["passed", "failed", "passed", "passed"]),
    "error": ("n = int(input())\nprint(60 // n // 30 * n)", ["passed", "failed", "failed", "error"]),
    "status": ("n = int(input())\nprint(2 * n)\nexit(n % 20)", ["error", "passed", "error", "passed"]),
    "status text": ("print(2 * int(input()))\nexit('x')", ["error"] * 4),
    "status 256": ("print(2 * int(input()))\nexit(256)", ["passed"] * 4),
    "loop": ("n = int(input())\nwhile n == 20: pass\nprint(2 * n)", ["passed", "timeout", "passed", "passed"]),
    "first loop": ("n = int(input())\nwhile n == 1: pass\nprint(2 * n)", ["timeout", "passed", "passed", "passed"]),
    "crash": (
        "n = int(input())\nif n == 20:\n  def f(): f()\n  import sys\n  sys.setrecursionlimit(10 ** 8)\n"
        "  class A:\n    def __getattr__(s, n): return getattr(s, n)\n  A().x\nprint(2 * n)",
        ["passed", "error", "passed", "passed"],
    ),
    "memory": ("n = int(input())\nif n == 20: [0] * 10 ** 9\nprint(2 * n)", ["passed", "memory", "passed", "passed"]),
    "flood": ("n = int(input())\nprint('x' * (n == 20) * 3000000, 2 * n)", ["passed", "error", "passed", "passed"]),
    "bytes": ("import sys\nsys.stdout.buffer.write(b'\\xff')", ["error"] * 4),
    "syntax": ("print(", ["syntax"] * 4),
    "null": ("print(2)\0", ["syntax"] * 4),
    "not main": ("if __name__ != '__main__': print(2 * int(input()))", ["failed"] * 4),
}


@pytest.mark.parametrize(("code", "kinds"), WRONG.values(), ids=WRONG.keys())
def test_wrong_programs_fail_where_they_would_alone(judge: Judge, code: str, kinds: list[str]) -> None:
    found = judge.judge(DOUBLE, code)
    assert [test.kind for test in found.tests] == kinds, found
    alone = [judge.judge(DOUBLE.model_copy(update={"tests": [test]}), code).tests[0] for test in DOUBLE.tests]
    assert [test.kind for test in alone] == kinds
    assert [strip(test.error) for test in found.tests] == [strip(test.error) for test in alone]


def strip(error: str | None) -> str | None:
    return error and error.split(": ", 1)[-1]


POLLUTERS = {
    "a module as a variable": "import string\nn = int(input())\nprint(2 * n if not hasattr(string, 'x') else 'again')\n"
    "string.x = 1",
    "an answer for the next run": "import math\nn = int(input())\nprint(getattr(math, 'last', 2 * n))\n"
    "math.last = 2 * n",
    "streams in a closure of a module": "import sys, string\nn = int(input())\n"
    "string.write = getattr(string, 'write', sys.stdout.write)\nstring.write(str(2 * n))\nsys.stdout.flush()",
    "a thread": "import threading\nn = int(input())\nthreading.Thread(target=lambda: print(2 * n)).start()",
    "a hidden thread": "t = __import__('thread' + 'ing')\nn = int(input())\n"
    "t.Thread(target=lambda: (__import__('time').sleep(0.1), print(2 * n))).start()",
    "atexit": "import atexit\nn = int(input())\natexit.register(lambda: print(2 * n))",
    "os._exit": "import os, sys\nprint(2 * int(input()))\nsys.stdout.flush()\nos._exit(0)",
    "hidden os._exit": "import os, sys\nprint(2 * int(input()))\nsys.stdout.flush()\ngetattr(os, '_ex' + 'it')(0)",
    "files": "import os\nassert not os.listdir('.')\nwith open('x', 'w') as f: f.write(input())\n"
    "print(2 * int(open('x').read()))",
    "time of its own": "n = int(input())\nfor _ in range(6 * 10 ** 6): pass\nprint(2 * n)",
}  # fmt: skip


@pytest.mark.parametrize("code", POLLUTERS.values(), ids=POLLUTERS.keys())
def test_a_program_that_would_disturb_itself_is_judged_as_if_alone(judge: Judge, code: str) -> None:
    found = judge.judge(DOUBLE, code)
    assert found.passed, found


def test_a_program_cannot_borrow_an_answer_from_an_earlier_run(judge: Judge) -> None:
    code = "import math\nn = int(input())\nprint(getattr(math, 'kept', 0))\nmath.kept = 2 * n"
    found = judge.judge(problem(("1\n", "2\n"), ("1\n", "2\n")), code)
    assert not found.passed
    assert not found.tests[0].passed


def test_the_stack_is_as_deep_as_in_plain_python(judge: Judge) -> None:
    """A program that just fits into the interpreter's own limit fits here, alone and in company."""
    code = "n = int(input())\ndef f(k): return 0 if k == 0 else 1 + f(k - 1)\nprint(f(n))"
    fits = ("990\n", "990\n")
    for tests in (problem(fits), problem(fits, fits)):
        assert judge.judge(tests, code).passed
    too_deep = judge.judge(problem(("1010\n", "1010\n")), code)
    assert "RecursionError" in str(too_deep.error)


def test_inputs_larger_than_an_output_may_be(judge: Judge) -> None:
    big = "1 " * 2_000_000
    found = judge.judge(problem((big, "2000000"), ("1 1", "2")), "print(sum(map(int, input().split())))")
    assert found.passed, found


class Played:
    """A level that plays: `answers` says what each run of inputs prints; records what it was asked."""

    def __init__(self, prints, cpu_s: float = 0.1) -> None:
        self.prints = prints
        self.cpu_s = cpu_s
        self.asked: list[list[str]] = []

    def run(self, request: Request) -> Run:
        if request.stdin is not None:
            self.asked.append([request.stdin])
            return Run(started=True, ended="exited", stdout=self.prints(request.stdin, True), cpu_s=self.cpu_s)
        texts = [text for _, text in request.steps]
        self.asked.append(texts)
        lines, ended = [], "answered"
        for index, text in enumerate(texts):
            printed = self.prints(text, False)
            if isinstance(printed, str):
                ended = printed
                break
            lines.append(f'[{index},"value",{encoding.encode((printed, self.cpu_s), 1 << 20)}]'.encode())
        return Run(started=True, ended=ended, lines=lines, cpu_s=self.cpu_s * len(lines))


def kinds(level: Played, code: str = RIGHT) -> list[str]:
    return [test.kind for test in verdicts.judge(plan_tests(DOUBLE), code, level, LIMITS).tests]


ALL = ["1\n", "20\n", "-3\n", "0\n"]


def doubled(text: str, alone: bool) -> bytes:
    return str(2 * int(text)).encode()


def test_all_inputs_go_into_one_process() -> None:
    level = Played(doubled)
    assert kinds(level) == ["passed"] * 4
    assert level.asked == [ALL]


def test_the_first_failure_is_repeated_alone_and_then_believed() -> None:
    level = Played(lambda text, alone: b"7")
    assert kinds(level, f"import os\n{RIGHT}") == ["failed"] * 4
    assert level.asked == [ALL, ["20\n"]]
    level = Played(lambda text, alone: b"7")
    assert kinds(level) == ["failed"] * 4
    assert level.asked == [ALL]  # this one can leave nothing behind


def test_where_company_changes_an_output_every_test_runs_alone() -> None:
    level = Played(lambda text, alone: doubled(text, alone) if alone or text != "-3\n" else b"7")
    assert kinds(level, f"import os\n{RIGHT}") == ["passed"] * 4
    assert level.asked == [ALL, ["-3\n"], *([text] for text in ALL)]


@pytest.mark.parametrize("end", ["cpu", "wall", "exited", "flood"])
def test_an_input_without_an_answer_begins_the_next_process(end: str) -> None:
    """So the CPU limit, which is for one input, holds for every one of them."""
    runs = iter([doubled, doubled, lambda *_: end, doubled, doubled])
    level = Played(lambda text, alone: next(runs)(text, alone))
    assert kinds(level) == ["passed"] * 4
    assert level.asked == [ALL, ALL[2:]]


def test_an_input_that_takes_too_long_by_itself_is_a_timeout_and_the_others_go_on() -> None:
    level = Played(lambda text, alone: "cpu" if text == "20\n" else doubled(text, alone))
    assert kinds(level) == ["passed", "timeout", "passed", "passed"]
    assert level.asked == [ALL, ALL[1:], ALL[2:]]


def test_a_process_that_vanishes_at_once_has_its_inputs_run_alone() -> None:
    level = Played(lambda text, alone: doubled(text, alone) if alone else "exited")
    assert kinds(level) == ["passed"] * 4
    assert level.asked == [ALL, *([text] for text in ALL)]


@pytest.mark.parametrize(
    "code",
    ["import threading", "os._exit(0)", "f = open('x')", "import subprocess", "a.__builtins__", "signal.alarm(1)"],
)
def test_programs_that_may_outlive_a_run_have_their_own_processes(code: str) -> None:
    level = Played(doubled)
    assert kinds(level, code) == ["passed"] * 4
    assert level.asked == [[text] for text in ALL]


@pytest.mark.parametrize("line", [b'[0,"value",["n"]]', b'[0,"value",["s","32"]]', b'[1,"value",["n"]]', b"x", b"[]"])
def test_a_forged_answer_of_a_shared_process_passes_nothing(line: bytes) -> None:
    class Forging(Played):
        def run(self, request: Request) -> Run:
            run = super().run(request)
            return run if request.stdin is not None else Run(started=True, ended="answered", lines=[line], cpu_s=0.0)

    assert "passed" not in kinds(Forging(lambda text, alone: b"7"))


def test_a_references_time_is_that_of_its_slowest_input() -> None:
    level = Played(doubled, cpu_s=0.25)
    assert verdicts.judge(plan_tests(DOUBLE), RIGHT, level, LIMITS).parts_cpu_s == [0.25] * 4


lines = st.lists(st.text("a1. \t", max_size=4), max_size=4)


@given(lines, lines)
def test_exact_outputs_compare_as_livecodebench_compares_them(found: Sequence[str], expected: Sequence[str]) -> None:
    from decimal import Decimal, InvalidOperation

    def livecodebench() -> bool:
        one, other = ([line.strip() for line in "\n".join(part).strip().split("\n")] for part in (found, expected))
        if len(one) != len(other):
            return False
        for left, right in zip(one, other, strict=True):
            if left == right:
                continue
            try:
                if [Decimal(word) for word in left.split()] != [Decimal(word) for word in right.split()]:
                    return False
            except InvalidOperation:
                return False
        return True

    assert values.output_matches("exact", "\n".join(found), "\n".join(expected)) == livecodebench()


@pytest.mark.parametrize(
    ("code", "plainly"),
    [
        ("import sys, math\nprint(math.pi == 3)", True),
        ("from collections import deque, Counter\nprint(deque())", True),
        ("import sys as s\ns.setrecursionlimit(9)", True),
        ("import os", False),
        ("import math, os.path as p", False),
        ("def f():\n    from email import message", False),
        ("import math\nmath.pi = 3", False),
        ("import string\nsetattr(string, 'digits', '')", False),
        ("import re\nre.__dict__['x'] = 1", False),
        ("exec('import os')", False),
    ],
)
def test_which_programs_plainly_leave_nothing_behind(code: str, plainly: bool) -> None:
    assert leaves_nothing(code) is plainly
