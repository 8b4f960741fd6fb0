"""Ask a person in the terminal which of two programs is better: 1 left, 2 right, 0 skip, q quit."""

import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING

from greenlit.preferences.questions import Question
from greenlit.problems.prompts import statement
from greenlit.types import Annotated

if TYPE_CHECKING:
    from rich.console import Console, RenderableType

KEYS = "1 left is better   2 right is better   0 skip   q quit"
_NARROW = 80
"""Columns of a terminal below which the programs stand one below the other."""
_LEXERS = {"python": "python", "javascript": "javascript"}


def keys() -> Iterator[str]:
    """Keys as they are pressed; of a pipe, the characters of its lines. Ends where the input does.

    Raises:
        KeyboardInterrupt: Ctrl-C.
    """
    if not sys.stdin.isatty():
        yield from (key for line in sys.stdin for key in line.strip())
        return
    import click

    while True:
        try:
            yield from click.getchar()
        except EOFError:
            return


def show(console: "Console", question: Question, verdicts: bool, title: str) -> None:
    """The problem and its two programs."""
    from rich.panel import Panel
    from rich.table import Table
    from rich.text import Text

    problem = question.problem
    asked = "\n".join(part for part in (statement(problem), problem.starter_code.rstrip()) if part)
    console.print(Panel(Text(printable(asked)), title=Text(printable(title)), title_align="left"))
    sides = [_program(question.left, problem.language), _program(question.right, problem.language)]
    heads = [_head("1", question.left, verdicts), _head("2", question.right, verdicts)]
    if console.width < _NARROW:
        for head, side in zip(heads, sides, strict=True):
            console.print(Panel(side, title=head, title_align="left"))
        return
    table = Table(*heads, expand=True, show_lines=True)
    for column in table.columns:
        column.ratio = 1
    table.add_row(*sides)
    console.print(table)


def _head(key: str, row: Annotated, verdicts: bool) -> str:
    return f"{key}  {row.verdict} ({row.tests_passed} of {row.tests_total} tests)" if verdicts else key


def _program(row: Annotated, language: str) -> "RenderableType":
    from rich.syntax import Syntax

    return Syntax(printable(row.solution.rstrip()), _LEXERS.get(language, "text"), word_wrap=True, theme="ansi_dark")


def printable(text: str) -> str:
    """Nothing that a model wrote steers the terminal."""
    return "".join(char if char.isprintable() or char in "\n\t" else repr(char)[1:-1] for char in text)
