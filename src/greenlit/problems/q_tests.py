"""Tests of q problems that print: scripts that `show` an answer, and what q printed.

    result:solve[(2;7;11;15);9];
    show result;                        and beside it: 0 1

becomes `(.Q.s solve[(2;7;11;15);9]) ~ "0 1"`: `.Q.s` gives the text that `show` prints. Their Python side,
`print(solve(nums = [2, 7, 11, 15], target = 9))` and `[0, 1]`, becomes an assert.
"""

import ast
import re

from greenlit.execution.parsing import UNPARSABLE, parsed
from greenlit.execution.q_text import Unclosed, quoted, statements, words

_ASSIGNED = re.compile(r"([A-Za-z]\w*)\s*:(?!:)\s*(.*)", re.DOTALL)
_SHOWN = re.compile(r"show\s*(?:\[(.*)\]|\s(.*))", re.DOTALL)
_CALL = re.compile(r"([A-Za-z.][\w.]*)\s*(?:\[(.*)\]|\s(.*))", re.DOTALL)


def shown_test(code: str, output: str) -> str | None:
    """A printing test as an assertion; None where it does more than to show one answer.

    Args:
        code: q, run after the program.
        output: what it prints then.
    """
    values: dict[str, str] = {}
    shown: list[str] = []
    try:
        for statement in statements(_without_comments(code)):
            if found := _SHOWN.fullmatch(statement):
                shown.append((found[1] or found[2] or "").strip())
            elif found := _ASSIGNED.fullmatch(statement):
                values[found[1]] = _filled(found[2].strip(), values)
            elif statement.split() not in (["exit", "0"], ["\\\\"]):
                return None
        if len(shown) != 1:
            return None
        call = _call(values.get(shown[0], shown[0]), values)
    except Unclosed:
        return None
    return f"(.Q.s {call}) ~ {quoted(output)}" if call else None


def _call(text: str, values: dict[str, str]) -> str | None:
    """`solve[...]`; also for `solve x`, which q reads alike."""
    found = _CALL.fullmatch(text)
    if not found or found[1] in values:
        return None
    inner = found[2] if found[2] is not None else found[3]
    call = f"{found[1]}[{_filled(inner.strip(), values)}]"
    return call if len(statements(call)) == 1 else None


def _filled(text: str, values: dict[str, str]) -> str:
    """With the variables' values in place of their names."""
    for start, end in reversed(words(text)):
        if text[start:end] in values:
            text = f"{text[:start]}({values[text[start:end]]}){text[end:]}"
    return text


def _without_comments(code: str) -> str:
    """Without lines that are comments, and comments behind code: a slash after white space, outside of strings."""
    lines = []
    for line in code.splitlines():
        quotes = 0
        for at, char in enumerate(line):
            if char == '"' and line[at - 1 : at] != "\\":
                quotes += 1
            if char == "/" and quotes % 2 == 0 and (at == 0 or line[at - 1].isspace()):
                line = line[:at]
                break
        lines.append(line)
    return "\n".join(lines)


def printed_test(code: str, output: str) -> str | None:
    """`print(solve(...))` and what it prints, as an assert; None where it is something else."""
    try:
        (line,) = parsed(code.strip()).body
    except UNPARSABLE:
        return None
    call = line.value if isinstance(line, ast.Expr) else None
    if not isinstance(call, ast.Call) or ast.unparse(call.func) != "print" or len(call.args) != 1 or call.keywords:
        return None
    said = ast.unparse(call.args[0])
    try:
        value = ast.literal_eval(output.strip())
    except (*UNPARSABLE, TypeError):
        return f"assert str({said}) == {output.strip()!r}"
    same = str(value) == output.strip() and not isinstance(value, str)
    return f"assert {said} == {value!r}" if same else f"assert str({said}) == {output.strip()!r}"
