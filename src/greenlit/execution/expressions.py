"""The judge's own evaluator: Python expressions over plain values, by a white list.

The tests come from datasets and the values from candidates, so neither gets `eval`. What is not on the list is refused
when the problem is prepared (`refusal`), never guessed at. Bounds on sizes keep a candidate's number from becoming the
judge's memory (`[0] * f(x)`, `2 ** f(x)`).
"""

import ast
import collections
import decimal
import fractions
import math
import operator
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from greenlit.execution.decoding import hashable

MAX_ITEMS = 2_000_000
MAX_BITS = 1_000_000
PATIENCE_S = 0.5
"""CPU time after which a comprehension over a candidate's values is given up."""

Names = Mapping[str, Callable[[], Any]]


class Unsupported(Exception):
    """The expression is outside the white list."""


def _bounded_range(*bounds: int) -> range:
    numbers = range(*bounds)
    if len(numbers) > MAX_ITEMS:
        raise OverflowError("range too long for the judge")
    return numbers


def _bounded_pow(base: Any, exponent: Any, modulus: Any = None) -> Any:
    if modulus is None and isinstance(base, int) and isinstance(exponent, int):
        if base.bit_length() * max(exponent, 0) > MAX_BITS:
            raise OverflowError("power too large for the judge")
    elif not isinstance(base, int | float | complex | fractions.Fraction | decimal.Decimal):
        raise TypeError("power of something that is no number")
    return pow(base, exponent) if modulus is None else pow(base, exponent, modulus)


def _bounded_mul(left: Any, right: Any) -> Any:
    for items, times in ((left, right), (right, left)):
        if isinstance(items, str | bytes | list | tuple) and isinstance(times, int) and len(items) * times > MAX_ITEMS:
            raise OverflowError("repetition too long for the judge")
    return left * right


def _bounded_shift(left: int, right: int) -> int:
    if right > MAX_BITS:
        raise OverflowError("shift too large for the judge")
    return left << right


def _number_mod(left: Any, right: Any) -> Any:
    if isinstance(left, str | bytes):
        raise TypeError("formatting is not done by the judge")
    return left % right


def _small(function: Callable[..., int]) -> Callable[..., int]:
    def bounded(*numbers: int) -> int:
        if any(number > 5_000 for number in numbers):
            raise OverflowError("argument too large for the judge")
        return function(*numbers)

    return bounded


def _hashed(kind: Callable[..., Any]) -> Callable[..., Any]:
    def build(*items: Any, **named: Any) -> Any:
        if len(items) == 1 and not isinstance(items[0], Mapping | set | frozenset):
            items = (hashable(items[0]),)
        return kind(*items, **named)

    return build


def _hashed_dict(*pairs: Any, **named: Any) -> dict[Any, Any]:
    if len(pairs) == 1 and not isinstance(pairs[0], Mapping):
        pairs = (list(pairs[0]),)
        hashable(key for key, _ in pairs[0])
    return dict(*pairs, **named)


