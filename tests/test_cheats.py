"""The cheat suite at every level there is: nothing forged, nothing hung, the next right program always judged right.

Each cheat is a test of its own; those of one level that were selected run in one go, against one judge with one worker.
"""

import ast
import re
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from types import SimpleNamespace

import pytest

from greenlit.config import AnnotateParams
from greenlit.errors import SandboxError
from greenlit.execution.cheats import gate
from greenlit.execution.cheats.cheat import GUARD, NO_JAIL, RIGHT, Cheat, problems
from greenlit.execution.cheats.controls import CONTROLS
from greenlit.execution.cheats.host import Host
from greenlit.execution.cheats.runner import JAILED, Result, Table, run_cheats, suite_params
from greenlit.execution.cheats.suite import CHEATS
from greenlit.execution.cheats.table import as_json, not_stopped
from greenlit.execution.judges import Judge

PARAMS = suite_params(AnnotateParams(allow_portable=True))
CLASSES = {
    "equality", "values", "judge's work", "exceptions", "introspection", "forged frames", "harness", "exits",
    "signals to itself", "standard output", "sources", "dialogue", "time", "memory", "floods", "processes",
    "other processes", "environment", "files of the host", "folders hard to remove", "leftovers",
    "damage to what is shared", "network", "kernel",
}  # fmt: skip
DANGEROUS = re.compile(
    r"os\.kill\(|os\.fork\(\)|threading\.Thread|setpriority|prlimit|setaffinity|ptrace|mount|sethostname|rmtree|"
    r"'/tmp|'/dev/shm|add_key|b'user'"
)


def selected(session: pytest.Session, level: str) -> list[Cheat]:
    """The cheats whose tests are going to run."""
    chosen = [item.callspec.params for item in session.items if item.originalname == "test_cheat"]
    names = {params["cheat"].name for params in chosen if params["table"] == level}
    return [cheat for cheat in CHEATS if cheat.name in names]


@pytest.fixture(scope="module", params=["portable", "namespaces"])
def table(request: pytest.FixtureRequest) -> Iterator[dict]:
    with Host() as host:
        try:
            judge = Judge(PARAMS, workers=1, level=request.param)
        except SandboxError as error:
            pytest.skip(str(error))
        with judge:
            table = run_cheats(judge, selected(request.session, request.param), host=host)
    return {"table": table, "results": {result.cheat.name: result for result in table.results}}


def named(cheat: Cheat) -> str:
    return f"{cheat.group}: {cheat.name}{' (only in a jail)' if cheat.needs_jail else ''}"


@pytest.mark.parametrize("cheat", CHEATS, ids=named)
def test_cheat(table: dict, cheat: Cheat) -> None:
    level, result = table["table"].level, table["results"][cheat.name]
    if cheat.needs_jail and level not in JAILED:
        assert (result.outcome, result.note) == ("not run", cheat.needs_jail)
        return
    allowed = {"stopped", "let through"} if level in cheat.open_at else {"stopped"}
    assert result.outcome in allowed, result
    if cheat.verdicts:
        assert result.verdict in cheat.verdicts, result


def test_right_programs_pass_however_odd_they_look(table: dict) -> None:
    assert table["table"].refused == ()


@pytest.mark.parametrize(
    "name",
    [
        "a file that all may read",
        "a file in /tmp",
        "a TCP port of the host",
        "another program run",
        "the list of users",
    ],
)
def test_the_portable_level_does_not_stop_what_it_says_it_does_not(name: str) -> None:
    """And so the attacks are real: where nothing stands in their way, they get through."""
    cheats = [cheat for cheat in CHEATS if cheat.name == name]
    with Judge(PARAMS, workers=1, level="portable") as judge:
        table = run_cheats(judge, cheats, controls=())
    assert [result.outcome for result in table.results] == ["let through"]
    assert not_stopped(table) == {cheats[0].group: [name]}


