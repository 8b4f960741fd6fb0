"""The chain from a model back to its datasets, as dvc.lock has it: which stage made what from what.

A hash in it finds the data in DVC's cache and remotes.
"""

import hashlib
import json
from collections.abc import Iterable, Mapping
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

import yaml

from greenlit.locked import locked_stages, md5_file, stages_in_order

_CODE = ("src", "tasks", "custom")


class Link(NamedTuple):
    """A stage of the chain: the data that it read and wrote by path, each with DVC's hash, and one hash of its code."""

    stage: str
    reads: dict[str, str]
    writes: dict[str, str]
    code: str
    params: dict[str, Any]

    @classmethod
    def of(cls, stage: str, locked: Mapping[str, Any]) -> "Link":
        """A stage as dvc.lock has it."""
        read = _hashes(locked.get("deps", ()))
        code = {path: md5 for path, md5 in read.items() if PurePosixPath(path).parts[0] in _CODE}
        digest = hashlib.sha256(json.dumps(sorted(code.items())).encode()).hexdigest()
        data = {path: md5 for path, md5 in read.items() if path not in code}
        return cls(stage, data, _hashes(locked.get("outs", ())), digest, dict(locked.get("params", {})))


def _hashes(entries: Iterable[Mapping[str, Any]]) -> dict[str, str]:
    return {entry["path"]: str(entry.get("md5", "")) for entry in entries}


def chain_to(target: Path) -> list[Link]:
    """The stages that made `target`, from the last one back to what no stage made; empty where DVC made it not.

    A lock that is not of the files that lie here (a stage was run by hand, without DVC) is no proof of anything: then
    the chain is empty too.
    """
    try:
        locked = locked_stages(Path())
        producers = stages_in_order(locked)
        waiting = [name for name in producers if target.as_posix() in _hashes(locked[name].get("outs", ()))]
        needed: set[str] = set()
        while waiting:
            needed.add(name := waiting.pop())
            waiting += [producer for producer in producers[name] if producer not in needed]
        chain = [Link.of(name, locked[name]) for name in reversed(producers) if name in needed]
    except (OSError, yaml.YAMLError, KeyError, TypeError, AttributeError):
        return []
    return chain if all(map(_is_of_these_files, chain)) else []


def _is_of_these_files(link: Link) -> bool:
    """Are single files on disk those of the lock? Folders' hashes are DVC's own affair."""
    return all(
        md5_file(Path(path)) == md5
        for path, md5 in {**link.reads, **link.writes}.items()
        if not md5.endswith(".dir") and Path(path).is_file()
    )


def as_json(chain: Iterable[Link]) -> str:
    """For a file beside the model."""
    return json.dumps([link._asdict() for link in chain], indent=1, sort_keys=True, default=str) + "\n"
