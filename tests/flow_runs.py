"""For tests of flows: a Prefect server of their own, a toy project of DVC whose stages do as told, and runs in it."""

import importlib
import json
import multiprocessing
import os
import socket
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from functools import cache
from pathlib import Path
from typing import Any

import httpx
import interruption
import psutil
import workspace

ROOT = workspace.ROOT
sys.path.insert(0, str(ROOT))  # for flows
STAGE = '''
"""A stage that does what told.json says: sleep, ignore (SIGTERM), fail:CODE, again:TIMES, or nothing special."""
import ctypes, json, os, pathlib, signal, subprocess, sys, time
name = sys.argv[1]
told = json.loads(pathlib.Path("told.json").read_text()).get(name, "")
work = pathlib.Path(".work") / name
work.mkdir(parents=True, exist_ok=True)
(work / "pid").write_text(str(os.getpid()))
def leave(code, message=None):
    if message:
        print(f"error: {message}", file=sys.stderr, flush=True)
    if path := os.environ.get("GREENLIT_EXIT_CODE_FILE"):
        pathlib.Path(path).write_text(str(code))
    sys.exit(code)
worker = None
def stop(number, frame):
    time.sleep(0.3)
    if worker:
        worker.terminate()
    (work / "checkpoint").write_text("half of it")
    print("checkpoint written", flush=True)
    leave(143)
if "ENDS_WITH_DVC" in os.environ:  # as stages of ours do
    ctypes.CDLL(None).prctl(1, signal.SIGTERM)
signal.signal(signal.SIGTERM, signal.SIG_IGN if told == "ignore" else stop)
for done in (1, 2, 3):
    print(f"PROGRESS {name} {done}/3 things  7 things/s  eta {3 - done} s", file=sys.stderr, flush=True)
if told in {"sleep", "ignore"}:
    worker = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
    print(f"{name} sleeps", flush=True)
    time.sleep(600)
if told.startswith("fail:"):
    leave(int(told[5:]), f"{name}: no good\\nhint: make it better")
tries = len(list(work.glob("try-*")))
if told.startswith("again:") and tries < int(told[6:]):
    (work / f"try-{tries}").touch()
    leave(75, "the site did not answer")
found = (work / "checkpoint").exists()
pathlib.Path(f"{name}.out").write_text(name)
print(f"{name}: {'from the checkpoint' if found else 'from the start'}", flush=True)
'''
DVC_YAML = """
stages:
  generate: {cmd: exec python stage.py generate, deps: [stage.py], outs: [generate.out]}
  train:
    foreach: ${methods}
    do: {cmd: "exec python stage.py train-${key}", deps: [stage.py, generate.out], outs: ["train-${key}.out"]}
  aside: {cmd: exec python stage.py aside, outs: [aside.out]}
"""


def make_toy(folder: Path) -> Path:
    """A project with the stages generate, train@dpo after it, and aside."""
    folder.mkdir(parents=True)
    (folder / "stage.py").write_text(STAGE)
    (folder / "dvc.yaml").write_text(DVC_YAML)
    (folder / "told.json").write_text("{}")
    (folder / "params.yaml").write_text((ROOT / "presets/tiny.yaml").read_text())
    (folder / "presets").mkdir()
    for preset in ("tiny", "starter", "methods"):
        (folder / f"presets/{preset}.yaml").write_text((ROOT / f"presets/{preset}.yaml").read_text())
    (folder / ".gitignore").write_text(".work/\n*.out\nresults/\n.prefect/\noutput.txt\n")
    (folder / ".dvc").mkdir()
    for file in (".gitignore", "config"):  # its settings too: DVC's report on its use takes a process per command
        (folder / ".dvc" / file).write_text((ROOT / ".dvc" / file).read_text())
    for command in (
        ["git", "init", "-q"],
        ["git", "add", "-A"],
        ["git", "-c", "user.name=t", "-c", "user.email=t@t", "commit", "-qm", "start"],
    ):
        subprocess.run(command, cwd=folder, check=True)
    return folder


