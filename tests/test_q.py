"""Programs in q: a scripted stand-in, for the protocol only; and what needs no q at all."""

import stat
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from conftest import LEVELS, ROOT

from greenlit.config import AnnotateParams
from greenlit.execution import blueprint, profiles
from greenlit.execution.answers import Answers
from greenlit.execution.findings import Fault
from greenlit.execution.judges import Judge
from greenlit.execution.languages import plan_of, q, q_asserts
from greenlit.execution.languages.command import Interpreter
from greenlit.execution.level import Run
from greenlit.execution.scripts import Unsplittable
from greenlit.execution.split import unsplittable
from greenlit.jsonl import read_json_lines
from greenlit.types import AssertTest, CallTest, Problem, ScriptTest, StdioTest

PARAMS = AnnotateParams(allow_portable=True, timeout_s=2.0, cpu_min_s=1.0, cpu_max_s=1.0, memory_mib=128, output_kib=64)

# q: the stand-in below is no q. It knows the lines that q.py writes and answers as harness.q would; "programs" for it
# are Python. So these tests say that both sides keep to the protocol, and nothing about kdb+.

STAND_IN = r"""#!{python} -S
import json, os, re, sys
if "json" and len(sys.argv) < 2: sys.exit(1)
def text(x): return json.dumps(x)
def say(line): os.write(2, (line + "\n").encode())
def fault(place, error): say('[%s,"error","","%s"]' % (place, str(error).encode().hex()))
def shape(x):
    if isinstance(x, list): return [shape(one) for one in x] if len({{type(one) for one in x}}) > 1 else 7
    return {{bool: -1, int: -7, float: -9, str: 10}}.get(type(x), 0)
def python(q):
    q = re.sub(r"\(::\)", "None", q)
    q = re.sub(r'^\(enlist "(.)"\)$', r'"\1"', q)
    q = re.sub(r"\(enlist ([^()]*)\)", r"[\1]", q)
    q = re.sub(r"\b(\d)b\b", lambda m: str(m[1] == "1"), q)
    q = re.sub(r"\((-?\d+(?: -?\d+)+)\)", lambda m: "[" + m[1].replace(" ", ",") + "]", q)
    q = re.sub(r"([A-Za-z_]\w*)\[([^\]]*)\]", r"\1(\2)", q)
    q = re.sub(r"\(([^()]*;[^()]*)\)", r"[\1]", q)
    return q.replace(";", ",")
names = {{}}
def load(file):
    try: exec(open(file).read(), names)
    except SystemExit: raise
    except BaseException as error: fault(-1, error); sys.exit(1)
for line in open(sys.argv[1]):
    line = line.strip()
    if line.startswith("-1 .j.j (.z.K"): print("[4.1,67108864]")
    elif line.startswith('-2 "[\\"ready'): say('["ready",0.0]')
    elif line.startswith(".greenlit.load \""): load(line.split('"')[1])
    elif line == "exit 0": sys.exit(0)
    elif found := re.fullmatch(r"\.greenlit\.(call|expression|shown)\[(\d+);(.*)\];", line):
        kind, place, rest = found.groups()
        try:
            if kind == "call":
                name, arguments = rest.split(";", 1)
                value = names[name[1:]](*([] if arguments == "enlist (::)" else eval(python(arguments))))
            else:
                value = eval(python(eval(python(rest))), names)
                if kind == "shown": value = str(value) + "\n"
                value = [shape(value), value]
            say('[%s,"value",%s]' % (place, text(value)))
        except Exception as error: fault(place, error)
"""


@pytest.fixture(scope="module")
def stand_in() -> Iterator[Path]:
    """Not below /tmp, which every jail has its own of."""
    place = Path("/var/tmp") if ROOT.is_relative_to("/tmp") else ROOT
    with tempfile.TemporaryDirectory(dir=place, prefix=".stand-in-") as folder:
        path = Path(folder, "q")
        path.write_text(STAND_IN.format(python=blueprint.interpreter()))
        path.chmod(0o755)
        Path(folder).chmod(0o755)
        yield path


OPEN = all(folder.stat().st_mode & stat.S_IXOTH for folder in Path(blueprint.interpreter()).parents)
Q_LEVELS = [
    *LEVELS[:-1],
    pytest.param("portable", marks=pytest.mark.skipif(not OPEN, reason="the stand-in's Python is not for every user")),
]


