"""The models in use, measured on the data as it is now, and compared with themselves when they were measured first."""

import copy
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from prefect import get_run_logger

from flows.iterate import run_in_prefect
from flows.stages import How, required, run_stage
from greenlit.config import PARAMS, Params, read_yaml
from greenlit.errors import ConfigError, MismatchError
from greenlit.evaluation.drift import drift, is_regression
from greenlit.evaluation.report import change_text
from greenlit.iterate.plan import Step
from greenlit.jsonl import read_json, write_json
from greenlit.paths import Paths, local_data
from greenlit.registry.measuring import weights_of
from greenlit.registry.mlflow import HASH_TAG
from greenlit.registry.versions import Version, champion_in
from greenlit.stage.workspace import WORK, sha256_tree
from greenlit.trackers.mlflow_store import mlflow_faults, tracking_uri

FIRST = WORK / "refresh"
"""A model's evaluation when it was first measured here, by the hash of its files."""


@dataclass(frozen=True)
class Look:
    """A model, measured again."""

    model: str
    said: str
    delta: Mapping[str, Any] | None = None
    regressed: bool = False

    @property
    def n(self) -> int:
        """Problems that were compared."""
        return self.delta["n"] if self.delta else 0


def measure_in_use(params: Params, how: How, split: str, margin: float, force: bool) -> list[Look]:
    """Measure the champion, or the merged models here where there is none.

    Raises:
        ConfigError: there is nothing to measure.
        StageFailed: measuring failed.
    """
    paths = Paths.of(params)
    merged = {name: paths.method(name) / "merged" for name in params.methods}
    hashes = {name: sha256_tree(folder) for name, folder in merged.items() if folder.is_dir()}
    champion = champion_in(params.registration.model, tracking_uri())
    if champion:
        called = f"champion, {champion.name} version {champion.number}"
        sha256 = champion.tags.get(HASH_TAG, "")
        here = next((name for name, found in hashes.items() if found == sha256), None)
        if here is None:
            return [_look(called, sha256, _in_a_copy(params, champion, how), None, split, margin)]
        return [_measured_here(f"{called} ({here})", here, hashes[here], paths, how, split, margin, force)]
    if not hashes:
        raise ConfigError(
            f"nothing to measure: {params.registration.model} has no champion, and no merged model lies here",
            hint="the flow pipeline makes some",
        )
    get_run_logger().info(f"{params.registration.model} has no champion: measuring {', '.join(hashes)}")
    return [_measured_here(name, name, sha256, paths, how, split, margin, force) for name, sha256 in hashes.items()]


def _measured_here(
    called: str, method: str, sha256: str, paths: Paths, how: How, split: str, margin: float, force: bool
) -> Look:
    file = paths.evaluation(method)
    before = read_json(file) if file.exists() else None
    run_stage(f"evaluate@{method}", how, force)
    return _look(called, sha256, read_json(file), before, split, margin)


def _look(
    called: str, sha256: str, now: Mapping[str, Any], before: Mapping[str, Any] | None, split: str, margin: float
) -> Look:
    kept = FIRST / f"{sha256[:16]}.json"
    first = read_json(kept) if kept.exists() else before
    if first is None:
        write_json(kept, now)
        return Look(called, f"measured for the first time; later figures on {split} are compared with these")
    try:
        delta = drift(first, now, split)
    except MismatchError as fault:
        write_json(kept, now)
        words = " ".join(str(fault).split())
        return Look(called, f"not comparable with before, and measured for the first time in this way: {words}")
    write_json(kept, first)
    if delta is None:
        return Look(called, f"no {split} problem of its first measurement is left to compare it on")
    figure = f"{delta['metric']} on {split} {change_text(delta)}, n = {delta['n']}"
    if is_regression(delta, margin):
        return Look(called, f"worse than when it was measured first, by more than {margin:g}: {figure}", delta, True)
    return Look(called, f"no regression: {figure}", delta)


def _in_a_copy(params: Params, champion: Version, how: How) -> Mapping[str, Any]:
    """Measure a champion that no method here has made: in a copy of the project whose base model it is."""
    with mlflow_faults(tracking_uri()):
        model = weights_of(champion, tracking_uri())
    content = copy.deepcopy(read_yaml(PARAMS))
    content |= {
        "experiment": f"{params.experiment}-champion",
        "methods": {},
        "reward_models": {},
        "base": {"model": str(model.resolve())},
    }
    named = [path for path in local_data(params.dataset.path, params.fetch.reads) if not Path(path).is_absolute()]
    links = {path: Path(path) for path in named if Path(path).exists()}
    step = Step("champion", FIRST / "copy", "baseline", content, links)
    step.folder.mkdir(parents=True, exist_ok=True)
    shutil.copyfile("dvc.lock", step.folder / "dvc.lock")
    required(run_in_prefect(step, how))
    return read_json(step.evaluation(None))
