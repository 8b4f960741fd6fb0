"""The jail itself: what is in it, what ends it, what its lanes do side by side."""

import ctypes
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from conftest import LEVELS

from greenlit.config import AnnotateParams
from greenlit.execution import blueprint, jailed, seccomp, shipping
from greenlit.execution.blueprint import NoJail
from greenlit.execution.jailed import Jails
from greenlit.execution.judges import Judge
from greenlit.execution.lane import Lane
from greenlit.execution.level import Request, Run
from greenlit.types import AssertTest, CallTest, Problem, StdioTest

pytestmark = LEVELS[0].marks[0]
PARAMS = AnnotateParams(timeout_s=2.0, cpu_min_s=0.3, cpu_max_s=1.0, memory_mib=256)
WAYS = ["root", "user", "bubblewrap"]


@pytest.fixture(scope="module", params=WAYS)
def jails(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Jails]:
    """In a process of its own it would adopt orphans; here there are none."""
    try:
        jails = Jails([request.param], tmp_path_factory.mktemp("jails"))
    except NoJail as why:
        pytest.skip(f"no jail this way here: {why}")
    yield jails
    jails.close()


def answer(jails: Jails, code: str, expression: str = "f()", **what: object) -> Run:
    steps = (("enter", None, None), ("eval", compile(expression, "<test>", "eval")))
    return jails.run(Request(code, steps, **what))


def text(run: Run) -> str:
    """What a program's f() returned, a str."""
    assert len(run.lines) == 2, run
    return bytes.fromhex(run.lines[1].decode().split('"s","')[1].split('"')[0]).decode()


def test_what_a_candidate_finds(jails: Jails) -> None:
    code = (
        "import os, sys, socket\n"
        "def f():\n"
        "    found = [sorted(os.listdir('/')), os.listdir('/tmp'), dict(os.environ), socket.gethostname()]\n"
        "    for path in ('/etc/passwd', '/proc/self', '/sys/kernel', '/home', '/work', '/var'):\n"
        "        if os.path.exists(path): found.append(path)\n"
        "    for folder in ('/', '/usr', '/usr/lib', sys.prefix, os.path.dirname(os.__file__)):\n"
        "        try: open(folder + '/x', 'w'); found.append('wrote ' + folder)\n"
        "        except OSError: pass\n"
        "    open('/tmp/mine', 'w').write('x')\n"
        "    return repr(found)\n"
    )
    found = text(answer(jails, code))
    names, *rest = eval(found)
    assert {"tmp", "dev", "usr"} <= set(names)
    assert not {"proc", "sys", "home", "var"} & set(names)
    assert rest[1:] == [{}, "jail"]
    assert rest[0] == []
    assert text(answer(jails, "import os\ndef f(): return repr(os.listdir('/tmp'))")) == "[]"


def test_candidates_hold_no_capability_and_gain_none(jails: Jails) -> None:
    code = (
        "import ctypes, os\nlibc = ctypes.CDLL(None)\n"
        "def f():\n    header = (ctypes.c_uint32 * 2)(0x20080522, 0)\n    data = (ctypes.c_uint32 * 6)()\n"
        "    libc.capget(header, data)\n"
        "    return repr([list(data), libc.prctl(39, 0, 0, 0, 0), libc.prctl(21, 0, 0, 0, 0), os.getuid() != 0])\n"
    )
    capabilities, no_new_privileges, seccomp_mode, nobody = eval(text(answer(jails, code)))
    assert capabilities == [0] * 6
    # strict mode cannot even be asked about, filter mode says 2
    assert (no_new_privileges, seccomp_mode, nobody) == (1, 2, True)


@pytest.mark.parametrize(
    ("code", "ended", "signal_number"),
    [
        ("while True: pass", "cpu", None),
        ("import time\ntime.sleep(60)", "wall", None),
        ("import os, signal\nos.kill(os.getpid(), signal.SIGSTOP)", "wall", None),
        ("import os, signal\nos.kill(os.getpid(), signal.SIGSEGV)", "exited", signal.SIGSEGV),
        ("import os\nwhile True: os.write(4, b'x' * 65536)", "flood", None),
        ("import os, time\nfor fd in (3, 4, 5): os.close(fd)\ntime.sleep(60)", "closed", None),
    ],
)
def test_how_runs_end(jails: Jails, code: str, ended: str, signal_number: int | None) -> None:
    began = time.monotonic()
    run = answer(jails, code, cpu_s=0.2, wall_s=0.6)
    assert (run.ended, run.signal) == (ended, signal_number)
    assert time.monotonic() - began < 5
    assert answer(jails, "def f(): return 'next'").lines[1:]


