"""The test scripts of evalplus: an assert for each input, instead of a loop that compares with numpy.

    inputs = [[[1, 2, 3], 1], ...]
    results = [0, ...]
    for i, (inp, exp) in enumerate(zip(inputs, results)):
        assertion(last(*inp), exp, 0)                              in HumanEval+: candidate(*inp), inside `check`

Compared as evalplus does it: `==`, or numbers within the task's tolerance, floats within 1e-6. Its own program judges
fifteen tasks of MBPP+ otherwise than these files do, and so does this: eight by sets, three by whether the answer is
None, and four where several readings of the task are right (see `_also_right`; `are_equivalent` may say what it likes).

A few tasks compute what they expect, or put the answer into a formula: their script stays whole, with a comparison that
needs no numpy.
"""

import ast
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from greenlit.execution.parsing import UNPARSABLE, parsed
from greenlit.problems.records import plain_lines
from greenlit.types import AssertTest, ScriptTest, Test

_AS_SETS = {
    "similar_elements", "find_char_long", "common_in_nested_lists", "extract_singly", "larg_nnum",
    "intersection_array", "find_dissimilar", "Diff",
}  # fmt: skip
_NOT_NONE = {"check_str", "text_match_three", "text_starta_endb"}
_ANY_BOOLEAN = {"are_equivalent"}
LEAST_TOLERANCE = 1e-6
"""Of floats where the task names none."""
_RELATIVE = 1e-7
_PLAIN_ASSERTION = """\
def close(out, exp, atol):
    if isinstance(exp, (list, tuple)):
        return len(out) == len(exp) and all(close(one, other, atol) for one, other in zip(out, exp))
    return abs(out - exp) <= atol + 1e-07 * abs(exp)


def assertion(out, exp, atol):
    floats = exp if isinstance(exp, (list, tuple)) else [exp]
    if atol == 0 and all(isinstance(one, float) for one in floats):
        atol = 1e-6
    assert out == exp or (atol != 0 and close(out, exp, atol))
"""
"""For scripts that stay whole: evalplus's comparison without numpy."""


@dataclass(frozen=True)
class _Pairs:
    """What a script of evalplus compares."""

    entry: str
    """The function it calls; check's parameter is replaced."""
    inputs: list[ast.expr]
    results: list[ast.expr]
    tolerance: float


def tests_of(script: str, entry_point: str | None = None) -> list[Test]:
    """An assert for each input of a script as evalplus writes them; the script itself where it is something else.

    Args:
        entry_point: what to call instead of check's parameter.
    """
    script = plain_lines(script)
    try:
        body = parsed(script).body
    except UNPARSABLE:  # the judge says what is wrong with it
        return [ScriptTest(code=script)]
    found = _pairs(body, entry_point)
    try:
        asserts: list[Test] = [*map(_comparison(found), found.inputs, found.results)] if found else []
    except ValueError:
        asserts = []
    return asserts or [ScriptTest(code=_without_numpy(body, script))]


def _without_numpy(body: list[ast.stmt], script: str) -> str:
    """The script with a comparison of our own, where it holds evalplus's."""
    if not any(isinstance(node, ast.FunctionDef) and node.name == "assertion" for node in body):
        return script
    kept: list[ast.stmt] = [node for node in body if not _is_replaced(node)]
    return f"{_PLAIN_ASSERTION}\n\n{ast.unparse(ast.Module(kept, []))}\n"


def _is_replaced(node: ast.stmt) -> bool:
    if isinstance(node, ast.Import):
        return any(alias.name == "numpy" for alias in node.names)
    return isinstance(node, ast.FunctionDef) and node.name in {"assertion", "is_floats"}


def _pairs(body: list[ast.stmt], entry_point: str | None) -> _Pairs | None:
    """`inputs = [...]`, `results = [...]` and a loop that does nothing but `assertion(f(*inp), exp, <number>)`."""
    parameter = None
    checks = [node for node in body if isinstance(node, ast.FunctionDef) and node.name == "check"]
    if checks:
        parameter = checks[0].args.args[0].arg if checks[0].args.args else None
        body = checks[0].body
    lists = {
        node.targets[0].id: node.value.elts
        for node in body
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name) and isinstance(node.value, ast.List)
    }
    loops = [node for node in body if isinstance(node, ast.For)]
    if len(loops) != 1 or not {"inputs", "results"} <= lists.keys():
        return None
    called = _called_by(loops[0])
    if called is None or len(lists["inputs"]) != len(lists["results"]):
        return None
    name, tolerance = called
    if parameter is not None and (name != parameter or entry_point is None):
        return None
    entry = entry_point if parameter is not None and entry_point else name
    return _Pairs(entry, lists["inputs"], lists["results"], tolerance)


