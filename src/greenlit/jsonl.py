"""JSON Lines: streaming reads that name the faulty line, atomic writes, gzip by suffix."""

import codecs
import errno
import gzip
import io
import json
import os
import reprlib
import tempfile
import zlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any, TypeVar

from pydantic import BaseModel, ValidationError

from greenlit.errors import DataError

Row = TypeVar("Row", bound=BaseModel)
LINE_LIMIT = 64 << 20
"""Bytes of the longest line that is read: a file without line ends must not take all memory."""
UTF8_HINT = "save it as UTF-8, e.g. with `iconv -t UTF-8`"


def read_lines(path: Path) -> Iterator[tuple[int, str]]:
    """Yield (line number from 1, text) of the lines that are not blank; a byte order mark and CRLF are no fault.

    Raises:
        DataError: the file is missing or a folder, not UTF-8, damaged gzip, or has a line longer than LINE_LIMIT.
    """
    opener = gzip.open if path.suffix == ".gz" else open
    number = 0
    try:
        with opener(path, "rb") as stream:
            while raw := stream.readline(LINE_LIMIT + 1):
                number += 1
                if len(raw) > LINE_LIMIT:
                    raise DataError(
                        f"{path}:{number}: a line longer than {LINE_LIMIT >> 20} MiB",
                        hint="one record per line; is this a JSON Lines file?",
                    )
                line = raw.decode("utf-8-sig" if number == 1 else "utf-8").strip()
                if line:
                    yield number, line
    except FileNotFoundError:
        raise _missing(path) from None
    except IsADirectoryError:
        raise DataError(f"{path}: a folder, where a file is expected") from None
    except UnicodeDecodeError as error:
        raise DataError(f"{path}:{number}: {not_utf8(error)}", hint=UTF8_HINT) from None
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise DataError(f"{path}: damaged gzip file ({error})", hint="fetch or write it again") from None


def read_rows(path: Path, kind: type[Row]) -> Iterator[Row]:
    """Stream the records of a file.

    Raises:
        DataError: `file:line: field: what`, for the first line that breaks the format.
    """
    return (row for _, row in read_numbered_rows(path, kind))


def read_numbered_rows(path: Path, kind: type[Row]) -> Iterator[tuple[int, Row]]:
    """As `read_rows`, each with its line number, for faults that only show between rows."""
    for number, line in read_lines(path):
        try:
            yield number, kind.model_validate_json(line)
        except ValidationError as error:
            raise DataError(f"{path}:{number}: {first_fault(error)}") from None


def read_json_lines(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """Stream (line number, object) of a file whose columns Greenlit does not prescribe.

    NaN and Infinity are read as Python writes them: in a column that nobody asks for they do no harm.
    """
    for number, line in read_lines(path):
        try:
            row = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise DataError(f"{path}:{number}: not JSON ({error})") from None
        if not isinstance(row, dict):
            raise DataError(f"{path}:{number}: must be a JSON object (found {type(row).__name__})")
        yield number, row


def _missing(path: Path) -> DataError:
    return DataError(f"{path}: no such file", hint="run the stage that writes it: `dvc repro`")


def not_utf8(error: UnicodeDecodeError) -> str:
    """What is wrong with the bytes, and what they may be instead."""
    start = error.object[:2]
    guess = ", UTF-16 by its first bytes" if start in {codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE} else ""
    return f"not UTF-8 (byte 0x{error.object[error.start]:02x} at position {error.start}{guess})"


def first_fault(error: ValidationError) -> str:
    """One pydantic fault as `field: what (found ...)`, on one line of bounded length."""
    fault = error.errors(include_url=False)[0]
    place = ".".join(str(part) for part in fault["loc"])
    if fault["type"] == "union_tag_invalid":
        told = fault["ctx"]
        key = told["discriminator"].strip("'")
        return f"{one_line(place)}.{key}: must be one of {told['expected_tags']} (found {shortened(told['tag'])})"
    found = "" if fault["type"] in {"missing", "json_invalid"} else f" (found {shortened(fault['input'])})"
    message = fault["msg"][0].lower() + fault["msg"][1:]
    return one_line(f"{place}: {message}" if place else message) + found


def shortened(value: Any, limit: int = 60) -> str:
    """A value as it reads in an error message; however large it is, little of it is looked at."""
    if isinstance(value, str | bytes):
        text = repr(value[: limit + 1])
    elif isinstance(value, list | dict | tuple | set):
        text = reprlib.repr(value)
    else:
        try:
            text = repr(value)
        except ValueError:  # an integer of thousands of digits
            text = f"a huge {type(value).__name__}"
    return text if len(text) <= limit else f"{text[:limit]}..."


def one_line(text: str, limit: int = 300) -> str:
    """Text from a user's file as part of a message: nothing in it breaks the line or steers the terminal."""
    plain = "".join(char if char.isprintable() else repr(char)[1:-1] for char in text[: limit + 1])
    return plain if len(plain) <= limit else f"{plain[:limit]}..."


@contextmanager
def atomic_write(path: Path) -> Iterator[IO[str]]:
    """Open a text file that appears under `path` whole, or not at all."""
    with atomic_writes(path) as (stream,):
        yield stream


@contextmanager
def atomic_writes(*paths: Path) -> Iterator[list[IO[str]]]:
    """Open text files that belong together: all appear, whole, or none does.

    All are on the disk before the first one is renamed, so that a disk that fills up leaves the old files as they are.
    """
    parts: list[_Part] = []
    try:
        for path in paths:
            parts.append(_Part(path))
        yield [part.stream for part in parts]
        for part in parts:
            part.finish()
        for part in parts:
            part.name.replace(part.target)
    except OSError as error:
        if error.filename is None and error.errno in _OF_WRITING:  # writing to an open file tells no name
            error.filename = ", ".join(map(str, paths))
        raise
    finally:
        for part in parts:
            part.drop()


_OF_WRITING = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO}


