"""Plain values as they cross the process border, and how the judge compares them.

What comes from a candidate is decoded by exact type: numbers as hex, texts as hex of UTF-8, containers by tag. Nothing
is unpickled or evaluated. Objects of other types arrive as `Opaque`, which equals nothing. A subclass arrives as the
plain value it holds, so an `int` that overrides `__eq__` is just a number here.

Comparison is Python's own: `True == 1`, `1 == 1.0`, `(1,) != [1]`, nan unlike itself. Other rules apply only where a
test names a checker.
"""

import collections
import datetime
import json
import math
import re
from collections.abc import Iterable
from decimal import Decimal
from fractions import Fraction
from typing import Any

TOLERANCE = 1e-6
COLLIDING = 50
LONGEST_RANGE = 2_000_000
EXPONENT = 10_000
_FRACTION = re.compile(r"-?\d+(/\d+)?", re.ASCII)


class BadFrame(ValueError):
    """What the candidate's process sent is not an answer."""


class Opaque:
    """An object that is no plain value: never equal to anything, true or false as it was."""

    __hash__ = object.__hash__

    def __init__(self, name: str, truth: bool) -> None:
        self.name = name
        self.truth = truth

    def __bool__(self) -> bool:
        return self.truth

    def __eq__(self, other: object) -> bool:
        return False

    def __ne__(self, other: object) -> bool:
        return True

    def __repr__(self) -> str:
        return f"<{self.name}>"


def decode(tagged: Any) -> Any:
    """The value in `child.encode`'s JSON, already parsed.

    Raises:
        BadFrame: anything that `encode` would not have written.
    """
    try:
        return _READERS[tagged[0]](*tagged[1:])
    except BadFrame:
        raise
    except (TypeError, ValueError, KeyError, IndexError, ArithmeticError, RecursionError, AttributeError) as error:
        raise BadFrame(f"not a value ({type(error).__name__})") from None


def parse(line: bytes) -> list[Any]:
    """One line of the answers as a JSON array.

    Raises:
        BadFrame: not JSON, not an array, nested too deeply.
    """
    try:
        frame = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise BadFrame(f"not JSON ({type(error).__name__})") from None
    if not isinstance(frame, list):
        raise BadFrame("not an array")
    return frame


def text_of(digits: str) -> str:
    """Text from the hex of its UTF-8."""
    return bytes.fromhex(digits).decode("utf-8", "surrogatepass")


def _strict(kind: type, value: Any) -> Any:
    if type(value) is not kind:
        raise BadFrame(f"not a {kind.__name__}")
    return value


def _int(digits: str) -> int:
    return int(_strict(str, digits), 16)


def _range(start: str, stop: str, step: str) -> range:
    """A range is a few bytes whatever its length, and the judge's `sum` or `in` would walk all of it."""
    numbers = range(_int(start), _int(stop), _int(step))
    if len(numbers) > LONGEST_RANGE:
        raise BadFrame("a range too long for the judge")
    return numbers


def _decimal(digits: str) -> Decimal:
    """Not 1E+99999999, whose `int()` is a number of as many digits."""
    number = Decimal(text_of(digits))
    if number.is_finite() and abs(number.adjusted()) > EXPONENT:
        raise BadFrame("a decimal too large for the judge")
    return number


def _fraction(digits: str) -> Fraction:
    """Only what `str` of a fraction looks like: `Fraction("1e99999999")` would be worked out here."""
    text = text_of(digits)
    if not _FRACTION.fullmatch(text):
        raise BadFrame("not a fraction")
    return Fraction(text)


def _items(content: list[Any]) -> list[Any]:
    return [decode(item) for item in _strict(list, content)]


def hashable(items: Iterable[Any]) -> list[Any]:
    """Items on their way into a set or dict, which takes quadratic time where unequal ones have equal hashes.

    Raises:
        OverflowError: there are so many of these that it can only be on purpose.
    """
    items = list(items)
    if len(items) > COLLIDING:
        alike: dict[int, list[Any]] = {}
        for item in items:
            group = alike.setdefault(hash(item), [])
            if item not in group:
                group.append(item)
            if len(group) > COLLIDING:
                raise OverflowError("too many values with the same hash")
    return items


def _keys(content: list[Any]) -> list[Any]:
    return hashable(_items(content))


def _pairs(content: list[Any]) -> dict[Any, Any]:
    pairs = [(decode(key), decode(value)) for key, value in _strict(list, content)]
    hashable(key for key, _ in pairs)
    return dict(pairs)


def _plain_pairs(items: list[Any]) -> dict[Any, Any]:
    hashable(key for key, _ in items)
    return dict(items)


def _numbered(content: list[Any]) -> dict[int, Any]:
    return dict(enumerate(_items(content)))


_READERS: dict[str, Any] = {
    "n": lambda: None,
    "b": lambda bit: bool(_strict(int, bit)),
    "i": _int,
    "f": float.fromhex,
    "c": lambda real, imaginary: complex(float.fromhex(real), float.fromhex(imaginary)),
    "s": text_of,
    "y": bytes.fromhex,
    "Y": bytearray.fromhex,
    "l": _items,
    "t": lambda content: tuple(_items(content)),
    "S": lambda content: set(_keys(content)),
    "F": lambda content: frozenset(_keys(content)),
    "d": _pairs,
    "r": _range,
    "K": lambda content: dict.fromkeys(_keys(content)).keys(),
    "V": lambda content: _numbered(content).values(),
    "E": lambda content: _plain_pairs(_items(content)).items(),
    "q": lambda content: collections.deque(_items(content)),
    "I": lambda content: iter(_items(content)),
    "D": _decimal,
    "Q": _fraction,
    "Td": lambda digits: datetime.date.fromisoformat(text_of(digits)),
    "Tt": lambda digits: datetime.datetime.fromisoformat(text_of(digits)),
    "o": lambda name, truth: Opaque(text_of(name), bool(truth)),
}


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
    """What of an output counts: CRLF is LF, blanks at line ends and blank lines at the end are nothing."""
    lines = [line.rstrip() for line in output.replace("\r\n", "\n").split("\n")]
    while lines and not lines[-1]:
        lines.pop()
    return lines


def output_matches(checker: str, found: str, expected: str) -> bool:
    """Does a program's standard output count as the expected one? Line by line, never a prefix or a set of tokens.

    `float` compares the words of each line, numbers within 1e-6; `unordered` the lines in any order.
    """
    got, wanted = lines_of(found), lines_of(expected)
    if checker == "unordered":
        return collections.Counter(got) == collections.Counter(wanted)
    if len(got) != len(wanted):
        return False
    if checker == "case_insensitive":
        return [line.casefold() for line in got] == [line.casefold() for line in wanted]
    if checker == "float":
        return all(_same_words(one.split(), other.split()) for one, other in zip(got, wanted, strict=True))
    return got == wanted


def _same_words(found: list[str], expected: list[str]) -> bool:
    return len(found) == len(expected) and all(
        one == other or _same_number(one, other) for one, other in zip(found, expected, strict=True)
    )


def _same_number(found: str, expected: str) -> bool:
    try:
        return _close(float(found), float(expected))
    except ValueError:
        return False
