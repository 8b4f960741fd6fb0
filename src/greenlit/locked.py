"""dvc.lock, where DVC notes what each stage read and wrote: a plain YAML file, read without DVC.

https://dvc.org/doc/user-guide/project-structure/dvcyaml-files#dvclock-file
"""

import hashlib
from collections.abc import Mapping
from graphlib import TopologicalSorter
from pathlib import Path, PurePosixPath
from typing import Any

import yaml


def locked_stages(root: Path) -> dict[str, Any]:
    """Stage → its entry; empty where nothing has run.

    Raises:
        yaml.YAMLError: a kill has torn the file.
    """
    path = root / "dvc.lock"
    if not path.exists():
        return {}
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    return (yaml.load(path.read_text(encoding="utf-8"), Loader=loader) or {}).get("stages", {})


def stages_in_order(locked: Mapping[str, Any]) -> dict[str, list[str]]:
    """Stage → the stages whose outs it reads, by name, in an order in which each follows those; the same every time."""
    outs = {PurePosixPath(out["path"]): name for name, stage in locked.items() for out in stage.get("outs", [])}
    producers: dict[str, list[str]] = {}
    for name, stage in sorted(locked.items()):
        deps = [PurePosixPath(dep["path"]) for dep in stage.get("deps", [])]
        found = {
            producer
            for out, producer in outs.items()
            if producer != name and any(dep == out or dep in out.parents or out in dep.parents for dep in deps)
        }
        producers[name] = sorted(found)
    return {name: producers[name] for name in TopologicalSorter(producers).static_order()}


def md5_file(path: Path) -> str:
    """Hex digest of a file, as DVC names its content."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()
