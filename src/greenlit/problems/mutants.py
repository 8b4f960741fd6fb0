"""Wrong versions of a right program: what a problem's tests are worth shows in how many of them they catch.

One change each: a comparison turned or moved by one, a constant off by one, + for -, `and` for `or`, a condition
negated, a statement dropped, None returned. The choice depends on the seed and the problem alone, and takes the kinds
of change in turn, so that a few mutants already differ in kind.

Some mutants are equivalent (`while n > 0` for `while n != 0`): nobody can tell, so no score of 1.0 is to be expected.
What would mostly loop for ever is not made, because each such mutant costs a whole time limit: in the body of a
`while`, no assignment changes. The same goes for what names nothing: imports and definitions stay.
"""

import ast
import copy
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from greenlit.problems.records import compiles
from greenlit.program_metrics import ast_hash, parse

_COMPARISONS: dict[type[ast.cmpop], tuple[type[ast.cmpop], ...]] = {
    ast.Lt: (ast.GtE, ast.LtE), ast.LtE: (ast.Gt, ast.Lt), ast.Gt: (ast.LtE, ast.GtE), ast.GtE: (ast.Lt, ast.Gt),
    ast.Eq: (ast.NotEq,), ast.NotEq: (ast.Eq,), ast.In: (ast.NotIn,), ast.NotIn: (ast.In,),
    ast.Is: (ast.IsNot,), ast.IsNot: (ast.Is,),
}  # fmt: skip
_ARITHMETIC: dict[type[ast.operator], type[ast.operator]] = {
    ast.Add: ast.Sub, ast.Sub: ast.Add, ast.Mult: ast.Add, ast.Div: ast.Mult, ast.FloorDiv: ast.Mult,
    ast.Mod: ast.FloorDiv,
}  # fmt: skip
_CHANGES = (ast.Assign, ast.AugAssign, ast.AnnAssign)


@dataclass(frozen=True)
class Mutant:
    """A program with one change, and what was changed."""

    code: str
    change: str


@dataclass(frozen=True)
class _Site:
    """A place to change: which node, counted in the order of `ast.walk`, and how."""

    kind: str
    index: int
    apply: Callable[[ast.AST], ast.AST]
    change: str


def mutants(code: str, seed: int, task_id: str, count: int, prelude: str = "") -> list[Mutant]:
    """At most `count` mutants, all different from the program and from each other up to variable names.

    Args:
        prelude: what the program begins with and does not own; it stays as it is.
    """
    own = code.removeprefix(prelude)
    head = code[: len(code) - len(own)]
    tree = parse(own)
    if tree is None or count < 1:
        return []
    made: list[Mutant] = []
    seen = {ast_hash(own)}
    for site in _in_turn(list(_sites(tree)), random.Random(f"{seed}/{task_id}")):
        text = _changed(tree, site)
        if text is None or (key := ast_hash(text)) in seen:
            continue
        seen.add(key)
        made.append(Mutant(head + text + "\n", site.change))
        if len(made) == count:
            break
    return made


def _in_turn(sites: list[_Site], draw: random.Random) -> Iterator[_Site]:
    """A random order that takes one site of each kind before it takes a second one of any."""
    draw.shuffle(sites)
    by_kind: dict[str, list[_Site]] = {}
    for site in sites:
        by_kind.setdefault(site.kind, []).append(site)
    while by_kind:
        for kind in list(by_kind):
            yield by_kind[kind].pop()
            if not by_kind[kind]:
                del by_kind[kind]


def _changed(tree: ast.Module, site: _Site) -> str | None:
    """The program's text with one site changed; None where that cannot be written down or compiled."""
    fresh = copy.deepcopy(tree)
    target = next(node for index, node in enumerate(ast.walk(fresh)) if index == site.index)
    try:
        text = ast.unparse(ast.fix_missing_locations(_Swap(target, site.apply(target)).visit(fresh)))
    except (ValueError, RecursionError):
        return None
    return text if compiles(text) else None


class _Swap(ast.NodeTransformer):
    def __init__(self, old: ast.AST, new: ast.AST) -> None:
        self.old, self.new = old, new

    def visit(self, node: ast.AST) -> ast.AST:
        return self.new if node is self.old else self.generic_visit(node)


def _sites(tree: ast.Module) -> Iterator[_Site]:
    looping = {id(part) for loop in ast.walk(tree) if isinstance(loop, ast.While) for part in _changes_in(loop)}
    texts = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    for index, node in enumerate(ast.walk(tree)):
        if id(node) in looping or id(node) in texts:
            continue
        for kind, apply, what in _ways(node):
            yield _Site(kind, index, apply, f"line {getattr(node, 'lineno', 0)}: {what}")


def _changes_in(loop: ast.While) -> Iterator[ast.AST]:
    """Everything inside the assignments that a while loop's end may hang on."""
    for part in ast.walk(loop):
        if isinstance(part, _CHANGES):
            yield from ast.walk(part)


def _ways(node: ast.AST) -> Iterator[tuple[str, Callable[[ast.AST], ast.AST], str]]:
    """(kind, change, in words) of one node."""
    if isinstance(node, ast.Compare):
        for turned, place in zip(("comparison turned", "comparison off by one"), (0, 1), strict=True):
            options = _COMPARISONS[type(node.ops[0])]
            if place < len(options):
                new = options[place]
                yield turned, lambda old, new=new: _with(old, ops=[new(), *old.ops[1:]]), turned
    elif isinstance(node, ast.BinOp | ast.AugAssign) and type(node.op) in _ARITHMETIC:
        new_op = _ARITHMETIC[type(node.op)]
        yield "operator", lambda old: _with(old, op=new_op()), f"{type(node.op).__name__} became {new_op.__name__}"
    elif isinstance(node, ast.BoolOp):
        other = ast.Or if isinstance(node.op, ast.And) else ast.And
        yield "and/or", lambda old: _with(old, op=other()), f"{type(node.op).__name__} became {other.__name__}"
    elif isinstance(node, ast.If | ast.IfExp):
        yield "condition", lambda old: _with(old, test=ast.UnaryOp(ast.Not(), old.test)), "condition negated"
    elif isinstance(node, ast.Constant) and isinstance(node.value, bool | int | float):
        yield "constant", _other_constant, f"constant {node.value!r} changed"
    elif isinstance(node, ast.Return) and node.value is not None and not _is_none(node.value):
        yield "return", lambda old: _with(old, value=ast.Constant(None)), "returns None"
    if isinstance(node, _CHANGES) or (isinstance(node, ast.Expr) and isinstance(node.value, ast.Call)):
        yield "statement", lambda old: ast.Pass(), "statement dropped"


def _with(node: ast.AST, **fields: object) -> ast.AST:
    """A copy of the node with other fields."""
    new = copy.copy(node)
    for name, value in fields.items():
        setattr(new, name, value)
    return new


def _other_constant(node: ast.AST) -> ast.AST:
    assert isinstance(node, ast.Constant)
    return ast.Constant(not node.value if isinstance(node.value, bool) else node.value + 1)


def _is_none(node: ast.expr) -> bool:
    return isinstance(node, ast.Constant) and node.value is None
