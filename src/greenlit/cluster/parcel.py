"""A model's directory on its way to the nodes.

A node that sees the same files at the same path (a shared disk, or the driver's own machine) uses them there. To others
the files travel through Ray's object store in pieces, once per node, into a folder named by their hash:

    <cache>/models/<sha256>/       GREENLIT_NODE_CACHE on the node, else ~/.cache/greenlit; the newest few are kept
"""

import fcntl
import hashlib
import os
import shutil
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from greenlit.errors import WorldError
from greenlit.stage.workspace import atomic_folder

PIECE = 32 << 20
"""Bytes of one object in the store."""
KEPT = 4
"""Models that a node keeps, those used last."""
CACHE = "GREENLIT_NODE_CACHE"
"""Environment variable of a node: where models and findings are kept."""


@dataclass(frozen=True)
class Parcel:
    """What a directory holds, so that a node can tell whether it has it."""

    folder: str
    sha256: str
    """Over names and contents of all files."""
    files: tuple[tuple[str, int, int], ...]
    """Name below the folder, size, time of the last change in ns."""


def parcel_of(folder: Path) -> Parcel:
    """Read the directory once."""
    digest, files = hashlib.sha256(), []
    for path in _files(folder):
        state, name = path.stat(), path.relative_to(folder).as_posix()
        digest.update(f"{name}\0{state.st_size}\0".encode())
        with path.open("rb") as stream:
            while piece := stream.read(1 << 20):
                digest.update(piece)
        files.append((name, state.st_size, state.st_mtime_ns))
    return Parcel(str(folder.resolve()), digest.hexdigest(), tuple(files))


def pieces_of(parcel: Parcel) -> Iterator[bytes]:
    """The contents of all files, one after the other."""
    rest = bytearray()
    for name, _, _ in parcel.files:
        with (Path(parcel.folder) / name).open("rb") as stream:
            while part := stream.read(PIECE - len(rest)):
                rest += part
                if len(rest) == PIECE:
                    yield bytes(rest)
                    rest.clear()
    if rest:
        yield bytes(rest)


def cache() -> Path:
    """Where this node keeps what it was sent."""
    return Path(os.environ.get(CACHE) or Path.home() / ".cache" / "greenlit")


def found(parcel: Parcel) -> Path | None:
    """The directory on this node: the driver's own, or the one unpacked before."""
    own = Path(parcel.folder)
    if own.is_dir() and _listing(own) == parcel.files:
        return own
    kept = cache() / "models" / parcel.sha256
    if kept.is_dir():
        os.utime(kept)
        return kept
    return None


def unpack(parcel: Parcel, pieces: Iterable[bytes]) -> Path:
    """Write the files where this node keeps them; one process does, and the others of the node wait for it.

    Raises:
        WorldError: what arrived is not what was sent.
    """
    with one_at_a_time(parcel.sha256):
        kept = found(parcel)
        if kept is not None:
            return kept
        target = cache() / "models" / parcel.sha256
        with atomic_folder(target) as part:
            _write(parcel, iter(pieces), part)
            if parcel_of(part).sha256 != parcel.sha256:
                raise WorldError(
                    f"{parcel.folder}: damaged on its way to a node", hint="run it again; if it stays, check the disks"
                )
        _prune(target)
        return target


@contextmanager
def one_at_a_time(name: str) -> Iterator[None]:
    """One process of this node does it, the others wait."""
    path = cache() / "locks" / f"{name}.lock"
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file())


def _listing(folder: Path) -> tuple[tuple[str, int, int], ...]:
    states = ((path.relative_to(folder).as_posix(), path.stat()) for path in _files(folder))
    return tuple((name, state.st_size, state.st_mtime_ns) for name, state in states)


def _write(parcel: Parcel, pieces: Iterator[bytes], folder: Path) -> None:
    rest = memoryview(b"")
    for name, size, _ in parcel.files:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("wb") as stream:
            while size:
                rest = rest or memoryview(next(pieces, b""))
                if not rest:
                    return  # the hash tells
                part, rest = rest[:size], rest[size:]
                size -= stream.write(part)


def _prune(new: Path) -> None:
    others = sorted((path for path in new.parent.iterdir() if path != new), key=lambda path: -path.stat().st_mtime)
    for old in others[KEPT - 1 :]:
        shutil.rmtree(old, ignore_errors=True)
