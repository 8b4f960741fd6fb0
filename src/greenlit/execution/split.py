"""Tests -> what the candidate's process evaluates, and what the judge evaluates over the answers.

`assert set(f([1, 2])) == {1, 2}` becomes one hole, `f([1, 2])`, which the candidate answers with a value, and the
judge's rest, `set(hole) == {1, 2}`. A hole is a maximal chain of calls, attributes and subscripts that starts at a name
the program defines. The expected value stays on this side: the candidate's process has nothing to read it from, and no
verdict to forge.

Rules where the line is not obvious
- Built-in names in the judge's rest are the judge's, whatever the program redefines.
- A method that plain values have, called on what a function returned (`f(x).startswith("a")`), is called here, on the
  value: the object that came back may answer anything.
- A variable of the test that appears inside a hole lives with the candidate, so that `f(a); assert a == [1]` sees what
  f did to it. Constants that cannot change are known to both sides and read on the judge's.
- A call of a helper around the program's answer (`is_close(f(x), 1.5)`, defined by the set-up or the reference) would
  hand the verdict to the candidate's process. Such tests, and tests with loops, are not split: they get a process of
  their own (scripts.py, dialogue.py). Where that cannot be either, `unsplittable` says why, and their result is None.
"""

import ast
import copy
import functools
import marshal
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from greenlit.execution import expressions
from greenlit.execution.names import Names, defined_names, links, loaded_names, names_of, outermost, root_of
from greenlit.execution.parsing import UNPARSABLE, parsed
from greenlit.execution.plan import Check, Plan, Step, TestPlan
from greenlit.execution.scripts import Unsplittable, script_of

if TYPE_CHECKING:
    from greenlit.types import Problem, Test

_HOLE = "__hole_{}__"
_CHAIN = (ast.Call, ast.Attribute, ast.Subscript, ast.Name)
_IMMUTABLE = (ast.Constant, ast.Tuple, ast.UnaryOp, ast.USub, ast.UAdd, ast.Load)


def unsplittable(problem: "Problem") -> list[str]:
    """Why tests of this problem cannot be judged from outside, one line each; empty when all can."""
    from greenlit.execution.languages import plan_of  # which needs this module

    return [f"test {test.index}: {test.refusal}" for test in plan_of(problem).tests if test.refusal]


def plan_tests(problem: "Problem") -> Plan:
    """Split all tests of a problem."""
    setup_tree, setup_refusal = _parse_setup(problem.setup)
    names = names_of(problem, setup_tree)
    order = sorted(range(len(problem.tests)), key=lambda index: problem.tests[index].role == "hidden")
    tests = []
    for index in order:
        test = problem.tests[index]
        plan = functools.partial(TestPlan, index, test.kind, test.role, test.checker)
        try:
            if setup_refusal:
                raise Unsplittable(setup_refusal)
            tests.append(_plan_test(plan, test, problem, names))
        except Unsplittable as why:
            try:
                tests.append(plan(script=script_of(test, problem, setup_tree, names)))
            except Unsplittable as also:
                tests.append(plan(refusal=f"{why}; {also}" if str(also) else str(why)))
    code = compile(setup_tree, "<setup>", "exec", dont_inherit=True) if setup_tree and setup_tree.body else None
    return Plan(problem.task_id, code, tuple(tests), problem.profile)


def _parse_setup(setup: str) -> tuple[ast.Module | None, str | None]:
    if not setup.strip():
        return ast.Module([], []), None
    try:
        tree = _parse(setup)
        _refuse_uncompilable(tree)
    except Unsplittable as why:
        return None, f"set-up: {why}"
    return tree, None


def _parse(code: str) -> ast.Module:
    try:
        return parsed(code)
    except UNPARSABLE as error:
        raise _uncompilable(error) from None


def _refuse_uncompilable(tree: ast.Module) -> None:
    try:
        compile(tree, "<test>", "exec", dont_inherit=True)
    except UNPARSABLE as error:
        raise _uncompilable(error) from None


def _uncompilable(error: BaseException) -> Unsplittable:
    return Unsplittable(f"does not compile ({type(error).__name__}: {error})")


