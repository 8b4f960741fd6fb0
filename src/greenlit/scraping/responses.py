"""Answers of a site as they came, one file each: what lies here is not asked again.

An answer is there whole or not at all, whatever ends the process, so that a kill costs the request in flight at most.
"""

import hashlib
import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from greenlit.jsonl import atomic_write, read_json, read_json_lines


class Responses:
    """The answers of one source; made by one process at a time."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.used: dict[str, None] = {}
        """Names of the answers asked for so far, cached or not, in this order."""
        folder.mkdir(parents=True, exist_ok=True)
        for litter in folder.glob(".*.part"):  # of a process that was killed while it wrote
            litter.unlink()

    def __len__(self) -> int:
        return sum(1 for _ in self.folder.glob("*.json"))

    def get(self, name: str) -> Any | None:
        """The answer of this name, None where there is none yet."""
        path = self.folder / name
        if not path.exists():
            return None
        self.used[name] = None
        return read_json(path)

    def put(self, name: str, body: str) -> None:
        """Keep an answer."""
        with atomic_write(self.folder / name) as stream:
            stream.write(body)
        self.used[name] = None

    def rows(self) -> Iterator[str]:
        """The answers used, as lines of JSON."""
        for name in self.used:
            yield json.dumps({"name": name, "answer": read_json(self.folder / name)}, ensure_ascii=False) + "\n"

    def take_in(self, file: Path) -> None:
        """Answers of an earlier result, e.g. of another machine, as far as they are not here."""
        for _, row in read_json_lines(file) if file.exists() else ():
            name = row.get("name")
            if isinstance(name, str) and _NAME.fullmatch(name) and not (self.folder / name).exists():
                with atomic_write(self.folder / name) as stream:
                    json.dump(row.get("answer"), stream, ensure_ascii=False)


_NAME = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9-]{0,250}\.json")


def name_of(label: str, asked: Mapping[str, Any]) -> str:
    """The file of an answer: a label for people, and a digest of all that was asked and where.

    Args:
        label: letters, digits and dashes; only its beginning counts.
    """
    digest = hashlib.sha256(json.dumps(asked, sort_keys=True).encode()).hexdigest()[:16]
    return f"{re.sub(r'[^a-zA-Z0-9-]', '-', label)[:120]}-{digest}.json"