def test_large_requests_and_large_answers_cross(jails: Jails) -> None:
    run = answer(jails, f"x = {'a' * 3_000_000!r}\ndef f(): return x[:400_000]")
    assert len(text(run)) == 400_000


def test_standard_input_and_output_are_files(jails: Jails) -> None:
    code = "import os, sys\nprint(os.fstat(0).st_size, sys.stdin.read().strip(), __name__)"
    run = jails.run(Request(code, stdin="some text\n"))
    assert (run.stdout, run.ended, run.status) == (b"10 some text __main__\n", "exited", 0)


def test_what_resists_being_wiped_costs_a_jail_and_no_verdict(jails: Jails) -> None:
    deep = "import os\ndef f():\n    for _ in range(1500):\n        os.mkdir('d'); os.chdir('d')\n    return 'deep'\n"
    assert text(answer(jails, deep, cpu_s=5.0)) == "deep"
    deadline = time.monotonic() + 10
    while not (run := answer(jails, "import os\ndef f(): return repr(os.listdir('/tmp'))")).started:
        assert time.monotonic() < deadline
    assert text(run) == "[]"


def test_processes_left_behind_are_gone_with_the_answer(jails: Jails) -> None:
    code = (
        "import os, time\ndef f():\n    for _ in range(20):\n        if os.fork() == 0:\n            os.setsid()\n"
        "            time.sleep(60)\n    return 'left'\n"
    )
    assert text(answer(jails, code)) == "left"
    zygotes = {"bubblewrap": 1}.get(jails.way, 0)  # bubblewrap's own process stays outside, above the zygote
    assert len(psutil.Process(jails.idle[-1].pid).children(recursive=True)) == zygotes
    assert text(answer(jails, "import os\ndef f(): return repr(os.getpid() > 20)")) == "True"


def test_memory_of_many_processes_together_is_bounded_where_it_can_be(jails: Jails) -> None:
    if jails.idle[0].group.note:
        pytest.skip(jails.idle[0].group.note)
    code = (
        "import os, time\ndef f():\n    for _ in range(8):\n        if os.fork() == 0:\n"
        "            x = bytearray(100 << 20)\n            time.sleep(60)\n    time.sleep(5)\n    return 'all of it'\n"
    )
    folder = jails.idle[-1].group.folder
    answer(jails, code.replace("sleep(5)", "sleep(1)"), memory_mib=150)
    peaks = [folder / name for name in ("memory.max_usage_in_bytes", "memory.peak") if (folder / name).exists()]
    assert 100 << 20 < int(peaks[0].read_text()) <= (150 + blueprint.TMP_MIB) << 20
    while not (run := answer(jails, "def f(): return 'next'")).started:
        continue
    assert text(run) == "next"


def test_closing_a_lane_ends_no_process_that_was_given_its_number(jails: Jails, tmp_path: Path) -> None:
    """Where orphans are not adopted, somebody else takes leave of the zygote, and its number is free again."""
    lane = Lane(jails.idle[-1].blueprint, tmp_path / "jail")
    zygote = psutil.Process(lane.pid)
    bystander = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    lane.pid = bystander.pid
    lane.close()
    try:
        assert not zygote.is_running()
        assert bystander.poll() is None
    finally:
        bystander.kill()
        bystander.wait()