def _plan_test(plan: Callable[..., TestPlan], test: "Test", problem: "Problem", names: Names) -> TestPlan:
    if test.kind == "stdio":
        return plan(stdin=test.input, expected=test.output)
    if test.kind == "call":
        return _plan_call(plan, test, problem)
    text = test.code.replace("\r\n", "\n")
    tree = _parse(text)
    writer = _Writer(names, None, _START)
    if test.kind == "assert" and writer.literal_asserts(tree.body, text):
        return plan(steps=tuple(writer.steps), checks=tuple(writer.checks))
    _refuse_uncompilable(tree)
    body, parameter = tree.body, None
    if test.kind == "script":
        body, parameter = _straight_line(body)
    if parameter and not problem.entry_point:
        raise Unsplittable("check(candidate) needs the problem's entry_point")
    enter = ("enter", problem.entry_point if parameter else None, parameter)
    writer = _Writer(names, parameter, Step(enter, f"{parameter} = {problem.entry_point}" if parameter else ""))
    writer.statements(body)
    if not any(check.bind is None for check in writer.checks):
        raise Unsplittable("there is no assert in it")
    return plan(steps=tuple(writer.steps), checks=tuple(writer.checks))


def _plan_call(plan: Any, test: Any, problem: "Problem") -> TestPlan:
    if not problem.entry_point:
        raise Unsplittable("a call test needs the problem's entry_point")
    try:
        marshal.dumps(test.input)
    except ValueError:
        raise Unsplittable("its input is not plain data") from None
    shown = ", ".join(map(repr, test.input))
    source = f"{problem.entry_point}({shown if len(shown) <= 80 else shown[:80] + '...'})"
    return plan(steps=(Step(("call", problem.entry_point, list(test.input)), source),), expected=test.output)


def _straight_line(body: list[ast.stmt]) -> tuple[list[ast.stmt], str | None]:
    """The statements of a script, those of `def check(candidate)` in place of it, and the name of its parameter."""
    result: list[ast.stmt] = []
    parameter = None
    for node in body:
        if isinstance(node, ast.FunctionDef) and node.name == "check" and len(node.args.args) == 1:
            parameter = node.args.args[0].arg
            result.extend(node.body)
        elif isinstance(node, ast.Expr) and _calls(node.value, "check") and parameter:
            continue
        else:
            result.append(node)
    return result, parameter


def _calls(node: ast.expr, name: str) -> bool:
    return isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == name


_START = Step(("enter", None, None))


