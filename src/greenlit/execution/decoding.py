"""Tagged JSON -> plain values, on whichever side of the process border they arrive.

What comes from a candidate is decoded by exact type: numbers as hex, texts as hex of UTF-8, containers by tag. Nothing
is unpickled or evaluated. Objects of other types arrive as `Opaque`, which equals nothing. A subclass arrives as the
plain value it holds, so an `int` that overrides `__eq__` is just a number here.

Shipped to the processes of a dialogue too (shipping.py), so modules are imported where they are needed.
"""

from collections.abc import Iterable
from typing import Any

COLLIDING = 50
LONGEST_RANGE = 2_000_000
EXPONENT = 10_000


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


class ListNode:
    """A node of a linked list, as LeetCode has it."""

    def __init__(self, val: Any = 0, next: Any = None) -> None:
        self.val = val
        self.next = next


class TreeNode:
    """A node of a binary tree, as LeetCode has it."""

    def __init__(self, val: Any = 0, left: Any = None, right: Any = None) -> None:
        self.val = val
        self.left = left
        self.right = right


NODES = {"ListNode": ListNode, "TreeNode": TreeNode}
"""The classes that nodes are built from here; a process whose own code defines such a class puts that in."""


def decode(tagged: Any) -> Any:
    """The value in `encoding.encode`'s JSON, already parsed.

    Raises:
        BadFrame: anything that `encode` would not have written.
    """
    try:
        return _READERS[tagged[0]](*tagged[1:])
    except BadFrame:
        raise
    except (TypeError, ValueError, KeyError, IndexError, ArithmeticError, RecursionError, AttributeError) as error:
        raise BadFrame(f"not a value ({type(error).__name__})") from None


def parse(line: bytes) -> list:
    """One line of the answers as a JSON array.

    Raises:
        BadFrame: not JSON, not an array, nested too deeply.
    """
    import json

    try:
        frame = json.loads(line.decode())  # of bytes, json would first guess the encoding
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


def _to_int(digits: str) -> int:
    return int(_strict(str, digits), 16)


def _to_range(start: str, stop: str, step: str) -> range:
    """A range is a few bytes whatever its length, and the judge's `sum` or `in` would walk all of it."""
    numbers = range(_to_int(start), _to_int(stop), _to_int(step))
    if len(numbers) > LONGEST_RANGE:
        raise BadFrame("a range too long for the judge")
    return numbers


def _to_items(content: list) -> list:
    return [decode(item) for item in _strict(list, content)]


def hashable(items: Iterable[Any]) -> list[Any]:
    """Items on their way into a set or dict, which takes quadratic time where unequal ones have equal hashes.

    Raises:
        OverflowError: there are so many of these that it can only be on purpose.
    """
    items = list(items)
    if len(items) > COLLIDING:
        alike: dict = {}
        for item in items:
            group = alike.setdefault(hash(item), [])
            if item not in group:
                group.append(item)
            if len(group) > COLLIDING:
                raise OverflowError("too many values with the same hash")
    return items


def _to_keys(content: list) -> list:
    return hashable(_to_items(content))


def _to_pairs(content: list) -> dict:
    pairs = [(decode(key), decode(value)) for key, value in _strict(list, content)]
    hashable(key for key, _ in pairs)
    return dict(pairs)


def _to_plain_pairs(items: list) -> dict:
    hashable(key for key, _ in items)
    return dict(items)


def _to_numbered(content: list) -> dict:
    return dict(enumerate(_to_items(content)))


def _to_deque(content: list) -> Any:
    from collections import deque

    return deque(_to_items(content))


def _to_decimal(digits: str) -> Any:
    """Not 1E+99999999, whose `int()` is a number of as many digits."""
    from decimal import Decimal

    number = Decimal(text_of(digits))
    if number.is_finite() and abs(number.adjusted()) > EXPONENT:
        raise BadFrame("a decimal too large for the judge")
    return number


def _to_fraction(digits: str) -> Any:
    """Only what `str` of a fraction looks like: `Fraction("1e99999999")` would be worked out here."""
    from fractions import Fraction

    text = text_of(digits)
    above, _, below = text.removeprefix("-").partition("/")
    if not (above.isdecimal() and (below.isdecimal() or "/" not in text)):
        raise BadFrame("not a fraction")
    return Fraction(text)


def _to_date(digits: str) -> Any:
    from datetime import date

    return date.fromisoformat(text_of(digits))


def _to_datetime(digits: str) -> Any:
    from datetime import datetime

    return datetime.fromisoformat(text_of(digits))


def _node(name: str, **fields: Any) -> Any:
    node = object.__new__(NODES[name])
    for field, value in fields.items():
        setattr(node, field, value)
    return node


def _to_list_node(content: list) -> Any:
    """The values along the list."""
    first = None
    for value in reversed(_strict(list, content)):
        first = _node("ListNode", val=decode(value), next=first)
    return _strict_node(first)


def _to_tree_node(content: list) -> Any:
    """The values level by level, 0 where a node has no child."""
    nodes = [None if part == 0 else _node("TreeNode", val=decode(part), left=None, right=None) for part in content]
    inner = [node for node in nodes if node is not None]
    if len(nodes) != 1 + 2 * len(inner):
        raise BadFrame("not two children for each node")
    for place, node in enumerate(inner):
        node.left, node.right = nodes[2 * place + 1 : 2 * place + 3]
    return _strict_node(nodes[0])


def _strict_node(node: Any) -> Any:
    if node is None:
        raise BadFrame("no nodes")
    return node


_READERS: dict[str, Any] = {
    "n": lambda: None,
    "b": lambda bit: bool(_strict(int, bit)),
    "i": _to_int,
    "f": float.fromhex,
    "c": lambda real, imaginary: complex(float.fromhex(real), float.fromhex(imaginary)),
    "s": text_of,
    "y": bytes.fromhex,
    "Y": bytearray.fromhex,
    "l": _to_items,
    "t": lambda content: tuple(_to_items(content)),
    "S": lambda content: set(_to_keys(content)),
    "F": lambda content: frozenset(_to_keys(content)),
    "d": _to_pairs,
    "r": _to_range,
    "K": lambda content: dict.fromkeys(_to_keys(content)).keys(),
    "V": lambda content: _to_numbered(content).values(),
    "E": lambda content: _to_plain_pairs(_to_items(content)).items(),
    "q": _to_deque,
    "I": lambda content: iter(_to_items(content)),
    "D": _to_decimal,
    "Q": _to_fraction,
    "Td": _to_date,
    "Tt": _to_datetime,
    "N": _to_list_node,
    "T": _to_tree_node,
    "o": lambda name, truth: Opaque(text_of(name), bool(truth)),
}