def test_the_suite_is_large_and_of_every_class() -> None:
    assert len(CHEATS) >= 300
    assert {cheat.group for cheat in CHEATS} == CLASSES
    assert [name for name, count in Counter(cheat.name for cheat in CHEATS).items() if count > 1] == []
    assert min(Counter(cheat.group for cheat in CHEATS).values()) >= 7


@pytest.mark.parametrize("cheat", CHEATS, ids=named)
def test_programs_are_complete(cheat: Cheat) -> None:
    names = ("tag", "variable", "host_pid", "host_folder", "host_file", "writable", "unix_path", "abstract")
    places = dict.fromkeys((*names, "tcp_port", "udp_port", "free_port"), "1") | {"token": "carried-"}
    programs = cheat.programs(places)
    assert len(programs) == 1 + len(cheat.before)
    assert "@token@" not in cheat.program  # else it would not have to get hold of it
    assert not any(re.search(r"@\w+@", program) for program in programs)
    assert all(program.startswith(GUARD[:20]) for program in programs if cheat.needs_jail)
    assert cheat.problem in problems("", "", "")
    if "syntax" not in cheat.verdicts and cheat.goal != "hurt" and "\ud800" not in cheat.program:
        ast.parse(programs[-1])


@pytest.mark.parametrize("cheat", [cheat for cheat in CHEATS if cheat.needs_jail], ids=named)
def test_what_needs_a_jail_is_dangerous(cheat: Cheat) -> None:
    assert any(DANGEROUS.search(program) for program in (*cheat.before, cheat.program))


def test_what_signals_everything_needs_a_jail() -> None:
    for cheat in CHEATS:
        for whom in ("os.kill(-1", "os.kill(0", "os.kill(1,", "os.kill(os.getppid()", "killpg"):
            if any(whom in program for program in (*cheat.before, cheat.program)):
                assert cheat.needs_jail, cheat.name


class Fake:
    """A judge that says what it is told to, and remembers what it was asked."""

    notes: list[str] = []

    def __init__(self, level: str, cheats_pass: bool | None = False, right_passes: bool = True) -> None:
        self.level, self.cheats_pass, self.right_passes = level, cheats_pass, right_passes
        self.asked: list[str] = []
        self.pool = SimpleNamespace(workers=[])

    def judge(self, problem, code: str) -> SimpleNamespace:
        self.asked.append(code)
        passed = self.right_passes if code.startswith(RIGHT) else self.cheats_pass
        return SimpleNamespace(passed=passed, passed_all=passed, tests=[], verdict="failed", error="why")

    def judge_all(self, jobs) -> Iterator[SimpleNamespace]:
        return (self.judge(problem, code) for problem, code in jobs)


@pytest.mark.parametrize("level", ["portable", "a level to come"])
def test_nothing_dangerous_runs_without_a_jail(level: str) -> None:
    judge = Fake(level)
    table = run_cheats(judge)
    dangerous = [cheat for cheat in CHEATS if cheat.needs_jail]
    assert [result.cheat for result in table.having("not run")] == dangerous
    assert not [code for code in judge.asked if NO_JAIL in code or "kill(-1" in code]
    assert len(table.having("stopped")) == len(CHEATS) - len(dangerous)


def test_a_program_that_sees_the_host_does_nothing_dangerous() -> None:
    """The guard itself, on a harmless program, where there is no jail."""
    cheat = Cheat("group", "name", "raise ValueError('went on')", needs_jail="nothing, really")
    with Host() as host, Judge(PARAMS, workers=1, level="portable") as judge:
        found = judge.judge(host.problems()["list"], cheat.programs(host.places)[0])
    assert NO_JAIL in found.error