@pytest.fixture(scope="module", params=Q_LEVELS)
def q_judge(request: pytest.FixtureRequest, stand_in: Path) -> Iterator[Judge]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GREENLIT_Q", str(stand_in))
        with Judge(PARAMS, workers=1, level=request.param) as judge:
            yield judge


def q_problem(*tests: object, **more: object) -> Problem:
    return Problem(task_id="q", language="q", entry_point="f", tests=list(tests), **more)


@pytest.mark.parametrize(
    ("code", "verdict"),
    [
        ("def f(x): return x * x", "passed"),
        ("print('noise')\ndef f(x):\n  print('noise')\n  return x * x", "passed"),
        ("def f(x): return x + x", "failed"),
        ("def f(x): return str(x * x)", "failed"),
        ("def f(x): raise ValueError('type')", "error"),
        ("1 / 0", "error"),
        ("raise SystemExit(0)", "error"),
        ("def f(x):\n  while True: pass", "timeout"),
        ('import os\nos.write(2, b\'[0,"value",9]\\n[1,"value",0]\\n\')\nos._exit(0)', "failed"),
        ("import os\nos.write(2, b'nothing\\n')\ndef f(x): return x * x", "error"),
        ("", "no_code"),
    ],
)
def test_q_calls_keep_to_the_protocol(q_judge: Judge, code: str, verdict: str) -> None:
    problem = q_problem(CallTest(input=[3], output=9), CallTest(input=[4], output=16))
    found = q_judge.judge(problem, code)
    assert found.verdict == verdict, found


def test_q_programs_that_read_input_keep_to_the_protocol(q_judge: Judge) -> None:
    problem = q_problem(StdioTest(input="3 4", output="7"), StdioTest(input="1 1", output="2"))
    assert q_judge.judge(problem, "print(sum(map(int, input().split())))").passed
    assert q_judge.judge(problem, "print(7)").verdict == "failed"
    assert q_judge.judge(problem, "1 / 0").verdict == "error"


def test_q_asserts_are_compared_outside(q_judge: Judge) -> None:
    script = (
        "candidate: f;\n\ncheck:{[candidate]\n"
        "  .qython.assert[candidate[3] = 9];\n  .qython.assert[(candidate[4])~twice[8]]\n  }"
    )
    problem = q_problem(ScriptTest(code=script), AssertTest(code="f[5] ~ 25"), setup="def twice(x): return 2 * x")
    assert q_judge.prepare(problem).unsplittable == ()
    assert q_judge.judge(problem, "def f(x): return x * x").passed
    found = q_judge.judge(problem, "def f(x): return x * x if x < 4 else 1")
    assert (found.tests_passed, found.error) == (0, "test 0: candidate[4] ~ twice[8]: got 1")
    assert q_judge.judge(problem, "def f(x): return float(x * x)").error.startswith("test 0: candidate[4] ~")
    assert not q_judge.judge(problem, "def twice(x): return 0\ndef f(x): return 0").passed


def test_what_q_shows_of_an_answer_is_compared_outside(q_judge: Judge) -> None:
    problem = q_problem(AssertTest(code='(.Q.s f[4]) ~ "16"'), AssertTest(code='(.Q.s f[20]) ~ "400"'))
    assert q_judge.prepare(problem).unsplittable == ()
    assert q_judge.judge(problem, "def f(x): return x * x").passed
    assert q_judge.judge(problem, "def f(x): return x * 4").error == "test 1: .Q.s f[20] ~ \"400\": got '80\\n'"
    assert q_judge.judge(problem, "def f(x): return 1 / 0").verdict == "error"
    for code in ('(.Q.s 5) ~ "5"', '(.Q.s f) ~ "5"', '(.Q.s g[1]) ~ "5"', "(.Q.s f[1]) ~ .Q.s f[2]"):
        assert unsplittable(q_problem(AssertTest(code=code))), code