def _called_by(loop: ast.For) -> tuple[str, float] | None:
    """The function and the tolerance of `assertion(f(*inp), exp, <number>)`."""
    if len(loop.body) != 1 or ast.unparse(loop.iter) != "enumerate(zip(inputs, results))":
        return None
    statement = loop.body[0]
    if not isinstance(statement, ast.Expr) or not isinstance(statement.value, ast.Call):
        return None
    call = statement.value
    if ast.unparse(call.func) != "assertion" or len(call.args) != 3 or ast.unparse(call.args[1]) != "exp":
        return None
    answer, tolerance = call.args[0], call.args[2]
    if not isinstance(answer, ast.Call) or not isinstance(answer.func, ast.Name):
        return None
    if [ast.unparse(argument) for argument in answer.args] != ["*inp"] or answer.keywords:
        return None
    if not isinstance(tolerance, ast.Constant) or not isinstance(tolerance.value, int | float):
        return None
    return answer.func.id, float(tolerance.value)


def _comparison(pairs: _Pairs) -> Callable[[ast.expr, ast.expr], AssertTest]:
    """How a task of this entry point is compared; what comes out raises ValueError where a pair is not plain."""
    name = pairs.entry

    def test(given: ast.expr, wanted: ast.expr) -> AssertTest:
        if not isinstance(given, ast.List | ast.Tuple):
            raise ValueError("no list of arguments")
        call = f"{name}({', '.join(map(_text, given.elts))})"
        text, value = _text(wanted), _value(wanted)
        if name in _AS_SETS:
            return AssertTest(code=f"assert set({call}) == set({text})")
        if name in _NOT_NONE and isinstance(value, bool):
            return AssertTest(code=f"assert {call} {'not in' if value else 'in'} (False, None)")
        if name in _ANY_BOOLEAN:
            return AssertTest(code=f"assert {call} in (True, False)")
        also = _also_right(name, [_value(argument) for argument in given.elts])
        if also is not None and also != value:
            return AssertTest(code=f"assert {call} in ({text}, {also!r})")
        return _within(call, text, value, pairs.tolerance)

    return test


def _within(call: str, text: str, value: Any, tolerance: float) -> AssertTest:
    """Equal, or as near as evalplus asks: a number, or a list of numbers of the same length."""
    listed = value if isinstance(value, list | tuple) else [value]
    plain = AssertTest(code=f"assert {call} == {text}")
    close = AssertTest(code=plain.code, checker="float")
    if tolerance == 0:
        return close if all(isinstance(one, float) for one in listed) else plain
    if tolerance <= LEAST_TOLERANCE or not all(isinstance(one, int | float) and math.isfinite(one) for one in listed):
        return close
    if value is listed:
        near = f"abs(one - other) <= {tolerance!r} + {_RELATIVE!r} * abs(other)"
        return AssertTest(code=f"assert all({near} for one, other in zip({call}, {text}, strict=True))")
    return AssertTest(code=f"assert abs({call} - {text}) <= {tolerance + _RELATIVE * abs(value)!r}")


def _also_right(name: str, arguments: list[Any]) -> Any:
    """What evalplus takes for right, too: another reading of the task. None where there is none."""
    try:
        if name == "sum_div":
            return 0
        if name == "surface_Area":
            edge, height = arguments
            return round(edge**2 + 2 * edge * math.sqrt((edge / 2) ** 2 + height**2))
        if name == "digit_distance_nums":
            one, other = (str(argument) for argument in arguments)
            width = max(len(one), len(other))
            return sum(abs(int(a) - int(b)) for a, b in zip(one.zfill(width), other.zfill(width), strict=True))
    except (TypeError, ValueError, OverflowError):
        return None
    return None


_SPECIAL = {"inf": math.inf, "nan": math.nan}


def _text(node: ast.expr) -> str:
    """The literal, with `float('inf')` for the name `inf` that the script imports."""
    named = {part.id for part in ast.walk(node) if isinstance(part, ast.Name)} & set(_SPECIAL)
    return ast.unparse(_Spelled().visit(node)) if named else ast.unparse(node)


class _Spelled(ast.NodeTransformer):
    def visit_Name(self, node: ast.Name) -> ast.AST:
        if node.id not in _SPECIAL:
            return node
        return ast.Call(ast.Name("float", ast.Load()), [ast.Constant(node.id)], [])


def _value(node: ast.expr) -> Any:
    """The value of a literal; of one that holds `inf`, `set()` or a call, the node itself, which is like no value."""
    if isinstance(node, ast.Name) and node.id in _SPECIAL:
        return _SPECIAL[node.id]
    try:
        return ast.literal_eval(node)
    except (*UNPARSABLE, TypeError):
        return node
