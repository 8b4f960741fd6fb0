"""`greenlit train` and `greenlit train-reward-model`: one training, with settings changed on the command line.

A change is tried in a copy of the project (`.work/trials/`), through the same stages and DVC's same cache, and its
results go to `results/trials/<experiment>/`: params.yaml, dvc.lock and the experiment's own results stay as they are.
With `--save` it is written into params.yaml instead, whose comments stay, and the experiment follows.
"""

import copy
import os
import re
import shutil
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

from greenlit.config import PARAMS, Params, method_of, parse_params, parse_reward_model, parse_yaml, read_yaml
from greenlit.config.misplaced import KINDS
from greenlit.errors import ConfigError
from greenlit.jsonl import atomic_write, read_json
from greenlit.models import POINTER, write_pointer
from greenlit.paths import Paths, local_data
from greenlit.repro import repro
from greenlit.runs.fresh_copy import copy_files, files_here, link_local
from greenlit.runs.records import cache_dir, stages_outs
from greenlit.stage.entry import only_one
from greenlit.stage.workspace import WORK, atomic_folder, python_path, sha256_file, work_key

Changes = dict[tuple[str, ...], Any]
"""Paths in params.yaml, and what is to stand there."""
TRIALS = Path("results/trials")
_COPIES = WORK / "trials"
_LONGEST_NAME = 80
_SHARED = ("tracking", "scrape")
"""Folders of `.work` that a copy shares with the project."""


def changes_of(settings: Sequence[str], method: str, kind: str) -> Changes:
    """`key=value` words as paths in params.yaml and values.

    Args:
        method: name under `methods`; a key that starts with a section of params.yaml stands there instead.
        kind: its `method`.

    Raises:
        ConfigError: a word without `=`, or a value that is no YAML.
    """
    sections = {field.alias or name for name, field in Params.model_fields.items()}
    changes: Changes = {}
    for word in settings:
        key, equals, text = word.partition("=")
        if not equals or not key.strip():
            raise ConfigError(f"--set {word}: must be key=value", hint="e.g. --set learning_rate=1e-4 --set lora.r=8")
        path = tuple(key.strip().split("."))
        inside = path[0] in KINDS[kind].model_fields or path[0] not in sections
        changes[("methods", method, *path) if inside else path] = parse_yaml(text, f"--set {key.strip()}")
    return changes


def with_changes(content: Any, changes: Changes) -> Any:
    """The content of params.yaml with these values in place of its own; sections come into being as needed."""
    changed = copy.deepcopy(content)
    for path, value in changes.items():
        place = changed
        for key in path[:-1]:
            if not isinstance(place.get(key), dict):
                place[key] = {}
            place = place[key]
        place[path[-1]] = value
    return changed


def save_changes(changes: Changes, path: Path = PARAMS) -> None:
    """Write them into params.yaml; its comments and its order stay."""
    from ruamel.yaml import YAML

    editor = YAML()
    editor.preserve_quotes = True
    editor.width = 4096
    content = with_changes(editor.load(path.read_text(encoding="utf-8")), changes)
    with atomic_write(path) as stream:
        editor.dump(content, stream)


def changed_params(method: str, settings: Sequence[str]) -> tuple[Params, Changes]:
    """params.yaml with the changes of the command line, checked, and the changes.

    Raises:
        ConfigError: params.yaml has no such method, or is not valid with the changes.
    """
    content = read_yaml(PARAMS)
    kind = method_of(parse_params(content, str(PARAMS)), method).method
    changes = changes_of(settings, method, kind)
    place = f"{PARAMS} with {' '.join(f'--set {word}' for word in settings)}" if settings else str(PARAMS)
    return parse_params(with_changes(content, changes), place), changes


def trial_name(method: str, settings: Sequence[str]) -> str:
    """The folder of a trial: the method and what was changed."""
    name = re.sub(r"[^A-Za-z0-9_.]+", "-", " ".join([method, *sorted(settings)])).strip("-")
    if len(name) <= _LONGEST_NAME:
        return name
    return f"{name[: _LONGEST_NAME - 9]}-{work_key(sorted(settings), [])[:8]}"


