"""The science profile: numpy, pandas and sympy at hand, answers compared as plain values; the plain one as it was."""

import importlib.util
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from conftest import LEVELS

from greenlit.config import AnnotateParams
from greenlit.execution import descendants, profiles, verdicts
from greenlit.execution.jailed import IDLE_LANES, Jails
from greenlit.execution.judges import Judge
from greenlit.execution.level import Request
from greenlit.execution.split import plan_tests
from greenlit.types import AssertTest, CallTest, Problem, ScriptTest, StdioTest

PARAMS = AnnotateParams(allow_portable=True, timeout_s=5.0, cpu_min_s=1.0, cpu_max_s=2.0, memory_mib=256)
ABSENT = [name for name in profiles.SCIENCE if importlib.util.find_spec(name) is None]
needs_packages = pytest.mark.skipif(bool(ABSENT), reason=f"not installed: {', '.join(ABSENT)}")
ALL = "import numpy as np, pandas as pd, sympy\n"


def problem(*asserts: str, profile: str = "science") -> Problem:
    return Problem(
        task_id="t", profile=profile, entry_point="f", tests=[AssertTest(code=f"assert {code}") for code in asserts]
    )


@pytest.fixture(scope="module", params=LEVELS)
def judge(request: pytest.FixtureRequest) -> Iterator[Judge]:
    with Judge(PARAMS, workers=1, level=request.param) as judge:
        yield judge


@needs_packages
@pytest.mark.parametrize(
    ("code", "asserts", "verdict"),
    [
        ("def f(x): return int(np.arange(x).sum()), len(pd.Series([1, x])), str(sympy.sqrt(x))",
         "f(4) == (6, 2, '2')", "passed"),
        ("def f(x): return np.arange(x).sum()", "f(4) == 6", "passed"),
        ("def f(x): return np.arange(x).sum()", "f(4) == 7", "failed"),
        ("def f(x): return np.float64(x) / 2", "f(3) == 1.5", "passed"),
        ("def f(x): return np.float32(0.1)", "f(3) == 0.1", "failed"),
        ("def f(x): return np.float32(0.1)", "abs(f(3) - 0.1) < 1e-6", "passed"),
        ("def f(x): return [np.bool_(x > 1), np.uint8(255), np.complex64(1j), np.str_('a')]",
         "f(3) == [True, 255, 1j, 'a']", "passed"),
        ("def f(x): return {k: v for k, v in pd.Series([1, 2], index=['a', 'b']).items()}",
         "f(3) == {'a': 1, 'b': 2}", "passed"),
        ("def f(x): return np.arange(x)", "f(3).tolist() == [0, 1, 2]", "passed"),
        ("def f(x): return np.arange(x)", "f(3) == [0, 1, 2]", "error"),
        ("def f(x): return np.array(x)", "f(3) == 3", "failed"),
        ("def f(x): return np.linalg.inv(np.eye(x) * 2).tolist()", "f(2) == [[0.5, 0.0], [0.0, 0.5]]", "passed"),
        ("def f(x): return len(np.ones(2 * 10 ** 7))", "f(2) == 2 * 10 ** 7", "passed"),
        ("def f(x): return len(np.ones(4 * 10 ** 7))", "f(2) == 4 * 10 ** 7", "memory"),
    ],
)  # fmt: skip
def test_what_the_packages_compute_is_judged_as_plain_values(
    judge: Judge, code: str, asserts: str, verdict: str
) -> None:
    found = judge.judge(problem(asserts), ALL + code)
    assert found.verdict == verdict, found


