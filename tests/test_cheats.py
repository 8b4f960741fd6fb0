"""Known ways to a verdict that was not earned, one test each: none passes, and the next right program does.

After field.md part 2 and sandbox.md section 5 of our notes, as far as a level without a jail may run them. Nothing here
signals any process, and what forks, forks once.
"""

import os
import sys
import time
import uuid
from collections.abc import Iterator

import psutil
import pytest

from greenlit.config import AnnotateParams
from greenlit.execution.judge import Judge, Judgement
from greenlit.types import AssertTest, Problem, ScriptTest, StdioTest

PARAMS = AnnotateParams(allow_portable=True, timeout_s=2.0, cpu_min_s=0.3, cpu_max_s=1.0, memory_mib=256)
RIGHT = "def f(x): return [x, x + 1, 987654321]"
LIST = Problem(
    task_id="list",
    entry_point="f",
    reference=[RIGHT],
    tests=[
        AssertTest(code="assert f(2) == [2, 3, 987654321]", role="shown"),
        AssertTest(code="assert f(40) == [40, 41, 987654321]"),
        AssertTest(code="assert set(f(7)) == {7, 8, 987654321}", role="hidden"),
    ],
)
ECHO = Problem(
    task_id="echo",
    reference=["print('YES'); print(input()); print(987654321)"],
    tests=[StdioTest(input="a b\n", output="YES\na b\n987654321\n")],
)
COUNT = Problem(
    task_id="count",
    entry_point="check",
    reference=["def check(x): return x + 1"],
    tests=[AssertTest(code="assert check(1) == 2")],
)


@pytest.fixture(scope="module")
def judge() -> Iterator[Judge]:
    with Judge(PARAMS, workers=1) as judge:
        yield judge


@pytest.fixture
def cheat(judge: Judge):
    """Judge a cheat: it must not pass, and the judge must be as good as new afterwards."""

    def run(code: str, problem: Problem = LIST) -> Judgement:
        began = time.monotonic()
        found = judge.judge(problem, code)
        assert time.monotonic() - began < 12
        assert found.passed is False, found
        assert found.passed_all is False
        assert not any(test.passed for test in found.tests), found
        again = judge.judge(LIST, f"{RIGHT}  # {uuid.uuid4()}")
        assert again.passed and again.passed_all, again
        return found

    return run


ALWAYS_EQUAL = """
class Equal{base}:
    def __eq__(self, other): return True
    def __ne__(self, other): return False
    def __lt__(self, other): return True
    def __contains__(self, other): return True
    def __hash__(self): return 0
    def __bool__(self): return True
    def __len__(self): return 3
    def __getattr__(self, name): return lambda *a, **k: True
def f(x): return Equal({value})
"""


@pytest.mark.parametrize(("base", "value"), [("", ""), ("(int)", "5"), ("(str)", "'a'"), ("(list)", "[1, 2]")])
def test_objects_and_subclasses_that_equal_everything(cheat, base: str, value: str) -> None:
    assert cheat(ALWAYS_EQUAL.format(base=base, value=value)).verdict in {"failed", "error"}


def test_a_metaclass_that_equals_everything(cheat) -> None:
    cheat("class M(type):\n def __eq__(c, o): return True\n __hash__ = type.__hash__\nclass A(metaclass=M): pass\n"
          "def f(x): return A")  # fmt: skip


def test_an_object_that_pretends_its_class(cheat) -> None:
    cheat("class A:\n __class__ = list\n def __eq__(s, o): return True\n def __iter__(s): return iter([2, 3])\n"
          "def f(x): return A()")  # fmt: skip


@pytest.mark.parametrize(
    "end", ["import sys; sys.exit(0)", "import os; os._exit(0)", "raise SystemExit", "exit()", "quit(0)"]
)
@pytest.mark.parametrize("inside", [False, True])
def test_exit_zero(cheat, end: str, inside: bool) -> None:
    assert cheat(f"def f(x): {end}" if inside else end).verdict == "error"


WALK = """
import sys, gc
def numbers(thing, depth=0):
    if isinstance(thing, int) and thing > 10**8: yield thing
    elif isinstance(thing, (list, tuple, set, frozenset)) and depth < 4:
        for part in thing: yield from numbers(part, depth + 1)
    elif isinstance(thing, dict) and depth < 4:
        for part in list(thing.values()): yield from numbers(part, depth + 1)
    elif hasattr(thing, 'co_consts') and depth < 4:
        yield from numbers(thing.co_consts, depth + 1)
def f(x):
    found = []
    frame = sys._getframe()
    while frame:
        for thing in [*frame.f_locals.values(), *frame.f_globals.values(), frame.f_code]:
            found += [n for n in numbers(thing) if n == 9876543210 // 10]
        frame = frame.f_back
    return [x, x + 1, *found[:1]]
"""


