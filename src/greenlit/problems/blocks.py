"""Blocks of indented lines: where a file may be cut, and where what follows the cut comes to an end.

The last line before the cut decides which block is gone on with: the one it opens (`def f(x):`, `{`), else the one it
stands in. The block lasts until a line that is indented less. So a file's own continuation and a model's end by the
same rule, and nobody has to know the held-back text to find the end of a completion.
"""

from collections.abc import Sequence

_OPENING = (":", "{", "(", "[")
_TAB = 8


def indentation(line: str) -> int:
    """Columns before the first character, of the first line of a text; tabs as Python counts them."""
    text = line.partition("\n")[0].expandtabs(_TAB)
    return len(text) - len(text.lstrip(" "))


def least_indentation(prefix: str) -> int:
    """What lines after this prefix are indented by at least, as long as they belong to the block it stops in."""
    last = _last_line(prefix.split("\n"))
    return indentation(last) + last.rstrip().endswith(_OPENING)


def usual_indentation(prefix: str) -> int:
    """What the next line is indented by, if a block that is opened is moved in by four columns."""
    last = _last_line(prefix.split("\n"))
    return indentation(last) + 4 * last.rstrip().endswith(_OPENING)


def rest_of_block(prefix: str, text: str) -> str:
    """What of a text goes on with the block that the prefix stops in; without blank lines at its end.

    Where the prefix stops within a line, the rest of that line belongs to it whatever it is.
    """
    least = least_indentation(prefix)
    lines = text.split("\n")
    kept = 1 if prefix and not prefix.endswith("\n") else 0
    while kept < len(lines) and (not lines[kept].strip() or indentation(lines[kept]) >= least):
        kept += 1
    body = "\n".join(lines[:kept]).rstrip()
    return f"{body}\n" if body else ""


def goes_on(lines: Sequence[str], number: int) -> bool:
    """Does this line stand in the block that the line before it opens, or else stands in?"""
    line, before = lines[number], _last_line(lines[:number])
    if not line.strip() or not indentation(line):
        return False
    if before.rstrip().endswith(_OPENING):
        return indentation(line) > indentation(before)
    return indentation(line) == indentation(before)


def _last_line(lines: Sequence[str]) -> str:
    return next((line for line in reversed(lines) if line.strip()), "")
