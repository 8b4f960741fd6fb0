"""Measure a registered version anew, on the tests and with the settings of the params.yaml that lies here.

A champion from another test set, or sampled with another seed, cannot be compared with what was trained since. Measured
here once, it can; the evaluation is kept beside the model, and the look at the test set is counted.
"""

import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from greenlit.config import Params
from greenlit.evaluation.measure import measure
from greenlit.jsonl import read_json
from greenlit.paths import Paths
from greenlit.registry.flavor import WEIGHTS
from greenlit.registry.mlflow import HASH_TAG
from greenlit.registry.promotion import REMEASURED_ON
from greenlit.registry.versions import REMEASURED, Version
from greenlit.stage.workspace import WORK, atomic_folder, sha256_file, sha256_tree, work_key
from greenlit.types import Split

if TYPE_CHECKING:
    from mlflow import MlflowClient


@dataclass(frozen=True)
class _Elsewhere(Paths):
    """The experiment's problems, and another place for what is measured."""

    folder: Path = Path()

    def measured(self, split: Split, method: str | None) -> Path:
        return self.folder / f"candidates_{split}.jsonl"

    def evaluation(self, method: str | None) -> Path:
        return self.folder / "evaluation.json"


def weights_of(version: Version, uri: str) -> Path:
    """The version's model directory here, downloaded once."""
    from mlflow.artifacts import download_artifacts

    folder = WORK / "registry" / version.tags.get(HASH_TAG, f"{version.name}_{version.number}")
    if not (folder / WEIGHTS).exists():
        with atomic_folder(folder / WEIGHTS) as part, tempfile.TemporaryDirectory(dir=folder) as place:
            source = f"{version.source}/{WEIGHTS}"
            for path in Path(download_artifacts(artifact_uri=source, dst_path=place, tracking_uri=uri)).iterdir():
                path.rename(part / path.name)
    return folder / WEIGHTS


def measure_version(client: "MlflowClient", version: Version, params: Params, uri: str) -> dict[str, Any]:
    """The version's evaluation as `evaluate` would make it here; made once, then found.

    Raises:
        WorldError: the registry did not give the model, or the sandbox failed.
    """
    model = weights_of(version, uri)
    paths = Paths.of(params)
    test = paths.problems("test")
    key = _key(params, test)
    there = [Path(item.path).name for item in client.list_artifacts(version.run_id, _place(version))]
    folder = model.parent / key
    elsewhere = _Elsewhere(paths.dataset, paths.experiment, folder)
    if f"{key}.json" not in there:
        folder.mkdir(parents=True, exist_ok=True)
        measure(model, params, elsewhere, version.label)
        target = folder / f"{key}.json"
        elsewhere.evaluation(None).replace(target)
        client.log_artifact(version.run_id, str(target), _place(version))
        client.set_model_version_tag(version.name, str(version.number), REMEASURED_ON, sha256_file(test))
    with tempfile.TemporaryDirectory() as place:
        return dict(read_json(Path(client.download_artifacts(version.run_id, f"{_place(version)}/{key}.json", place))))


def _place(version: Version) -> str:
    return f"{version.source.rstrip('/').rpartition('/')[2]}/{REMEASURED}"


def _key(params: Params, test: Path) -> str:
    """Whatever decides the figures, besides the model."""
    return work_key([params.evaluate.model_dump(), params.annotate.model_dump(), params.seed], [test])


def same_files(version: Version, folder: Path) -> bool:
    """Is a folder what was registered as this version?"""
    return sha256_tree(folder) == version.tags.get(HASH_TAG)
