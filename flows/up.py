"""up: Prefect's server, MLflow's pages and the served flows on one laptop, started and ended together.

python -m flows.up              start what is not up, and say where it is (`make up`)
python -m flows.up --down       end exactly what was started (`make down`)
python -m flows.up --show       the addresses again, and the page in a browser (`make ui`)
"""

import argparse
import os
import socket
import subprocess
import sys
import time
import webbrowser
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path
from typing import Any

import httpx

from flows import FLOWS
from flows.services import LOGS, Note, Running, end, start, wait_until
from flows.settings import setting
from greenlit.errors import ConfigError
from greenlit.stage.entry import exit_cleanly, only_one
from greenlit.stage.secrets import without_password
from greenlit.trackers.mlflow_store import ARTIFACTS, sqlite_file, tracking_uri

PREFECT, MLFLOW, SERVED = "prefect", "mlflow", "flows"
PORTS = {PREFECT: ("GREENLIT_PREFECT_PORT", 4200), MLFLOW: ("GREENLIT_MLFLOW_PORT", 5000)}
"""Variable that demands a port, and the port that is taken without it, if it is free."""
HEALTH = {PREFECT: "/api/health", MLFLOW: "/health"}
TIMEOUT_S = 180.0
"""A busy machine takes long to import all that."""
_SETTLE_S = 60.0
GRACE_S = {SERVED: 60.0, MLFLOW: 10.0, PREFECT: 15.0}
"""In the order in which they end: the flows first, so that their schedules are paused and a run in progress is told."""
_HOST = "127.0.0.1"
_ANSWERS_WITHIN_S = 10.0


def up() -> None:
    """Start what is not up, and show where everything is.

    Raises:
        ConfigError: a port that is demanded is taken.
        WorldError: something does not come up; what was started is ended again.
    """
    with only_one("make up"):
        note = Note.read()
        here = sqlite_file(_tracking()) is not None  # a tracking server elsewhere has pages of its own
        wanted = [PREFECT, *([MLFLOW] if here else []), SERVED]
        sound = {name for name in wanted if _is_sound(name, note)}
        if PREFECT not in sound:
            sound.discard(SERVED)  # they lose their server, and give up half a minute later
        if missing := [name for name in wanted if name not in sound]:
            with _undone_on_failure(note, missing):
                _start(missing, note)
        else:
            print("up already", file=sys.stderr)
    show(note)


def _tracking() -> str:
    """Where runs and models are told: MLFLOW_TRACKING_URI, also from `.env`, else the file here."""
    return setting("MLFLOW_TRACKING_URI") or tracking_uri()


def _is_sound(name: str, note: Note) -> bool:
    service = note.services.get(name)
    if service is None or not service.lives():
        return False
    until = time.monotonic() + _ANSWERS_WITHIN_S
    while name in HEALTH and not _healthy(name, service):
        if time.monotonic() > until:
            return False
        time.sleep(0.2)
    return True


@cache
def _client() -> httpx.Client:
    """One for all questions: each that is made reads the certificates, 30 ms of CPU time while the servers start."""
    return httpx.Client(limits=httpx.Limits(max_keepalive_connections=0))


def _healthy(name: str, service: Running) -> bool:
    try:
        return _client().get(f"{service.url}{HEALTH[name]}", timeout=5).is_success
    except httpx.TransportError:
        return False


@contextmanager
def _undone_on_failure(note: Note, names: list[str]) -> Iterator[None]:
    """A failure, or a signal, ends what was started inside."""
    try:
        yield
    except BaseException:
        for name in GRACE_S:
            if name in names and (service := note.services.pop(name, None)):
                end(service, GRACE_S[name])
        note.write()
        raise


def _start(names: list[str], note: Note) -> None:
    """Start those servers side by side, then the flows; every step is noted at once."""
    servers = [name for name in names if name != SERVED]
    for name in servers:
        old = note.services.get(name)
        if old:  # dead, or deaf
            end(old, GRACE_S[name])
        url = f"http://{_HOST}:{_port(name, old)}"
        note.services[name] = start(name, _command(name, url), _environment(note, url), url)
        note.write()
    for name in servers:
        service = note.services[name]
        _wait(name, note, lambda name=name, service=service: _healthy(name, service))
    if SERVED in names:
        if SERVED in note.services:  # it may still report to the new server and pause its schedules
            end(note.services[SERVED], GRACE_S[SERVED])
        before = _polled(note)
        note.services[SERVED] = start(SERVED, [sys.executable, "-m", "flows.serve"], _environment(note))
        note.write()
        _wait(SERVED, note, lambda: _polled_since(before, note))


def _wait(name: str, note: Note, ready: Callable[[], bool]) -> None:
    """Wait for a service with a line that tells how long."""
    began = time.monotonic()
    print(f"{name:<8} starting", end="", file=sys.stderr, flush=True)
    try:
        note.services[name] = wait_until(name, note.services[name], ready, TIMEOUT_S)
        note.write()
        print(f", up after {time.monotonic() - began:.0f} s", end="", file=sys.stderr)
    finally:
        print(file=sys.stderr)


