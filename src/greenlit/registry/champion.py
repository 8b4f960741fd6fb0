"""The version that the alias `champion` of a registered model points to; the promotion gate moves it, not this."""

from dataclasses import dataclass
from pathlib import Path

from greenlit.registry.flavor import WEIGHTS
from greenlit.registry.mlflow import HASH_TAG
from greenlit.registry.versions import CHAMPION
from greenlit.stage.workspace import atomic_folder, sha256_tree
from greenlit.trackers import mlflow_store

_NOT_THERE = {"RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE"}


@dataclass(frozen=True)
class Champion:
    """A version in the registry, and the hash of its files."""

    name: str
    version: str
    sha256: str
    source: str
    """URI of the merged model's files."""


def find_champion(name: str, uri: str | None = None) -> Champion | None:
    """The champion of a registered model; None where there is no registry yet, no such model, or no such alias.

    Raises:
        WorldError: the registry does not answer.
    """
    from mlflow.exceptions import MlflowException

    uri = uri or mlflow_store.tracking_uri()
    database = mlflow_store.sqlite_file(uri)
    if database is not None and not database.exists():
        return None
    client = mlflow_store.open_client(uri)
    with mlflow_store.mlflow_faults(uri):
        try:
            found = client.get_model_version_by_alias(name, CHAMPION)
        except MlflowException as fault:
            if fault.error_code not in _NOT_THERE:
                raise
            return None
        return Champion(name, str(found.version), found.tags.get(HASH_TAG, ""), f"{found.source}/{WEIGHTS}")


def fetch_champion(champion: Champion, folder: Path, uri: str | None = None) -> Path:
    """The champion's files in `folder`, fetched unless they are there."""
    if folder.exists() and sha256_tree(folder) == champion.sha256:
        return folder
    uri = uri or mlflow_store.tracking_uri()
    with mlflow_store.mlflow_faults(uri), atomic_folder(folder) as part:
        from mlflow.artifacts import download_artifacts

        local = Path(download_artifacts(artifact_uri=champion.source, dst_path=str(part), tracking_uri=uri))
        for path in list(local.iterdir()):
            path.rename(part / path.name)
        if local != part:
            local.rmdir()
    return folder
