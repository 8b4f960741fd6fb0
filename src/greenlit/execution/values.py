"""How the judge compares plain values, which came over the process border (encoding.py, decoding.py).

Comparison is Python's own: `True == 1`, `1 == 1.0`, `(1,) != [1]`, nan unlike itself. Other rules apply only where a
test names a checker.
"""

import collections
import json
import math
import re
from decimal import Decimal
from typing import Any

from greenlit.execution.decoding import BadFrame, Opaque, decode, hashable, parse, text_of

__all__ = ["BadFrame", "Opaque", "as_json", "decode", "hashable", "lines_of", "matches", "output_matches", "parse",
           "text_of"]  # fmt: skip
TOLERANCE = 1e-6
NUMERAL = re.compile(r"[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]{1,6})?", re.ASCII)


def as_json(value: Any, depth: int = 0) -> Any:
    """A value as a round trip through JSON leaves it: tuples become lists, keys of dicts become texts.

    `call` tests are JSON, which can say neither; so for them, and only for them, both sides are compared like this.
    """
    if depth > 200:
        raise RecursionError("nested too deeply")
    if isinstance(value, list | tuple):
        return [as_json(item, depth + 1) for item in value]
    if isinstance(value, dict):
        return {_json_key(key): as_json(item, depth + 1) for key, item in value.items()}
    return value


def _json_key(key: Any) -> Any:
    if isinstance(key, bool) or key is None:
        return json.dumps(key)
    return str(key) if isinstance(key, int | float) and not _many_digits(key) else key


def _many_digits(number: float) -> bool:
    return isinstance(number, int) and number.bit_length() > 10_000


def matches(checker: str, found: Any, expected: Any) -> bool:
    """Does the value found count as the expected one?

    `exact` is Python's `==`. `float`: numbers within 1e-6, absolute or relative, anywhere inside equal containers.
    `unordered`: the outermost lists or tuples in any order. `case_insensitive`: texts alike but for case.
    """
    if checker == "exact":
        return bool(found == expected)
    if checker == "unordered":
        return _same_items(found, expected)
    return _alike(_close if checker == "float" else _same_text, found, expected, 0)


def _alike(leaf: Any, found: Any, expected: Any, depth: int) -> bool:
    if depth > 200:
        raise RecursionError("nested too deeply")
    if type(found) is not type(expected) or not isinstance(expected, list | tuple | dict):
        return bool(leaf(found, expected))
    if len(found) != len(expected):
        return False
    if isinstance(expected, dict):
        return all(key in found and _alike(leaf, found[key], value, depth + 1) for key, value in expected.items())
    return all(_alike(leaf, one, other, depth + 1) for one, other in zip(found, expected, strict=True))


def _close(found: Any, expected: Any) -> bool:
    numbers = int | float
    if isinstance(found, numbers) and isinstance(expected, numbers) and not isinstance(expected, bool):
        try:
            return math.isclose(found, expected, rel_tol=TOLERANCE, abs_tol=TOLERANCE)
        except OverflowError:
            return bool(found == expected)
    return bool(found == expected)


def _same_text(found: Any, expected: Any) -> bool:
    if isinstance(found, str) and isinstance(expected, str):
        return found.casefold() == expected.casefold()
    return bool(found == expected)


def _same_items(found: Any, expected: Any) -> bool:
    if type(found) is not type(expected) or not isinstance(expected, list | tuple):
        return bool(found == expected)
    if len(found) != len(expected):
        return False
    left = list(found)
    for item in expected:
        if item not in left:
            return False
        left.remove(item)
    return True


def lines_of(output: str) -> list[str]:
    """What of an output counts: not the white space around it and around its lines."""
    return [line.strip() for line in output.strip().split("\n")]


def output_matches(checker: str, found: str, expected: str) -> bool:
    """Does a program's standard output count as the expected one? Line by line, never a prefix or a set of tokens.

    `exact` is LiveCodeBench's rule: as many lines, each equal, or as many numbers, each of equal value. `float`
    compares the words of each line, numbers within 1e-6; `unordered` the lines in any order.
    """
    got, wanted = lines_of(found), lines_of(expected)
    if len(got) != len(wanted):
        return False
    if checker == "unordered":
        return collections.Counter(got) == collections.Counter(wanted)
    same = _SAME_LINE[checker]
    return all(one == other or same(one, other) for one, other in zip(got, wanted, strict=True))


def _same_numbers(found: str, expected: str) -> bool:
    """Numerals only: LiveCodeBench lets `Decimal` decide what a number is, which knows `nan`, `1_0` and no bounds."""
    one, other = found.split(), expected.split()
    if len(one) != len(other) or not all(map(NUMERAL.fullmatch, (*one, *other))):
        return False
    return all(left == right or Decimal(left) == Decimal(right) for left, right in zip(one, other, strict=True))


def _same_words(found: str, expected: str) -> bool:
    one, other = found.split(), expected.split()
    return len(one) == len(other) and all(
        left == right or _same_number(left, right) for left, right in zip(one, other, strict=True)
    )


def _same_number(found: str, expected: str) -> bool:
    try:
        return _close(float(found), float(expected))
    except ValueError:
        return False


_SAME_LINE = {
    "exact": _same_numbers,
    "float": _same_words,
    "case_insensitive": lambda one, other: one.casefold() == other.casefold(),
}
