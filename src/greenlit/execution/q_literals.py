"""Values as q, the language of kdb+, writes them: in the calls of its tests, and in the tests that prompts show."""

from typing import Any


def q_literal(value: Any) -> str:
    """A value of JSON as q writes it: whole numbers are longs, texts char vectors, objects dictionaries of symbols.

    Lists of one kind of number are written as vectors, since q bounds the constants of one expression.

    Raises:
        ValueError: q has no such value.
    """
    if isinstance(value, bool):
        return "1b" if value else "0b"
    if value is None:
        return "(::)"
    if isinstance(value, int):
        if abs(value) >= 2**63 - 1:
            raise ValueError("its input has an integer that q's longs do not hold")
        return str(value)
    if isinstance(value, float):
        return {"inf": "0w", "-inf": "-0w", "nan": "0n"}.get(repr(value), repr(value).replace("e+", "e"))
    if isinstance(value, str):
        return f"(enlist {_quoted(value)})" if len(value.encode()) == 1 else _quoted(value)
    if isinstance(value, dict):
        return f"((`${q_literal([str(key) for key in value])})!{q_literal(list(value.values()))})"
    return _list(list(value))


def _quoted(text: str) -> str:
    plain = {34: '\\"', 92: "\\\\"}
    return '"' + "".join(plain.get(b) or (chr(b) if 32 <= b < 127 else f"\\{b:03o}") for b in text.encode()) + '"'


def _list(items: list[Any]) -> str:
    if not items:
        return "()"
    if len(items) == 1:
        return f"(enlist {q_literal(items[0])})"
    kinds = {type(item) for item in items}
    if kinds == {bool}:
        return "".join("1" if item else "0" for item in items) + "b"
    if kinds in ({int}, {float}):
        return f"({' '.join(map(q_literal, items))})"
    return f"({';'.join(map(q_literal, items))})"
