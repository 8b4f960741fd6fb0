"""The function that a problem asks for, in a program: where its signature ends and its body begins."""

import ast
import io
import re
import tokenize

from greenlit.program_metrics import parse

_METHOD = re.compile(r"(\w+)\(\)\.(\w+)")


def function_of(code: str, entry_point: str) -> ast.FunctionDef | None:
    """The definition that `f` or `Solution().f` names, the last one if there are several; None without one.

    Code that stops after a signature, as starter code does, is read as if its body were `pass`.
    """
    tree = parse(code) or parse(f"{code.rstrip()}\n        pass\n") or parse(f"{code.rstrip()}\n    pass\n")
    body = tree.body if tree else []
    name = entry_point
    method = _METHOD.fullmatch(entry_point)
    if method:
        classes = [node for node in body if isinstance(node, ast.ClassDef) and node.name == method[1]]
        body, name = (classes[-1].body if classes else []), method[2]
    found = [node for node in body if isinstance(node, ast.FunctionDef) and node.name == name]
    return found[-1] if found else None


def signature_end(text: str) -> int:
    """Where the body begins in the text of a definition: behind the colon that ends its signature.

    Args:
        text: from the first decorator, or `def`, on.
    """
    depth, in_signature = 0, False
    starts = [0]
    for line in text.splitlines(keepends=True):
        starts.append(starts[-1] + len(line))
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type == tokenize.NAME and token.string == "def" and depth == 0:
            in_signature = True
        elif token.type == tokenize.OP:
            depth += (token.string in "([{") - (token.string in ")]}")
            if in_signature and depth == 0 and token.string == ":":
                return starts[token.end[0] - 1] + token.end[1]
    raise ValueError("no signature in it")