class _Writer:
    """Turns straight-line statements into steps and checks."""

    def __init__(self, names: Names, parameter: str | None, enter: Step) -> None:
        called = {parameter} if parameter else set()
        self.names = replace(
            names,
            entry=names.entry | called,
            candidate=names.candidate | called,
            classes=names.classes | (called if names.entry & names.classes else set()),
            imported=set(names.imported),
            variables=set(names.variables),
            local=set(),
        )
        self.objects = set(names.given)
        self.steps: list[Step] = [enter]
        self.checks: list[Check] = []
        self.done: tuple[int, ...] = (0,)

    def literal_asserts(self, body: list[ast.stmt], text: str) -> bool:
        """Split a test of nothing but `assert hole == literal`, as most are; False, and nothing done, if it is not.

        It comes out as from `statements`, in a third of the time.
        """
        compared = [node.test for node in body if isinstance(node, ast.Assert) and not node.msg]
        if not body or len(compared) < len(body) or not all(map(self._is_hole_and_literal, compared)):
            return False
        for node, test in zip(body, compared, strict=True):
            assert isinstance(test, ast.Compare)
            holes: dict[str, int] = {}
            rest = ast.Compare(_Punch(self, holes).visit(test.left), test.ops, test.comparators)
            self.checks.append(Check(rest, _text_of(node, text), holes, self.done, literal=True))
        return True

    def _is_hole_and_literal(self, node: ast.expr) -> bool:
        return (
            isinstance(node, ast.Compare)
            and len(node.ops) == 1
            and isinstance(node.ops[0], ast.Eq)
            and self.is_hole(node.left)
            and _is_plain(node.comparators[0])
        )

    def statements(self, body: list[ast.stmt]) -> None:
        """Split the statements in their order.

        Raises:
            Unsplittable: one of them is no assert, simple assignment, import or call.
        """
        body = [node for node in body if not _is_nothing(node)]
        self._sort_variables(body)
        for node in body:
            if isinstance(node, ast.Assert):
                self._check(node.test, f"assert {ast.unparse(node.test)}")
            elif isinstance(node, ast.Import | ast.ImportFrom):
                self._do(node)
            elif isinstance(node, ast.Assign | ast.AnnAssign):
                self._assign(node)
            elif isinstance(node, ast.Expr) and self._holes(node.value):
                self._do(node)
            elif isinstance(node, ast.Expr) and _has_no_effect(node.value):
                continue
            else:
                raise Unsplittable(f"{type(node).__name__} statement in line {node.lineno}")

    def _sort_variables(self, body: list[ast.stmt]) -> None:
        """Decide which variables live with the candidate: to a fixed point, since they depend on each other."""
        assigned: dict[str, list[ast.expr]] = {}
        for node in body:
            if isinstance(node, ast.Import | ast.ImportFrom):
                self.names.imported |= {(alias.asname or alias.name).split(".")[0] for alias in node.names}
            if isinstance(node, ast.Assign | ast.AnnAssign) and node.value is not None:
                for name in defined_names([node]):
                    assigned.setdefault(name, []).append(node.value)
        self.names.local |= set(assigned) - self.names.variables
        constants = {name for name, values in assigned.items() if len(values) == 1 and _is_immutable(values[0])}
        self.needed: set[str] = set()
        while assigned:
            self.objects |= {name for name, values in assigned.items() if any(map(self._is_object, values))}
            shared = {name for name, values in assigned.items() if any(self._holes(value) for value in values)}
            shared |= {name for node in body for hole in self._holes(node) for name in loaded_names(hole)} & set(
                assigned
            )
            new = shared - constants - self.names.variables
            if not new:
                break
            self.names.variables |= new
            self.names.local -= new
        if assigned:
            self.needed = {name for node in body for hole in self._holes(node) for name in loaded_names(hole)}

    def _assign(self, node: ast.Assign | ast.AnnAssign) -> None:
        names = defined_names([node])
        targets = node.targets if isinstance(node, ast.Assign) else [node.target]
        if node.value is None or not all(isinstance(target, ast.Name) for target in targets):
            if names & self.names.variables and all(isinstance(target, ast.Tuple) for target in targets):
                self._do(node)
                return
            raise Unsplittable(f"assignment to something that is no name in line {node.lineno}")
        if names & (self.names.variables | self.needed):
            self._do(node)
        if not names & self.names.variables:
            for name in sorted(names):
                self._check(node.value, f"{name} = {ast.unparse(node.value)}", bind=name)

    def _do(self, node: ast.stmt) -> None:
        """The candidate's process executes this statement for its effect."""
        module = ast.fix_missing_locations(ast.Module([node], []))
        self.steps.append(Step(("exec", compile(module, "<test>", "exec", dont_inherit=True)), ast.unparse(node)))
        if not isinstance(node, ast.Import | ast.ImportFrom):
            self.done = (*self.done, len(self.steps) - 1)

    def _check(self, expression: ast.expr, source: str, bind: str | None = None) -> None:
        holes: dict[str, int] = {}
        rest = _Punch(self, holes).visit(copy.deepcopy(expression))
        why = expressions.refusal(rest, set(holes) | self.names.local)
        if why:
            raise Unsplittable(f"{why}: {source[:120]}")
        literal = (
            isinstance(rest, ast.Compare)
            and len(rest.ops) == 1
            and isinstance(rest.ops[0], ast.Eq)
            and isinstance(rest.left, ast.Name)
            and rest.left.id in holes
            and _is_literal(rest.comparators[0])
        )
        self.checks.append(Check(rest, source, holes, self.done, bind, literal))

    def hole(self, node: ast.expr) -> int:
        """Add a step that evaluates this chain; return its index."""
        try:
            code = compile(ast.Expression(node), "<test>", "eval", dont_inherit=True)
        except UNPARSABLE as error:
            raise _uncompilable(error) from None
        self.steps.append(Step(("eval", code), node))
        return len(self.steps) - 1

    def is_hole(self, node: ast.AST) -> bool:
        """A chain that starts at a name of the candidate's side; a variable by itself is one too."""
        if not isinstance(node, _CHAIN):
            return False
        root = root_of(node)
        if root is None or not self.names.is_root(root.id) or self._asks_plain_value(node, root.id):
            return False
        return node is not root or root.id in self.names.variables

    def _is_object(self, node: ast.expr) -> bool:
        """May this be an object with methods of its own, rather than a plain value?"""
        root = root_of(node)
        return root is not None and root.id in self.names.classes | self.objects

    def _asks_plain_value(self, node: ast.AST, root: str) -> bool:
        """Is there a method of plain values in the chain, after the call that should have returned one?"""
        own = root in self.names.classes | self.objects
        calls_needed = int(own) + int(root not in self.names.variables)
        calls = 0
        for link in reversed(links(node)):
            calls += isinstance(link, ast.Call)
            if isinstance(link, ast.Attribute) and link.attr in expressions.METHODS and calls >= calls_needed:
                return True
        return False

    def _holes(self, node: ast.AST) -> list[ast.expr]:
        return list(outermost(node, self.is_hole))


