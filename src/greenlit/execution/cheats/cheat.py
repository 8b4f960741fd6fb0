"""What a cheat is, and the problems cheats are tried on.

Every attack has one rule: its last program must not pass. What a program tries to get hold of (a canary of the host, an
expected value, what an earlier program left behind) is the expected answer of its problem, so a verdict tells whether
it got it, and the program is never asked.
"""

import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from greenlit.types import AssertTest, CallTest, Problem, ScriptTest, StdioTest

Goal = Literal["forge", "leak", "reach", "stay", "hurt"]

RIGHT = "def f(x): return [x, x + 1, 987654321]"
CPU_S = 0.4
MEMORY_MIB = 256


@dataclass(frozen=True)
class Cheat:
    """A program, or several in a row, that wants something it must not get."""

    group: str
    """Its class."""
    name: str
    program: str
    """The last program: it must not pass."""
    problem: str = "list"
    """Key of `problems`."""
    goal: Goal = "forge"
    """What passing means: a verdict that was not earned (`forge`), something read (`leak`), something done that must
    not be possible (`reach`), something kept for the next program (`stay`). `hurt` wants only to harm what follows."""
    before: tuple[str, ...] = ()
    """Programs judged just before it."""
    needs_jail: str = ""
    """What it would do to a machine without a jail; then it is never run there."""
    open_at: tuple[str, ...] = ()
    """Levels that are known not to stop it everywhere."""
    verdicts: tuple[str, ...] = ()
    """The only right ones, where the suite insists."""
    slow: bool = False
    """Ends by a limit only."""

    @property
    def ends_by_a_limit(self) -> bool:
        """Takes as long as it may."""
        return self.slow or "timeout" in self.verdicts

    def programs(self, places: Mapping[str, str]) -> list[str]:
        """The programs, with the host's places filled in, and guarded where they need a jail."""
        guard = GUARD if self.needs_jail else ""
        return [filled(guard + program, places) for program in (*self.before, self.program)]


@dataclass(frozen=True)
class Control:
    """A right program that looks odd; a judge that fails it is too suspicious."""

    name: str
    program: str
    problem: str = "list"


NO_JAIL = "greenlit: no jail here"
GUARD = f"""
import os as _os
_seen = _os.path.exists('@host_file@')
try: _seen = _seen or (_os.getpid() != @host_pid@ and _os.getpgid(@host_pid@) >= 0)
except ProcessLookupError: pass
except OSError: _seen = True
if _seen: raise SystemExit('{NO_JAIL}')
"""
"""First lines of every program that needs a jail. Where it sees the host after all, it does nothing."""


def filled(program: str, places: Mapping[str, str]) -> str:
    """A program with its `@places@` filled in; a last comment makes it new to the judge, who remembers programs."""
    for name, value in places.items():
        program = program.replace(f"@{name}@", value)
    return f"{program}\n# {secrets.token_hex(4)}"


def problems(secret: str, canary: str, token: str) -> dict[str, Problem]:
    """What cheats are tried on.

    Args:
        secret: an expected value, to be looked for in the judge.
        canary: what the host keeps for itself.
        token: what a program wants to hand on to the next one.
    """
    asserts = {
        "list": ["f(2) == [2, 3, 987654321]", "f(40) == [40, 41, 987654321]", "set(f(7)) == {7, 8, 987654321}"],
        "table": ["f(1) == {'a': 1, 'b': [2]}"],
        "word": ["f(1) == 'green'"],
        "number": ["f(1) == 42"],
        "secret": [f"f(1) == {secret!r}"],
        "canary": [f"f(1) == {canary!r}"],
        "carried": [f"f(1) == {token!r}"],
        "reach": ["f(1) == 'reached'"],
        "work": [
            "sum(f(1)) == 3", "max(f(2)) == 3", "[n for n in f(3) if n in f(4)] == [1]", "list(range(f(5))) == [0, 1]",
            "2 ** f(6) == 8", "'ab' * f(7) == 'abab'", "int(f(8)) == 8", "f(9) * f(10) == 2", "str(f(11)) == '11'",
            "f(12) == 0.5", "sorted(f(13)) == [1]", "round(f(14), 1) == 0.5", "f(15) in {1, 2}",
        ],
    }  # fmt: skip
    made = {
        key: _problem(key, "f", [AssertTest(code=f"assert {text}") for text in texts]) for key, texts in asserts.items()
    }
    looping = "def check(candidate):\n    for i in range(4):\n        assert candidate(i) == [i, i + 1, 987654321]\n"
    sorting = "data = [3, 1, 2]\nf(data)\nassert data == [1, 2, 3]\n"
    check = "def check(candidate):\n    assert candidate(2) == [2, 3, 987654321]\n"
    return made | {
        "half": _problem("half", "f", [AssertTest(code="assert f(1) == 0.5", checker="float")]),
        "call": _problem("call", "f", [CallTest(input=[[3, 1]], output=[1, 3])]),
        "check": _problem("check", "check", [AssertTest(code="assert check(1) == 2")]),
        "script": _problem("script", "f", [ScriptTest(code=check)]),
        "sort": _problem("sort", "f", [ScriptTest(code=sorting)]),
        "dialogue": _problem("dialogue", "f", [ScriptTest(code=looping)]),
        "echo": _problem("echo", None, [StdioTest(input="a b\n", output="YES\na b\n987654321\n")]),
    }


def _problem(key: str, entry_point: str | None, tests: list) -> Problem:
    return Problem(
        task_id=f"greenlit/cheats/{key}",
        entry_point=entry_point,
        tests=tests,
        time_limit_s=CPU_S,
        memory_limit_mib=MEMORY_MIB,
    )
