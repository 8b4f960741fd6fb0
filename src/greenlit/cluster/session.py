"""Where the Ray cluster is, and this process's connection to it.

    RAY_ADDRESS           host:port (of a machine that is a node itself), ray://host:port (from anywhere), or auto
    GREENLIT_RAY_WORKERS  workers at most; one per CPU of the cluster, or per share of a GPU, without it
    GREENLIT_RAY_GPUS     GPUs of one sampling worker, also parts of one; without it 1 where the cluster has any, else 0
    GREENLIT_RAY_WAIT_S   how long to wait for a free place on the cluster

From the environment or `.env`. Workers get Greenlit's code with the job, and nothing of this process's environment.
"""

import importlib.util
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import greenlit
from greenlit.errors import ConfigError, WorldError
from greenlit.stage.faults import first_line

ADDRESS, WORKERS, GPUS, WAIT_S = "RAY_ADDRESS", "GREENLIT_RAY_WORKERS", "GREENLIT_RAY_GPUS", "GREENLIT_RAY_WAIT_S"
CONNECT_S = 15.0
"""Ray itself tries for minutes, and cannot be interrupted."""
_CLIENT = "ray://"
_FORMS = "host:port, ray://host:port or auto"
_FOR_WORKERS = {
    "OMP_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "TOKENIZERS_PARALLELISM": "false",
    "HF_HUB_OFFLINE": "1",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "DO_NOT_TRACK": "1",
}
"""One thread per worker, and no network: the model comes from the driver."""


@dataclass(frozen=True)
class Cluster:
    """What there is to work on."""

    address: str
    nodes: tuple[str, ...]
    """Names of the living nodes."""
    cpus: int
    gpus: float

    @property
    def told(self) -> str:
        """For people."""
        gpus = f", {self.gpus:g} GPUs" if self.gpus else ""
        return f"Ray at {self.address}: {len(self.nodes)} nodes, {self.cpus} CPUs{gpus}"


def wanted() -> bool:
    """Do the settings of this machine name a cluster?"""
    return address() is not None


def address() -> str | None:
    """The cluster's address; None without one.

    Raises:
        ConfigError: it is of no known form.
    """
    said = setting(ADDRESS)
    if said is None or said == "auto":
        return said
    host, _, port = said.removeprefix(_CLIENT).rpartition(":")
    if not host or "/" in host or not port.isdecimal() or not 0 < int(port) < 65536:
        raise ConfigError(f"{ADDRESS}: must be {_FORMS} (found {said!r})", hint="unset it to work on this machine")
    return said


def most_workers(cluster: Cluster, gpus_each: float) -> int:
    """How many workers the cluster has room for, if the user sets no lower number."""
    room = int(cluster.gpus / gpus_each + 1e-9) if gpus_each else cluster.cpus
    if not room:
        what = f"{gpus_each:g} GPUs each ({GPUS})" if gpus_each else "a CPU each"
        raise ConfigError(f"{cluster.told}: no room for a worker with {what}", hint=f"lower {GPUS}, or add nodes")
    said = setting(WORKERS)
    if said is None:
        return room
    if not said.isdecimal() or int(said) < 1:
        raise ConfigError(f"{WORKERS}: must be an integer >= 1 (found {said!r})")
    return min(room, int(said))


def gpus_each(cluster: Cluster) -> float:
    """GPUs of one sampling worker.

    Raises:
        ConfigError: no number, or a part of more than one GPU.
    """
    if setting(GPUS) is None:
        return 1.0 if cluster.gpus >= 1 else 0.0
    number = _number(GPUS, 0.0)
    if number > 1 and number % 1:
        raise ConfigError(f"{GPUS}: must be a whole number above 1 (found {number:g})")
    return number


def patience_s() -> float:
    """How long to wait for a free place."""
    return _number(WAIT_S, 120.0)


def setting(name: str) -> str | None:
    """A setting of this machine, from the environment or `.env`; empty counts as unset."""
    if name in os.environ:
        return os.environ[name] or None
    from dotenv import dotenv_values

    return dotenv_values(".env").get(name) or None


