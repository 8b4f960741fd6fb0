"""A problem's tests as calls: arguments and what should come back, for tools that know nothing else.

    {"kind": "call", "input": [2], "output": 4}      as it is
    assert f(2) == 4, assert 4 == f(2)               both sides plain literals
    assert f(2) is True                              True, False, None
    assert Solution().f(n = 2) == 4                  arguments by name, in the order of the reference's signature

Nothing else is a call: `assert f(2)[0] == 4` compares a part, and a script may do anything.
"""

import ast
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from greenlit.data.signatures import function_of
from greenlit.execution.parsing import UNPARSABLE, parsed
from greenlit.types import AssertTest, CallTest, Problem, Role


class Unexportable(Exception):
    """The problem does not fit the format; the message is the reason, the same for all problems of its kind."""


@dataclass(frozen=True)
class Call:
    """One test."""

    arguments: list[Any]
    expected: Any
    role: Role


def calls_of(problem: Problem) -> list[Call]:
    """All tests of a problem, in its order.

    Raises:
        Unexportable: one of them is no plain call.
    """
    if not problem.entry_point:
        raise Unexportable("it has no entry_point")
    parameters = _parameters(problem)
    return [_call(test, problem.entry_point, parameters) for test in problem.tests]


def _call(test: Any, entry_point: str, parameters: Sequence[str]) -> Call:
    if test.checker != "exact":
        raise Unexportable(f"a test compares by checker {test.checker}")
    if isinstance(test, CallTest):
        return Call(list(test.input), test.output, test.role)
    if not isinstance(test, AssertTest):
        raise Unexportable(f"a test is a {test.kind}, no call of a function")
    try:
        call, expected = _sides(test.code, entry_point)
        return Call(list(_arguments(call, parameters)), ast.literal_eval(expected), test.role)
    except (*UNPARSABLE, TypeError):
        raise Unexportable("an assert is no comparison of a call with a literal") from None


def _sides(code: str, entry_point: str) -> tuple[ast.Call, ast.expr]:
    """The call and what it is compared with; ValueError where the assert is of another form."""
    (statement,) = parsed(code.strip()).body
    if not isinstance(statement, ast.Assert) or not isinstance(statement.test, ast.Compare):
        raise ValueError(code)
    (operator,), (right,), left = statement.test.ops, statement.test.comparators, statement.test.left
    singleton = isinstance(operator, ast.Is) and isinstance(right, ast.Constant) and right.value in {True, False, None}
    if not isinstance(operator, ast.Eq) and not singleton:
        raise ValueError(code)
    for call, expected in ((left, right), (right, left)):
        if isinstance(call, ast.Call) and ast.unparse(call.func) == entry_point:
            return call, expected
    raise ValueError(code)


def _arguments(call: ast.Call, parameters: Sequence[str]) -> Iterator[Any]:
    """Arguments by position; those by name must follow in the signature's order without a gap."""
    yield from (ast.literal_eval(value) for value in call.args)
    named = {keyword.arg: keyword.value for keyword in call.keywords}
    for name in parameters[len(call.args) : len(call.args) + len(named)]:
        if name not in named:
            raise ValueError(name)
        yield ast.literal_eval(named[name])
    if len(named) > len(parameters) - len(call.args):
        raise ValueError("arguments that the signature does not have")


def _parameters(problem: Problem) -> list[str]:
    """Names of the entry point's parameters, without `self`; none where no code tells."""
    for code in (*problem.reference[:1], problem.starter_code):
        found = function_of(code, problem.entry_point or "")
        if found is not None:
            names = [argument.arg for argument in (*found.args.posonlyargs, *found.args.args)]
            return names[1:] if "." in (problem.entry_point or "") else names
    return []


def is_json(value: Any) -> bool:
    """Does this value come back from JSON as it went in? Tuples, sets, NaN and numbers as keys do not."""
    if isinstance(value, list):
        return all(map(is_json, value))
    if isinstance(value, dict):
        return all(isinstance(key, str) for key in value) and all(map(is_json, value.values()))
    if isinstance(value, float):
        return value - value == 0  # neither NaN nor infinite
    return value is None or isinstance(value, bool | int | str)