def test_a_lane_holds_on_to_no_process_but_its_own_zygote(jails: Jails, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the builder says is checked: a zygote that died at once may have left its number to somebody else."""
    bystander = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    monkeypatch.setattr(Lane, "_build", lambda lane, *_: setattr(lane, "pid", bystander.pid))
    try:
        with pytest.raises(NoJail, match="the zygote did not start"):
            Lane(jails.idle[-1].blueprint, jails.folder / "never")
        assert bystander.poll() is None
    finally:
        bystander.kill()
        bystander.wait()


def test_the_zygote_refuses_to_be_anything_but_process_one() -> None:
    """Its kill(-1) would end every process on the machine."""
    probe = (
        "import sys\nsys.path.insert(0, sys.argv[1])\n"
        "import posix\nposix.kill = lambda *a: (_ for _ in ()).throw(SystemExit('killed'))\n"
        "source = open(sys.argv[2]).read()\nnames = {'__name__': 'zygote'}\n"
        "exec(compile(source, 'zygote', 'exec'), names)\n"
        "names[sys.argv[3]](*[{}, {}][: int(sys.argv[4])])\n"
    )
    path = Path(jailed.__file__).with_name("zygote.py")
    for function, count in (("main", 2), ("kill_all_others", 0)):
        command = [sys.executable, "-c", probe, str(path.parents[2]), str(path), function, str(count)]
        done = subprocess.run(command, capture_output=True, text=True)
        assert done.returncode == 70, done.stderr


def test_the_zygotes_code_needs_nothing_of_ours() -> None:
    for name in ("zygote.py", "jail.py"):
        source = Path(jailed.__file__).with_name(name).read_text()
        assert "import greenlit" not in source and "from greenlit" not in source
    assert shipping.child_code()


@pytest.mark.parametrize("machine", seccomp.ARCHITECTURES)
def test_the_filter_jumps_nowhere_else(machine: str) -> None:
    program = seccomp.program(machine)
    count = len(program) // 8
    returns = [place for place in range(count) if program[place * 8] == 0x06]
    assert len(program) % 8 == 0 and count < 256
    assert returns == list(range(count - 4, count))
    for place in range(count - 4):
        code, yes, no = program[place * 8], program[place * 8 + 2], program[place * 8 + 3]
        if code in {0x15, 0x25, 0x45}:
            assert place + 1 + max(yes, no) < count


def test_a_large_request_leaves_standard_output_alone() -> None:
    code = 'def f(x):\n    print(\'[0,"value",["i","1"]]\')\n    return 9\n#' + "x" * 100_000
    problem = Problem(task_id="t", entry_point="f", tests=[CallTest(input=[3], output=9)])
    with Judge(PARAMS.model_copy(update={"output_kib": 1024}), workers=1, level="namespaces") as judge:
        found = judge.judge(problem, code)
        assert found.passed, found


def test_sleepers_do_not_hold_up_the_others() -> None:
    problem = Problem(task_id="t", entry_point="f", tests=[AssertTest(code="assert f(1) == 1")])
    sleepers = [f"import time\ndef f(x): time.sleep(60 + {n})" for n in range(3)]
    quick = [f"def f(x): return 1  # {n}" for n in range(40)]
    with Judge(PARAMS, workers=1, level="namespaces") as judge:
        began = time.monotonic()
        found = [one.verdict for one in judge.judge_all((problem, code) for code in [*sleepers, *quick])]
        took = time.monotonic() - began
    assert found == ["timeout"] * 3 + ["passed"] * 40
    assert took < 3 * PARAMS.timeout_s  # one after the other they would take three times the limit


def test_verdicts_do_not_change_while_others_burn_all_cores() -> None:
    squares = Problem(
        task_id="t",
        entry_point="f",
        reference=["def f(x): return x * x"],
        tests=[AssertTest(code=f"assert f({n}) == {n * n}") for n in range(3)],
    )
    prints = Problem(task_id="p", reference=["print(7)"], tests=[StdioTest(input="", output="7\n")] * 3)
    codes = [
        "def f(x): return x * x",
        "def f(x): return 0",
        "def f(x):\n  while x == 2: pass\n  return x * x",
        "def f(",
    ]
    jobs = [(squares, f"{code}\n# {n}") for n in range(10) for code in codes]
    jobs += [(prints, f"for _ in range(10 ** 5): pass\nprint({7 + n % 2})  # {n}") for n in range(10)]

    def verdicts(workers: int) -> list[tuple]:
        with Judge(PARAMS, workers=workers, level="namespaces") as judge:
            return [(one.verdict, one.passed, one.tests_passed, one.error) for one in judge.judge_all(jobs)]

    calm = verdicts(2)
    burners = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(2 * (os.cpu_count() or 1))]
    try:
        assert verdicts(1) == calm
        assert verdicts(8) == calm
    finally:
        for burner in burners:
            burner.kill()
            burner.wait()
    assert {verdict for verdict, *_ in calm} == {"passed", "failed", "timeout", "syntax"}


def test_a_judge_that_runs_in_a_thread_or_with_signals_blocked_works() -> None:
    ctypes.CDLL(None)  # as a trainer would have loaded
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGUSR1})
    problem = Problem(task_id="t", entry_point="f", tests=[AssertTest(code="assert f(1) == 1")])
    try:
        with Judge(PARAMS, workers=1) as judge:
            assert judge.judge(problem, "def f(x): return 1").passed
    finally:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGUSR1})
