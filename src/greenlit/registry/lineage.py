"""The chain from a model back to its datasets, as dvc.lock has it: which stage made what from what.

dvc.lock is a plain YAML file, https://dvc.org/doc/user-guide/project-structure/dvcyaml-files#dvclock-file; a hash in it
finds the data in DVC's cache and remotes.
"""

import hashlib
import json
from collections.abc import Iterable, Mapping
from graphlib import TopologicalSorter
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

import yaml

LOCK = Path("dvc.lock")
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


def chain_to(target: Path, lock: Path = LOCK) -> list[Link]:
    """The stages that made `target`, from the last one back to what no stage made; empty where DVC made it not.

    A lock that is not of the files that lie here (a stage was run by hand, without DVC) is no proof of anything: then
    the chain is empty too.
    """
    try:
        stages = yaml.load(lock.read_text(encoding="utf-8"), Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))
        links = {name: Link.of(name, locked) for name, locked in stages["stages"].items()}
    except (OSError, yaml.YAMLError, KeyError, TypeError, AttributeError):
        return []
    made_by = {path: link for link in links.values() for path in link.writes}
    chain: dict[str, Link] = {}
    waiting = [target.as_posix()]
    while waiting:
        maker = _maker(waiting.pop(0), made_by)
        if maker is not None and maker.stage not in chain:
            chain[maker.stage] = maker
            waiting.extend(sorted(maker.reads))
    return _last_first(chain, made_by) if all(map(_is_of_these_files, chain.values())) else []


def _last_first(chain: Mapping[str, Link], made_by: Mapping[str, Link]) -> list[Link]:
    """Each stage after all that read what it wrote."""
    readers: dict[str, list[str]] = {stage: [] for stage in chain}
    for link in chain.values():
        for path in sorted(link.reads):
            if (maker := _maker(path, made_by)) is not None:
                readers[maker.stage].append(link.stage)
    return [chain[stage] for stage in TopologicalSorter(readers).static_order()]


def _maker(path: str, made_by: Mapping[str, Link]) -> Link | None:
    """Who wrote a path, or the folder that it lies in, or something inside of it."""
    below = (found for found in made_by if path.startswith(f"{found}/") or found.startswith(f"{path}/"))
    return made_by.get(path) or next((made_by[found] for found in below), None)


def _is_of_these_files(link: Link) -> bool:
    """Are single files on disk those of the lock? Folders' hashes are DVC's own affair."""
    return all(
        _md5(Path(path)) == md5
        for path, md5 in {**link.reads, **link.writes}.items()
        if not md5.endswith(".dir") and Path(path).is_file()
    )


def _md5(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()


def as_json(chain: Iterable[Link]) -> str:
    """For a file beside the model."""
    return json.dumps([link._asdict() for link in chain], indent=1, sort_keys=True, default=str) + "\n"
