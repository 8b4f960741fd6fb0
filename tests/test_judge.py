"""Judgements: right, in order, the same with any number of workers, and whole again after a worker's death."""

import os
import signal
import stat
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from conftest import LEVELS, ROOT

from greenlit.config import AnnotateParams
from greenlit.errors import ConfigError, SandboxError
from greenlit.execution import judges as judge_module
from greenlit.execution import pool as pool_module
from greenlit.execution.cheats.suite import CHEATS
from greenlit.execution.judges import Judge
from greenlit.types import AssertTest, CallTest, Problem, StdioTest

PARAMS = AnnotateParams(allow_portable=True, timeout_s=2.0, cpu_min_s=0.3, cpu_max_s=1.0, memory_mib=256)
SQUARE = Problem(
    task_id="square",
    entry_point="f",
    reference=["def f(x): return x * x"],
    tests=[
        AssertTest(code="assert f(2) == 4", role="shown"),
        AssertTest(code="assert f(3) == 9"),
        AssertTest(code="assert f(5) == 25", role="hidden"),
    ],
)
ADD = Problem(
    task_id="add",
    reference=["print(sum(map(int, input().split())))"],
    tests=[StdioTest(input="3 4\n", output="7\n"), StdioTest(input="1 1\n", output="2\n")],
)


@pytest.fixture(scope="module", params=LEVELS)
def judge(request: pytest.FixtureRequest) -> Iterator[Judge]:
    with Judge(PARAMS, workers=1, level=request.param) as judge:
        yield judge


@pytest.mark.parametrize(
    ("code", "verdict", "passed", "hidden"),
    [
        ("def f(x): return x * x", "passed", True, True),
        ("def f(x): return x * x if x < 5 else 0", "passed", True, False),
        ("def f(x): return 4", "failed", False, False),
        ("def f(x): return x / 0", "error", False, False),
        ("def g(x): return x * x", "error", False, False),
        ("def f(x):\n  while True: pass", "timeout", False, False),
        ("import time\ndef f(x): time.sleep(60)", "timeout", False, False),
        ("def f(x): return [0] * 10 ** 9", "memory", False, False),
        ("def f(x: return x", "syntax", False, False),
        ("return 4", "syntax", False, False),
        ("def f(x): return '\0'", "syntax", False, False),
        ("def f(x): return " + "(" * 5000, "syntax", False, False),
        ("f = " + "-" * 100_000 + "1", "syntax", False, False),
        ("", "no_code", False, False),
        (" \n\t\n", "no_code", False, False),
        ("import dataclasses, typing, random, json, re, collections, heapq\n"
         "@dataclasses.dataclass\nclass P:\n  v: int\ndef f(x): return P(x).v ** 2", "passed", True, True),
        ("import sys\ndef f(x):\n  sys.setrecursionlimit(20000)\n"
         "  def g(n): return 0 if n == 0 else 1 + g(n - 1)\n  return x * x + g(15000) - 15000", "passed", True, True),
    ],
)  # fmt: skip
def test_verdicts(judge: Judge, code: str, verdict: str, passed: bool, hidden: bool) -> None:
    found = judge.judge(SQUARE, code)
    assert (found.verdict, found.passed, found.passed_hidden) == (verdict, passed, hidden), found
    assert found.passed_all is (passed and hidden)
    assert found.tests_total == 2
    assert found.level == judge.level
    assert found.error is None or "\n" not in found.error


def test_what_was_answered_before_the_time_was_up_counts(judge: Judge) -> None:
    found = judge.judge(SQUARE, "def f(x):\n  while x == 3: pass\n  return x * x")
    assert (found.verdict, found.tests_passed, found.passed_hidden) == ("timeout", 1, False)
    assert [test.kind for test in found.tests] == ["passed", "timeout", "timeout"]


def test_unsplittable_tests_leave_it_open(judge: Judge) -> None:
    odd = AssertTest(code="assert all(f(i) for i in (1, 2))", checker="float")
    problem = SQUARE.model_copy(update={"tests": [*SQUARE.tests, odd]})
    right, wrong = judge.judge(problem, SQUARE.reference[0]), judge.judge(problem, "def f(x): return 0")
    assert (right.verdict, right.passed, right.passed_all, right.tests_passed) == ("infra", None, None, 2)
    assert (wrong.verdict, wrong.passed) == ("failed", False)
    assert "comprehension" in judge.prepare(problem).unsplittable[0]