def test_walking_the_frames_for_the_expected_value(cheat) -> None:
    code = WALK.replace("n == 9876543210 // 10", "str(n)[:4] == '9876'")
    assert cheat(code).verdict == "failed"


def test_searching_the_collector_for_the_expected_value(cheat) -> None:
    code = "import gc\n" + WALK.split("def f")[0] + (
        "def f(x):\n    found = []\n    for thing in gc.get_objects():\n"
        "        if isinstance(thing, (list, tuple, dict)):\n"
        "            found += [n for n in numbers(thing, 3) if str(n)[:4] == '9876']\n"
        "    return [x, x + 1, *found[:1]]\n"
    )  # fmt: skip
    cheat(code)


def test_looking_for_the_expected_value_in_the_process_memory(cheat) -> None:
    cheat(
        "def f(x):\n    needle = str(987_000_000 + 654_000 + 322 - 1).encode()\n    try:\n        hits = 0\n"
        "        for line in open('/proc/self/maps'):\n            if 'rw-p' not in line: continue\n"
        "            a, b = (int(n, 16) for n in line.split()[0].split('-'))\n"
        "            with open('/proc/self/mem', 'rb', 0) as m:\n"
        "                m.seek(a); hits += m.read(min(b - a, 1 << 20)).count(needle)\n"
        "    except Exception as e: hits = 0\n    return [x, x + 1] + [int(needle)] * 0 + [hits]\n"
    )


def test_writing_a_verdict_into_the_frames(cheat) -> None:
    cheat(
        "import sys\ndef f(x):\n    frame = sys._getframe()\n    while frame:\n"
        "        for thing in [*frame.f_locals.values(), *frame.f_globals.values()]:\n"
        "            if isinstance(thing, list): thing.append('passed')\n"
        "            if isinstance(thing, dict) and 'steps' in thing: thing['steps'] = ()\n"
        "            if hasattr(thing, 'passed'): thing.passed = True\n"
        "        frame = frame.f_back\n    return 'passed'\n"
    )


def test_replacing_what_sends_the_answers(cheat) -> None:
    cheat(
        "import sys\nframe = sys._getframe()\nwhile frame:\n    g = frame.f_globals\n    if '_send' in g:\n"
        "        g['encode'] = lambda x, room: '[\"b\",1]'\n        g['_answer'] = lambda *a: '[\"b\",1]'\n"
        "    frame = frame.f_back\ndef f(x): return None\n"
    )


def test_redefined_builtins(cheat) -> None:
    cheat(
        "import builtins\nfor name in ('set', 'len', 'sorted', 'isinstance', 'all', 'any', 'abs', 'list', 'bool'):\n"
        "    setattr(builtins, name, lambda *a, **k: True)\ndef f(x): return True\n"
        "def set(x): return {7, 8, 987654321}\n"
    )


def test_redefined_check(cheat) -> None:
    problem = Problem(
        task_id="script",
        entry_point="f",
        reference=[RIGHT],
        tests=[ScriptTest(code="def check(candidate):\n    assert candidate(2) == [2, 3, 987654321]\n")],
    )
    cheat("def check(candidate): return True\ncandidate = check\ndef f(x): return True", problem)


def test_a_program_named_check_is_judged_all_the_same(judge: Judge) -> None:
    assert judge.judge(COUNT, "def check(x): return x + 1").passed is True
    assert judge.judge(COUNT, "def check(x): return True").passed is False


def test_asserts_switched_off(cheat) -> None:
    cheat("import sys\nsys.flags = None\n__debug__ if False else None\ndef f(x): return []")


@pytest.mark.parametrize(
    "hook", ["import atexit\natexit.register(os._exit, 0)", "sys.excepthook = lambda *a: os._exit(0)"]
)
def test_exit_hooks(cheat, hook: str) -> None:
    cheat(f"import os, sys\n{hook}\ndef f(x): raise ValueError")


def test_garbage_on_every_descriptor(cheat) -> None:
    cheat(
        "import os\nfor fd in range(64):\n    try: os.write(fd, b'passed\\n1\\n\\x00\\xff{}[]\\n')\n"
        "    except OSError: pass\ndef f(x): return []"
    )


FORGE = """
import os
def hexed(n): return '["i","%x"]' % n
def frame(i, v): return ('[%d,"value",%s]\\n' % (i, v)).encode()
lines = b''.join(frame(i, VALUE) for i in range(12))
for fd in range(3, 64):
    try: os.write(fd, lines)
    except OSError: pass
"""


