"""Source to syntax tree, for code nobody vouches for."""

import ast
import warnings

UNPARSABLE = (SyntaxError, ValueError, RecursionError, MemoryError)
"""What `ast.parse` raises on some text or other: null bytes, lone surrogates, nesting too deep."""


def parsed(code: str) -> ast.Module:
    """The syntax tree, without a word about invalid escape sequences.

    Raises:
        one of UNPARSABLE.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return ast.parse(code)