def _number(name: str, default: float) -> float:
    said = setting(name)
    try:
        number = default if said is None else float(said)
    except ValueError:
        number = -1.0
    if not 0 <= number < float("inf"):
        raise ConfigError(f"{name}: must be a number >= 0 (found {said!r})")
    return number


def connect() -> Cluster:
    """Connect, unless this process is; the connection lasts until the process ends.

    Raises:
        ConfigError: no address, Ray is not installed, or the cluster is of another version of Ray or Python.
        WorldError: nobody answers there, in bounded time.
    """
    where = address()
    if where is None:
        raise ConfigError(f"{ADDRESS}: must be {_FORMS} (found nothing)")
    if importlib.util.find_spec("ray") is None:
        raise ConfigError(
            f"{ADDRESS}: {where}: Ray is not installed", hint="make setup, or unset it to work on this machine"
        )
    import ray

    if not ray.is_initialized():
        _require_answer(where)
        _init(where)
    alive = [node for node in ray.nodes() if node["Alive"]]
    names = tuple(f"{node['NodeManagerHostname']} {node['NodeID'][:8]}" for node in alive)
    resources = [node["Resources"] for node in alive]
    cpus, gpus = (sum(one.get(kind, 0.0) for one in resources) for kind in ("CPU", "GPU"))
    return Cluster(where, names, int(cpus), gpus)


def _init(where: str) -> None:
    import logging

    import ray

    options: dict[str, Any] = {} if where.startswith(_CLIENT) else {"log_to_driver": False}
    with _signals_as_they_are():
        try:
            ray.init(
                address=where,
                logging_level=logging.ERROR,
                runtime_env={"py_modules": [str(Path(greenlit.__file__).parent)], "env_vars": _FOR_WORKERS},
                **options,
            )
        except RuntimeError as error:
            if "mismatch" not in str(error).lower():
                raise _no_answer(where, first_line(error)) from error
            told = " ".join(str(error).split())
            raise ConfigError(
                f"{ADDRESS}: {where}: {told}",
                hint="the same versions of Ray and Python here and on all nodes: install requirements.lock there",
            ) from error
        except (ConnectionError, TimeoutError, ValueError) as error:
            raise _no_answer(where, first_line(error)) from error


@contextmanager
def _signals_as_they_are() -> Iterator[None]:
    """Ray puts a SIGTERM handler of its own in the place of ours."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {one: signal.getsignal(one) for one in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for one, handler in before.items():
            signal.signal(one, handler)


def _require_answer(where: str) -> None:
    """Somebody speaks gRPC there.

    Raises:
        WorldError: nobody does.
    """
    if where == "auto":  # only Ray knows where that is: a process that can be killed asks it
        asks = "import ray; ray.init(address='auto', log_to_driver=False, logging_level='ERROR')"
        try:
            subprocess.run([sys.executable, "-c", asks], capture_output=True, timeout=CONNECT_S, check=False)
        except subprocess.TimeoutExpired:
            raise _no_answer(where, f"nothing heard in {CONNECT_S:g} s") from None
        return  # what it was refused for, we are refused for too, as fast
    import grpc

    place = where.removeprefix(_CLIENT)
    host, _, port = place.rpartition(":")
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=CONNECT_S / 3).close()
        if os.environ.get("RAY_USE_TLS", "0") not in {"", "0"}:
            return  # only Ray can say more
        with grpc.insecure_channel(place, options=[("grpc.enable_http_proxy", 0)]) as channel:
            grpc.channel_ready_future(channel).result(timeout=CONNECT_S / 2)
    except OSError as error:
        raise _no_answer(where, first_line(error)) from None
    except grpc.FutureTimeoutError:
        raise _no_answer(where, "what listens there is not Ray") from None


def _no_answer(where: str, why: str) -> WorldError:
    return WorldError(
        f"{ADDRESS}: {where}: no Ray cluster answers ({why})",
        hint=f"`ray status` on its head node; or unset {ADDRESS} to work on this machine: what was done is kept",
    )