@pytest.mark.parametrize(
    ("cheats_pass", "right_passes", "goal", "outcome"),
    [
        (True, True, "forge", "forged"),
        (True, True, "leak", "let through"),
        (None, True, "forge", "unknown"),
        (False, False, "forge", "hurt the next"),
        (False, True, "forge", "stopped"),
    ],
)
def test_outcomes(cheats_pass: bool | None, right_passes: bool, goal: str, outcome: str) -> None:
    cheat = Cheat("group", "name", "pass", goal=goal)
    table = run_cheats(Fake("portable", cheats_pass, right_passes), [cheat])
    assert [result.outcome for result in table.results] == [outcome]
    assert as_json(table)["outcomes"][outcome] == 1
    assert (table.refused == ()) is (cheats_pass is True)


def test_harm_to_the_host_is_seen_and_put_right() -> None:
    with Host() as host:
        assert host.harm() is None
        (host.folder / "readable").unlink()
        assert host.harm() == "removed the host's file readable"
        host._server.kill()
        host._server.wait()
        assert host.harm() == "killed a process of the host"
        assert host.harm() is None
        folder = host.folder
    assert not folder.exists()


NAIVE = """
import sys
exec(compile(sys.argv[1], 'program', 'exec'))
{tests}
"""


@pytest.mark.parametrize(
    "cheat",
    [cheat for cheat in CHEATS if cheat.group == "equality" and cheat.problem == "list"]
    + [cheat for cheat in CHEATS if cheat.group == "exits" and cheat.name.endswith(("at the start", "in the function"))]
    + [cheat for cheat in CHEATS if cheat.group == "introspection" and "frames" in cheat.name],
    ids=named,
)
def test_the_attack_fools_a_judge_in_the_same_process(cheat: Cheat) -> None:
    """Most judges of the field look like this one; a cheat that fools nobody would prove nothing here."""
    tests = problems("expected-0123456789abcdef", "", "")[cheat.problem].tests[:2]
    code = NAIVE.format(tests="\n".join(test.code for test in tests))
    done = subprocess.run([sys.executable, "-c", code, cheat.program], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_training_is_refused_where_a_verdict_can_be_forged(tmp_path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    judge = Fake("leaky", cheats_pass=True)
    with pytest.raises(SandboxError, match=r"level leaky: .* known cheats get a verdict they did not earn") as error:
        gate.refuse_forgeable(judge)
    assert gate.forging()[0].name in str(error.value)
    assert not (tmp_path / ".work").exists()


def test_the_check_before_rewards_is_made_once(tmp_path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    judge = Fake("tight")
    gate.refuse_forgeable(judge)
    asked = len(judge.asked)
    assert asked == len(gate.forging()) >= 100
    gate.refuse_forgeable(judge)
    assert len(judge.asked) == asked
    gate.refuse_forgeable(Fake("another"))
    other = Fake("tight")
    other.notes = ["as somebody else"]
    gate.refuse_forgeable(other)
    assert len(other.asked) == asked


@pytest.mark.parametrize("level", ["portable", "namespaces"])
def test_no_known_cheat_forges_a_verdict_here(tmp_path, monkeypatch: pytest.MonkeyPatch, level: str) -> None:
    monkeypatch.chdir(tmp_path)
    try:
        judge = Judge(AnnotateParams(allow_portable=True), workers=1, level=level)
    except SandboxError as error:
        pytest.skip(str(error))
    with judge:
        gate.refuse_forgeable(judge)


def test_a_table_tells_failures_from_what_a_level_lets_through() -> None:
    one = Cheat("group", "one", "pass", open_at=("portable",))
    results = tuple(Result(one, outcome) for outcome in ("forged", "let through", "hung", "not run", "stopped"))
    table = Table("portable", results, (), 1.0)
    assert [result.outcome for result in table.failures] == ["forged", "hung"]
    assert table.run == 4
    assert not_stopped(table) == {"group": ["one (forged)", "one", "one (hung)", "one (not run)"]}
    jailed = Table("namespaces", results, (), 1.0)
    assert [result.outcome for result in jailed.failures] == ["forged", "let through", "hung", "not run"]


def test_controls_have_names_of_their_own() -> None:
    assert len({control.name for control in CONTROLS}) == len(CONTROLS) >= 12
