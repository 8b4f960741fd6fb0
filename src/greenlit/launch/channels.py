"""Inputs as channels: folders that SageMaker fills from S3 before the container starts, named by SM_CHANNEL_<NAME>."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from greenlit.errors import ConfigError, DataError
from greenlit.jsonl import read_json
from greenlit.launch.stages import Stage
from greenlit.models import POINTER, resolve

_LONGEST = 60


@dataclass(frozen=True)
class Channel:
    """One input of a job."""

    name: str
    path: Path
    """Here."""
    place: Path
    """Where the stage looks for it, relative to the project, or, of a hub model, to the hub's cache."""
    size: int
    """Bytes."""

    @property
    def of_hub(self) -> bool:
        """Are these the weights of a hub model?"""
        return self.place.parts[0].startswith("models--")


def channels_of(stage: Stage) -> list[Channel]:
    """One channel for each input, and for the weights of a model that an input only points at.

    Raises:
        ConfigError: two would have one name, or a model lies outside of the project.
        WorldError: a hub model is not here yet, and cannot be downloaded.
    """
    found = {channel_name(path): (path, path) for path in stage.inputs}
    if len(found) < len(stage.inputs):
        told = ", ".join(map(str, stage.inputs))
        raise ConfigError(f"{stage.address}: two of its inputs would be one channel ({told})")
    for path in stage.inputs:
        if (path / POINTER).exists():
            place = place_of_weights(path)
            found[channel_name(place)] = (resolve(path), place)
    return [Channel(name, path, place, size_of(path)) for name, (path, place) in found.items()]


def channel_name(place: Path) -> str:
    """`assets/rl/starter/pairs.jsonl` -> `rl_starter_pairs`; a name that environment variables may hold."""
    parts = place.with_suffix("").parts
    short = parts[1:] if parts[0] in {"assets", "results"} and len(parts) > 1 else parts
    return re.sub(r"[^A-Za-z0-9]+", "_", "_".join(short)).strip("_")[-_LONGEST:].strip("_").lower()


def place_of_weights(pointing: Path) -> Path:
    """Where a job looks for the weights that a model's pointer file names.

    Raises:
        ConfigError: outside of the project.
    """
    named = read_json(pointing / POINTER)
    if named["revision"] is not None:
        return Path(f"models--{named['source'].replace('/', '--')}") / "snapshots" / named["revision"]
    source = Path(named["source"])
    if source.is_absolute() or ".." in source.parts:
        raise ConfigError(
            f"params.yaml: base.model: {source}: a job finds models of the project only",
            hint="copy or link it into the project's folder, and name it from there",
        )
    return source


def place_channels(stage: Stage, project: Path, hub: Path, variables: Mapping[str, str]) -> None:
    """In the container: link every input to where the stage looks for it.

    Args:
        hub: the hub's cache.
        variables: SM_CHANNEL_<NAME> -> folder.

    Raises:
        DataError: a channel is missing.
    """
    for path in stage.inputs:
        _link(project / path, _folder(variables, path), path.name)
        if (project / path / POINTER).exists():
            place = place_of_weights(project / path)
            target = hub / place if place.parts[0].startswith("models--") else project / place
            _link(target, _folder(variables, place), place.name)


def size_of(path: Path) -> int:
    """Bytes of a file or of all files below a folder."""
    files = [path] if path.is_file() else [item for item in path.rglob("*") if item.is_file()]
    return sum(file.stat().st_size for file in files)


def _folder(variables: Mapping[str, str], place: Path) -> Path:
    name = f"SM_CHANNEL_{channel_name(place).upper()}"
    if name not in variables:
        raise DataError(f"{name}: not set, and the stage reads {place}", hint="the job lacks a channel")
    return Path(variables[name])


def _link(target: Path, folder: Path, name: str) -> None:
    """A file lies in its channel's folder under its name; of a folder, the channel holds the content."""
    if target.exists():
        return
    target.parent.mkdir(parents=True, exist_ok=True)
    target.symlink_to(folder / name if (folder / name).is_file() else folder)
