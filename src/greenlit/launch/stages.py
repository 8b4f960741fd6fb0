"""A stage as dvc.yaml has it: its command, what it reads and writes, and the parameters it depends on.

DVC's file is the one place where these stand: a job gets the inputs that DVC would look at, and gives back the
outs that DVC would keep.
"""

import re
import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from greenlit.config import PARAMS, read_yaml
from greenlit.errors import ConfigError, DataError

CODE = ("src", "tasks", "custom")
"""Folders of code: they travel with every job, and are no inputs."""


@dataclass(frozen=True)
class Stage:
    """One stage, e.g. `train@dpo`."""

    name: str
    """Of its module in tasks/."""
    entry: str | None
    """What follows the @."""
    arguments: tuple[str, ...]
    """Of its command line, e.g. --method dpo."""
    inputs: tuple[Path, ...]
    """Files and folders of data."""
    outs: tuple[Path, ...]
    params: dict[str, Any]
    """What it depends on in params.yaml, by dotted name."""

    @property
    def address(self) -> str:
        """As DVC calls it."""
        return f"{self.name}@{self.entry}" if self.entry else self.name


def find_stage(name: str, entry: str | None, root: Path = Path()) -> Stage:
    """A stage of the project's dvc.yaml, filled in from its params.yaml.

    Args:
        entry: the method, reward model or source, for stages that are there several times.

    Raises:
        ConfigError: there is no such stage.
    """
    params, stages = read_yaml(root / PARAMS), read_yaml(root / "dvc.yaml")["stages"]
    if name not in stages:
        raise ConfigError(f"dvc.yaml: no stage {name!r}", hint=f"one of {', '.join(stages)}")
    body, values = stages[name], dict(params)
    if "foreach" in body:
        section = body["foreach"].strip("${}")
        entries = _value(params, section)
        if entry is None or entry not in entries:
            found = f" {entry!r}" if entry else ""
            raise ConfigError(
                f"params.yaml: {section}: no entry{found} for the stage {name}",
                hint=f"one of {', '.join(entries)}" if entries else "there is none",
            )
        values |= {"key": entry, "item": entries[entry]}
        body = body["do"]
    elif entry is not None:
        raise ConfigError(f"dvc.yaml: the stage {name} has no entries (found {entry!r})")

    def filled(text: str) -> str:
        return re.sub(r"\$\{([\w.]+)\}", lambda found: str(_value(values, found[1])), text)

    command = shlex.split(filled(body["cmd"]))
    return Stage(
        name=name,
        entry=entry,
        arguments=tuple(command[command.index(f"tasks.{name}") + 1 :]),
        inputs=tuple(dict.fromkeys(Path(dep) for dep in map(filled, body["deps"]) if dep.split("/")[0] not in CODE)),
        outs=tuple(Path(filled(_path(out))) for kind in ("outs", "metrics", "plots") for out in body.get(kind, [])),
        params={key: _value(params, key, optional=True) for key in map(filled, body.get("params", []))},
    )


def code_of(root: Path) -> list[Path]:
    """The folders of code besides greenlit's own that a stage's result depends on, as far as they are there."""
    return [root / folder for folder in CODE if folder != "src" and (root / folder).is_dir()]


def require_inputs(stage: Stage) -> None:
    """All that it reads must be here.

    Raises:
        DataError: something is not.
    """
    for path in stage.inputs:
        if not path.exists():
            raise DataError(
                f"{path}: no such file, and the stage {stage.address} reads it",
                hint="run the stage that writes it: `dvc repro`",
            )


def _path(out: str | Mapping[str, Any]) -> str:
    return out if isinstance(out, str) else next(iter(out))


def _value(values: Mapping[str, Any], name: str, optional: bool = False) -> Any:
    found: Any = values
    for key in name.split("."):
        if not isinstance(found, Mapping) or key not in found:
            if optional:
                return None
            raise ConfigError(f"params.yaml: {name}: is missing, and dvc.yaml reads it")
        found = found[key]
    return found