@needs_packages
@pytest.mark.parametrize(
    "code",
    [
        "class Yes:\n  def __eq__(self, other): return True\n  __hash__ = None\n"
        "def f(x): return np.array([Yes()], dtype=object)",
        "class Yes(np.ndarray):\n  def __eq__(self, other): return True\n  def __bool__(self): return True\n"
        "def f(x): return np.zeros(2).view(Yes)",
        "class Yes(np.float64):\n  def __eq__(self, other): return True\n  def item(self): return self\n"
        "def f(x): return Yes(0)",
        "class int64:\n  __module__ = 'numpy'\n  def __eq__(self, other): return True\n"
        "  def item(self): return self\n__import__('sys').setrecursionlimit(10 ** 6)\ndef f(x): return int64()",
        "class int64:\n  def item(self): return {}\nint64.__module__ = 'numpy'\ndef f(x): return int64()",
        "np.equal = lambda *_: True\npd.DataFrame.__eq__ = lambda *_: True\ndef f(x): return pd.DataFrame()",
        "x = sympy.Symbol('x')\nsympy.Basic.__eq__ = lambda *_: True\ndef f(_): return x",
    ],
)
def test_objects_of_the_packages_that_equal_everything_do_not_pass(judge: Judge, code: str) -> None:
    found = judge.judge(problem("f(4) == 6", "f(5) == 10"), ALL + code)
    assert found.passed is False, found
    assert judge.judge(problem("f(4) == 6"), ALL + "def f(x): return np.arange(x).sum()").passed


@needs_packages
def test_every_kind_of_test_has_the_profile(judge: Judge) -> None:
    loop = (
        "import numpy as np\ndef check(candidate):\n    for i in range(3):\n        assert candidate(i) == np.exp(i)\n"
    )
    whole = "import numpy as np\nprint(np.array(input().split(), dtype=int).sum())"
    called = Problem(task_id="c", profile="science", entry_point="f", tests=[
        CallTest(input=[3], output=20.085536923187668), ScriptTest(code=loop),
    ])  # fmt: skip
    found = judge.judge(called, "import numpy as np\ndef f(x): return np.exp(x)")
    assert found.passed, found
    stdio = Problem(task_id="s", profile="science", tests=[StdioTest(input="1 2", output="3")] * 2)
    assert judge.judge(stdio, whole).passed
    assert judge.judge(stdio.model_copy(update={"profile": "plain"}), whole).verdict == "error"


@needs_packages
def test_random_numbers_repeat(judge: Judge) -> None:
    code = "import numpy as np, random\ndef f(x): return [np.random.rand(), random.random()]"
    seen = {judge.judge(problem("f(0) is None"), f"{code}\n# {run}").error for run in range(2)}
    assert len(seen) == 1, seen


@needs_packages
def test_a_profile_without_its_packages_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(profiles, "missing", lambda profile: f"{profile}: numpy: not installed")
    limits = verdicts.Limits(cpu_s=1, wall_s=2, memory_mib=256, output_bytes=1 << 20)
    steps = verdicts.judging(plan_tests(problem("f(1) == 1")), "def f(x): return x", limits)
    with pytest.raises(StopIteration) as end:
        next(steps)
    (test,) = end.value.value.tests
    assert (test.kind, test.passed) == ("infra", None)
    assert "not installed" in test.error


@needs_packages
@pytest.mark.parametrize("level", LEVELS[:1])
def test_lanes_of_both_profiles_stay_and_are_not_many(
    level: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(descendants, "adopt_orphans", lambda: None)  # this process would keep those of later tests
    jails = Jails(["root", "user"], tmp_path)
    try:
        step = ("eval", compile("f()", "<test>", "eval"))
        for _ in range(2):
            for profile, module in (("science", "numpy"), ("plain", "json")):
                code = f"import sys\ndef f(): return '{module}' in sys.modules"
                run = jails.run(Request(code, (step,), profile=profile))
                assert run.lines == [b'[0,"value",["b",%d]]' % (profile == "science")]
        assert sorted(lane.blueprint.profile for lane in jails.idle) == ["plain", "science"]
        for lane in [jails.start(Request("", (step,))) for _ in range(IDLE_LANES + 1)]:
            while not psutil.pid_exists(lane.pid):
                time.sleep(0.001)
            lane.control.setblocking(True)
            jails.finish(lane)
        assert len(jails.idle) == IDLE_LANES
    finally:
        jails.close()
