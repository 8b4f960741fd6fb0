"""Which side a name belongs to, and chains: calls, attributes and subscripts that start at a name."""

import ast
import builtins
import keyword
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from greenlit.execution import expressions
from greenlit.execution.parsing import UNPARSABLE, parsed

if TYPE_CHECKING:
    from greenlit.types import Problem


@dataclass
class Names:
    """Who owns which name."""

    entry: set[str]
    """The entry point, and what the test calls it."""
    candidate: set[str]
    """Defined by the program; the entry point is among them."""
    classes: set[str]
    """Those of them that are classes."""
    helpers: set[str]
    """Functions and classes of the set-up: run by the candidate's process, so no judge of anything."""
    imported: set[str]
    strict: bool
    """We know all names that the program defines (there is a reference)."""
    variables: set[str] = field(default_factory=set)
    """Variables that live with the candidate."""
    given: set[str] = field(default_factory=set)
    """Those of them that the set-up binds: good as arguments, no expected values to compare with."""
    local: set[str] = field(default_factory=set)
    """Variables of the judge's side."""

    def is_root(self, name: str) -> bool:
        """Does a chain that starts at this name belong to the candidate's process?"""
        if name in self.candidate or name in self.variables:
            return True
        known = hasattr(builtins, name) or name in expressions.MODULES or name in expressions.BUILTINS
        return not (self.strict or known or name in self.helpers | self.imported | self.local)


def names_of(problem: "Problem", setup: ast.Module | None) -> Names:
    """Who owns which name in the tests of this problem, as far as its reference and its set-up tell."""
    defined: set[str] = set()
    classes: set[str] = set()
    for code in filter(str.strip, [*problem.reference, problem.starter_code]):
        try:
            body = parsed(code).body
        except UNPARSABLE:
            continue
        defined |= defined_names(body)
        classes |= {node.name for node in body if isinstance(node, ast.ClassDef)}
    entry = _entry_names(problem.entry_point or "")
    body = setup.body if setup else []
    helpers = {node.name for node in body if isinstance(node, ast.FunctionDef | ast.ClassDef | ast.AsyncFunctionDef)}
    imported = {
        (alias.asname or alias.name).split(".")[0]
        for node in body
        if isinstance(node, ast.Import | ast.ImportFrom)
        for alias in node.names
    }
    names = Names(entry, defined | entry, classes | {"Solution"}, helpers, imported, strict=bool(defined or entry))
    names.given |= defined_names(body) - helpers
    names.variables |= names.given
    return names


def _entry_names(entry_point: str) -> set[str]:
    """`f` of `f`, `Solution` of `Solution().f`."""
    if entry_point.isidentifier() and not keyword.iskeyword(entry_point):
        return {entry_point}
    try:
        return set(loaded_names(parsed(entry_point)))
    except UNPARSABLE:
        return set()


def defined_names(body: list[ast.stmt]) -> set[str]:
    """Names that statements at top level define, imports aside."""
    names: set[str] = set()
    for node in body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef | ast.AsyncFunctionDef):
            names.add(node.name)
        elif isinstance(node, ast.Assign | ast.AnnAssign | ast.AugAssign):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            names |= {part.id for target in targets for part in ast.walk(target) if isinstance(part, ast.Name)}
        elif isinstance(node, ast.If | ast.Try):
            names |= defined_names([part for part in ast.iter_child_nodes(node) if isinstance(part, ast.stmt)])
    return names


def links(node: ast.AST) -> list[ast.AST]:
    """A chain from its outer end to its root."""
    chain = [node]
    while isinstance(node, ast.Call | ast.Attribute | ast.Subscript):
        node = node.func if isinstance(node, ast.Call) else node.value
        chain.append(node)
    return chain


def root_of(node: ast.AST) -> ast.Name | None:
    """The name a chain starts at; None if it starts at something else."""
    node = links(node)[-1]
    return node if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load) else None


def outermost(node: ast.AST, wanted: Callable[[ast.AST], bool]) -> Iterator[Any]:
    """Parts of a tree that are wanted, without the parts of these."""
    if wanted(node):
        yield node
        return
    for part in ast.iter_child_nodes(node):
        yield from outermost(part, wanted)


def loaded_names(node: ast.AST) -> list[str]:
    """Names that an expression reads."""
    return [part.id for part in ast.walk(node) if isinstance(part, ast.Name) and isinstance(part.ctx, ast.Load)]