@pytest.mark.parametrize(
    ("code", "verdict"),
    [
        (ADD.reference[0], "passed"),
        ("import sys\nprint(sum(map(int, sys.stdin.read().split())))\nsys.exit(0)", "passed"),
        ("import os\nprint(sum(map(int, os.read(0, os.fstat(0).st_size).split())))", "passed"),
        ("import sys\nfor line in sys.stdin: print(sum(map(int, line.split())), end='  \\r\\n\\n')", "passed"),
        ("def main():\n  print(sum(map(int, input().split())))\nif __name__ == '__main__': main()\nexit()", "passed"),
        ("import atexit\natexit.register(lambda: print(s))\ns = sum(map(int, input().split()))", "passed"),
        ("if __name__ != '__main__': print(sum(map(int, input().split())))", "failed"),
        ("print(7)", "failed"),
        ("print(sum(map(int, input().split())), 'x')", "failed"),
        ("print(sum(map(int, input().split())))\nraise SystemExit(3)", "error"),
        ("print(sum(map(int, input().split())))\n1 / 0", "error"),
        ("print(sum(map(int, input().split())))\nwhile True: pass", "timeout"),
        ("while True: print('x' * 10000)", "error"),
        ("input(); input()", "error"),
        ("x = [0] * 10 ** 9", "memory"),
        ("print(", "syntax"),
    ],
)
def test_whole_programs(judge: Judge, code: str, verdict: str) -> None:
    assert judge.judge(ADD, code).verdict == verdict


def test_call_tests(judge: Judge) -> None:
    problem = Problem(task_id="call", entry_point="f", tests=[CallTest(input=[[3, 1]], output=[1, 3])])
    codes = [
        "def f(a): return tuple(sorted(a))",
        "class Solution:\n  def f(self, a): return sorted(a)",
        "def f(a): return a",
    ]
    assert [found.passed for found in judge.judge_all((problem, code) for code in codes)] == [True, True, False]


def test_limits_follow_the_reference(judge: Judge) -> None:
    slow = SQUARE.model_copy(update={"reference": ["def f(x):\n  for _ in range(10 ** 6): pass\n  return x * x"]})
    cpu_s = judge.prepare(slow).reference_cpu_s
    assert cpu_s is not None
    assert judge.prepare(slow).cpu_limit_s == min(max(10 * cpu_s, 0.3), 1.0)
    assert judge.prepare(SQUARE).cpu_limit_s == 0.3
    assert judge.prepare(SQUARE.model_copy(update={"reference": []})).cpu_limit_s == 1.0
    assert judge.prepare(SQUARE.model_copy(update={"reference": ["def f(x): return 0"]})).reference_cpu_s is None
    assert judge.prepare(SQUARE.model_copy(update={"time_limit_s": 7.0})).cpu_limit_s == 7.0


def test_a_problems_own_memory_limit_wins(judge: Judge) -> None:
    code = "x = bytearray(300 << 20)\ndef f(x): return x * x"
    patient = SQUARE.model_copy(update={"time_limit_s": 5.0})  # touching 300 MiB takes its time
    assert judge.judge(patient, code).verdict == "memory"
    assert judge.judge(patient.model_copy(update={"memory_limit_mib": 600}), code).verdict == "passed"


def mixed_jobs() -> list[tuple[Problem, str]]:
    codes = [
        "def f(x): return x * x",
        "def f(x): return x",
        "def f(",
        "import os; os._exit(0)",
        "def f(x): return 1 / 0",
    ]
    extra = [f"def f(x): return x * x  # {i}" for i in range(20)]
    return [(SQUARE, code) for code in [*codes, *extra, "while True: pass"]] + [(ADD, "print(7)"), (SQUARE, codes[0])]


def without_times(found: judge_module.Judgement) -> tuple:
    return (found.verdict, found.passed, found.passed_hidden, found.tests_passed, found.error, found.tests)


def test_results_do_not_depend_on_the_number_of_workers(judge: Judge) -> None:
    one = [without_times(found) for found in judge.judge_all(mixed_jobs())]
    with Judge(PARAMS, workers=3, level=judge.level) as three:
        assert [without_times(found) for found in three.judge_all(mixed_jobs())] == one


def test_results_repeat(judge: Judge) -> None:
    code = "import random\ndef f(x): return (random.random(), hash('a'), list({'a', 'b', 'c'}), x)"
    first = judge.judge(SQUARE, code)
    second = judge.judge(SQUARE, code + "\n")
    assert first.error == second.error
    assert "got (" in str(first.error)


