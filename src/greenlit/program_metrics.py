"""Static facts of a program: size, complexity, and a hash that sees through renamed variables."""

import ast
import hashlib
import io
import tokenize
from collections.abc import Sequence

from greenlit.execution.parsing import UNPARSABLE, parsed
from greenlit.types import Metrics

_BLOCKS = (ast.For, ast.AsyncFor, ast.While, ast.If, ast.With, ast.AsyncWith, ast.Try, ast.FunctionDef, ast.ClassDef)


def parse(code: str) -> ast.Module | None:
    """The syntax tree, or None where there is none (also for null bytes and endless nesting)."""
    try:
        return parsed(code)
    except UNPARSABLE:
        return None


def program_metrics(code: str, tokens: int) -> Metrics:
    """Metrics of one program; novelty needs its neighbours and is left null."""
    complexity, depth = complexity_and_depth(code) or (None, None)
    return Metrics(
        loc=lines_of_code(code),
        tokens=tokens,
        cyclomatic_complexity=complexity,
        nesting_depth=depth,
        ast_hash=ast_hash(code),
        novelty=None,
    )


def complexity_and_depth(code: str) -> tuple[int, int] | None:
    """Cyclomatic complexity of the most complex function, and depth of nested blocks; None where they can't be had."""
    tree = parse(code)
    try:
        return (_cyclomatic_complexity(code), _depth(tree)) if tree else None
    except RecursionError:  # thousands of terms in one expression
        return None


def lines_of_code(code: str) -> int:
    """Lines that hold more than blanks and comments; text that does not tokenize counts its non-blank lines."""
    skip = {tokenize.COMMENT, tokenize.NL, tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT, tokenize.ENDMARKER}
    try:
        tokens = list(tokenize.generate_tokens(io.StringIO(code).readline))
    except (tokenize.TokenError, SyntaxError):
        return sum(bool(line.strip()) for line in code.splitlines())
    lines: set[int] = set()
    for token in tokens:
        if token.type not in skip:
            lines.update(range(token.start[0], token.end[0] + 1))
    return len(lines)


def _cyclomatic_complexity(code: str) -> int:
    from radon.complexity import cc_visit

    return max((block.complexity for block in cc_visit(code)), default=1)


def _depth(node: ast.AST) -> int:
    inner = max((_depth(child) for child in ast.iter_child_nodes(node)), default=0)
    return inner + isinstance(node, _BLOCKS)


def ast_hash(code: str) -> str:
    """16 hex digits; equal for programs that differ only in variable names, docstrings, comments and layout."""
    tree = parse(code)
    try:
        normal = ast.dump(_Anonymous(tree).visit(tree)) if tree else "".join(code.split())
    except RecursionError:
        normal = "".join(code.split())
    return hashlib.sha256(normal.encode()).hexdigest()[:16]


class _Anonymous(ast.NodeTransformer):
    """Names the program binds itself become v0, v1, ... in order of appearance; top-level names keep theirs."""

    def __init__(self, tree: ast.Module) -> None:
        public = {getattr(statement, "name", None) for statement in tree.body}
        self._names: dict[str, str] = {}
        for node in ast.walk(tree):
            name = _bound_name(node)
            if name is not None and name not in public:
                self._names.setdefault(name, "")
        appearing = [
            n.id if isinstance(n, ast.Name) else n.arg for n in _in_order(tree) if isinstance(n, ast.Name | ast.arg)
        ]
        for name in appearing:
            if self._names.get(name) == "":
                self._names[name] = f"v{sum(bool(new) for new in self._names.values())}"

    def visit_Name(self, node: ast.Name) -> ast.AST:
        return ast.Name(self._names.get(node.id) or node.id, node.ctx)

    def visit_arg(self, node: ast.arg) -> ast.AST:
        return ast.arg(self._names.get(node.arg) or node.arg, None)

    def visit_FunctionDef(self, node: ast.FunctionDef) -> ast.AST:
        if ast.get_docstring(node) is not None:
            node.body = node.body[1:] or [ast.Pass()]
        node.returns = None
        node.name = self._names.get(node.name) or node.name
        return self.generic_visit(node)


def _in_order(node: ast.AST) -> list[ast.AST]:
    """Nodes in source order (ast.walk goes breadth first)."""
    found = [node]
    for child in ast.iter_child_nodes(node):
        found.extend(_in_order(child))
    return found


def _bound_name(node: ast.AST) -> str | None:
    if isinstance(node, ast.arg):
        return node.arg
    if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
        return node.id
    return None


def novelties(codes: Sequence[str]) -> list[float | None]:
    """For each program, 1 - its mean similarity (normalised indel) to the other distinct ones; None when alone."""
    from rapidfuzz.distance import Indel

    distinct = sorted(set(codes))
    if len(distinct) < 2:
        return [None] * len(codes)
    mean = {
        code: sum(Indel.normalized_similarity(code, other) for other in distinct if other != code) / (len(distinct) - 1)
        for code in distinct
    }
    return [round(1 - mean[code], 4) for code in codes]
