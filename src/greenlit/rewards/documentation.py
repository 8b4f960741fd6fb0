"""documentation: does a program that passes say what it does, and of what kinds its values are?

    reward = 1/2 (documented / definitions) + 1/2 (annotated / annotatable)

definitions: functions and classes that are not inside a function; documented: with a docstring of three words or more,
no two definitions with the same one. annotatable: their parameters (but `self` and `cls`) and results. A half that has
nothing to count is left out; a program without definitions earns 1/2, neither well documented nor badly. None for
languages other than Python.
"""

import ast
from collections.abc import Iterator, Sequence

from greenlit.config import RewardsParams
from greenlit.program_metrics import parse
from greenlit.rewards.sample import Sample

_Function = ast.FunctionDef | ast.AsyncFunctionDef
_Definition = _Function | ast.ClassDef
WORDS = 3


def documentation(samples: Sequence[Sample], params: RewardsParams) -> list[float | None]:
    """In [0, 1]; counts only for programs that pass."""
    return [
        None if sample.problem.language != "python" else documented(sample.code) if sample.passed else 0.0
        for sample in samples
    ]


def documented(code: str) -> float:
    """The formula, of one program; 0 for what does not parse."""
    tree = parse(code)
    if tree is None:
        return 0.0
    definitions = list(_definitions(tree))
    slots = [slot for one in definitions if isinstance(one, _Function) for slot in _annotatable(one)]
    texts = {text for one in definitions if (text := _docstring(one))}
    halves = [len(texts) / len(definitions)] if definitions else []
    halves += [sum(slots) / len(slots)] if slots else []
    return sum(halves) / len(halves) if halves else 0.5


def _definitions(node: ast.AST) -> Iterator[_Definition]:
    for child in ast.iter_child_nodes(node):
        if isinstance(child, _Definition):
            yield child
        if not isinstance(child, _Function | ast.Lambda):
            yield from _definitions(child)


def _docstring(node: _Definition) -> str:
    """Empty where it is too short to say anything."""
    text = " ".join((ast.get_docstring(node) or "").split())
    return text if len(set(text.lower().split())) >= WORDS else ""


def _annotatable(function: _Function) -> list[bool]:
    """Of each parameter and the result, whether it has an annotation."""
    said = function.args
    named = [*said.posonlyargs, *said.args, *said.kwonlyargs, *filter(None, (said.vararg, said.kwarg))]
    own = [argument for place, argument in enumerate(named) if place or argument.arg not in {"self", "cls"}]
    return [*(argument.annotation is not None for argument in own), function.returns is not None]