def test_another_program_called_q_is_not_taken_for_it(stand_in: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    other = stand_in.parent / "other"
    other.write_text("#!/bin/sh\necho usage: q SQL\n")
    other.chmod(other.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("GREENLIT_Q", str(other))
    with Judge(PARAMS, workers=1, level="portable") as judge:
        found = judge.judge(q_problem(CallTest(input=[1], output=1)), "def f(x): return x")
        assert (found.verdict, found.passed) == ("infra", None)
        assert "does not answer as kdb+'s q does" in found.error


def test_pykx_is_asked_for_q_where_there_is_no_binary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A stand-in again: a module of that name which loads a script as q would."""
    (tmp_path / "pykx.py").write_text("def q(text): assert text.startswith('\\\\l '), text; print('[4.1, 1000]')\n")
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("GREENLIT_Q", raising=False)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(profiles, "folders", lambda: [str(tmp_path)])
    found = q._find.__wrapped__()
    assert isinstance(found, Interpreter), found
    assert (found.words[0], found.binds[0], found.own_bytes) == (blueprint.interpreter(), str(tmp_path), 1000)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (5, "5"), (-5, "-5"), (2.0, "2.0"), (1e16, "1e16"), (1e-7, "1e-07"), (float("inf"), "0w"), (True, "1b"),
        (None, "(::)"), ("", '""'), ("a", '(enlist "a")'), ('say "\\n"', '"say \\"\\\\n\\""'), ("é", '"\\303\\251"'),
        ([], "()"), ([1], "(enlist 1)"), ([1, -2, 3], "(1 -2 3)"), ([1.5, 2.0], "(1.5 2.0)"), ([True, False], "10b"),
        ([1, 2.0], "(1;2.0)"), (["a", "bc"], '((enlist "a");"bc")'), ([[1], []], "((enlist 1);())"),
        ({"a": 1, "bc": 2}, '((`$((enlist "a");"bc"))!(1 2))'),
    ],
)  # fmt: skip
def test_values_as_q_writes_them(value: object, text: str) -> None:
    assert q.literal(value) == text


def test_integers_too_large_for_q_are_refused() -> None:
    with pytest.raises(Unsplittable):
        q.literal([2**63])


@pytest.mark.parametrize(
    ("code", "why"),
    [
        ("abs[f[1]-2] < 1e-6", "more than an answer"),
        ("f[1] = f[2]", "more than compare"),
        ("f[1] ~/: (1;2)", "more than compare"),
        ("(f[1])[0] = f", "more than"),
        ("do[3; .qython.assert[f[1] = 1]]", "more than an answer"),
        ("f[1] = (1;2", "brackets"),
        ('f["abc] = 1', "string"),
        ("", "no assertion"),
    ],
)
def test_q_tests_that_do_more_are_refused(code: str, why: str) -> None:
    (reason,) = unsplittable(q_problem(AssertTest(code=code)))
    assert why in reason


@pytest.mark.parametrize(
    ("found", "operator", "wanted", "same"),
    [
        ([-7, 5], "=", [-9, 5.0], True),
        ([-7, 5], "~", [-9, 5.0], False),
        ([-9, 0.1 + 0.2], "~", [-9, 0.3], True),
        ([-9, 0.3000001], "=", [-9, 0.3], False),
        ([-1, True], "=", [-7, 1], True),
        ([7, [5, 5]], "=", [-7, 5], True),
        ([7, [5, 5]], "~", [-7, 5], False),
        ([7, [5, 6]], "=", [-7, 5], False),
        ([0, []], "=", [10, ""], True),
        ([10, "ab"], "=", [10, "abc"], False),
        ([99, {"a": 1}], "=", [99, {"a": 1.0}], True),
        ([-7, None], "=", [-7, 0], False),
    ],
)
def test_values_of_q_are_alike_as_in_q(found: list, operator: str, wanted: list, same: bool) -> None:
    plan = plan_of(q_problem(AssertTest(code=f"f[1] {operator} 2"))).tests[0]
    answers = Answers(Run(started=True), decode=lambda plain: plain)
    answers.frames, answers.sizes = [found], [10]
    if same:
        q_asserts.check(plan, 0, answers, [wanted])
    else:
        with pytest.raises(Fault):
            q_asserts.check(plan, 0, answers, [wanted])


def test_most_native_q_tests_can_be_judged(shared_data: Path) -> None:
    rows = [row for _, row in read_json_lines(shared_data / "q" / "humaneval_q_native.jsonl")]
    refused = [row["task_id"] for row in rows if unsplittable(q_problem(ScriptTest(code=row["q_test"])))]
    assert len(refused) == 22, refused
