"""The outer form of q: strings, brackets, names. Enough to take statements apart, not to understand them."""

import re

_WORD = re.compile(r"[A-Za-z.][\w.]*")
_OPEN, _CLOSED = "([{", ")]}"


class Unclosed(ValueError):
    """A string does not end, or brackets do not match; the message says which."""


def outside(text: str) -> list[tuple[int, str]]:
    """Places of what is neither in a string nor in brackets.

    Raises:
        Unclosed: brackets or strings are not closed.
    """
    found = []
    depth = place = 0
    while place < len(text):
        char = text[place]
        if char == '"':
            place = _end_of_string(text, place)
        elif char in _OPEN:
            depth += 1
        elif char in _CLOSED:
            depth -= 1
        elif depth == 0:
            found.append((place, char))
        place += 1
    if depth:
        raise Unclosed("has brackets that do not match")
    return found


def _end_of_string(text: str, start: int) -> int:
    place = start + 1
    while place < len(text) and text[place] != '"':
        place += 2 if text[place] == "\\" else 1
    if place >= len(text):
        raise Unclosed("has a string that does not end")
    return place


def parts(text: str, separators: str) -> list[str]:
    """The text between separators that are neither in a string nor in brackets.

    Raises:
        Unclosed: brackets or strings are not closed.
    """
    places = [at for at, char in outside(text) if char in separators]
    return [text[one + 1 : other] for one, other in zip([-1, *places], [*places, len(text)], strict=True)]


def statements(text: str) -> list[str]:
    """The statements of a script, which end with a semicolon or a line.

    Raises:
        Unclosed: brackets or strings are not closed.
    """
    return [part.strip() for part in parts(text, ";\n") if part.strip()]


def words(text: str) -> list[tuple[int, int]]:
    """Where the names of an expression stand, outside of its strings.

    Raises:
        Unclosed: a string is not closed.
    """
    found = []
    place = 0
    while place < len(text):
        if text[place] == '"':
            place = _end_of_string(text, place)
        elif word := _WORD.match(text, place):
            found.append(word.span())
            place = word.end() - 1
        place += 1
    return found


def is_one(text: str) -> bool:
    """Is the whole of it in one pair of brackets?"""
    return text[:1] in _OPEN and bool(text) and not outside(text) and not _closes_early(text)


def _closes_early(text: str) -> bool:
    depth = place = 0
    while place < len(text):
        if text[place] == '"':
            place = _end_of_string(text, place)
        depth += (text[place] in _OPEN) - (text[place] in _CLOSED)
        if depth == 0:
            return place < len(text) - 1
        place += 1
    return True


def quoted(text: str) -> str:
    """A text as q writes it: a char vector."""
    plain = {34: '\\"', 92: "\\\\"}
    inner = "".join(plain.get(b) or (chr(b) if 32 <= b < 127 else f"\\{b:03o}") for b in text.encode())
    return f'(enlist "{inner}")' if len(text.encode()) == 1 else f'"{inner}"'