class _Punch(ast.NodeTransformer):
    """Replaces the holes of an expression by names."""

    def __init__(self, writer: _Writer, holes: dict[str, int]) -> None:
        self.writer = writer
        self.holes = holes
        self.bound: list[set[str]] = []

    def visit(self, node: ast.AST) -> Any:
        if self.writer.is_hole(node):
            inner = set().union(*self.bound) & set(loaded_names(node))
            if inner:
                raise Unsplittable(f"the program is called inside a comprehension, for each {', '.join(sorted(inner))}")
            if isinstance(node, ast.Name) and node.id in self.writer.names.given:
                raise Unsplittable(f"compares with {node.id}, which the set-up binds in the program's process")
            self._refuse_helper_around(node)
            name = _HOLE.format(len(self.holes))
            self.holes[name] = self.writer.hole(node)
            return ast.Name(name, ast.Load())
        if isinstance(node, ast.ListComp | ast.SetComp | ast.GeneratorExp | ast.DictComp):
            targets = (part for loop in node.generators for part in ast.walk(loop.target))
            self.bound.append({part.id for part in targets if isinstance(part, ast.Name)})
            try:
                return self.generic_visit(node)
            finally:
                self.bound.pop()
        return self.generic_visit(node)

    def _refuse_helper_around(self, node: ast.AST) -> None:
        names = self.writer.names
        root = root_of(node)
        outside = root is not None and root.id in names.candidate - names.entry
        if outside and names.entry & set(loaded_names(node)):
            raise Unsplittable(f"{root.id}, which the program itself defines, is called around its answer")


def _is_nothing(node: ast.stmt) -> bool:
    if isinstance(node, ast.Pass):
        return True
    if isinstance(node, ast.Assign) and all(isinstance(t, ast.Name) and t.id == "METADATA" for t in node.targets):
        return True
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)


def _has_no_effect(node: ast.expr) -> bool:
    return _calls(node, "print") or not any(isinstance(part, ast.Call | ast.Await) for part in ast.walk(node))


def _is_immutable(node: ast.expr) -> bool:
    return all(isinstance(part, _IMMUTABLE) for part in ast.walk(node))


def _is_literal(node: ast.expr) -> bool:
    try:
        ast.literal_eval(node)
    except (*UNPARSABLE, TypeError):
        return False
    return True


def _is_plain(node: ast.expr) -> bool:
    """A literal without a name in it, not even `set()`, whose name may be the program's."""
    if isinstance(node, ast.Constant):
        return True
    if isinstance(node, ast.List | ast.Tuple):
        return all(map(_is_plain, node.elts))
    return _is_literal(node) and not any(isinstance(part, ast.Name) for part in ast.walk(node))


def _text_of(node: ast.stmt, text: str) -> str:
    """The statement as it stands in the test, where that is one line."""
    if node.lineno != node.end_lineno:
        return ast.unparse(node)
    line = text.split("\n")[node.lineno - 1].encode("utf-8", "surrogatepass")
    return line[node.col_offset : node.end_col_offset].decode("utf-8", "surrogatepass")