_BINARY: dict[type, Callable[[Any, Any], Any]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: _bounded_mul,
    ast.Div: operator.truediv,
    ast.FloorDiv: operator.floordiv,
    ast.Mod: _number_mod,
    ast.Pow: _bounded_pow,
    ast.LShift: _bounded_shift,
    ast.RShift: operator.rshift,
    ast.BitAnd: operator.and_,
    ast.BitOr: operator.or_,
    ast.BitXor: operator.xor,
}
_UNARY: dict[type, Callable[[Any], Any]] = {
    ast.Not: operator.not_,
    ast.USub: operator.neg,
    ast.UAdd: operator.pos,
    ast.Invert: operator.invert,
}
_COMPARE: dict[type, Callable[[Any, Any], Any]] = {
    ast.NotEq: operator.ne,
    ast.Lt: operator.lt,
    ast.LtE: operator.le,
    ast.Gt: operator.gt,
    ast.GtE: operator.ge,
    ast.Is: operator.is_,
    ast.IsNot: operator.is_not,
    ast.In: lambda item, items: item in items,
    ast.NotIn: lambda item, items: item not in items,
}
_BUILTINS = (
    abs, all, any, ascii, bin, bool, bytes, chr, complex, dict, divmod, enumerate, float, frozenset, hash, hex, int,
    isinstance, len, list, max, min, oct, ord, repr, reversed, round, set, sorted, str, sum, tuple, zip,
)  # fmt: skip
BUILTINS: dict[str, Any] = {
    **{function.__name__: function for function in _BUILTINS},
    "range": range,
    "pow": _bounded_pow,
    "Counter": collections.Counter,
    "OrderedDict": collections.OrderedDict,
    "deque": collections.deque,
    "Decimal": decimal.Decimal,
    "Fraction": fractions.Fraction,
}
_MATH = {name: getattr(math, name) for name in dir(math) if not name.startswith("_")}
MODULES: dict[str, dict[str, Any]] = {
    "math": {**_MATH, **{name: _small(getattr(math, name)) for name in ("factorial", "comb", "perm")}},
    "collections": {name: BUILTINS[name] for name in ("Counter", "OrderedDict", "deque")},
    "decimal": {"Decimal": decimal.Decimal},
    "fractions": {"Fraction": fractions.Fraction},
    "sys": {"getsizeof": sys.getsizeof, "maxsize": sys.maxsize},
}
_AS_CALLED: dict[Any, Callable[..., Any]] = {
    range: _bounded_range,
    dict: _hashed_dict,
    **{kind: _hashed(kind) for kind in (set, frozenset, collections.Counter)},
}
METHODS = frozenset({
    "as_integer_ratio", "bit_length", "capitalize", "casefold", "conjugate", "copy", "count", "difference", "endswith",
    "find", "get", "index", "intersection", "is_integer", "isalnum", "isalpha", "isdecimal", "isdigit", "isdisjoint",
    "islower", "isspace", "issubset", "issuperset", "istitle", "isupper", "items", "join", "keys", "lower", "lstrip",
    "most_common", "partition", "removeprefix", "removesuffix", "rfind", "rindex", "rpartition", "rsplit", "rstrip",
    "split", "splitlines", "startswith", "strip", "swapcase", "symmetric_difference", "title", "union", "upper",
    "values",
})  # fmt: skip
_ATTRIBUTES = frozenset({"real", "imag", "numerator", "denominator"})
_PLAIN = (
    int, float, complex, str, bytes, bytearray, list, tuple, set, frozenset, dict, range, collections.deque,
    decimal.Decimal, fractions.Fraction, type({}.keys()), type({}.values()), type({}.items()),
)  # fmt: skip
_NODES = (
    ast.Constant, ast.Name, ast.Load, ast.Store, ast.List, ast.Tuple, ast.Set, ast.Dict, ast.Starred, ast.UnaryOp,
    ast.BinOp, ast.BoolOp, ast.And, ast.Or, ast.Compare, ast.Eq, ast.IfExp, ast.Call, ast.keyword, ast.Attribute,
    ast.Subscript, ast.Slice, ast.ListComp, ast.SetComp, ast.GeneratorExp, ast.DictComp, ast.comprehension,
    *_BINARY, *_UNARY, *_COMPARE,
)  # fmt: skip


def refusal(node: ast.expr, names: set[str]) -> str | None:
    """Why the judge cannot evaluate this expression, or None; `names` are the ones bound around it."""
    for part in ast.walk(node):
        if not isinstance(part, _NODES):
            return f"{type(part).__name__} is not evaluated by the judge"
    bound = names | {
        part.id for part in ast.walk(node) if isinstance(part, ast.Name) and isinstance(part.ctx, ast.Store)
    }
    return next((why for part in ast.walk(node) if (why := _refused_part(part, bound))), None)


def _refused_part(part: ast.AST, bound: set[str]) -> str | None:
    if isinstance(part, ast.comprehension) and part.is_async:
        return "async comprehension"
    if isinstance(part, ast.Name) and part.id not in bound and part.id not in BUILTINS and part.id not in MODULES:
        return f"the judge does not know the name {part.id}"
    if isinstance(part, ast.Attribute):
        if isinstance(part.value, ast.Name) and part.value.id in MODULES and part.value.id not in bound:
            return None if part.attr in MODULES[part.value.id] else f"the judge does not know {ast.unparse(part)}"
        if part.attr not in METHODS and part.attr not in _ATTRIBUTES:
            return f"the judge does not evaluate .{part.attr}"
    if isinstance(part, ast.Call) and not isinstance(part.func, ast.Name | ast.Attribute):
        return "call of something that is no name"
    return None


