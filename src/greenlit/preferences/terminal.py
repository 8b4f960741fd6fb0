"""Ask a person in the terminal which of two programs is better: 1 left, 2 right, 0 skip, q quit."""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
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


@contextmanager
def keys() -> Iterator[Iterator[str]]:
    """Keys as they are pressed, also before they are asked for; of a pipe, the characters of its lines.

    Raises:
        KeyboardInterrupt: Ctrl-C.
    """
    if not sys.stdin.isatty():
        yield (key for line in sys.stdin for key in line.strip())
        return
    import termios

    terminal = sys.stdin.fileno()
    before = termios.tcgetattr(terminal)
    single = before[:]
    single[3] = before[3] & ~(termios.ICANON | termios.ECHO | termios.ISIG)
    termios.tcsetattr(terminal, termios.TCSANOW, single)
    try:
        yield _pressed(terminal)
    finally:
        termios.tcsetattr(terminal, termios.TCSADRAIN, before)


def _pressed(terminal: int) -> Iterator[str]:
    while (key := os.read(terminal, 1)) not in {b"", b"\x04"}:  # Ctrl-D
        if key == b"\x03":
            raise KeyboardInterrupt
        yield key.decode(errors="replace")


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
