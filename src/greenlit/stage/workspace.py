"""`.work/<stage>/<key>/`: where a stage keeps unfinished results, because DVC deletes a stage's outs before it runs.

The key is a hash of everything the result depends on, so that a restart finds its own partial files and nobody else's.
"""

import hashlib
import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

WORK = Path(".work")
ANSWERS = WORK / "scrape"
"""What web sites answered, a folder per source. Copies of the project share it, so that nothing is asked twice."""
_GREENLIT = Path(__file__).parents[1]
_FINISHED = "finished"
_OLD = ".old"


def python_path(source: Path) -> str:
    """PYTHONPATH of a process that runs the code there: it comes first, then what the user's own PYTHONPATH holds."""
    return os.pathsep.join(filter(None, [str(source.resolve()), os.environ.get("PYTHONPATH")]))


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
    code = sha256_tree(_GREENLIT)
    parts = [json.dumps(settings, sort_keys=True, default=str), code, *map(sha256_path, inputs)]
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:16]


def work_folder(stage: str, settings: Any, inputs: list[Path]) -> Path:
    """Where `work_dir` is, for a process beside the one that opens it."""
    return WORK / stage / work_key(settings, inputs)


@contextmanager
def work_dir(stage: str, settings: Any, inputs: list[Path]) -> Iterator[Path]:
    """A folder that survives a failure of the block, and also its success until the stage runs again.

    A stage may be killed after its last line and before DVC has noted its outs, which takes a while for large ones:
    then it runs again, finds all its work in the folder, and only writes its outs anew.
    """
    folder = work_folder(stage, settings, inputs)
    sweep(stage, keep=folder)
    folder.mkdir(parents=True, exist_ok=True)
    yield folder
    (folder / _FINISHED).touch()


def sweep(stage: str | None = None, keep: Path | None = None) -> None:
    """Remove what finished stages (or this one) left in `.work`, but not the folder to keep."""
    for mark in WORK.glob(f"{stage or '*'}/*/{_FINISHED}"):
        if mark.parent != keep:
            mark.parent.rename(mark.parent.with_name(f"{mark.parent.name}{_OLD}"))  # nobody finds half a folder
    for old in WORK.glob(f"{stage or '*'}/*{_OLD}"):
        shutil.rmtree(old, ignore_errors=True)


def part_of(target: Path) -> Path:
    """What `atomic_folder` yields."""
    return target.with_name(f".{target.name}.part")


@contextmanager
def atomic_folder(target: Path) -> Iterator[Path]:
    """A folder that appears under `target` whole, or not at all; an older one is replaced."""
    part = part_of(target)
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir(parents=True)
    try:
        yield part
        shutil.rmtree(target, ignore_errors=True)
        part.replace(target)
    except BaseException:
        shutil.rmtree(part, ignore_errors=True)
        raise
