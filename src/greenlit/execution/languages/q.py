"""q, the language of kdb+: https://code.kx.com - the user's own `q`, or PyKX; neither is free software.

NOT TRIED WITH THE REAL ONE: no kdb+ was at hand. The tests run a scripted stand-in that checks the protocol, not q.

Which one is used: the executable that GREENLIT_Q names, else `q` on PATH if it answers as kdb+ does, else PyKX, where
it can be imported. It finds its files and its licence through QHOME and QLIC, which are laid into the jail, read-only:
a candidate can read them, and can send them nowhere.

Kinds of tests
    call    the entry point with arguments written as q literals; the answer comes back as `.j.j` has it
    stdio   a whole program, loaded as a script; `read0 0` is its input
    assert, script    written in q, where all they do is to compare: see q_asserts.py

q's own errors are all `error`: it does not tell a program that does not parse from one that fails.
"""

import functools
import importlib.util
import json
import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from greenlit.execution import profiles
from greenlit.execution.blueprint import interpreter
from greenlit.execution.findings import Fault, Limits
from greenlit.execution.languages import q_asserts
from greenlit.execution.languages.command import ISOLATION, Interpreter, Runner, call_plan, judging_with, plan_with
from greenlit.execution.languages.language import Language
from greenlit.execution.level import Command
from greenlit.execution.plan import Plan
from greenlit.execution.q_text import quoted
from greenlit.execution.scripts import Unsplittable

if TYPE_CHECKING:
    from greenlit.types import Problem

PROBE_S = 30.0
STDERR = 2
_NAME = re.compile(r"\.?[A-Za-z][\w.]*", re.ASCII)
_PROBE = "-1 .j.j (.z.K;.Q.w[]`heap);\nexit 0\n"
_PYKX = "import sys; sys.path += {}; import pykx; pykx.q('\\\\l ' + sys.argv[1])"


@functools.cache
def _find() -> Interpreter | str:
    path = os.environ.get("GREENLIT_Q") or shutil.which("q")
    if path is not None:
        return _probed((str(Path(path).resolve()),), ())
    if importlib.util.find_spec("pykx") is not None:
        folders = profiles.folders()
        return _probed((interpreter(), "-c", _PYKX.format(folders)), tuple(folders))
    return "q is not installed: programs in q need kdb+ (`q` on PATH, or GREENLIT_Q names it) or PyKX"


def _probed(words: tuple[str, ...], binds: tuple[str, ...]) -> Interpreter | str:
    """It must answer as kdb+ does: other programs are called q too."""
    home = os.environ.get("QHOME") or str(Path.home() / "q")
    places = {"QHOME": home, "QLIC": os.environ.get("QLIC") or home}
    environment = {name: place for name, place in places.items() if Path(place).is_dir()}
    with tempfile.TemporaryDirectory() as folder:
        probe = Path(folder, "probe.q")
        probe.write_text(_PROBE, encoding="ascii")
        try:
            done = subprocess.run(
                [*words, str(probe), "-q"], stdin=subprocess.DEVNULL, capture_output=True, timeout=PROBE_S, text=True,
                env=environment, check=True,
            )  # fmt: skip
            _, heap = json.loads(done.stdout)
            own_bytes = int(heap)
        except (OSError, subprocess.SubprocessError, ValueError, TypeError) as error:
            return f"{words[0]} does not answer as kdb+'s q does ({type(error).__name__})"
    return Interpreter(words, (*binds, *dict.fromkeys(environment.values())), tuple(environment.items()), own_bytes)


@functools.cache
def _harness() -> str:
    return Path(__file__).with_name("harness.q").read_text(encoding="utf-8")


def _command(q: Interpreter, lines: Sequence[str], files: dict[str, str], **settings: Any) -> Command:
    loads = [f'.greenlit.load "{name}";' for name in files]
    main = "\n".join([_harness(), *loads, *lines, "exit 0", ""])
    return q.command("main.q", "-q", files={"main.q": main, **files}, answers_on=STDERR, **settings)


def _call(q: Interpreter, code: str, plan: Plan, _: Limits) -> tuple[Command, str]:
    return _command(q, _questions(plan), {"program.q": code, **_setup(plan)}, prints=False), ""


def _setup(plan: Plan) -> dict[str, str]:
    return {"setup.q": plan.setup} if plan.setup.strip() else {}


def _questions(plan: Plan) -> list[str]:
    lines = []
    for place, step in enumerate(step for test in plan.called for step in test.steps):
        kind, *content = step.content
        if kind == "call":
            name, arguments = content
            lines.append(f".greenlit.call[{place};`{name};{_arguments(arguments)}];")
        else:
            lines.append(f".greenlit.{kind}[{place};{literal(content[0])}];")
    return lines


def _whole(q: Interpreter, code: str, _: Limits) -> Command:
    return _command(q, [], {"program.q": code})


def _wanted(q: Interpreter, plan: Plan) -> Command:
    """A process that no byte of the program reaches: what the tests compare with."""
    texts = [text for test in plan.compared for text in test.expected]
    lines = [f".greenlit.expression[{place};{literal(text)}];" for place, text in enumerate(texts)]
    return _command(q, lines, _setup(plan), prints=False)


def _arguments(arguments: list[Any]) -> str:
    return "enlist (::)" if not arguments else literal(arguments)


def literal(value: Any) -> str:
    """A value of JSON as q writes it: whole numbers are longs, texts char vectors, objects dictionaries of symbols.

    Lists of one kind of number are written as vectors, since q bounds the constants of one expression.

    Raises:
        Unsplittable: q has no such value.
    """
    if isinstance(value, bool):
        return "1b" if value else "0b"
    if value is None:
        return "(::)"
    if isinstance(value, int):
        if abs(value) >= 2**63 - 1:
            raise Unsplittable("its input has an integer that q's longs do not hold")
        return str(value)
    if isinstance(value, float):
        return {"inf": "0w", "-inf": "-0w", "nan": "0n"}.get(repr(value), repr(value).replace("e+", "e"))
    if isinstance(value, str):
        return quoted(value)
    if isinstance(value, dict):
        return f"((`${literal([str(key) for key in value])})!{literal(list(value.values()))})"
    return _list(list(value))


def _list(items: list[Any]) -> str:
    if not items:
        return "()"
    if len(items) == 1:
        return f"(enlist {literal(items[0])})"
    kinds = {type(item) for item in items}
    if kinds == {bool}:
        return "".join("1" if item else "0" for item in items) + "b"
    if kinds in ({int}, {float}):
        return f"({' '.join(map(literal, items))})"
    return f"({';'.join(map(literal, items))})"


def _plan_test(test: Any, problem: "Problem") -> dict[str, Any]:
    if test.kind != "call":
        return q_asserts.plan(test, problem)
    if not problem.entry_point or not _NAME.fullmatch(problem.entry_point):
        raise Unsplittable("a call test needs the problem's entry_point, the name of a function")
    _arguments(test.input)
    return call_plan(test, problem, literal)


def _said(_: bytes) -> Fault | None:
    return None


RUNNER = Runner("q", _find, _call, _whole, _said, decode=lambda plain: plain, wanted=_wanted, check=q_asserts.check)
Q = Language(
    isolation=ISOLATION.format("q") + "; its licence can be read",
    kinds=("assert", "call", "stdio", "script"),
    missing=RUNNER.missing,
    plan=functools.partial(plan_with, "q", _plan_test),
    judging=functools.partial(judging_with, RUNNER),
)
