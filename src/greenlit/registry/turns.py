"""One at a time: who decides about the champion has looked at it, and nobody else moves it meanwhile.

Beside a SQLite file that is a lock on a file, which the kernel lets go when its holder dies. A server has nothing of
the kind, but it gives a name only once: the turn is a registered model `<name>.turn`, there while somebody decides. One
that is left by a dead process is taken over, at once on its own machine, after LEASE_S seconds from another.
"""

import fcntl
import os
import socket
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import psutil

from greenlit.errors import WorldError
from greenlit.trackers.mlflow_store import sqlite_file

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities.model_registry import RegisteredModel

LEASE_S = 600.0
WAIT_S = 120.0
_POLL_S = 0.2
_HOLDER = "holder"


@contextmanager
def turn(client: "MlflowClient", name: str, uri: str, wait_s: float = WAIT_S) -> Iterator[None]:
    """Hold the right to decide about a registered model's champion.

    Raises:
        WorldError: somebody else held it all the time.
    """
    file = sqlite_file(uri)
    if file is not None:
        with file.with_name(f"{file.name}.promotion.lock").open("w") as lock:
            _take_lock(lock.fileno(), name, time.monotonic() + wait_s)
            yield
        return
    place = f"{name}.turn"
    _take(client, place, time.monotonic() + wait_s)
    try:
        yield
    finally:
        client.delete_registered_model(place)


def _take_lock(descriptor: int, name: str, until: float) -> None:
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return
        except BlockingIOError:
            if time.monotonic() > until:
                raise _occupied(name, "another process") from None
            time.sleep(_POLL_S)


def _take(client: "MlflowClient", place: str, until: float) -> None:
    from mlflow.exceptions import MlflowException

    while True:
        try:
            client.create_registered_model(place, tags={_HOLDER: _me()})
            return
        except MlflowException as error:
            if error.error_code != "RESOURCE_ALREADY_EXISTS":
                raise
        holder = _holder(client, place)
        if holder is not None and _is_left(holder):
            _clear(client, place)
        elif time.monotonic() > until:
            raise _occupied(place, holder.tags.get(_HOLDER, "somebody") if holder else "somebody")
        else:
            time.sleep(_POLL_S)


def _me() -> str:
    return f"{socket.gethostname()} {os.getpid()} {psutil.Process().create_time():.0f}"


def _holder(client: "MlflowClient", place: str) -> "RegisteredModel | None":
    from mlflow.exceptions import MlflowException

    try:
        return client.get_registered_model(place)
    except MlflowException as error:
        if error.error_code != "RESOURCE_DOES_NOT_EXIST":
            raise
        return None  # gone this very moment


def _is_left(holder: "RegisteredModel") -> bool:
    host, pid, began = (*holder.tags.get(_HOLDER, "").split(" "), "", "", "")[:3]
    if host == socket.gethostname() and pid.isdigit():
        try:
            return f"{psutil.Process(int(pid)).create_time():.0f}" != began
        except psutil.NoSuchProcess:
            return True
    return time.time() - holder.creation_timestamp / 1000 > LEASE_S


def _clear(client: "MlflowClient", place: str) -> None:
    """Only one of several gets to rename it; so none removes the turn of somebody who was quicker."""
    from mlflow.exceptions import MlflowException

    left = f"{place}.left.{uuid.uuid4().hex}"
    try:
        client.rename_registered_model(place, left)
        client.delete_registered_model(left)
    except MlflowException as error:
        if error.error_code != "RESOURCE_DOES_NOT_EXIST":
            raise


def _occupied(name: str, holder: str) -> WorldError:
    return WorldError(
        f"{name}: {holder} has been deciding about its champion all the time", hint="try again once it is done"
    )