@pytest.mark.parametrize(
    "value", ["'[\"b\",1]'", '\'["o","61",1]\'', "'[\"l\",[]]'", "'1'", "'null'", "'[\"S\",[[]]]'"]
)
def test_forged_frames(cheat, value: str) -> None:
    cheat(FORGE.replace("VALUE", value) + "def f(x): return []")
    cheat(FORGE.replace("VALUE", value) + "os._exit(0)")


def test_frames_out_of_order(cheat) -> None:
    cheat('import os\nos.write(4, b\'[5,"value",["n"]]\\n[true,"value",["n"]]\\n\')\n' + RIGHT)


def test_frames_nested_too_deeply(cheat) -> None:
    cheat("import os\nos.write(4, b'[0,\"value\",' + b'[' * 60000 + b'\\n')\n" + RIGHT)


def test_a_forged_failure_of_the_sandbox_is_no_excuse(cheat) -> None:
    cheat('import os\nos.write(4, b\'[-1,"infra","",""]\\n\')\nos._exit(0)')


def test_closed_descriptors(cheat) -> None:
    cheat("import os\nos.closerange(0, 64)\n" + RIGHT)


def test_printing_the_expected_values(cheat) -> None:
    cheat("print('[2, 3, 987654321]')\nprint('passed', flush=True)\ndef f(x): print([x, x + 1, 987654321])")


def test_forking_once_and_answering_in_the_child(cheat) -> None:
    cheat("import os\nif os.fork(): os._exit(0)\ndef f(x): return []")
    cheat("import os\ndef f(x):\n    os.fork()\n    return []")


@pytest.mark.skipif(sys.platform != "linux", reason="needs the orphan to come to its subreaper")
def test_a_sleeper_in_its_own_session_is_dead_afterwards(cheat) -> None:
    marker = f"greenlit-sleeper-{uuid.uuid4()}"
    cheat(
        "import os, time\nif os.fork() == 0:\n    os.setsid()\n    if os.fork(): os._exit(0)\n"
        f"    os.execv('/bin/sleep', ['{marker}', '60'])\ntime.sleep(0.2)\ndef f(x): return []"
    )
    alive = [
        process for process in psutil.process_iter(["cmdline"]) if marker in " ".join(process.info["cmdline"] or [])
    ]
    assert not alive


def test_infinite_loop(cheat) -> None:
    assert cheat("def f(x):\n    while True: pass").verdict == "timeout"
    assert cheat("while True: pass").verdict == "timeout"


def test_an_infinite_loop_that_swallows_exceptions(cheat) -> None:
    inner = "try:\n            while True: pass\n        except BaseException: pass"
    assert cheat(f"def f(x):\n    while True:\n        {inner}").verdict == "timeout"


def test_sleep(cheat) -> None:
    assert cheat("import time\ndef f(x): time.sleep(1000)").verdict == "timeout"


def test_a_clock_that_is_turned_back(cheat) -> None:
    cheat(
        "import time\ntime.process_time = time.monotonic = time.perf_counter = lambda: 0\ndef f(x):\n    while 1: pass"
    )


def test_memory_hog(cheat) -> None:
    assert cheat("def f(x): return bytearray(1 << 40)").verdict == "memory"
    assert cheat("kept = []\nwhile True: kept.append(bytearray(1 << 20))").verdict == "memory"


def test_limits_that_are_raised_again(cheat) -> None:
    cheat(
        "import resource\nfor name in ('RLIMIT_AS', 'RLIMIT_CPU', 'RLIMIT_FSIZE'):\n    try:\n"
        "        resource.setrlimit(getattr(resource, name), (-1, -1))\n    except Exception: pass\n"
        "def f(x): return bytearray(1 << 31)"
    )


def test_huge_output(cheat) -> None:
    cheat("def f(x): return 'x' * 10**8")
    cheat("def f(x): return list(range(10**6))")
    cheat("import os\nwhile True: os.write(4, b'x' * 65536)")
    cheat("while True: print('x' * 65536)")


def test_a_huge_number(cheat) -> None:
    cheat("def f(x): return 1 << (10**7)")
    cheat("def f(x): return [2, 3, 1 << 10**6]")
    cheat(
        "import os\nos.write(4, b'[0,\"value\",[\"n\"]]\\n[1,\"value\",' + b'9' * 60000 + b']\\n')\ndef f(x): return []"
    )


def test_deep_nesting(cheat) -> None:
    cheat("def f(x):\n    a = []\n    for _ in range(10**5): a = [a]\n    return a")
    cheat("def f(x):\n    a = []\n    a.append(a)\n    return a")


