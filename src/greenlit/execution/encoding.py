"""Plain values -> tagged JSON, by exact type, and the frames they travel in; decoding.py is the other half.

First code in a candidate's process (shipping.py), so it imports only what is built into the interpreter.

What comes from numpy: a scalar is the Python number it holds, so a float32 is compared by its exact value; an array is
no value, as `array == [1, 2]` is no answer in Python either, so a test asks for `.tolist()`.
"""

import posix

ANSWERS = 4
DEPTH = 100
ITEMS = 200_000
_ITERATORS = frozenset({
    "generator", "map", "filter", "zip", "enumerate", "reversed", "list_iterator", "tuple_iterator", "set_iterator",
    "range_iterator", "str_iterator", "str_ascii_iterator", "dict_keyiterator", "dict_valueiterator",
    "dict_itemiterator", "list_reverseiterator", "chain", "islice", "product", "permutations", "combinations",
    "combinations_with_replacement", "accumulate", "takewhile", "dropwhile", "starmap", "zip_longest", "compress",
    "groupby", "cycle", "count", "repeat", "pairwise", "filterfalse", "longrange_iterator",
})  # fmt: skip
_SCALARS = frozenset({
    "bool", "bool_", "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64", "longlong", "ulonglong",
    "float16", "float32", "complex64",
})  # fmt: skip
"""numpy's scalars that are no subclass of Python's own numbers; `longdouble` holds more than any of those can."""


class TooLarge(Exception):
    """The value needs more bytes than may cross, is nested too deeply, or is endless."""


class _Encoder:
    """One value as JSON text, by exact type; see `decoding.decode` for the other half."""

    def __init__(self, room: int) -> None:
        self.room = room
        self.parts: list[str] = []

    def put(self, text: str) -> None:
        self.room -= len(text)
        if self.room < 0:
            raise TooLarge("returned more than may cross")
        self.parts.append(text)

    def value(self, x: object, depth: int) -> None:
        if depth > DEPTH:
            raise TooLarge("returned a value nested too deeply")
        kind = type(x)
        write = _WRITERS.get(kind)
        if write is None:
            for base in kind.__mro__:
                if base in _WRITERS:
                    write = _WRITERS[base]
                    break
            else:
                write = _OTHERS.get((kind.__module__, kind.__name__)) or _structure(x, kind)
        write(self, x, depth)

    def many(self, tag: str, items: object, depth: int) -> None:
        self.put(f'["{tag}",[')
        for count, item in enumerate(items):  # type: ignore[call-overload]
            if count >= ITEMS:
                raise TooLarge("returned too many items")
            if count:
                self.put(",")
            self.value(item, depth + 1)
        self.put("]]")


def _int(out: _Encoder, x: int, _: int) -> None:
    if int.bit_length(x) > 4 * out.room:
        raise TooLarge("returned a number with too many digits")
    out.put(f'["i","{int.__format__(x, "x")}"]')


def _str(out: _Encoder, x: str, _: int) -> None:
    if 2 * str.__len__(x) > out.room:
        raise TooLarge("returned a text that is too long")
    out.put(f'["s","{str.encode(x, "utf-8", "surrogatepass").hex()}"]')


def _bytes(tag: str) -> object:
    def write(out: _Encoder, x: bytes, _: int) -> None:
        if 2 * len(x) > out.room:
            raise TooLarge("returned bytes that are too long")
        out.put(f'["{tag}","{x.hex()}"]')

    return write


def _dict(out: _Encoder, x: dict, depth: int) -> None:
    out.put('["d",[')
    for count, (key, value) in enumerate(dict.items(x)):
        out.put(",[" if count else "[")
        out.value(key, depth + 1)
        out.put(",")
        out.value(value, depth + 1)
        out.put("]")
    out.put("]]")


def _range(out: _Encoder, x: range, _: int) -> None:
    out.put(f'["r","{x.start:x}","{x.stop:x}","{x.step:x}"]')


def _text(tag: str) -> object:
    """Types whose own text says all: Decimal, Fraction, dates."""

    def write(out: _Encoder, x: object, _: int) -> None:
        out.put(f'["{tag}","{str(x).encode().hex()}"]')

    return write


