"""How files of own problems are written: JSON Lines, or one JSON list; our own records, or the simple ones below.

    [{"prompt": "Write a function to find max in array",
      "solution": "def find_max(arr):\\n    return max(arr)",
      "test_cases": [{"input": "find_max([1,5,3])", "output": "5"}],
      "difficulty": "easy"}]

A test's input is the call. An output that is text is read as the value it spells, as Python or JSON spells it: "5" is
the number 5, "[0,1]" a list, "true" True; what spells none ("abc") stays text, and '"5"' is the text 5.
"""

import ast
import hashlib
import json
import re
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from pydantic_core import from_json

from greenlit.errors import DataError
from greenlit.execution.parsing import UNPARSABLE, parsed
from greenlit.jsonl import LINE_LIMIT, one_line, read_lines, shortened

_TOKEN = re.compile(r'"(?:[^"\\]|\\.)*"|[{}\[\]]')
_BETWEEN = re.compile(r"[\s,]*")
SIMPLE = "test_cases"
"""The key that tells a simple record."""


def own_rows(path: Path) -> Iterator[tuple[int, Any]]:
    """Stream (line number, JSON value) of each record, whichever way the file is written.

    Raises:
        DataError: `file:line: what`.
    """
    texts = _items(path) if _is_list(path) else read_lines(path)
    for number, text in texts:
        try:
            yield number, from_json(text)
        except ValueError as error:
            raise DataError(f"{path}:{number}: invalid JSON: {error}") from None


def _is_list(path: Path) -> bool:
    """A list of objects, as far as its first characters tell; `[[` is a line like others, and a faulty one."""
    start = ""
    for _, line in read_lines(path):
        start += line
        if len(start.replace(" ", "")) > 1:
            break
    return re.match(r"\[\s*(?:[{\]]|$)", start) is not None


def _items(path: Path) -> Iterator[tuple[int, str]]:
    """The objects of a JSON list as texts, each with the line it starts on; no more than one is held."""
    depth, started, size, parts = 0, 0, 0, list[str]()
    for number, line in read_lines(path):
        begin = 0
        for token in _TOKEN.finditer(line):
            if token[0] in "{[":
                depth += 1
                if depth <= 2:
                    _refuse_between(path, number, line[begin : token.start()], depth)
                    started, begin = number, token.start() if depth == 2 else token.end()
            elif token[0] in "}]":
                depth -= 1
                if depth == 1:
                    yield started, "\n".join([*parts, line[begin : token.end()]])
                    size, parts = 0, []
                elif depth == 0:
                    _refuse_between(path, number, line[begin : token.start()], 2)
                begin = token.end() if depth < 2 else begin
        if depth >= 2:
            parts.append(line[begin:])
            size += len(line)
            if size > LINE_LIMIT:
                raise DataError(f"{path}:{started}: a record longer than {LINE_LIMIT >> 20} MiB")
        else:
            _refuse_between(path, number, line[begin:], depth + 1)
    if depth:
        raise DataError(f"{path}:{started}: the list does not end (the record that starts here is not closed)")


def _refuse_between(path: Path, number: int, text: str, depth: int) -> None:
    """Between records there are commas; before and after the list, nothing."""
    if not (_BETWEEN.fullmatch(text) if depth == 2 else not text.strip()):
        what = "must be a list of objects" if depth == 2 else "must be one list, and nothing beside it"
        raise DataError(f"{path}:{number}: {what} (found {shortened(text.strip())})")


def plain_row(row: Any, place: str, read: Counter[str]) -> Any:
    """A record as `Problem` has it; a simple one is rewritten, others come back as they are.

    Args:
        place: `file:line`, for messages.
        read: counts under `literals` the outputs given as text that were read as values, under `texts` those kept.

    Raises:
        DataError: a simple record lacks something; the message names it.
    """
    if not isinstance(row, Mapping) or SIMPLE not in row or "tests" in row:
        return row
    cases = row[SIMPLE]
    if not isinstance(cases, list) or not cases:
        raise DataError(f"{place}: {SIMPLE}: must be a list of one test at least (found {shortened(cases)})")
    places = [f"{place}: {SIMPLE}.{at}" for at in range(len(cases))]
    calls = list(map(_call, cases, places))
    names = {name for name, _ in calls}
    if len(names) > 1:
        found = one_line(", ".join(sorted(names)))
        raise DataError(f"{place}: {SIMPLE}: must call one function (found {found})")
    (entry,) = names
    tests = [
        {"kind": "assert", "code": f"assert {call} == {_output(case['output'], at, read)}"}
        for case, (_, call), at in zip(cases, calls, places, strict=True)
    ]
    kept = {key: value for key, value in row.items() if key not in {SIMPLE, "solution", "id"}}
    solution = row.get("solution")
    return {
        "task_id": str(row.get("task_id", row.get("id", _made_id(entry, row)))),
        **kept,
        "entry_point": row.get("entry_point", entry),
        "tests": tests,
        "reference": [solution] if isinstance(solution, str) and solution.strip() else kept.get("reference", []),
    }


def _call(case: Any, place: str) -> tuple[str, str]:
    """The function a test calls, and the call."""
    if not isinstance(case, Mapping) or not {"input", "output"} <= case.keys():
        raise DataError(f"{place}: must be an object with input and output (found {shortened(case)})")
    said = case["input"]
    try:
        node = _expression(said) if isinstance(said, str) else None
    except UNPARSABLE:
        node = None
    function = node.func if isinstance(node, ast.Call) else None
    if not isinstance(function, ast.Name):
        raise DataError(
            f"{place}.input: must be a call such as find_max([1, 5, 3]) (found {shortened(said)})",
            hint="for programs that read standard input, write `tests` of kind stdio",
        )
    return function.id, said.strip()


def _output(output: Any, place: str, read: Counter[str]) -> str:
    """What a test's call should give, as Python writes it."""
    value = _read(output, read) if isinstance(output, str) else output
    text = repr(value)
    try:
        ast.literal_eval(text)
    except (*UNPARSABLE, TypeError):  # Infinity, NaN
        raise DataError(f"{place}.output: must be a plain value (found {one_line(text, 60)})") from None
    return text


def _read(output: str, read: Counter[str]) -> Any:
    """The value that a text spells, as Python or as JSON; the text, where it spells none."""
    for reads in (lambda text: ast.literal_eval(_expression(text)), json.loads):
        try:
            value = reads(output.strip())
        except (*UNPARSABLE, TypeError):
            continue
        read["literals"] += 1
        return value
    read["texts"] += 1
    return output


def _expression(text: str) -> ast.expr:
    """The one expression that a text is.

    Raises:
        one of UNPARSABLE: it is no expression.
    """
    body = parsed(text.strip()).body
    if len(body) != 1 or not isinstance(body[0], ast.Expr):
        raise SyntaxError("no expression")
    return body[0].value


def _made_id(entry: str, row: Mapping[str, Any]) -> str:
    """From the content, so that a problem keeps its id, and with it its split, when others are added."""
    said = json.dumps([row.get("prompt"), row[SIMPLE]], sort_keys=True, default=str)
    return f"{entry}-{hashlib.sha256(said.encode('utf-8', 'surrogatepass')).hexdigest()[:8]}"
