"""A file of lines that grows while a stage runs, and holds whole lines whatever ends the stage.

A block of lines is there whole or, after a fault (a full disk), not at all; a line torn all the same (power, SIGKILL)
is cut off when the file is taken up again.
"""

import fcntl
import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Self

_PIECE = 1 << 20


class Appending:
    """The open file, as found: `lines` reads what it holds, `append` adds to it. A context manager.

    Raises:
        BlockingIOError: another process has it open.
        OSError: it cannot be opened.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
        try:
            fcntl.flock(self._handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            self.size = self._whole()
            self._cut()
        except BaseException:
            os.close(self._handle)
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        os.close(self._handle)

    def append(self, lines: list[bytes]) -> int:
        """Write whole lines; return the offset of the first.

        Raises:
            OSError: they could not be written; the file holds what it held before.
        """
        self._cut()  # a signal may have come between a write and our knowing of it
        start, block = self.size, b"".join(lines)
        rest = memoryview(block)
        try:
            while rest:
                rest = rest[os.write(self._handle, rest) :]
        except OSError as error:
            with suppress(OSError):
                self._cut()
            error.filename = str(self.path)
            raise
        self.size += len(block)
        return start

    def cut(self, size: int) -> None:
        """Keep the first `size` bytes."""
        self.size = size
        self._cut()

    def lines(self) -> Iterator[tuple[int, bytes]]:
        """Yield (offset, line) of all lines."""
        with self.path.open("rb") as stream:
            offset = 0
            for line in stream:
                if offset + len(line) > self.size:
                    return
                yield offset, line
                offset += len(line)

    def sync(self) -> None:
        """On the disk, not only on its way."""
        os.fsync(self._handle)

    def _cut(self) -> None:
        os.ftruncate(self._handle, self.size)
        os.lseek(self._handle, self.size, os.SEEK_SET)

    def _whole(self) -> int:
        """Bytes up to the end of the last whole line."""
        end = os.fstat(self._handle).st_size
        while end:
            start = max(0, end - _PIECE)
            last = os.pread(self._handle, end - start, start).rfind(b"\n")
            if last >= 0:
                return start + last + 1
            end = start
        return 0
