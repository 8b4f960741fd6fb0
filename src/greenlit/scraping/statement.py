"""A statement in HTML as text, and the examples in it.

<strong>Input:</strong> nums = [2,7,11,15], target = 9      in a <pre> block, or, in newer questions, in paragraphs
<strong>Output:</strong> [0,1]
"""

import ast
import re
from html.parser import HTMLParser
from typing import Any

_BLOCKS = {"p", "div", "ul", "ol", "pre", "table", "tr", "h1", "h2", "h3", "h4", "blockquote"}
_HIDDEN = {"script", "style", "svg"}
_RAISED = {"sup": "^", "sub": "_"}


def text_of(content: str) -> str:
    """The statement as people read it: 10<sup>4</sup> is 10^4, code stands in backticks, an image as [image]."""
    reader = _Reader()
    reader.feed(content)
    reader.close()
    lines = [line.rstrip() for line in "".join(reader.parts).split("\n")]
    return re.sub(r"\n{3,}", "\n\n", "\n".join(lines)).strip()


class _Reader(HTMLParser):
    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.parts: list[str] = []
        self._pre = self._hidden = 0
        self._raised: list[tuple[str, int]] = []
        """Open <sup> and <sub>: the sign, and where their text starts."""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag in _HIDDEN:
            self._hidden += 1
        elif tag in _RAISED:
            self._raised.append((_RAISED[tag], len(self.parts)))
        elif tag == "code" and not self._pre:
            self.parts.append("`")
        elif tag == "br":
            self.parts.append("\n")
        elif tag == "li":
            self.parts.append("\n- ")
        elif tag == "img":
            self.parts.append("[image]")
        elif tag in _BLOCKS:
            self._pre += tag == "pre"
            self.parts.append("\n\n")

    def handle_endtag(self, tag: str) -> None:
        if tag in _HIDDEN:
            self._hidden = max(0, self._hidden - 1)
        elif tag in _RAISED and self._raised:
            sign, start = self._raised.pop()
            inner = "".join(self.parts[start:]).strip()
            self.parts[start:] = [f"{sign}({inner})" if re.search(r"\s", inner) else f"{sign}{inner}"]
        elif tag == "code" and not self._pre:
            self.parts.append("`")
        elif tag in _BLOCKS:
            self._pre = max(0, self._pre - (tag == "pre"))
            self.parts.append("\n\n")

    def handle_data(self, data: str) -> None:
        if self._hidden:
            return
        data = data.replace("\r\n", "\n").replace("\r", "\n").replace("\xa0", " ")
        self.parts.append(data if self._pre else re.sub(r"\s+", " ", data))


_EXAMPLE = re.compile(
    r"^[ \t]*Input[ \t]*:?[ \t]*\n*(?P<input>.*?)\n+[ \t]*Output[ \t]*:?[ \t]*\n*(?P<output>.+?)[ \t]*"
    r"(?=\n+[ \t]*(?:Explanation|Explaination|Example|Constraints|Note|Follow|Input)\b|\n[ \t]*\n|\Z)",
    re.DOTALL | re.MULTILINE,
)


def examples_in(text: str) -> list[tuple[str, str]]:
    """(input, output) of each example, as they are written."""
    return [(found["input"].strip(" `\n"), found["output"].strip(" `\n")) for found in _EXAMPLE.finditer(text)]


_JSON_NAMES = {"true": True, "false": False, "null": None}


def arguments_in(written: str) -> dict[str, Any] | None:
    """The values of `nums = [2,7,11,15], target = 9` by name; None where it is something else."""
    try:
        call = ast.parse(f"f({written})", mode="eval").body
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return None
    if not isinstance(call, ast.Call) or call.args or not call.keywords:
        return None
    try:
        return {str(word.arg): ast.literal_eval(_JsonNames().visit(word.value)) for word in call.keywords if word.arg}
    except (ValueError, TypeError, SyntaxError, RecursionError, MemoryError):
        return None


class _JsonNames(ast.NodeTransformer):
    def visit_Name(self, node: ast.Name) -> ast.expr:
        return ast.Constant(_JSON_NAMES[node.id]) if node.id in _JSON_NAMES else node