def tell(folder: Path, **told: str) -> None:
    """What the toy's stages do from now on, by name with `_` for `-`."""
    (folder / "told.json").write_text(json.dumps({name.replace("_", "-"): what for name, what in told.items()}))


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def prefect_server(home: Path) -> Iterator[str]:
    """A real Prefect server; yields the address of its API."""
    port = free_port()
    address = f"http://127.0.0.1:{port}/api"
    settings = {"PREFECT_HOME": str(home), "PREFECT_API_URL": address, "PREFECT_SERVER_ANALYTICS_ENABLED": "false"}
    home.mkdir(parents=True, exist_ok=True)
    with (home / "server.txt").open("wb") as output:
        server = subprocess.Popen(
            [sys.executable, "-m", "prefect", "server", "start", "--port", str(port)],
            env={**os.environ, **settings},
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        until(lambda: _healthy(address), 240, lambda: (home / "server.txt").read_text()[-2000:])
        yield address
    finally:
        for process in reversed(interruption.tree(server.pid)):
            process.kill()
        server.wait()


@cache
def client() -> httpx.Client:
    """One for all questions to servers: each that is made reads the certificates, which takes 30 ms of CPU time."""
    return httpx.Client(limits=httpx.Limits(max_keepalive_connections=0))


def _healthy(address: str) -> bool:
    try:
        return client().get(f"{address}/health", timeout=2).status_code == 200
    except httpx.TransportError:
        return False


def until(happened: Callable[[], Any], seconds: float, otherwise: Callable[[], str] = lambda: "") -> Any:
    """Wait until it has happened; what came of it."""
    end = time.monotonic() + seconds
    while not (found := happened()):
        assert time.monotonic() < end, f"not within {seconds} s: {otherwise()}"
        time.sleep(0.05)
    return found


def asked(address: str, path: str, body: dict[str, Any]) -> Any:
    """Ask the server's API."""
    answer = client().post(f"{address}/{path}", json=body, timeout=30)
    answer.raise_for_status()
    return answer.json() if answer.content else None


def newest_run(address: str) -> dict[str, Any]:
    """The flow run that was made last."""
    return asked(address, "flow_runs/filter", {"sort": "EXPECTED_START_TIME_DESC", "limit": 1})[0]


def task_states(address: str, run: dict[str, Any]) -> dict[str, str]:
    """Its task runs and the names of their states; they reach the server a moment after the run has ended."""
    found = asked(address, "task_runs/filter", {"flow_runs": {"id": {"any_": [run["id"]]}}})
    return {one["name"]: one["state_name"] for one in found}


def noted(folder: Path, table: str) -> list[tuple[str, str]]:
    """Names and states of the `flow_run`s or `task_run`s in a folder where no server is up."""
    with closing(sqlite3.connect(folder / ".prefect/prefect.db")) as database:
        return database.execute(f"SELECT name, state_name FROM {table}").fetchall()


def artifacts(address: str, run: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Its artifacts by key."""
    found = asked(address, "artifacts/filter", {"artifacts": {"flow_run_id": {"any_": [run["id"]]}}})
    return {one["key"]: one for one in found}


class FlowProcess:
    """`python -m flows.<name>` in a folder, its output in output.txt; forked where all is imported, to be quick."""

    def __init__(
        self, folder: Path, address: str, name: str, arguments: tuple[str, ...], settings: dict[str, str]
    ) -> None:
        environment = {"PREFECT_API_URL": address, **code_of(ROOT), **settings}
        self._process = _FORKS.Process(target=_run, args=(str(folder), name, arguments, environment))
        self._process.start()
        self.pid = self._process.pid
        _flows.append(self)

    def wait(self, seconds: float) -> int:
        """Its exit code, which must come in that time."""
        self._process.join(seconds)
        assert self._process.exitcode is not None, "it is still running"
        return self._process.exitcode

    def terminate(self) -> None:
        """SIGTERM."""
        self._process.terminate()

    def end(self) -> None:
        """Kill it and all below, if it is still there."""
        if self._process.is_alive():
            for one in reversed(interruption.tree(self.pid)):
                with suppress(psutil.NoSuchProcess):
                    one.kill()
        self._process.join(10)


_FORKS = multiprocessing.get_context("forkserver")
_FORKS.set_forkserver_preload(["flows.pipeline", "flows.online", "dvc.repo", "networkx", "dvc.commands.repro"])
_flows: list[FlowProcess] = []


def _run(folder: str, name: str, arguments: tuple[str, ...], environment: dict[str, str]) -> None:
    """In the forked process."""
    output = os.open(f"{folder}/output.txt", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    os.dup2(output, 1)
    os.dup2(output, 2)
    os.chdir(folder)
    os.environ.update(environment)
    import prefect.context

    prefect.context.refresh_global_settings_context()
    sys.argv = [f"flows/{name}.py", *arguments]
    module = importlib.import_module(f"flows.{name}")
    module.run_from_command_line(getattr(module, name))


def code_of(folder: Path) -> dict[str, str]:
    """Settings of a flow by which its stages run the code of this folder; warm, where the test is."""
    warm = {"WARM_STAGES": os.environ["WARM_STAGES"]} if "WARM_STAGES" in os.environ else {}
    return {"PYTHONPATH": workspace.search_path(folder, folder / "src"), **warm}


def end_flows() -> None:
    """Whatever a failed test left running."""
    while _flows:
        _flows.pop().end()
    interruption.end_all()


def start_flow(folder: Path, address: str, name: str, *arguments: str, **settings: str) -> FlowProcess:
    """A flow, started."""
    return FlowProcess(folder, address, name, arguments, settings)


def run_flow(folder: Path, address: str, name: str, *arguments: str, code: int = 0, **settings: str) -> str:
    """The same to its end, which must be this exit code; what it printed."""
    (folder / "output.txt").write_text("")
    process = start_flow(folder, address, name, *arguments, **settings)
    ended = process.wait(120)
    output = (folder / "output.txt").read_text()
    assert ended == code, output[-4000:]
    return output


def stage_process(folder: Path, name: str) -> psutil.Process:
    """The process of a toy's stage that sleeps."""
    interruption.wait_for(folder, f"{name} sleeps")
    return psutil.Process(int((folder / ".work" / name / "pid").read_text()))


def dvc_of(stage: psutil.Process) -> psutil.Process:
    """The DVC above a stage."""
    return next(one for one in stage.parents() if "dvc" in one.cmdline())
