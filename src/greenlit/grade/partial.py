"""OUT.partial: where rows are collected until OUT is whole, so that a stop of any kind costs next to nothing.

OUT.partial.json beside it says what the rows were made from. Rows are written in blocks of whole lines; a line torn all
the same (power, SIGKILL, a full disk) is cut off.
"""

import json
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from greenlit.appending import Appending
from greenlit.errors import ConfigError, WorldError
from greenlit.jsonl import atomic_write, write_json

LINES_PER_WRITE, WRITE_EVERY_S = 256, 1.0


class PartialRows:
    """The open partial file; made by `partial_rows`."""

    def __init__(self, out: Path, file: Appending) -> None:
        self.out, self.path = out, file.path
        self.found = sum(1 for _ in file.lines())
        """Whole lines that were there before."""
        self._file = file
        self._lines: list[bytes] = []
        self._written = time.monotonic()

    def start_anew(self) -> None:
        """Keep nothing."""
        self.found = 0
        self._file.cut(0)

    def rows(self) -> Iterator[dict[str, Any]]:
        """The rows that were there before."""
        with self.path.open(encoding="utf-8") as stream:
            for _ in range(self.found):
                yield json.loads(stream.readline())

    def add(self, row: dict[str, Any]) -> None:
        """Add a row; it is on its way to the disk within a second while rows keep coming."""
        self._lines.append(json.dumps(row).encode() + b"\n")
        if len(self._lines) >= LINES_PER_WRITE or time.monotonic() - self._written > WRITE_EVERY_S:
            self.flush()

    def flush(self) -> None:
        """Write what there is. After a fault the file ends with the last line of the block before."""
        self._file.append(self._lines)
        self._lines.clear()
        self._written = time.monotonic()

    def finish(self) -> None:
        """Everything is there: it becomes OUT, which appears whole or not at all."""
        self.flush()
        self._file.sync()
        if self.out.suffix == ".gz":
            with self.path.open(encoding="utf-8") as rows, atomic_write(self.out) as packed:
                shutil.copyfileobj(rows, packed)
            self.path.unlink()
        else:
            self.path.replace(self.out)
        _header_of(self.path).unlink(missing_ok=True)


def partial_of(out: Path) -> Path:
    """Where the rows of `out` are collected."""
    return out.parent / f"{out.name}.partial"


def _header_of(partial: Path) -> Path:
    return partial.with_name(f"{partial.name}.json")


@contextmanager
def partial_rows(out: Path, made_from: dict[str, Any]) -> Iterator[tuple[PartialRows, str | None]]:
    """Open OUT.partial; yield it, and why what it holds was not taken up (None: it was, or there was nothing).

    Raises:
        ConfigError: OUT cannot be there.
        WorldError: the disk is full or fails, or somebody else is writing to it; what was written stays.
    """
    path = partial_of(out)
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        if out.is_dir():
            raise IsADirectoryError(f"{out} is a folder")
        file = Appending(path)
    except BlockingIOError:
        raise WorldError(
            f"{path}: another `greenlit grade` is writing it", hint="wait for it, or name another --out"
        ) from None
    except (PermissionError, IsADirectoryError, NotADirectoryError, FileExistsError) as error:
        raise ConfigError(f"--out: cannot write {out} ({error})") from None
    except OSError as error:
        raise WorldError(f"{path}: {error.strerror or error}") from error
    try:
        with file:
            yield _begun(out, file, made_from)
    except OSError as error:
        raise WorldError(
            f"{path}: {error.strerror or error}",
            hint="what was judged stays in it; the same command goes on from there",
        ) from error


def _begun(out: Path, file: Appending, made_from: dict[str, Any]) -> tuple[PartialRows, str | None]:
    rows = PartialRows(out, file)
    before = _made_from(file.path)
    if before == made_from:
        return rows, None
    differing = [key for key in made_from if before is None or before.get(key) != made_from[key]]
    reason = ", ".join(differing) if file.size else None
    rows.start_anew()
    write_json(_header_of(file.path), made_from)
    return rows, reason


def _made_from(path: Path) -> dict[str, Any] | None:
    try:
        content = json.loads(_header_of(path).read_text(encoding="utf-8"))
    except (FileNotFoundError, ValueError):
        return None
    return content if isinstance(content, dict) else None
