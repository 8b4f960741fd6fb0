"""What the system and the libraries say about disk, rights, memory and the network, as one of our own errors."""

import errno
import sqlite3
from concurrent.futures.process import BrokenProcessPool

from greenlit.errors import ConfigError, DataError, GreenlitError, WorldError

GO_ON = "what was done is kept; the same command goes on from there"
_NO_MEMORY = ("can't allocate memory", "cannot allocate memory", "out of memory", "bad_alloc", "bad alloc")
_TORCH_WRITES = ("inline_container.cc", "iostream error")
"""What torch says when it cannot write a file; it does not tell why."""
_FEWER = "lower batch_size or GREENLIT_WORKERS, or free memory"


def as_known(fault: BaseException) -> GreenlitError | None:
    """A fault of ours as it is, or a fault of the world as one of ours; None for what nobody foresaw."""
    if isinstance(fault, GreenlitError):
        return fault
    text = str(fault).strip().lower()
    if is_no_memory(fault):
        return WorldError(f"not enough memory ({first_line(fault)})", hint=_FEWER)
    if isinstance(fault, BrokenProcessPool):
        return WorldError("a process of ours died, most likely for lack of memory", hint=_FEWER)
    if isinstance(fault, sqlite3.OperationalError) and "locked" in text:
        return WorldError(f"another process holds a database ({first_line(fault)})", hint="wait for it, or end it")
    number = fault.errno if isinstance(fault, OSError) else None
    place = _place(fault) if isinstance(fault, OSError) else ""
    if number in {errno.ENOSPC, errno.EDQUOT} or _says_full(text):
        return WorldError(f"{place}the disk is full", hint=f"free some space; {GO_ON}")
    if any(words in text for words in _TORCH_WRITES):
        return WorldError("torch could not write a file", hint=f"most likely the disk is full: free some; {GO_ON}")
    if number in {errno.EROFS, errno.EACCES, errno.EPERM} or "readonly database" in text:
        return ConfigError(f"{place}no right to do that ({first_line(fault)})", hint="make it writable, or move away")
    return _of_the_system(fault, number, place)


def is_no_memory(fault: BaseException) -> bool:
    """Could memory not be had, on a device or in the machine?"""
    return isinstance(fault, MemoryError) or any(words in str(fault).lower() for words in _NO_MEMORY)


def _place(fault: OSError) -> str:
    """The file; of two, as in a copy, the one that is written."""
    name = fault.filename2 or fault.filename
    return f"{name}: " if name else ""


def _of_the_system(fault: BaseException, number: int | None, place: str) -> GreenlitError | None:
    if number == errno.ENOENT and place:
        return DataError(
            f"{place}no such file", hint="run the stage that writes it: `dvc repro` (--debug shows who asks)"
        )
    if number in {errno.EISDIR, errno.ENOTDIR, errno.EEXIST, errno.ENOTEMPTY, errno.ELOOP, errno.ENAMETOOLONG}:
        hint = "a file stands where a folder is expected, or the other way round: move it away"
        return DataError(f"{place}cannot be used ({first_line(fault)})", hint=hint)
    if number in {errno.EMFILE, errno.ENFILE, errno.EAGAIN, errno.ENOMEM}:
        return WorldError(f"{place}the system refuses ({first_line(fault)})", hint="see `ulimit -a`, free memory")
    if number in {errno.EIO, errno.ESTALE}:
        return WorldError(f"{place}the disk fails ({first_line(fault)})", hint=GO_ON)
    if isinstance(fault, ConnectionError | TimeoutError) or number in {errno.ENETUNREACH, errno.EHOSTUNREACH}:
        return WorldError(f"{place}no connection ({first_line(fault)})", hint="check the network")
    return None


def _says_full(text: str) -> bool:
    """Libraries that write in C or Rust tell it in words of their own."""
    return any(words in text for words in ("no space left on device", "disk quota exceeded", "disk is full"))


def first_line(fault: BaseException) -> str:
    """What a fault says, short enough for a message."""
    if isinstance(fault, OSError) and fault.strerror:
        return fault.strerror
    return (str(fault).strip().splitlines() or [type(fault).__name__])[0][:300]
