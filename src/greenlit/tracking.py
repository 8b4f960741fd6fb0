"""MLflow runs: one per executed stage, in `mlflow.db` at the project's root unless MLFLOW_TRACKING_URI says otherwise.

Only our own parameters are logged. Importing MLflow takes more than a second and its first database some more, so
nothing here is imported before a run is opened.
"""

import fcntl
import hashlib
import logging
import math
import os
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from greenlit.errors import WorldError
from greenlit.secrets import without_password

if TYPE_CHECKING:
    from mlflow import MlflowClient

DATABASE = "mlflow.db"
ARTIFACTS = "mlartifacts"
_SQLITE = "sqlite:///"
_BATCH = 100
_VALUE_LENGTH = 6000


def tracking_uri() -> str:
    """MLFLOW_TRACKING_URI, else a SQLite file in the current folder (the project's root: DVC runs stages there)."""
    return os.environ.get("MLFLOW_TRACKING_URI") or f"{_SQLITE}{DATABASE}"


def sqlite_file(uri: str) -> Path | None:
    """The database file of a SQLite URI; None for a server or another database."""
    path = uri.removeprefix(_SQLITE).partition("?")[0]
    return Path(path) if uri.startswith(_SQLITE) and path else None


def uri_hash(uri: str) -> str:
    """16 hex digits that tell stores apart without storing the password a URI may carry."""
    file = sqlite_file(uri)
    return hashlib.sha256((str(file.resolve()) if file else uri).encode()).hexdigest()[:16]


def open_client(uri: str) -> "MlflowClient":
    """A client that sends no telemetry and writes nothing on the terminal.

    An unreachable server is given up after a minute or so, not after the many of MLflow's defaults.

    Raises:
        WorldError: the store cannot be opened.
    """
    for variable, value in (
        ("MLFLOW_DISABLE_TELEMETRY", "true"),
        ("DO_NOT_TRACK", "1"),
        ("GIT_PYTHON_REFRESH", "quiet"),
        ("MLFLOW_LOGGING_LEVEL", "WARNING"),
        ("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "3"),
        ("MLFLOW_HTTP_REQUEST_TIMEOUT", "20"),
        ("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false"),
    ):
        os.environ.setdefault(variable, value)
    for name in ("mlflow", "alembic"):
        logging.getLogger(name).setLevel(logging.WARNING)
    with mlflow_faults(uri), _alone(sqlite_file(uri)):
        from mlflow import MlflowClient

        return MlflowClient(tracking_uri=uri, registry_uri=uri)


@contextmanager
def _alone(database: Path | None) -> Iterator[None]:
    """Hold `<database>.lock`: two processes that set up one SQLite file at the same time break each other's tables."""
    if database is None:
        yield
        return
    database.parent.mkdir(parents=True, exist_ok=True)
    with database.with_name(f"{database.name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


@contextmanager
def mlflow_faults(uri: str) -> Iterator[None]:
    """What MLflow raises becomes a WorldError that names the store without its password.

    Raises:
        WorldError: the store could not be reached or refused.
    """
    from mlflow.exceptions import MlflowException
    from sqlalchemy.exc import SQLAlchemyError

    try:
        yield
    except (MlflowException, SQLAlchemyError) as error:
        raise WorldError(
            f"MLflow at {without_password(uri)}: {without_password(str(error))}",
            hint="check MLFLOW_TRACKING_URI; unset it to use mlflow.db in the project",
        ) from error


def flatten(nested: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """{"a": {"b": 1}} -> {"a.b": 1}."""
    flat: dict[str, Any] = {}
    for key, value in nested.items():
        flat |= flatten(value, f"{prefix}{key}.") if isinstance(value, Mapping) else {f"{prefix}{key}": value}
    return flat


def store_key(name: str) -> str:
    """A name as MLflow accepts it: `pass@1` -> `pass_at_1`."""
    return re.sub(r"[^\w\-. :/]", "_", name.replace("@", "_at_"))


@dataclass(frozen=True)
class StageRun:
    """An open run."""

    client: "MlflowClient"
    run_id: str
    artifact_uri: str

    def log(self, step: int, metrics: Mapping[str, Any]) -> None:
        """Log the numbers among the metrics; what is no finite number (null, text, NaN) is left out."""
        from mlflow.entities import Metric

        logged = [
            Metric(store_key(key), float(value), 0, step)
            for key, value in flatten(metrics).items()
            if isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
        ]
        for start in range(0, len(logged), _BATCH):
            self.client.log_batch(self.run_id, metrics=logged[start : start + _BATCH])

    def log_artifacts(self, folder: Path, name: str) -> str:
        """Copy a folder into the run's artifacts; return its URI."""
        self.client.log_artifacts(self.run_id, str(folder), name)
        return f"{self.artifact_uri}/{name}"


@contextmanager
def stage_run(
    experiment: str,
    stage: str,
    name: str,
    params: Mapping[str, Any],
    tags: Mapping[str, str] | None = None,
    uri: str | None = None,
) -> Iterator[StageRun]:
    """Open an MLflow run around a stage; it ends FINISHED, or FAILED when the block raises.

    Args:
        name: what the stage worked on; the run is called `<stage>@<name>`, e.g. `train@dpo`.
        params: nested parameters, logged flat: `methods.dpo.beta`.
        uri: the store; `tracking_uri()` when not given.

    Raises:
        WorldError: the store could not be reached or refused.
    """
    uri = uri or tracking_uri()
    client = open_client(uri)
    with mlflow_faults(uri):
        run = client.create_run(
            _experiment_id(client, experiment, uri),
            run_name=f"{stage}@{name}",
            tags={store_key(key): str(value) for key, value in {"stage": stage, **(tags or {})}.items()},
        )
        _log_params(client, run.info.run_id, params)
        status = "FAILED"
        try:
            yield StageRun(client, run.info.run_id, run.info.artifact_uri)
            status = "FINISHED"
        finally:
            client.set_terminated(run.info.run_id, status)


def _experiment_id(client: "MlflowClient", name: str, uri: str) -> str:
    """The experiment's id; it is created with its artifacts beside a SQLite file, else where the server keeps them."""
    from mlflow.exceptions import MlflowException

    found = client.get_experiment_by_name(name)
    if found:
        return found.experiment_id
    file = sqlite_file(uri)
    location = str((file.resolve().parent / ARTIFACTS).as_uri()) if file else None
    try:
        return client.create_experiment(name, artifact_location=location)
    except MlflowException:
        found = client.get_experiment_by_name(name)  # another stage created it meanwhile
        if found is None:
            raise
        return found.experiment_id


def _log_params(client: "MlflowClient", run_id: str, params: Mapping[str, Any]) -> None:
    from mlflow.entities import Param

    logged = [Param(store_key(key), str(value)[:_VALUE_LENGTH]) for key, value in flatten(params).items()]
    for start in range(0, len(logged), _BATCH):
        client.log_batch(run_id, params=logged[start : start + _BATCH])