def try_out(params: Params, changes: Changes, method: str, settings: Sequence[str]) -> Path:
    """Train one method with changed settings, in a copy; what an interruption left of it is gone on with.

    Args:
        params: with the changes.
        settings: the changes, as they were given.

    Returns:
        the folder of the results.

    Raises:
        StageFailedError: a stage failed.
        Stopped: a signal came; the same command goes on from there.
    """
    name = trial_name(method, settings)
    folder = (_COPIES / name).resolve()
    out = TRIALS / params.experiment / name
    with only_one(f"greenlit train {name}"):
        _make_copy(params, changes, folder)
        home = Path.cwd()
        repro(
            [f"train@{method}"],
            force=False,
            cwd=folder,
            settings={
                "PYTHONPATH": python_path(folder / "src"),
                "DVC_ROOT": str(folder),
                "MLFLOW_TRACKING_URI": os.environ.get("MLFLOW_TRACKING_URI", f"sqlite:///{home / 'mlflow.db'}"),
                "GREENLIT_CACHE": os.environ.get("GREENLIT_CACHE", str(home / WORK / "verdicts.sqlite")),
            },
        )
        with atomic_folder(out) as part:
            shutil.copytree(folder / Paths.of(params).method(method), part, dirs_exist_ok=True)
        shutil.rmtree(folder)
    return out


def _make_copy(params: Params, changes: Changes, folder: Path) -> None:
    """The project as it is here now with these changes; DVC's cache and the notes for the trackers are shared."""
    key = work_key(params.model_dump(mode="json", by_alias=True), []) + work_key(
        [f"{path} {sha256_file(path)}" for path in files_here() if path != PARAMS], []
    )
    note = folder / ".trial"
    if note.exists() and note.read_text() == key:
        return
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    copy_files(folder)
    shutil.copyfile(PARAMS, folder / PARAMS)
    save_changes(changes, folder / PARAMS)
    if Path("dvc.lock").exists():
        shutil.copyfile("dvc.lock", folder / "dvc.lock")
    config = f"[cache]\n    dir = {cache_dir(Path()).resolve()}\n"
    (folder / ".dvc/config.local").write_text(config, encoding="utf-8")
    for shared in _SHARED:
        (WORK / shared).mkdir(parents=True, exist_ok=True)
        (folder / WORK).mkdir(exist_ok=True)
        (folder / WORK / shared).symlink_to((WORK / shared).resolve())
    made = stages_outs(Path())
    methods = [(method.reads, method.start) for method in params.methods.values()]
    data = local_data(params.dataset.path, params.fetch.reads)
    named = [*data, params.base.model, *(path for pair in methods for path in pair)]
    link_local(folder, [path for path in named if path not in made])
    note.write_text(key)


def reward_model_from(data: Path, output: Path, base: str, settings: Sequence[str], seed: int) -> dict[str, Any]:
    """Train a reward model on anyone's pairs, outside of DVC, into a folder; returns its metrics.

    Raises:
        ConfigError: a setting is wrong, or the folder holds something else.
        DataError: the pairs or the base cannot be used.
    """
    from greenlit.tracking.runs import Run
    from greenlit.training.reward_model import make_reward_model

    if output.exists() and any(output.iterdir()) and not (output / "model/reward.json").exists():
        raise ConfigError(f"--output {output}: not empty, and no reward model", hint="name a new folder")
    content: dict[str, Any] = {"reads": str(data), "start": str(_start(base)), "learning_rate": 1e-4}
    for path, value in changes_of(settings, "", "reward_model").items():
        content = with_changes(content, {path[2:] if path[:2] == ("methods", "") else path: value})
    params = parse_reward_model(content, "--set")

    def open_run(work: Path) -> AbstractContextManager[Run]:
        return nullcontext(Run(None))

    output.mkdir(parents=True, exist_ok=True)
    return make_reward_model(params, {"seed": seed, **params.model_dump()}, seed, output, open_run)


def _start(base: str) -> Path:
    """A model directory, or where a hub model's pinned revision is noted."""
    if (Path(base) / POINTER).exists() or (Path(base) / "config.json").exists():
        return Path(base)
    pinned = WORK / "hub" / re.sub(r"[^A-Za-z0-9_.]+", "-", base)
    if not (pinned / POINTER).exists() or read_json(pinned / POINTER)["source"] != base:
        write_pointer(base, None, pinned)
    return pinned


def told_worth(metrics: dict[str, Any]) -> str:
    """What a reward model is worth, in a line."""

    def figure(found: dict[str, Any], sign: str = "") -> str:
        return f"{found['value']:{sign}.3f} [{found['low']:{sign}.3f}, {found['high']:{sign}.3f}]"

    held, length = metrics["held_out"], metrics["length_baseline"]
    return (
        f"accuracy {figure(metrics['accuracy'])} on {held['rows']} pairs of {held['problems']} problems held out; "
        f"length alone (the {length['prefers']}) {figure(length['accuracy'])}; "
        f"difference {figure(metrics['difference'], '+')}, p = {metrics['difference']['p']:.2g}"
    )