def _port(name: str, before: Running | None) -> int:
    """The port that is demanded, else the one it had, else the usual one, else any that is free.

    Raises:
        ConfigError: the one that is demanded is taken, or is none.
    """
    variable, usual = PORTS[name]
    if demanded := setting(variable):
        if not demanded.isdigit() or not 0 < int(demanded) < 65536:
            raise ConfigError(f"{variable}: must be a port (found {demanded!r})", hint="leave it out for a free one")
        if not _is_free(int(demanded)):
            raise ConfigError(f"{variable}: port {demanded} is taken", hint="leave it out for a free one")
        return int(demanded)
    had = httpx.URL(before.url).port if before and before.url else None
    for port in (had, usual):
        if port and _is_free(port):
            return port
    with socket.socket() as probe:
        probe.bind((_HOST, 0))
        return probe.getsockname()[1]


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as servers do: a port just left is free
        try:
            probe.bind((_HOST, port))
        except OSError:
            return False
    return True


def _command(name: str, url: str) -> list[str]:
    port = ["--host", _HOST, "--port", str(httpx.URL(url).port)]
    if name == PREFECT:
        return [sys.executable, "-m", "prefect", "server", "start", *port]
    stores = ["--backend-store-uri", _tracking(), "--artifacts-destination", ARTIFACTS]
    return [sys.executable, "-m", "mlflow", "server", *stores, *port, "--workers", "1"]


def _environment(note: Note, url: str | None = None) -> dict[str, str]:
    """Ours, with the address of the Prefect server: its own pages ask where they are told, by default port 4200."""
    server = note.services.get(PREFECT)
    address = server.url if server else url
    return {
        **os.environ,
        "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")]),
        "PYTHONUNBUFFERED": "1",
        "PREFECT_API_URL": f"{address}/api",
        "MLFLOW_DISABLE_TELEMETRY": "true",
        "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",  # its jobs judge LLM traces: three processes for nothing
    }


def _polled_since(before: dict[str, str], note: Note) -> bool:
    """Has the process that serves asked, since then, for runs of every flow?"""
    now = _polled(note)
    return all(now.get(name) and now[name] != before.get(name) for name in FLOWS)


def _polled(note: Note) -> dict[str, str]:
    """When somebody last asked for runs of each flow, by the server's clock; empty while it does not answer."""
    return {one["name"]: one.get("last_polled") for one in _deployments(note)}


def _deployments(note: Note) -> list[dict[str, Any]]:
    """What the server knows of the flows; nothing while it does not answer."""
    wanted = {"deployments": {"name": {"any_": list(FLOWS)}}}
    try:
        answer = _client().post(f"{note.services[PREFECT].url}/api/deployments/filter", json=wanted, timeout=10)
    except httpx.TransportError:
        return []
    return answer.json() if answer.is_success else []


def _pause(note: Note) -> None:
    """Pause the schedules: what served them may have been ended before it had, with a run that took its grace."""
    until = time.monotonic() + _SETTLE_S  # a busy server answers 503 for a while
    while note.services[PREFECT].lives():
        known = _deployments(note)
        left = [one for one in known if not one["paused"]]
        if known and not left:
            return
        if time.monotonic() > until:
            print(", schedules not paused: the server is too busy", end="", file=sys.stderr)
            return
        for one in left:
            with suppress(httpx.TransportError):
                _client().post(f"{note.services[PREFECT].url}/api/deployments/{one['id']}/pause_deployment", timeout=10)
        time.sleep(0.3)


def _settle(note: Note) -> None:
    """Have the server told of runs that ended with what served them; who serves next tells what is left."""
    if not note.services[PREFECT].lives():
        return
    code = "from flows.leftovers import settle_leftovers; settle_leftovers()"
    try:
        subprocess.run([sys.executable, "-c", code], env=_environment(note), timeout=_SETTLE_S, check=True)
    except subprocess.SubprocessError as fault:
        print(f", runs not settled ({type(fault).__name__})", end="", file=sys.stderr)


def down() -> None:
    """End what `up` started, the flows first; nothing else."""
    with only_one("make up"):
        note = Note.read()
        if not note.services:
            print("nothing is up", file=sys.stderr)
        for name, grace_s in GRACE_S.items():
            if service := note.services.get(name):
                print(f"{name:<8} stopping", end="", file=sys.stderr, flush=True)
                end(service, grace_s)
                if name == SERVED and PREFECT in note.services:
                    _pause(note)
                    _settle(note)
                del note.services[name]
                note.write()
                print(", stopped", file=sys.stderr)


def show(note: Note) -> None:
    """The addresses, and what to do next."""
    prefect, mlflow = note.services[PREFECT].url, note.services.get(MLFLOW)
    tracking = mlflow.url if mlflow else without_password(_tracking())
    print(f"Prefect  {prefect}/deployments   start, schedule, watch, cancel: {', '.join(FLOWS)}")
    print(f"MLflow   {tracking}   training runs, models")
    print(f"logs     {LOGS}")
    print(f"start    Run on Prefect's page, or: PREFECT_API_URL={prefect}/api prefect deployment run offline/offline")
    print("stop     make down")


def ui() -> None:
    """Show the addresses, and Prefect's page in a browser where there is one.

    Raises:
        ConfigError: nothing is up.
    """
    note = Note.read()
    if not all(name in note.services and note.services[name].lives() for name in (PREFECT, SERVED)):
        raise ConfigError("nothing is up here", hint="make up")
    show(note)
    webbrowser.open(f"{note.services[PREFECT].url}/deployments")


def main() -> None:
    """One of the three, as the command line says."""
    parser = argparse.ArgumentParser(
        prog="python -m flows.up", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    choice = parser.add_mutually_exclusive_group()
    choice.add_argument("--down", action="store_const", dest="run", const=down, default=up)
    choice.add_argument("--show", action="store_const", dest="run", const=ui)
    parser.parse_args().run()


if __name__ == "__main__":
    exit_cleanly(main)