class _Part:
    """A file that is being written beside its target."""

    def __init__(self, target: Path) -> None:
        self.target = target
        target.parent.mkdir(parents=True, exist_ok=True)
        try:
            handle, name = tempfile.mkstemp(prefix=f".{target.name}.", suffix=".part", dir=target.parent)
        except OSError as error:
            error.filename = str(target)
            raise
        self.name = Path(name)
        self._raw = os.fdopen(handle, "wb")
        packed = target.suffix == ".gz"
        self._packed = gzip.GzipFile(filename="", mode="wb", fileobj=self._raw, mtime=0) if packed else None
        self.stream: IO[str] = io.TextIOWrapper(self._packed or self._raw, encoding="utf-8", newline="\n")

    def finish(self) -> None:
        """Bring everything to the disk."""
        self.stream.flush()
        if self._packed is not None:
            self._packed.close()
        self._raw.flush()
        os.fsync(self._raw.fileno())
        self.name.chmod(0o666 & ~_umask())

    def drop(self) -> None:
        """Close, and leave no litter where the file did not come to its name."""
        for stream in (self.stream, self._raw):
            with suppress(OSError):  # a full disk again: that it is full was told by the write before
                stream.close()
        self.name.unlink(missing_ok=True)


def _umask() -> int:
    current = os.umask(0o022)
    os.umask(current)
    return current


def write_rows(path: Path, rows: Iterable[BaseModel]) -> int:
    """Write records atomically, streaming; return how many."""
    count = 0
    with atomic_write(path) as stream:
        for row in rows:
            stream.write(to_line(row))
            count += 1
    return count


def to_line(row: BaseModel) -> str:
    """One record as one line, keys in the order of the class."""
    return row.model_dump_json() + "\n"


def write_json(path: Path, value: Any) -> None:
    """Write one JSON document atomically, readable by people."""
    with atomic_write(path) as stream:
        dump_json(stream, value)


def dump_json(stream: IO[str], value: Any) -> None:
    """Write one JSON document to an open file, readable by people."""
    json.dump(value, stream, indent=2, ensure_ascii=False)
    stream.write("\n")


def read_json(path: Path) -> Any:
    """Read one JSON document.

    Raises:
        DataError: the file is missing or a folder, or not JSON.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8-sig"))
    except FileNotFoundError:
        raise _missing(path) from None
    except IsADirectoryError:
        raise DataError(f"{path}: a folder, where a file is expected") from None
    except UnicodeDecodeError as error:
        raise DataError(f"{path}: {not_utf8(error)}", hint=UTF8_HINT) from None
    except (ValueError, RecursionError) as error:
        raise DataError(f"{path}: not JSON ({error})") from None