def test_the_same_program_runs_once(judge: Judge, monkeypatch: pytest.MonkeyPatch) -> None:
    sent = []
    send = pool_module.WorkerProcess.send
    monkeypatch.setattr(pool_module.WorkerProcess, "send", lambda self, task: sent.append(task) or send(self, task))
    code = f"def f(x): return x * x  # {uuid.uuid4()}"
    fresh = {"tests": [*SQUARE.tests, AssertTest(code=f"assert f({uuid.uuid4().int}) > 1")]}
    jobs = [(SQUARE.model_copy(update=fresh), code) for _ in range(50)]
    assert [found.passed for found in judge.judge_all(jobs)] == [True] * 50
    assert [task.message["op"] for task in sent] == ["judge"]


def test_a_hurried_timeout_is_judged_once_while_the_reference_is_timed(
    judge: Judge, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is asked for again with each answer that comes in meanwhile."""
    slow = "def f(x):\n  for _ in range(6 * 10 ** 6): pass\n  return x * x  # {}"
    problem = SQUARE.model_copy(update={"reference": [slow.format(uuid.uuid4())]})
    answers = []
    judged = judge_module.judgement_of
    monkeypatch.setattr(
        judge_module,
        "judgement_of",
        lambda problem, answer, level: answers.append(answer) or judged(problem, answer, level),
    )
    codes = ["def f(x):\n  while True: pass", *(f"def f(x): return x * x  # {n}" for n in range(20))]
    found = [one.verdict for one in judge.judge_all((problem, code) for code in codes)]
    assert found == ["timeout"] + ["passed"] * 20
    assert len(answers) == len({id(answer) for answer in answers}) == 22  # the timeout ran again with the longer limit


def test_results_stream_and_jobs_are_read_a_bounded_way_ahead(judge: Judge) -> None:
    read = 0

    def jobs() -> Iterator[tuple[Problem, str]]:
        nonlocal read
        for number in range(500):
            read += 1
            yield SQUARE, f"def f(x): return {number} if x == 1 else x * x"

    results = judge.judge_all(jobs())
    assert next(results).passed
    assert read <= judge_module.AHEAD_PER_WORKER
    results.close()


def test_a_dead_worker_is_replaced() -> None:
    with Judge(PARAMS, workers=2) as judge:
        for worker in list(judge.pool.workers):
            worker.process.kill()
            worker.process.wait()
        assert [found.passed for found in judge.judge_all(mixed_jobs())][:2] == [True, False]


def test_a_job_that_keeps_killing_its_worker_is_infra(monkeypatch: pytest.MonkeyPatch) -> None:
    with Judge(PARAMS, workers=1) as judge:
        judge.prepare(SQUARE)
        with monkeypatch.context() as broken:
            broken.setattr(pool_module.WorkerProcess, "receive", lambda self: False)
            found = judge.judge(SQUARE, "def f(x): return 1")
        assert (found.verdict, found.passed, found.passed_all) == ("infra", None, None)
        assert judge.judge(SQUARE, "def f(x): return 1").verdict == "failed"


def test_portable_must_be_allowed() -> None:
    with pytest.raises(ConfigError, match=r"annotate\.allow_portable: must be true"):
        Judge(AnnotateParams(), level="portable")


def test_an_unknown_level_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GREENLIT_SANDBOX", "jail")
    with pytest.raises(ConfigError, match=r"GREENLIT_SANDBOX: no sandbox level 'jail'"):
        Judge(AnnotateParams())


def test_a_level_that_judges_wrongly_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(judge_module.Judge, "judge", lambda self, problem, code: wrong)
    wrong = judge_module.Judgement("passed", True, None, True, 1, 1, None, 0.1, 0.1, "namespaces")
    with pytest.raises(SandboxError, match="does not judge rightly"):
        Judge(PARAMS)


def test_workers_that_die_at_their_start_are_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pool_module.WorkerProcess, "receive", lambda self: False)
    with pytest.raises(SandboxError, match="died at its start"):
        Judge(PARAMS)


WITH_A_SECRET = """
import os, sys
from pathlib import Path
from greenlit.config import AnnotateParams
from greenlit.execution.judges import Judge
from greenlit.types import AssertTest, Problem

secret = os.environ["HF_TOKEN"]
if sys.platform == "linux":
    assert secret in Path("/proc/self/environ").read_text()
program = f'''
import glob, os
def seen(path):
    try:
        with open(path, errors="replace") as file: return {secret[::-1]!r}[::-1] in file.read()
    except OSError: return False
def f():
    found = ["os.environ"] if {secret[::-1]!r}[::-1] in repr(os.environ) else []
    found += [path for path in glob.glob("/proc/*/environ") if seen(path)]
    return found + [".env"] * seen({os.path.abspath(".env")!r})
'''
problem = Problem(task_id="t", entry_point="f", tests=[AssertTest(code="assert f() == []")])
with Judge(AnnotateParams(allow_portable=True), 1, sys.argv[1]) as judge:
    print(judge.judge(problem, program).error)
"""


@pytest.mark.parametrize("level", LEVELS)
def test_no_candidate_finds_the_secrets_of_the_project(level: str) -> None:
    """A token in the environment, and in a `.env` that others may read, outside /tmp.

    `portable` lets the file be read, and as a plain user other processes too: cheats of the suite say so by name.
    """
    secret = f"hf_{uuid.uuid4().hex}"
    with tempfile.TemporaryDirectory(dir=ROOT, prefix=".project-") as name:
        folder = Path(name)
        folder.chmod(0o755)
        (folder / ".env").write_text(f"HF_TOKEN={secret}\n")
        environment = {**os.environ, "PYTHONPATH": str(ROOT / "src"), "HF_TOKEN": secret}
        done = subprocess.run(
            [sys.executable, "-c", WITH_A_SECRET, level], cwd=folder, env=environment, capture_output=True, text=True
        )
        assert done.returncode == 0, done.stderr
        found = done.stdout.strip()
    if level != "portable":
        assert found == "None"
        return
    open_at_portable = {cheat.name for cheat in CHEATS if "portable" in cheat.open_at}
    assert {"a file that all may read", "the environment of all processes"} <= open_at_portable
    if os.geteuid() == 0:
        others_may = all(parent.stat().st_mode & stat.S_IXOTH for parent in folder.parents)
        assert found == ("test 0: assert f() == []: got ['.env']" if others_may else "None")
    else:
        assert "'.env'" in found and "os.environ" not in found


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("ending", [signal.SIGTERM, signal.SIGINT, signal.SIGKILL])
def test_no_process_is_left_two_seconds_after_the_main_process(ending: signal.Signals, level: str) -> None:
    main = (
        "from greenlit.config import AnnotateParams\nfrom greenlit.execution.judges import Judge\n"
        "from greenlit.types import *\n"
        "p = Problem(task_id='t', entry_point='f', tests=[AssertTest(code='assert f(1) == 1')])\n"
        f"with Judge(AnnotateParams(allow_portable=True, timeout_s=50), 2, {level!r}) as judge:\n"
        "    print('ready', flush=True)\n"
        "    sleepers = [f'import time, os\\nos.fork()\\ntime.sleep(60 + {n})' for n in range(4)]\n"
        "    list(judge.judge_all((p, code) for code in sleepers))\n"
    )
    parent = subprocess.Popen([sys.executable, "-c", main], stderr=subprocess.DEVNULL, stdout=subprocess.PIPE)
    try:
        assert parent.stdout and parent.stdout.readline() == b"ready\n"
        sleepers = 8 if level == "namespaces" else 4  # lanes let all of them sleep at once
        zygotes = 4 if level == "namespaces" else 0
        wait_until(lambda: len(parent_children(parent.pid)) >= 2 + zygotes + sleepers)
        started = parent_children(parent.pid)
        parent.send_signal(ending)
        wait_until(lambda: not any(map(runs, started)), seconds=2.0)
    finally:
        parent.kill()
        parent.wait()


def runs(pid: int) -> bool:
    """A process that has ended may wait for init to take notice."""
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def parent_children(pid: int) -> list[int]:
    return [child.pid for child in psutil.Process(pid).children(recursive=True)]


def wait_until(happened, seconds: float = 20.0) -> None:
    deadline = time.monotonic() + seconds
    while not happened():
        assert time.monotonic() < deadline, "did not happen in time"
        time.sleep(0.05)


@pytest.mark.parametrize(
    "code",
    ["def f(x): return (i for i in [x])", "class P: pass\ndef f(x): raise ValueError(P())", "f = lambda x: print"],
)
def test_messages_are_the_same_in_every_run(judge: Judge, code: str) -> None:
    """No address of this run in them: files that must repeat hold them."""
    told = {judge.judge(SQUARE, code + "\n" * number).error for number in range(3)}
    assert len(told) == 1
    assert "0x" not in told.pop().replace("0x...", "")
