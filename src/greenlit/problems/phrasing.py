"""How a language is spoken of in prompts: its name, fences, comments and calls, and how its functions begin."""

import json
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from greenlit.execution.q_text import q_literal


@dataclass(frozen=True)
class Phrasing:
    """One language."""

    name: str
    fences: tuple[str, ...]
    """What may stand behind the three backticks of its code blocks, the first one when we write them."""
    comment: Callable[[str], str]
    """A text as a comment, below which a base model goes on with the program."""
    call: Callable[[str, Sequence[Any], Any], str]
    """entry point, arguments, what it should return → a shown test, in the language itself."""
    defines: str
    """Regular expression of the beginning of a function or class called {name}."""
    after: re.Pattern[str]
    """What follows a program when a base model has gone on to something else."""


def _python_comment(text: str) -> str:
    return '"""{}\n"""\n'.format(text.replace('"""', "'''"))


def _python_call(name: str, arguments: Sequence[Any], output: Any) -> str:
    return f"assert {name}({', '.join(map(repr, arguments))}) == {output!r}"


def _javascript_comment(text: str) -> str:
    return "/*\n{}\n*/\n".format(text.replace("*/", "* /"))


def _javascript_call(name: str, arguments: Sequence[Any], output: Any) -> str:
    owner, is_method, method = name.partition(".prototype.")
    called = f"new {owner}().{method}" if is_method else name
    written = ", ".join(json.dumps(value, ensure_ascii=False) for value in arguments)
    return f"assert.deepStrictEqual({called}({written}), {json.dumps(output, ensure_ascii=False)});"


def _q_comment(text: str) -> str:
    return "".join(f"/ {line}".rstrip() + "\n" for line in text.split("\n"))


def _q_call(name: str, arguments: Sequence[Any], output: Any) -> str:
    return f"{name}[{';'.join(map(_q_value, arguments))}] ~ {_q_value(output)}"


def _q_value(value: Any) -> str:
    try:
        return q_literal(value)
    except ValueError:  # no q program can be given or return it, but the statement stays readable
        return str(value)


PYTHON = Phrasing(
    "Python",
    ("python", "py", "python3", ""),
    _python_comment,
    _python_call,
    r"^\s*(?:async\s+def|def|class)\s+{name}\b",
    re.compile(r"\n(?:assert\b|\"\"\"|'''|```|\[DONE\]|<\|)"),
)
PHRASINGS = {
    "python": PYTHON,
    "javascript": Phrasing(
        "JavaScript",
        ("javascript", "js", "node", "mjs", "cjs", ""),
        _javascript_comment,
        _javascript_call,
        r"\bfunction\s*\*?\s*{name}\s*\(|\bclass\s+{name}\b|(?<![\w$]){name}\s*=(?![=>])"
        r"|^\s+(?:async\s+)?{name}\s*\([^)]*\)\s*\{{",
        re.compile(r"\n(?:/\*\n|assert\b|console\.assert\b|```|\[DONE\]|<\|)"),
    ),
    "q": Phrasing(
        "q",
        ("q", "kdb", "kdb+", "k", ""),
        _q_comment,
        _q_call,
        r"^{name}\s*::?",
        re.compile(r"\n(?:```|\[DONE\]|<\|)"),
    ),
}


def phrasing_of(language: str) -> Phrasing:
    """Of a language nobody here can judge, Python's."""
    return PHRASINGS.get(language, PYTHON)