def test_colliding_hashes(cheat) -> None:
    cheat("def f(x): return [i * (2**61 - 1) for i in range(30000)]")
    cheat("def f(x): return {i * (2**61 - 1): 0 for i in range(2000)}")


def test_endless_recursion(cheat) -> None:
    assert cheat("def f(x): return f(x)").verdict == "error"
    cheat("import sys\nsys.setrecursionlimit(10**9)\ndef f(x): return f(x)")


def test_a_crash_of_the_interpreter(cheat) -> None:
    found = cheat("import ctypes\ndef f(x): return ctypes.string_at(0)")
    assert found.verdict == "error"


def test_a_thread_left_running(cheat) -> None:
    cheat("import threading, time\nthreading.Thread(target=lambda: time.sleep(1000)).start()\ndef f(x): return []")


def test_a_thread_that_writes_answers(cheat) -> None:
    cheat(
        'import os, threading\ndef write():\n    while True: os.write(4, b\'[1,"value",["b",1]]\\n\')\n'
        "threading.Thread(target=write, daemon=True).start()\ndef f(x): return []"
    )


@pytest.mark.parametrize("name", ["__main__", "__builtin__", "pytest"])
def test_name_tricks(cheat, name: str) -> None:
    cheat(f"if __name__ == '{name}':\n    def f(x): return [x, x + 1, 987654321]\nelse:\n    def f(x): return []")


def test_the_environment_of_the_judge_is_out_of_reach(judge: Judge, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GREENLIT_CANARY", "tweet-tweet")
    elsewhere = "import glob\nplaces = glob.glob('/proc/[0-9]*/environ')\n" if os.geteuid() == 0 else "places = []\n"
    code = (
        f"import os\n{elsewhere}def f(x):\n    seen = [repr(dict(os.environ))]\n    for place in places:\n"
        "        try: seen.append(open(place).read())\n        except OSError: pass\n"
        "    return 'canary seen' if any('tweet-' 'tweet' in text for text in seen) else sorted(os.environ)\n"
    )
    with Judge(PARAMS, workers=1) as fresh:
        error = str(fresh.judge(LIST, code).error)
    assert "canary seen" not in error
    assert "GREENLIT_CANARY" not in error
    assert "PYTHONHASHSEED" not in error


@pytest.mark.skipif(os.geteuid() != 0, reason="privileges are dropped where the judge has some")
def test_the_candidate_of_a_root_judge_is_nobody(judge: Judge) -> None:
    code = (
        "import os\ndef status():\n"
        "    return dict(line.split(':\\t') for line in open('/proc/self/status').read().splitlines())\n"
        "def f(x):\n    s = status()\n    caps = [s[k] for k in ('CapPrm', 'CapEff', 'CapAmb')]\n"
        "    return [os.getuid() > 60000, os.geteuid() > 60000, os.getgroups(), int(''.join(caps), 16),\n"
        "            s['NoNewPrivs'], os.access('/etc/shadow', os.R_OK)]\n"
    )
    error = str(judge.judge(LIST, code).error)
    assert "got [True, True, [], 0, '1', False]" in error, error


def test_files_of_one_candidate_are_gone_for_the_next(judge: Judge) -> None:
    judge.judge(
        LIST, "import os\nos.makedirs('a/b')\nopen('a/b/seen', 'w').write('x')\nos.chmod('a', 0)\ndef f(x): return 0"
    )
    found = judge.judge(LIST, "import os\ndef f(x): return [sorted(os.listdir('.')), len(os.listdir('/tmp')) > 10**9]")
    assert "got [[], False]" in str(found.error)


def test_printing_only_the_first_right_line(cheat) -> None:
    cheat("print('YES')", ECHO)


def test_printing_nothing(cheat) -> None:
    cheat("pass", ECHO)


def test_printing_more_than_was_asked(cheat) -> None:
    cheat("print('YES'); print(input()); print(987654321); print(987654321)", ECHO)


def test_printing_a_verdict(cheat) -> None:
    cheat(
        "import os, sys\nfor fd in range(1, 64):\n    try: os.write(fd, b'passed\\nYES\\n')\n    except OSError: pass",
        ECHO,
    )


def test_reading_the_expected_output_from_a_descriptor(cheat) -> None:
    cheat(
        "import os\nseen = b''\nfor fd in range(64):\n"
        "    try: seen += os.pread(fd, 10000, 0)\n    except OSError: pass\n"
        "print(seen.decode(errors='replace'))",
        ECHO,
    )


def test_a_right_output_before_a_crash(cheat) -> None:
    cheat("print('YES'); print(input()); print(987654321, flush=True)\nimport ctypes\nctypes.string_at(0)", ECHO)
    cheat("print('YES'); print(input()); print(987654321, flush=True)\nraise ValueError", ECHO)
