"""JSON Lines: streaming reads that name the faulty line, atomic writes, gzip by suffix."""

import gzip
import io
import json
import os
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, TypeVar

from pydantic import BaseModel, ValidationError

from greenlit.errors import DataError

Row = TypeVar("Row", bound=BaseModel)


def read_lines(path: Path) -> Iterator[tuple[int, str]]:
    """Yield (line number from 1, text) of the lines that are not blank; a byte order mark and CRLF are no fault.

    Raises:
        DataError: the file is missing, not UTF-8, or damaged gzip.
    """
    opener = gzip.open if path.suffix == ".gz" else open
    number = 0
    try:
        with opener(path, "rb") as stream:
            for number, raw in enumerate(stream, start=1):
                line = raw.decode("utf-8-sig" if number == 1 else "utf-8").strip()
                if line:
                    yield number, line
    except FileNotFoundError:
        raise DataError(f"{path}: no such file", hint="run the stage that writes it: `dvc repro`") from None
    except UnicodeDecodeError as error:
        found = f"byte 0x{error.object[error.start]:02x} at position {error.start}"
        raise DataError(f"{path}:{number}: not UTF-8 ({found})") from None
    except (gzip.BadGzipFile, EOFError) as error:
        raise DataError(f"{path}: damaged gzip file ({error})") from None


def read_rows(path: Path, kind: type[Row]) -> Iterator[Row]:
    """Stream the records of a file.

    Raises:
        DataError: `file:line: field: what`, for the first line that breaks the format.
    """
    for number, line in read_lines(path):
        try:
            yield kind.model_validate_json(line)
        except ValidationError as error:
            raise DataError(f"{path}:{number}: {first_fault(error)}") from None


def read_json_lines(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """Stream (line number, object) of a file whose columns Greenlit does not prescribe."""
    for number, line in read_lines(path):
        try:
            row = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise DataError(f"{path}:{number}: not JSON ({error})") from None
        if not isinstance(row, dict):
            raise DataError(f"{path}:{number}: must be a JSON object (found {type(row).__name__})")
        yield number, row


def first_fault(error: ValidationError) -> str:
    """One pydantic fault as `field: what (found ...)`."""
    fault = error.errors(include_url=False)[0]
    place = ".".join(str(part) for part in fault["loc"])
    found = "" if fault["type"] in {"missing", "json_invalid"} else f" (found {shortened(fault['input'])})"
    message = fault["msg"][0].lower() + fault["msg"][1:]
    return f"{place}: {message}{found}" if place else f"{message}{found}"


def shortened(value: Any, limit: int = 60) -> str:
    """A value as it reads in an error message."""
    text = repr(value)
    return text if len(text) <= limit else f"{text[:limit]}..."


@contextmanager
def atomic_write(path: Path) -> Iterator[IO[str]]:
    """Open a text file that appears under `path` whole, or not at all."""
    with atomic_file(path) as raw:
        if path.suffix == ".gz":
            packed = gzip.GzipFile(filename="", mode="wb", fileobj=raw, mtime=0)
            stream: IO[str] = io.TextIOWrapper(packed, encoding="utf-8", newline="\n")
        else:
            stream = io.TextIOWrapper(raw, encoding="utf-8", newline="\n")
        yield stream
        stream.detach()  # flushes, and leaves the closing to those who opened
        if path.suffix == ".gz":
            packed.close()


@contextmanager
def atomic_file(path: Path) -> Iterator[IO[bytes]]:
    """Open a binary file that appears under `path` whole, or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".part", dir=path.parent)
    try:
        with os.fdopen(handle, "wb") as raw:
            yield raw
            raw.flush()
            os.fsync(raw.fileno())
        Path(name).chmod(0o666 & ~_umask())
        Path(name).replace(path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise


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
        json.dump(value, stream, indent=2, ensure_ascii=False)
        stream.write("\n")


def read_json(path: Path) -> Any:
    """Read one JSON document.

    Raises:
        DataError: the file is missing or not JSON.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise DataError(f"{path}: no such file", hint="run the stage that writes it: `dvc repro`") from None
    except ValueError as error:
        raise DataError(f"{path}: not JSON ({error})") from None
