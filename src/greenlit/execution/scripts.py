"""Tests that are not split: their own code, made ready for a process of its own (dialogue.py)."""

import ast
import builtins
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from greenlit.execution.decoding import NODES
from greenlit.execution.names import Names, loaded_names
from greenlit.execution.parsing import UNPARSABLE, parsed

if TYPE_CHECKING:
    from greenlit.types import Problem, Test

TEST = "<test>"
"""As child_dialogue.py looks for it in tracebacks."""
_BINDING = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)


class Unsplittable(Exception):
    """This test cannot be judged from outside; the message says why."""


@dataclass(frozen=True)
class Script:
    """What the two processes of a dialogue are given."""

    step: tuple[Any, ...]
    """For child_dialogue.run_script: the test's code object, the entry point, whether `check` is to be called."""
    entry: str
    helpers: str
    """Source that defines the names a test may use besides the entry point: the reference."""
    definitions: Any
    """The set-up's imports and classes, which the program may need too, or None."""
    source: tuple[str, ...]
    """Lines of the test, for messages."""

    def line(self, number: int) -> str:
        """A line of the test; nothing for line 0."""
        return self.source[number - 1].strip() if 0 < number <= len(self.source) else ""


def script_of(test: "Test", problem: "Problem", setup: ast.Module | None, names: Names) -> Script:
    """The test as a script that calls the program through a relay.

    Raises:
        Unsplittable: it cannot be; without a message where there is nothing to add to why it is not split.
    """
    if test.kind not in {"assert", "script"} or setup is None:
        raise Unsplittable
    text = test.code.replace("\r\n", "\n")
    try:
        tree = parsed(text)
        code = compile(tree, TEST, "exec", dont_inherit=True)
    except UNPARSABLE:
        raise Unsplittable from None
    _refuse(test, problem, tree, setup, names)
    step = ("script", code, problem.entry_point, _check_is_to_be_called(tree))
    helpers = problem.reference[0] if problem.reference else problem.starter_code
    return Script(step, str(problem.entry_point), helpers, _definitions(setup), tuple(text.split("\n")))


def _refuse(test: "Test", problem: "Problem", tree: ast.Module, setup: ast.Module, names: Names) -> None:
    if not problem.entry_point:
        raise Unsplittable("a test with code of its own needs the problem's entry_point")
    if test.checker != "exact":
        raise Unsplittable(f"checker {test.checker} does not reach into a test's own code")
    if not any(isinstance(node, ast.Assert) for node in ast.walk(tree)):
        raise Unsplittable("" if test.kind == "assert" else "there is no assert in it")
    used = {name for part in (tree, setup) for name in loaded_names(part)}
    classes = used & (names.classes - set(NODES))
    if classes:
        raise Unsplittable(f"uses {', '.join(sorted(classes))}, a class of the program's")
    unknown = used - _bound(tree) - _bound(setup) - names.entry - set(dir(builtins))
    if unknown and not problem.reference and not _imports_everything(setup, tree):
        raise Unsplittable(f"nothing defines {', '.join(sorted(unknown))} for the test's own code")


def _check_is_to_be_called(tree: ast.Module) -> bool:
    """Is there a `def check(candidate)`, and nothing at top level that calls it?"""
    defined = any(isinstance(node, ast.FunctionDef) and node.name == "check" for node in tree.body)
    calls = (node.value.func for node in tree.body if isinstance(node, ast.Expr) and isinstance(node.value, ast.Call))
    return defined and not any(isinstance(function, ast.Name) and function.id == "check" for function in calls)


def _definitions(setup: ast.Module) -> Any:
    """Not its variables: these may be expected values."""
    body = [node for node in setup.body if isinstance(node, ast.Import | ast.ImportFrom | ast.ClassDef)]
    return compile(ast.Module(body, []), "<setup>", "exec", dont_inherit=True) if body else None


def _bound(tree: ast.AST) -> set[str]:
    """Names that are bound anywhere in it, arguments and imports included."""
    names: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Name) and not isinstance(node.ctx, ast.Load):
            names.add(node.id)
        elif isinstance(node, _BINDING):
            names.add(node.name)
        elif isinstance(node, ast.arg):
            names.add(node.arg)
        elif isinstance(node, ast.alias):
            names.add((node.asname or node.name).split(".")[0])
        elif isinstance(node, ast.ExceptHandler) and node.name:
            names.add(node.name)
    return names


def _imports_everything(*trees: ast.Module) -> bool:
    return any(isinstance(node, ast.alias) and node.name == "*" for tree in trees for node in ast.walk(tree))
