"""Add rows to the files of human/<dataset>/: whole lines only, on the disk before the next question is asked."""

import os
from collections.abc import Iterable
from pathlib import Path
from types import TracebackType
from typing import Self

from greenlit.appending import Appending
from greenlit.preferences.records import Human


class HumanFile:
    """An open file of rows. A context manager; made, with its folder, when the first row comes.

    Read it before: what is not a valid row must be mended by its author, not be cut off by us.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.added = 0
        self._file: Appending | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._file is not None:
            self._file.__exit__(kind, error, trace)

    def add(self, rows: Iterable[Human]) -> None:
        """Append rows: all of them, or, after a fault, none.

        Raises:
            OSError: they could not be written.
        """
        lines = [row.model_dump_json(exclude_unset=True).encode() + b"\n" for row in rows]
        if not lines:
            return
        if self._file is None:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            _end_last_line(self.path)
            self._file = Appending(self.path)
        self._file.append(lines)
        self._file.sync()
        self.added += len(lines)


def _end_last_line(path: Path) -> None:
    """A last line written by hand may lack its end; it is no torn one."""
    if path.exists() and path.stat().st_size:
        with path.open("rb+") as stream:
            stream.seek(-1, os.SEEK_END)
            if stream.read(1) != b"\n":
                stream.write(b"\n")
