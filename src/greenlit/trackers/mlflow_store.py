"""MLflow's store: `mlflow.db` at the project's root, unless MLFLOW_TRACKING_URI says otherwise.

Importing MLflow takes more than a second and its first database some more, so nothing of it is imported before a
client is opened.
"""

import fcntl
import hashlib
import logging
import os
import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from greenlit.errors import WorldError
from greenlit.stage.secrets import without_password
from greenlit.tracking.values import Point, flatten, numbers, unreachable

if TYPE_CHECKING:
    from mlflow import MlflowClient

DATABASE = "mlflow.db"
ARTIFACTS = "mlartifacts"
_SQLITE = "sqlite:///"
_BATCH = 100
_METRICS = 1000
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

    A server that nobody hears is given up after three seconds, one that stops answering after a minute or so, not
    after the many of MLflow's defaults.

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
    fault = store_fault(uri)
    if fault:
        raise _world_error(uri, fault)
    file = sqlite_file(uri)
    with mlflow_faults(uri), _alone(file):
        from mlflow import MlflowClient

        if file is not None and not file.exists():
            _set_up(file)
        return MlflowClient(tracking_uri=uri, registry_uri=uri)


def _set_up(database: Path) -> None:
    """Make a SQLite file with MLflow's tables; it appears whole, or not at all: MLflow repairs no half of one."""
    from mlflow import MlflowClient

    part = database.with_name(f"{database.name}.part")
    for left in database.parent.glob(f"{part.name}*"):
        left.unlink()
    uri = f"{_SQLITE}{part}"
    MlflowClient(tracking_uri=uri, registry_uri=uri)
    part.replace(database)


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
    from requests import RequestException
    from sqlalchemy.exc import SQLAlchemyError

    try:
        yield
    except (MlflowException, SQLAlchemyError, RequestException) as error:
        raise _world_error(uri, str(error)) from error


def _world_error(uri: str, fault: str) -> WorldError:
    return WorldError(
        f"MLflow at {without_password(uri)}: {without_password(fault)}",
        hint="check MLFLOW_TRACKING_URI; unset it to use mlflow.db in the project",
    )


def store_key(name: str) -> str:
    """A name as MLflow accepts it: `pass@1` -> `pass_at_1`."""
    return re.sub(r"[^\w\-. :/]", "_", name.replace("@", "_at_"))


def log_params(client: "MlflowClient", run_id: str, params: Mapping[str, Any]) -> None:
    """Log nested parameters flat: `lora.r`."""
    from mlflow.entities import Param

    logged = [Param(store_key(key), str(value)[:_VALUE_LENGTH]) for key, value in flatten(params).items()]
    for start in range(0, len(logged), _BATCH):
        client.log_batch(run_id, params=logged[start : start + _BATCH])


def log_metrics(client: "MlflowClient", run_id: str, points: Iterable[Point]) -> None:
    """Log metrics by step; the same point sent twice is stored once."""
    from mlflow.entities import Metric

    logged = [
        Metric(store_key(key), value, round(point.time * 1000), point.step)
        for point in points
        for key, value in numbers(point.values).items()
    ]
    for start in range(0, len(logged), _METRICS):
        client.log_batch(run_id, metrics=logged[start : start + _METRICS])


def experiment_id(client: "MlflowClient", name: str, uri: str) -> str:
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
        found = client.get_experiment_by_name(name)  # another process created it meanwhile
        if found is None:
            raise
        return found.experiment_id


def store_fault(uri: str) -> str | None:
    """Why the store cannot be used, or None; asks neither MLflow nor more than three seconds."""
    file = sqlite_file(uri)
    if file is not None:
        place = file if file.exists() else file.parent
        return None if os.access(place, os.W_OK) else f"{place} cannot be written"
    return unreachable(uri) if uri.startswith(("http://", "https://")) else None
