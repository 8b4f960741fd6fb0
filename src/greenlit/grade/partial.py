"""OUT.partial: where rows are collected until OUT is whole, so that a stop of any kind costs next to nothing.

OUT.partial.json beside it says what the rows were made from. Rows are written in blocks of whole lines; a line torn all
the same (power, SIGKILL, a full disk) is cut off.
"""

import fcntl
import json
import os
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from greenlit.errors import ConfigError, WorldError
from greenlit.jsonl import atomic_write, write_json

LINES_PER_WRITE, WRITE_EVERY_S = 256, 1.0
_PIECE = 1 << 20


class PartialRows:
    """The open partial file; made by `partial_rows`."""

    def __init__(self, out: Path, handle: int, path: Path) -> None:
        self.out, self.path = out, path
        self.found = 0
        """Whole lines that were there before."""
        self._handle = handle
        self._size = 0
        self._lines: list[bytes] = []
        self._written = time.monotonic()

    def take_up(self) -> None:
        """Keep the whole lines there are."""
        end = 0
        for piece, start in self._pieces():
            self.found += piece.count(b"\n")
            last = piece.rfind(b"\n")
            end = start + last + 1 if last >= 0 else end
        self._cut(end)

    def start_anew(self) -> None:
        """Keep nothing."""
        self.found = 0
        self._cut(0)

    def _pieces(self) -> Iterator[tuple[bytes, int]]:
        place = 0
        while piece := os.pread(self._handle, _PIECE, place):
            yield piece, place
            place += len(piece)

    def _cut(self, size: int) -> None:
        os.ftruncate(self._handle, size)
        os.lseek(self._handle, size, os.SEEK_SET)
        self._size = size

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
        self._cut(self._size)  # a signal may have come between a write and our knowing of it
        block = b"".join(self._lines)
        rest = memoryview(block)
        try:
            while rest:
                rest = rest[os.write(self._handle, rest) :]
        except OSError:
            with suppress(OSError):
                self._cut(self._size)
            raise
        self._size += len(block)
        self._lines.clear()
        self._written = time.monotonic()

    def finish(self) -> None:
        """Everything is there: it becomes OUT, which appears whole or not at all."""
        self.flush()
        os.fsync(self._handle)
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
        handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
    except (PermissionError, IsADirectoryError, NotADirectoryError, FileExistsError) as error:
        raise ConfigError(f"--out: cannot write {out} ({error})") from None
    except OSError as error:
        raise WorldError(f"{path}: {error.strerror or error}") from error
    try:
        yield _begun(out, handle, path, made_from)
    except OSError as error:
        raise WorldError(
            f"{path}: {error.strerror or error}",
            hint="what was judged stays in it; the same command goes on from there",
        ) from error
    finally:
        os.close(handle)


def _begun(out: Path, handle: int, path: Path, made_from: dict[str, Any]) -> tuple[PartialRows, str | None]:
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise WorldError(
            f"{path}: another `greenlit grade` is writing it", hint="wait for it, or name another --out"
        ) from None
    rows = PartialRows(out, handle, path)
    before = _made_from(path)
    if before == made_from:
        rows.take_up()
        return rows, None
    differing = [key for key in made_from if before is None or before.get(key) != made_from[key]]
    reason = None if os.fstat(handle).st_size == 0 else ", ".join(differing)
    rows.start_anew()
    write_json(_header_of(path), made_from)
    return rows, reason


def _made_from(path: Path) -> dict[str, Any] | None:
    try:
        content = json.loads(_header_of(path).read_text(encoding="utf-8"))
    except (FileNotFoundError, ValueError):
        return None
    return content if isinstance(content, dict) else None