def _opaque(out: _Encoder, x: object, _: int) -> None:
    """Anything else is no value: the judge learns its type's name and whether it counts as true."""
    name = str(type(x).__name__)[:60].encode("utf-8", "replace").hex()
    out.put(f'["o","{name}",{1 if x else 0}]')


def _scalar(out: _Encoder, x: object, depth: int) -> None:
    """The Python number that it holds: what numpy computed counts as a number here, as `==` has it in Python."""
    out.value(x.item(), depth + 1)  # type: ignore[attr-defined]


def _list_node(out: _Encoder, x: object, depth: int) -> None:
    out.put('["N",[')
    for count in range(ITEMS):
        out.put("," if count else "")
        out.value(x.val, depth + 1)  # type: ignore[attr-defined]
        x = x.next  # type: ignore[attr-defined]
        if x is None:
            out.put("]]")
            return
    raise TooLarge("returned a list with too many nodes, or one that leads back into itself")


def _tree_node(out: _Encoder, x: object, depth: int) -> None:
    """Level by level, so that deep trees are no deep recursion."""
    out.put('["T",[')
    level: list = [x]
    count = 0
    while level:
        below = []
        for node in level:
            out.put("," if count else "")
            count += 1
            if count > ITEMS:
                raise TooLarge("returned a tree with too many nodes, or one that leads back into itself")
            if node is None:
                out.put("0")
                continue
            out.value(node.val, depth + 1)
            below += [node.left, node.right]
        level = below
    out.put("]]")


_NODES = {"ListNode": (_list_node, ("val", "next")), "TreeNode": (_tree_node, ("val", "left", "right"))}


def _structure(x: object, kind: type) -> object:
    """Nodes of lists and trees are data, whoever defines their class; anything else is no value."""
    write, fields = _NODES.get(kind.__name__, (_opaque, ()))
    return write if all(hasattr(x, field) for field in fields) else _opaque


def _items(tag: str) -> object:
    return lambda out, x, depth: out.many(tag, x, depth)


_WRITERS = {
    type(None): lambda out, x, depth: out.put('["n"]'),
    bool: lambda out, x, depth: out.put('["b",1]' if x else '["b",0]'),
    int: _int,
    float: lambda out, x, depth: out.put(f'["f","{float.hex(x)}"]'),
    complex: lambda out, x, depth: out.put(f'["c","{float.hex(x.real)}","{float.hex(x.imag)}"]'),
    str: _str,
    bytes: _bytes("y"),
    bytearray: _bytes("Y"),
    list: lambda out, x, depth: out.many("l", list.__iter__(x), depth),
    tuple: lambda out, x, depth: out.many("t", tuple.__iter__(x), depth),
    set: lambda out, x, depth: out.many("S", set.__iter__(x), depth),
    frozenset: lambda out, x, depth: out.many("F", frozenset.__iter__(x), depth),
    dict: _dict,
    range: _range,
    type({}.keys()): _items("K"),
    type({}.values()): _items("V"),
    type({}.items()): _items("E"),
}
_OTHERS = {
    ("collections", "deque"): _items("q"),
    ("decimal", "Decimal"): _text("D"),
    ("fractions", "Fraction"): _text("Q"),
    ("datetime", "date"): _text("Td"),
    ("datetime", "datetime"): _text("Tt"),
    **{(module, name): _items("I") for name in _ITERATORS for module in ("builtins", "itertools")},
    **{("numpy", name): _scalar for name in _SCALARS},
}


def encode(x: object, room: int) -> str:
    """A value as JSON text of at most `room` characters."""
    out = _Encoder(room)
    out.value(x, 0)
    return "".join(out.parts)


def hexed(text: object, limit: int = 300) -> str:
    return str(text)[:limit].encode("utf-8", "replace").hex()


def error_frame(index: int, error: BaseException) -> str:
    kind = "error"
    if isinstance(error, MemoryError):
        kind = "memory"
    elif isinstance(error, TooLarge):
        kind = "large"
    try:
        message = hexed(error)
    except BaseException:  # its __str__ is the candidate's, and may raise anything, SystemExit too
        message = ""
    try:
        name = hexed(type(error).__name__, 60)
    except BaseException:  # as may a property of its metaclass
        name = ""
    return f'[{index},"{kind}","{name}","{message}"]\n'


def send(frame: str) -> None:
    data = frame.encode()
    while data:
        data = data[posix.write(ANSWERS, data) :]
