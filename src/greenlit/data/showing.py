"""One problem as people read it: statement, starter code, tests by role, reference."""

from collections.abc import Iterable
from typing import TYPE_CHECKING

from greenlit.errors import DataError
from greenlit.jsonl import shortened
from greenlit.preferences.terminal import printable
from greenlit.problems.records import Dropped
from greenlit.types import AssertTest, CallTest, Problem, ScriptTest, StdioTest, Test

if TYPE_CHECKING:
    from rich.console import Console, RenderableType
    from rich.table import Table

ROLES = {
    "shown": "in the prompt, and reward",
    "reward": "reward, not in the prompt",
    "hidden": "evaluation only: never in a prompt, never reward",
}
_STYLES = {"shown": "green", "reward": "yellow", "hidden": "red"}
_LEXERS = {"python": "python", "javascript": "javascript"}
_NEAR = 3


def find(rows: Iterable[Problem | Dropped], task_id: str | None, place: str) -> Problem:
    """The problem of this task_id; without one, the first.

    Raises:
        DataError: there is none; the message tells of a record that the adapter drops, and of names like it.
    """
    known: list[str] = []
    for row in rows:
        if task_id is None and isinstance(row, Problem):
            return row
        if row.task_id == task_id:
            if isinstance(row, Problem):
                return row
            detail = f" ({row.detail})" if row.detail else ""
            raise DataError(f"{place}: {task_id}: gives no problem: {row.reason}{detail}")
        known.append(row.task_id)
    if task_id is None:
        raise DataError(f"{place}: no problems in it")
    raise DataError(f"{place}: no problem {shortened(task_id)} among {len(known)}", hint=_near(task_id, known))


def _near(task_id: str, known: list[str]) -> str:
    from rapidfuzz import process

    near = [name for name, _, _ in process.extract(task_id, known, limit=_NEAR)]
    return f"did you mean {', '.join(near)}?" if near else "there are none"


def show(console: "Console", problem: Problem) -> None:
    """Print a problem; nothing in it steers the terminal."""
    from rich.panel import Panel
    from rich.text import Text

    console.print(Panel(Text(printable(problem.prompt.strip())), title=Text(printable(_title(problem)))))
    parts = {"starter code": problem.starter_code, "prelude (before every program, not shown)": problem.prelude,
             "set-up (before the tests)": problem.setup}  # fmt: skip
    for name, code in parts.items():
        if code.strip():
            console.print(Panel(_code(code, problem.language), title=name, title_align="left"))
    console.print(_tests(problem))
    for role, meaning in ROLES.items():
        if any(test.role == role for test in problem.tests):
            console.print(Text(f"{role}: {meaning}", style=_STYLES[role]))
    if not problem.reference:
        console.print("no reference: nothing has shown that its tests can be passed")
        return
    of_all = f" 1 of {len(problem.reference)}" if len(problem.reference) > 1 else ""
    title = f"reference{of_all} (hidden from the model)"
    console.print(Panel(_code(problem.reference[0], problem.language), title=title, title_align="left"))


def _title(problem: Problem) -> str:
    facts = [problem.task_id, problem.split or "no split", problem.language, problem.entry_point,
             problem.difficulty, problem.source, ", ".join(problem.tags)]  # fmt: skip
    limits = [(problem.time_limit_s, "s"), (problem.memory_limit_mib, "MiB")]
    return " | ".join([*filter(None, facts), *(f"{value:g} {unit}" for value, unit in limits if value)])


def _tests(problem: Problem) -> "Table":
    from rich import box
    from rich.table import Table

    table = Table(title=f"{len(problem.tests)} tests", title_justify="left", box=box.SIMPLE_HEAD)
    for name in ("", "role", "kind", "test"):
        table.add_column(name, overflow="fold")
    for place, test in enumerate(problem.tests):
        kind = test.kind if test.checker == "exact" else f"{test.kind}, {test.checker}"
        table.add_row(str(place), test.role, kind, _test(test, problem), style=_STYLES[test.role])
    return table


def _test(test: Test, problem: Problem) -> "RenderableType":
    from rich.text import Text

    if isinstance(test, AssertTest | ScriptTest):
        return Text(printable(test.code.strip()))
    if isinstance(test, CallTest):
        arguments = ", ".join(map(repr, test.input))
        return Text(printable(f"{problem.entry_point}({arguments}) -> {test.output!r}"))
    assert isinstance(test, StdioTest)
    return Text(printable(f"input\n{test.input.rstrip()}\noutput\n{test.output.rstrip()}"))


def _code(code: str, language: str) -> "RenderableType":
    from rich.syntax import Syntax

    return Syntax(printable(code.rstrip()), _LEXERS.get(language, "text"), word_wrap=True, theme="ansi_dark")
