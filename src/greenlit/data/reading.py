"""The records of a file of own problems, each with its line, and every fault of the text itself.

JSON Lines (.gz too), or one JSON list. Unlike the reader of the pipeline, which stops at the first fault, this one
goes on: with the next line, or, in a list, up to the first text that is no JSON.
"""

import codecs
import gzip
import json
import re
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from greenlit.data.faults import Fault
from greenlit.errors import ConfigError
from greenlit.jsonl import LINE_LIMIT, UTF8_HINT, not_utf8, one_line, shortened

TABLES = (".csv", ".tsv", ".xlsx", ".xls", ".parquet")
SUFFIXES = (".jsonl", ".json", ".gz")
_BOM = "﻿"
_WIDE = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)
_BAD_JSON = (ValueError, RecursionError)
_PYTHON = re.compile(r"\b(?:None|True|False)\b")
_SHAPE = '{"task_id": "add-one", "prompt": "...", "tests": [{"kind": "assert", "code": "assert inc(1) == 2"}]}'

Tell = Callable[[Fault], None]


def read_records(path: Path, tell: Tell) -> Iterator[tuple[int, dict[str, Any]]]:
    """Yield (line, record); what is no record goes to `tell`.

    Raises:
        ConfigError: no such file.
    """
    if not path.is_file():
        raise ConfigError(f"no such file ({path})")
    if path.suffix in TABLES:
        fix = f"write one JSON object per line into a .jsonl file: {_SHAPE}"
        tell(Fault(0, "", "table", f"a table ({path.suffix}): tests and programs do not fit into its cells", fix))
        return
    if path.suffix not in SUFFIXES:
        found = f"must end in .jsonl, .jsonl.gz or .json (found {path.name})"
        tell(Fault(0, "", "file name", found, "rename it"))
    try:
        yield from _records(path, tell)
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        tell(Fault(0, "", "damaged gzip", f"damaged gzip file ({error})", "write it again"))


def _records(path: Path, tell: Tell) -> Iterator[tuple[int, dict[str, Any]]]:
    opener = gzip.open if path.suffix == ".gz" else open
    with opener(path, "rb") as stream:
        start = stream.read(4096)
    if start.startswith(_WIDE):
        tell(Fault(1, "", "encoding", "UTF-16, by its first bytes", UTF8_HINT))
        return
    bare = start.removeprefix(codecs.BOM_UTF8).lstrip()
    if bare.startswith(b"[") or re.match(rb"\{\s*\n", bare):
        with opener(path, "rb") as stream:
            yield from _document(stream.read(), tell)
        return
    with opener(path, "rb") as stream:
        yield from _lines(stream, tell)


def _lines(stream: Any, tell: Tell) -> Iterator[tuple[int, dict[str, Any]]]:
    number = 0
    while raw := stream.readline(LINE_LIMIT + 1):
        number += 1
        if len(raw) > LINE_LIMIT:
            tell(Fault(number, "", "long line", f"a line longer than {LINE_LIMIT >> 20} MiB", "one problem per line"))
            return
        try:
            line = raw.decode("utf-8-sig" if number == 1 else "utf-8").strip()
        except UnicodeDecodeError as error:
            tell(Fault(number, "", "encoding", not_utf8(error), UTF8_HINT))
            continue
        if line.startswith(_BOM):
            tell(
                Fault(
                    number,
                    "",
                    "byte order mark",
                    "a byte order mark in the middle of the file, as joining files leaves it",
                    "delete the first three bytes (EF BB BF) of the line",
                )
            )
            line = line.lstrip(_BOM)
        if line:
            yield from _one(line, number, tell)


def _one(line: str, number: int, tell: Tell) -> Iterator[tuple[int, dict[str, Any]]]:
    try:
        value = json.loads(line, object_pairs_hook=_without_repeats(number, tell))
    except _BAD_JSON as error:
        tell(_not_json(error, line, number))
        return
    yield from _object(value, number, tell)


def _object(value: Any, number: int, tell: Tell) -> Iterator[tuple[int, dict[str, Any]]]:
    if isinstance(value, dict):
        yield number, value
    else:
        found = f"must be a JSON object (found {type(value).__name__} {shortened(value)})"
        tell(Fault(number, "", "no object", found, f"one problem: {_SHAPE}"))


def _document(raw: bytes, tell: Tell) -> Iterator[tuple[int, dict[str, Any]]]:
    """The objects of a JSON list, or objects over several lines each, one behind the other."""
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = raw[: error.start].count(b"\n") + 1
        tell(Fault(line, "", "encoding", not_utf8(error), UTF8_HINT))
        return
    place = len(text) - len(text.lstrip())
    listed = text[place] == "["
    if not listed:
        found = "an object over several lines, where each line should hold a whole one"
        tell(Fault(text[:place].count("\n") + 1, "", "several lines", found, "`jq -c . FILE` makes it one per line"))
    place, number = place + listed, text[:place].count("\n") + 1
    while True:
        following = re.compile(r"[\s,]*" if listed else r"\s*").match(text, place)
        assert following is not None
        number += text.count("\n", place, following.end())
        place = following.end()
        if place >= len(text) or (listed and text[place] == "]"):
            return
        decoder = json.JSONDecoder(object_pairs_hook=_without_repeats(number, tell))
        try:
            value, end = decoder.raw_decode(text, place)
        except _BAD_JSON as error:
            line = getattr(error, "lineno", number)
            tell(_not_json(error, text.splitlines()[line - 1], line, rest=True))
            return
        yield from _object(value, number, tell)
        number += text.count("\n", place, end)
        place = end


def _without_repeats(number: int, tell: Tell) -> Callable[[list[tuple[str, Any]]], dict[str, Any]]:
    """JSON lets a key stand twice in an object, and the last one silently wins."""

    def made(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        result = dict(pairs)
        if len(result) < len(pairs):
            keys = [key for key, _ in pairs]
            for key in dict.fromkeys(key for key in keys if keys.count(key) > 1):
                found = f"stands {keys.count(key)} times in one object; the last one counts"
                tell(Fault(number, one_line(key, 60), "repeated key", found, "keep one of them"))
        return result

    return made


def _not_json(error: Exception, line: str, number: int, rest: bool = False) -> Fault:
    """What is wrong with the text, and the likeliest cause."""
    column = getattr(error, "colno", 1)
    before, after = line[: column - 1].rstrip(), line[column - 1 :]
    if isinstance(error, RecursionError):
        fix = "nest less deeply"
    elif after.startswith("'"):
        fix = "JSON wants double quotes"
    elif "Extra data" in str(error):
        fix = "one object per line: break the line here"
    elif (before.endswith(",") and after[:1] in {"}", "]"}) or "trailing comma" in str(error):
        fix = "delete the comma before the bracket"
    elif "control character" in str(error):
        fix = r"inside a text a line break is \n and a tab is \t"
    elif _PYTHON.match(after):
        fix = "JSON writes null, true and false"
    elif "Invalid \\escape" in str(error):
        fix = r"a backslash is written \\"
    elif not after.strip():
        fix = "the line ends too early: close its quotes and brackets"
    else:
        fix = "write records with a program, e.g. json.dumps(problem) in Python"
    also = "; what follows could not be read" if rest else ""
    reason = one_line(getattr(error, "msg", str(error)))
    return Fault(number, "", "not JSON", f"not JSON ({reason}, column {column}){also}", fix)
