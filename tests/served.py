"""A project that is up: its servers, its flows, runs started as Prefect's pages start them."""

import json
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeVar

import httpx
import psutil
import workspace
from flow_runs import client

Found = TypeVar("Found")
SETTINGS = {
    "PREFECT_RUNNER_POLL_FREQUENCY": "1",
    "PREFECT_WORKER_QUERY_SECONDS": "1",
    "PREFECT_SERVER_SERVICES_SCHEDULER_LOOP_SECONDS": "2",
    "PREFECT_SERVER_SERVICES_LATE_RUNS_LOOP_SECONDS": "1",
    "PREFECT_SERVER_SERVICES_LATE_RUNS_AFTER_SECONDS": "1",
    "GREENLIT_GRACE_S": "1",
    "COLD_STAGE": "report",  # that one is held, and killed
}
FINAL = {"COMPLETED", "FAILED", "CRASHED", "CANCELLED"}


def until(look: Callable[[], Found], seconds: float, what: str) -> Found:
    """What `look` finds, as soon as it finds something."""
    end = time.monotonic() + seconds
    while not (found := look()):
        assert time.monotonic() < end, f"not within {seconds} s: {what}"
        time.sleep(0.2)
    return found


class Served:
    """Commands and questions to a project in a folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.environment = workspace.environment(folder) | SETTINGS
        for variable in ("PREFECT_API_URL", "MLFLOW_TRACKING_URI"):
            self.environment.pop(variable, None)

    def command(self, *words: str, code: int = 0, **settings: str) -> subprocess.CompletedProcess:
        """`python -m flows.<word> ...` there."""
        done = subprocess.run(
            [sys.executable, "-m", *words], cwd=self.folder, env=self.environment | settings,
            capture_output=True, text=True, timeout=240, check=False,
        )  # fmt: skip
        assert done.returncode == code, f"{words}: {done.returncode}\n{done.stdout[-3000:]}\n{done.stderr[-3000:]}"
        return done

    def up(self) -> subprocess.CompletedProcess:
        return self.command("flows.up")

    def note(self) -> dict[str, Any]:
        """What is up, by name."""
        file = self.folder / ".prefect/up.json"
        return json.loads(file.read_text())["services"] if file.exists() else {}

    def pid(self, name: str) -> int:
        return self.note()[name]["members"][0]["pid"]

    def url(self, name: str = "prefect") -> str:
        return self.note()[name]["url"]

    def api(self, method: str, path: str, body: Any = None) -> Any:
        """Ask the server; while its database is busy it says 503, and every client of Prefect's asks again."""
        end = time.monotonic() + 30
        while True:
            answer = client().request(method, f"{self.url()}/api{path}", json=body, timeout=30)
            if answer.status_code != httpx.codes.SERVICE_UNAVAILABLE or time.monotonic() > end:
                break
            time.sleep(0.5)
        assert answer.is_success, f"{path}: {answer.status_code} {answer.text}"
        return answer.json() if answer.content else None

    def deployment(self, name: str) -> dict[str, Any]:
        """By its full name, `flow/deployment`."""
        return self.api("GET", f"/deployments/name/{name}")

    def start(self, name: str, **parameters: Any) -> str:
        """Start a flow as its page does; gives the id of its run."""
        path = f"/deployments/{self.deployment(name)['id']}/create_flow_run"
        return self.api("POST", path, {"parameters": parameters})["id"]

    def run(self, identity: str) -> dict[str, Any]:
        return self.api("GET", f"/flow_runs/{identity}")

    def ended(self, identity: str, seconds: float = 150) -> dict[str, Any]:
        """The run, when it has come to an end."""
        until(lambda: self.run(identity)["state_type"] in FINAL, seconds, f"the end of run {identity}")
        return self.run(identity)

    def tasks(self, identity: str) -> dict[str, str]:
        """State of each of a run's tasks."""
        found = self.api("POST", "/task_runs/filter", {"flow_runs": {"id": {"any_": [identity]}}})
        return {one["name"]: one["state_name"] for one in found}

    def processes(self, *words: str) -> list[psutil.Process]:
        """Living processes in the folder whose command lines have all these words."""
        found = []
        for process in psutil.process_iter():
            with suppress(psutil.Error):
                if Path(process.cwd()) == self.folder and set(words) <= set(process.cmdline()):
                    found.append(process)
        return found

    def family(self) -> list[psutil.Process]:
        """A run's own process and all below it."""
        (engine,) = self.processes("prefect.engine")
        return [engine, *engine.children(recursive=True)]

    def hold(self, stage: str) -> psutil.Process:
        """Wait for a stage, and stop it with a signal, so that whatever comes next finds it at work."""

        def look() -> psutil.Process | None:
            found = self.processes("-m", f"tasks.{stage}")
            return found[0] if found else None

        process = until(look, 60, f"stage {stage} starts")
        process.suspend()
        return process