class Evaluator:
    """Evaluates white-listed expressions.

    `names` gives values by thunks, so that a candidate's exception surfaces only where the test really uses the answer
    (`f(1) or f(2)`). `equal` is what `==` means: Python's own, or a checker.
    """

    def __init__(self, names: Names, equal: Callable[[Any, Any], Any] = operator.eq) -> None:
        self.names = names
        self.equal = equal
        self.locals: dict[str, Any] = {}
        self.until = time.process_time() + PATIENCE_S

    def value(self, node: ast.AST) -> Any:
        """The value of an expression.

        Raises:
            Unsupported: outside the white list; anything else is what Python itself would raise.
        """
        method = getattr(self, f"_{type(node).__name__.lower()}", None)
        if method is None:
            raise Unsupported(type(node).__name__)
        return method(node)

    def _constant(self, node: ast.Constant) -> Any:
        return node.value

    def _name(self, node: ast.Name) -> Any:
        if node.id in self.locals:
            return self.locals[node.id]
        if node.id in self.names:
            return self.names[node.id]()
        if node.id in BUILTINS:
            return BUILTINS[node.id]
        raise Unsupported(f"name {node.id}")

    def _each(self, nodes: list[ast.expr]) -> Iterator[Any]:
        for node in nodes:
            if isinstance(node, ast.Starred):
                yield from self.value(node.value)
            else:
                yield self.value(node)

    def _list(self, node: ast.List) -> Any:
        return list(self._each(node.elts))

    def _tuple(self, node: ast.Tuple) -> Any:
        return tuple(self._each(node.elts))

    def _set(self, node: ast.Set) -> Any:
        return set(self._each(node.elts))

    def _dict(self, node: ast.Dict) -> Any:
        content: dict[Any, Any] = {}
        for key, value in zip(node.keys, node.values, strict=True):
            if key is None:
                content.update(self.value(value))
            else:
                content[self.value(key)] = self.value(value)
        return content

    def _unaryop(self, node: ast.UnaryOp) -> Any:
        return _UNARY[type(node.op)](self.value(node.operand))

    def _binop(self, node: ast.BinOp) -> Any:
        return _BINARY[type(node.op)](self.value(node.left), self.value(node.right))

    def _boolop(self, node: ast.BoolOp) -> Any:
        stop = isinstance(node.op, ast.Or)
        found: Any = None
        for part in node.values:
            found = self.value(part)
            if bool(found) is stop:
                break
        return found

    def _compare(self, node: ast.Compare) -> Any:
        left = self.value(node.left)
        found: Any = True
        for kind, right_node in zip(node.ops, node.comparators, strict=True):
            right = self.value(right_node)
            found = self.equal(left, right) if isinstance(kind, ast.Eq) else _COMPARE[type(kind)](left, right)
            if not found:
                break
            left = right
        return found

    def _ifexp(self, node: ast.IfExp) -> Any:
        return self.value(node.body if self.value(node.test) else node.orelse)

    def _attribute(self, node: ast.Attribute) -> Any:
        if isinstance(node.value, ast.Name) and node.value.id in MODULES and node.value.id not in self.names:
            return MODULES[node.value.id][node.attr]
        owner = self.value(node.value)
        if node.attr not in METHODS | _ATTRIBUTES:
            raise Unsupported(f".{node.attr}")
        if not isinstance(owner, _PLAIN):
            raise AttributeError(f"{type(owner).__name__!r} object has no attribute {node.attr!r}")
        return getattr(owner, node.attr)

    def _call(self, node: ast.Call) -> Any:
        function = self.value(node.func)
        arguments = list(self._each(node.args))
        named: dict[str, Any] = {}
        for keyword in node.keywords:
            if keyword.arg is None:
                named.update(self.value(keyword.value))
            else:
                named[keyword.arg] = self.value(keyword.value)
        if isinstance(function, type):
            function = _AS_CALLED.get(function, function)
        return function(*arguments, **named)

    def _subscript(self, node: ast.Subscript) -> Any:
        return self.value(node.value)[self.value(node.slice)]

    def _slice(self, node: ast.Slice) -> slice:
        return slice(*(None if part is None else self.value(part) for part in (node.lower, node.upper, node.step)))

    def _rounds(self, generators: list[ast.comprehension]) -> Iterator[None]:
        if not generators:
            yield None
            return
        first, *rest = generators
        for item in self.value(first.iter):
            if time.process_time() > self.until:
                raise OverflowError("takes the judge too long")
            self._bind(first.target, item)
            if all(self.value(test) for test in first.ifs):
                yield from self._rounds(rest)

    def _bind(self, target: ast.expr, value: Any) -> None:
        if isinstance(target, ast.Name):
            self.locals[target.id] = value
        elif isinstance(target, ast.Tuple | ast.List):
            for part, item in zip(target.elts, list(value), strict=True):
                self._bind(part, item)
        else:
            raise Unsupported(type(target).__name__)

    def _listcomp(self, node: ast.ListComp | ast.GeneratorExp) -> list[Any]:
        outer = self.locals
        self.locals = dict(outer)
        try:
            return [self.value(node.elt) for _ in self._rounds(node.generators)]
        finally:
            self.locals = outer

    def _generatorexp(self, node: ast.GeneratorExp) -> Any:
        return iter(self._listcomp(node))

    def _setcomp(self, node: ast.SetComp) -> Any:
        return set(hashable(self._listcomp(ast.GeneratorExp(node.elt, node.generators))))

    def _dictcomp(self, node: ast.DictComp) -> Any:
        pairs = ast.Tuple([node.key, node.value], ast.Load())
        return _hashed_dict(self._listcomp(ast.GeneratorExp(pairs, node.generators)))
