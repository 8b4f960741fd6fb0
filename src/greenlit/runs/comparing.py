"""Where two files first differ: record and key of JSON Lines, key of JSON and YAML, tensor, line or byte."""

import itertools
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import yaml

from greenlit.jsonl import shortened

_ABSENT = object()
_PIECE = 1 << 20


def first_difference(then: Path, now: Path) -> str | None:
    """Where two files first differ, as `record 3: rewards.tests: 0.0 -> 1.0`; None when they hold the same bytes.

    The name of `now` says what kind of file both are: `then` may lie in DVC's cache, under a hash.
    """
    place = _first_byte(then, now)
    if place is None:
        return None
    try:
        found = _READERS.get(now.suffix, _first_line)(then, now)
    except (ValueError, yaml.YAMLError):  # not what its name says
        found = None
    return found or f"byte {place}"


def _first_byte(then: Path, now: Path) -> int | None:
    with then.open("rb") as one, now.open("rb") as other:
        for start in itertools.count(0, _PIECE):
            a, b = one.read(_PIECE), other.read(_PIECE)
            if a != b:
                return start + next(
                    (i for i, (x, y) in enumerate(zip(a, b, strict=False)) if x != y), min(map(len, (a, b)))
                )
            if not a:
                return None
    return None


def _first_record(then: Path, now: Path) -> str | None:
    with then.open(encoding="utf-8") as one, now.open(encoding="utf-8") as other:
        for number, (a, b) in enumerate(itertools.zip_longest(one, other), start=1):
            if a is None or b is None:
                return f"record {number}: {'missing then' if a is None else 'missing now'}"
            if a != b:
                return f"record {number}: {_first_key(json.loads(a), json.loads(b)) or 'written otherwise'}"
    return None


def _first_key_by(load: Callable[[str], Any]) -> Callable[[Path, Path], str | None]:
    def find(then: Path, now: Path) -> str | None:
        found = _first_key(load(then.read_text(encoding="utf-8")), load(now.read_text(encoding="utf-8")))
        return found or _first_line(then, now)

    return find


def _first_key(then: Any, now: Any, place: str = "") -> str | None:
    """The first key, in the order of the older one, whose values differ: `rewards.tests: 0.0 -> 1.0`."""
    if isinstance(then, dict) and isinstance(now, dict):
        for key in [*then, *(key for key in now if key not in then)]:
            found = _first_key(then.get(key, _ABSENT), now.get(key, _ABSENT), f"{place}.{key}" if place else str(key))
            if found:
                return found
        return None
    if isinstance(then, list) and isinstance(now, list):
        for index, (a, b) in enumerate(itertools.zip_longest(then, now, fillvalue=_ABSENT)):
            if found := _first_key(a, b, f"{place}[{index}]"):
                return found
        return None
    if then is not _ABSENT and now is not _ABSENT and json.dumps(then, default=str) == json.dumps(now, default=str):
        return None
    before, after = ("nothing" if value is _ABSENT else shortened(value) for value in (then, now))
    return f"{place}: {before} -> {after}" if place else f"{before} -> {after}"


def _first_line(then: Path, now: Path) -> str | None:
    with then.open(encoding="utf-8") as one, now.open(encoding="utf-8") as other:
        for number, (a, b) in enumerate(itertools.zip_longest(one, other), start=1):
            if a != b:
                before, after = ("nothing" if line is None else shortened(line.rstrip("\n")) for line in (a, b))
                return f"line {number}: {before} -> {after}"
    return None


def _first_tensor(then: Path, now: Path) -> str | None:
    """safetensors: 8 bytes of header length, a JSON header with the place of every tensor, the tensors."""
    headers = []
    for path in (then, now):
        with path.open("rb") as stream:
            headers.append(json.loads(stream.read(int.from_bytes(stream.read(8), "little"))))
    if headers[0] != headers[1]:
        return f"header: {_first_key(*headers)}"
    with then.open("rb") as one, now.open("rb") as other:
        start = 8 + int.from_bytes(one.read(8), "little")
        for name, tensor in headers[0].items():
            if name == "__metadata__":
                continue
            begin, end = tensor["data_offsets"]
            one.seek(start + begin)
            other.seek(start + begin)
            if one.read(end - begin) != other.read(end - begin):
                return f"tensor {name}"
    return None


_READERS: dict[str, Callable[[Path, Path], str | None]] = {
    ".jsonl": _first_record,
    ".json": _first_key_by(json.loads),
    ".yaml": _first_key_by(yaml.safe_load),
    ".safetensors": _first_tensor,
}
