"""Register merged models in MLflow: once per model and store, with the tags that say where it came from.

The files go up with `log_artifacts` and become a version with `create_model_version`: `mlflow.transformers.log_model`
would load the model into memory and `register_model("runs:/...")` no longer takes plain artifacts. What makes an
MLflow model of them is written beside the weights, see flavor.py. Aliases are not moved here; that is promotion.py's.

What is known to be registered stands in a small local record, so that a run with nothing new never imports MLflow.
"""

import json
import sqlite3
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from greenlit import jsonl
from greenlit.errors import DataError
from greenlit.registry.flavor import WEIGHTS, write_flavor
from greenlit.stage.workspace import sha256_tree
from greenlit.trackers import mlflow_store
from greenlit.trackers.mlflow import MlflowReporter
from greenlit.tracking.spool import Header, State

if TYPE_CHECKING:
    from mlflow import MlflowClient

HASH_TAG = "merged_sha256"
_RUN_TAG_LENGTH = 8000
"""MLflow allows 100,000 on versions."""
MODEL = "model"
"""The run's artifact that is the model."""


@dataclass(frozen=True)
class Registered:
    """A version of a registered model; `created` is false when the same files had been registered before."""

    name: str
    version: str
    run_id: str
    sha256: str
    created: bool


def already_registered(record: Path, name: str, sha256: str, uri: str, **more: Any) -> bool:
    """Do we know, without MLflow, that this model is a version of `name` in this store?

    False when the record is missing, damaged or about something else, and when the SQLite store was deleted, started
    anew or lost that version.

    Args:
        record: JSON file that `remember` wrote, e.g. .work/register/dpo.json.
        sha256: `workspace.sha256_tree` of the merged model's folder.
        more: what else was noted and has to be the same.
    """
    try:
        known = json.loads(record.read_text(encoding="utf-8"))
    except (FileNotFoundError, ValueError):
        return False
    if not isinstance(known, dict):
        return False
    wanted = {"name": name, "sha256": sha256, "uri_hash": mlflow_store.uri_hash(uri), **more}
    if any(known.get(key) != value for key, value in wanted.items()):
        return False
    database = mlflow_store.sqlite_file(uri)
    return database is None or _in_database(database, name, sha256)


def _in_database(database: Path, name: str, sha256: str) -> bool:
    """Ask the SQLite file itself: a few milliseconds, where importing MLflow takes a second."""
    query = (
        "SELECT 1 FROM model_versions v JOIN model_version_tags t ON v.name = t.name AND v.version = t.version "
        "WHERE v.name = ? AND t.key = ? AND t.value = ? AND v.current_stage <> 'Deleted_Internal'"
    )
    try:
        with closing(sqlite3.connect(f"{database.resolve().as_uri()}?mode=ro", uri=True)) as connection:
            return connection.execute(query, (name, HASH_TAG, sha256)).fetchone() is not None
    except sqlite3.Error:
        return False


def register_model(
    merged: Path,
    name: str,
    tags: Mapping[str, str],
    metrics: Mapping[str, Any],
    header: Header,
    *,
    beside: Mapping[str, str] | None = None,
    parent: Header | None = None,
    uri: str | None = None,
) -> Registered:
    """Make the merged model a version of the registered model `name`, unless these very files already are one.

    Args:
        merged: folder with weights, configuration and tokenizer.
        tags: lineage, see `lineage_tags`; the hash of the files is added.
        metrics: numbers of the run, nested or flat.
        header: the run that the version comes from; it is found, or begun.
        beside: text files to lie beside the weights, by name.
        parent: the run's parent.
        uri: the store; `mlflow_store.tracking_uri()` when not given.

    Raises:
        DataError: `merged` is no folder, or empty.
        WorldError: the store could not be reached or refused.
    """
    if not merged.is_dir() or not any(merged.iterdir()):
        raise DataError(f"{merged}: no merged model here", hint="run the stage that writes it: `dvc repro merge`")
    uri = uri or mlflow_store.tracking_uri()
    sha256 = sha256_tree(merged)
    client = mlflow_store.open_client(uri)
    with mlflow_store.mlflow_faults(uri):
        registered = _find(client, name, sha256)
        if registered is not None:
            return registered
        tags = {**{mlflow_store.store_key(key): value for key, value in tags.items()}, HASH_TAG: sha256}
        with _run(header, parent, uri) as run:
            run.figures(metrics, time.time())
            for key, value in tags.items():
                client.set_tag(run.run_id, key, value[:_RUN_TAG_LENGTH])
            source = _upload(run, merged, beside or {})
            _ensure_model(client, name)
            version = client.create_model_version(name, source, run.run_id, tags=tags)
    return Registered(name, str(version.version), run.run_id, sha256, created=True)


def _upload(run: MlflowReporter, merged: Path, beside: Mapping[str, str]) -> str:
    """Weights and what lies beside them, without a second copy of the weights on this disk; returns the model's URI."""
    with tempfile.TemporaryDirectory() as folder:
        write_flavor(Path(folder) / MODEL, run.run_id, MODEL)
        for file, content in beside.items():
            (Path(folder) / MODEL / file).write_text(content, encoding="utf-8")
        source = run.folder(Path(folder) / MODEL, MODEL)
    run.folder(merged, f"{MODEL}/{WEIGHTS}")
    return source


def remember(record: Path, registered: Registered, uri: str, **more: Any) -> None:
    """Write the local note for `already_registered`, once all that belongs to registering is done.

    Args:
        record: JSON file, e.g. .work/register/dpo.json.
        more: what else to note.
    """
    jsonl.write_json(
        record,
        {
            "name": registered.name,
            "version": registered.version,
            "sha256": registered.sha256,
            "uri_hash": mlflow_store.uri_hash(uri),
            **more,
        },
    )


@contextmanager
def _run(header: Header, parent: Header | None, uri: str) -> Iterator[MlflowReporter]:
    """The run in MLflow; it ends finished, or failed when the block raises."""
    if parent:
        MlflowReporter(parent, {}, uri)
    run = MlflowReporter(header, {}, uri)
    state: State = "failed"
    try:
        yield run
        state = "finished"
    finally:
        run.state(state, time.time(), "")


def _find(client: "MlflowClient", name: str, sha256: str) -> Registered | None:
    found = client.search_model_versions(f"name = '{name}' AND tags.{HASH_TAG} = '{sha256}'")
    if not found:
        return None
    oldest = min(found, key=lambda version: int(version.version))
    return Registered(name, str(oldest.version), oldest.run_id, sha256, created=False)


def _ensure_model(client: "MlflowClient", name: str) -> None:
    from mlflow.exceptions import MlflowException

    try:
        client.create_registered_model(name)
    except MlflowException as error:
        if error.error_code != "RESOURCE_ALREADY_EXISTS":
            raise
