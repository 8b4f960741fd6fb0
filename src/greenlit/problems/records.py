"""What the adapters share: a record that cannot become a problem, and columns that are missing or of another type."""

import re
import warnings
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from greenlit.errors import DataError
from greenlit.execution.parsing import UNPARSABLE
from greenlit.jsonl import one_line


@dataclass(frozen=True)
class Dropped:
    """A record that is well-formed and still gives no problem: `prepare` counts it under its reason."""

    task_id: str
    reason: str
    detail: str = ""


def check_columns(place: str, row: Mapping[str, Any], columns: Mapping[str, type | tuple[type, ...]]) -> None:
    """A row must have these columns, of these types.

    Raises:
        DataError: the message names the place, which should tell the row, and the column.
    """
    for column, kind in columns.items():
        if column not in row:
            found = one_line(", ".join(sorted(row)), 200)
            raise DataError(f"{place}: column `{column}` is missing (found {found})")
        value = row[column]
        kinds = kind if isinstance(kind, tuple) else (kind,)
        # The hub's library hands lists over as arrays of its own; anything that iterates and is no text will do.
        listed = list in kinds and hasattr(value, "__iter__") and not isinstance(value, str | Mapping)
        if not isinstance(value, kinds) and not listed:
            names = " or ".join("null" if one is type(None) else one.__name__ for one in kinds)
            raise DataError(f"{place}: column `{column}` must be {names} (found {type(value).__name__})")


def check_texts(place: str, row: Mapping[str, Any], columns: Iterable[str]) -> None:
    """Of these columns, those that are there must be lists of texts.

    Raises:
        DataError: the message names the place, the column and the entry.
    """
    for column in columns:
        for number, value in enumerate(row.get(column, []), start=1):
            if not isinstance(value, str):
                found = type(value).__name__
                raise DataError(f"{place}: column `{column}`: entry {number} must be str (found {found})")


def plain_lines(text: str) -> str:
    """CRLF and bare CR as LF."""
    return text.replace("\r\n", "\n").replace("\r", "\n")


_SCIENCE = re.compile(r"^\s*(?:import|from)\s+(?:numpy|pandas|sympy|sortedcontainers)\b", re.MULTILINE)


def profile_for(references: Iterable[str]) -> Literal["plain", "science"]:
    """Which interpreter a problem needs: one with the packages that a known solution of it imports."""
    return "science" if any(map(_SCIENCE.search, references)) else "plain"


def compiles(code: str) -> bool:
    """Is this a program, as far as the compiler can tell? (`return` at the top parses, but does not compile.)"""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            compile(code, "<program>", "exec", dont_inherit=True)
        except UNPARSABLE:
            return False
    return True
