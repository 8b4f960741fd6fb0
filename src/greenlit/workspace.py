"""`.work/<stage>/<key>/`: where a stage keeps unfinished results, because DVC deletes a stage's outs before it runs.

The key is a hash of everything the result depends on, so that a restart finds its own partial files and nobody else's.
"""

import hashlib
import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

WORK = Path(".work")


def sha256_file(path: Path) -> str:
    """Hex digest of a file, read in pieces."""
    digest = hashlib.sha256()
    with path.open("rb") as stream:
        while piece := stream.read(1 << 20):
            digest.update(piece)
    return digest.hexdigest()


def sha256_tree(folder: Path) -> str:
    """Hex digest over names and contents of all files below a folder."""
    digest = hashlib.sha256()
    for path in sorted(item for item in folder.rglob("*") if item.is_file() and "__pycache__" not in item.parts):
        digest.update(f"{path.relative_to(folder).as_posix()}\0{sha256_file(path)}\0".encode())
    return digest.hexdigest()


def sha256_path(path: Path) -> str:
    """Digest of a file or of a folder."""
    return sha256_tree(path) if path.is_dir() else sha256_file(path)


def work_key(settings: Any, inputs: list[Path]) -> str:
    """Hash of settings (JSON-able), input files or folders, and Greenlit's own code."""
    code = sha256_tree(Path(__file__).parent)
    parts = [json.dumps(settings, sort_keys=True, default=str), code, *map(sha256_path, inputs)]
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:16]


@contextmanager
def work_dir(stage: str, settings: Any, inputs: list[Path]) -> Iterator[Path]:
    """A folder that survives a failure of the block and is removed when it succeeds."""
    folder = WORK / stage / work_key(settings, inputs)
    folder.mkdir(parents=True, exist_ok=True)
    yield folder
    shutil.rmtree(folder)


@contextmanager
def atomic_folder(target: Path) -> Iterator[Path]:
    """A folder that appears under `target` whole, or not at all; an older one is replaced."""
    part = target.with_name(f".{target.name}.part")
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir(parents=True)
    try:
        yield part
        shutil.rmtree(target, ignore_errors=True)
        part.replace(target)
    except BaseException:
        shutil.rmtree(part, ignore_errors=True)
        raise
