"""In a job's container: the project laid out anew, the same `python -m tasks.<stage>` in it, the outs for SageMaker.

Where things are, the environment says, nothing is assumed:

    SM_HPS                    stage, entry (method, reward model)
    SM_CHANNEL_<NAME>         one input each
    SM_CHANNEL_CODE           code.tar.gz, execution.json; else the code of the image
    SM_MODEL_DIR              what is put here comes back as model.tar.gz
    SM_OUTPUT_FAILURE         where to say why it failed
    GREENLIT_CHECKPOINT_DIR   kept in S3 while the job runs; `.work` lies there, so that an interrupted stage goes on
    GREENLIT_LAUNCH_KEY       hash of parameters, inputs and code

Of several processes (torchrun) each comes here; the first of each machine lays out the project, the first of all
collects the result.
"""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tarfile
import tempfile
import time
from collections import deque
from collections.abc import Mapping
from pathlib import Path
from types import FrameType
from typing import IO, Any

from greenlit.errors import ConfigError, WorldError
from greenlit.jsonl import read_json, write_json
from greenlit.launch.channels import place_channels
from greenlit.launch.fetching import MANIFEST, OUTS, TRACKING
from greenlit.launch.plan import CHECKPOINT_DIR, KEY
from greenlit.launch.sending import ARCHIVE, PARENT
from greenlit.launch.stages import CODE, Stage, find_stage
from greenlit.stage.entry import exit_cleanly
from greenlit.stage.launching import LAUNCHER
from greenlit.stage.secrets import is_secret_name, redacted
from greenlit.stage.workspace import WORK, sha256_file
from greenlit.tracking.beside import DELIVERY
from greenlit.tracking.executions import EXECUTION

READY = ".ready"
_LAST_LINES = 12
_WAIT_S = 300.0
_REASON_LENGTH = 900
"""SageMaker keeps the first 1,024 characters."""


def run_job(variables: Mapping[str, str]) -> int:
    """Run the stage that the job is for; returns its exit code.

    Raises:
        ConfigError: the job was started without what stands above.
    """
    told = json.loads(variables.get("SM_HPS", "{}"))
    if "stage" not in told:
        raise ConfigError("SM_HPS: names no stage", hint="start it by `greenlit launch`, or set SM_HPS")
    project = _project(variables)
    if variables.get("LOCAL_RANK", "0") == "0":
        _lay_out(project, str(told["stage"]), _entry(told), variables)
    else:
        _wait_for(project / READY)
    stage = find_stage(str(told["stage"]), _entry(told), project)
    code, last = _run(stage, project, variables)
    if code:
        _say_why(code, last, variables)
    elif variables.get("RANK", "0") == "0":
        collect(stage, project, Path(variables["SM_MODEL_DIR"]), variables.get(KEY, ""))
    return code


def _entry(told: Mapping[str, Any]) -> str | None:
    return str(told["entry"]) if "entry" in told else None


def _project(variables: Mapping[str, str]) -> Path:
    """Where the project is laid out: the same for all processes of a machine."""
    job = variables.get("TRAINING_JOB_NAME") or "job"
    return Path(variables.get("TMPDIR") or tempfile.gettempdir()) / f"greenlit-{job}"


def _lay_out(project: Path, name: str, entry: str | None, variables: Mapping[str, str]) -> None:
    """Code, inputs where the stage looks for them, and `.work` where it is kept."""
    shutil.rmtree(project, ignore_errors=True)
    project.mkdir(parents=True)
    sent = Path(variables.get("SM_CHANNEL_CODE", ""))
    if (sent / ARCHIVE).is_file():
        with tarfile.open(sent / ARCHIVE) as archive:
            archive.extractall(project, filter="data")
    else:
        _copy_of_image(project, variables)
    checkpoints = Path(variables.get(CHECKPOINT_DIR) or project / ".checkpoints")
    checkpoints.mkdir(parents=True, exist_ok=True)
    (project / WORK).symlink_to(checkpoints, target_is_directory=True)
    place_channels(find_stage(name, entry, project), project, _hub(project), variables)
    if (sent / PARENT).is_file():
        _settle_parent(project, read_json(sent / PARENT))
    (project / READY).touch()


def _copy_of_image(project: Path, variables: Mapping[str, str]) -> None:
    """The project that the image holds, with the settings of the channel `settings` where there is one."""
    root = Path(__file__).resolve().parents[3]
    for name in (*CODE, "dvc.yaml", "params.yaml"):
        source = root / name
        if source.is_dir():
            shutil.copytree(source, project / name, ignore=shutil.ignore_patterns("__pycache__"))
        elif source.is_file():
            shutil.copyfile(source, project / name)
    if settings := variables.get("SM_CHANNEL_SETTINGS"):
        shutil.copyfile(Path(settings) / "params.yaml", project / "params.yaml")


def _settle_parent(project: Path, header: dict[str, Any]) -> None:
    """The execution that the stage's run lies below: its home is elsewhere, here it only has to be known."""
    folder = project / WORK / "tracking" / header["id"]
    if not (folder / "run.json").exists():
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "events.jsonl").touch()
        write_json(folder / "run.json", header)


def _hub(project: Path) -> Path:
    return project / ".hub"


def stage_environment(project: Path, variables: Mapping[str, str]) -> dict[str, str]:
    """Of the stage: no secrets of the job, nothing to deliver to, the verdicts' cache on the machine's own disk."""
    kept = {
        name: value
        for name, value in variables.items()
        if not is_secret_name(name) and not name.startswith(("AWS_CONTAINER_", "ECS_"))
    }
    sent = Path(variables.get("SM_CHANNEL_CODE", ""))
    parent = {EXECUTION: read_json(sent / PARENT)["id"]} if (sent / PARENT).is_file() else {}
    hub = {"HF_HUB_CACHE": str(_hub(project)), "HF_HUB_OFFLINE": "1"} if _hub(project).is_dir() else {}
    several = "RANK" in variables and not int(variables.get("SM_NUM_GPUS") or 0)
    return {
        **kept,
        **parent,
        **hub,
        **({"ACCELERATE_USE_CPU": "true"} if several else {}),
        LAUNCHER: "local",
        DELIVERY: "later",
        "PYTHONPATH": str(project / "src"),
        "GREENLIT_CACHE": str(project / "verdicts.sqlite"),
    }


def _run(stage: Stage, project: Path, variables: Mapping[str, str]) -> tuple[int, list[str]]:
    """The stage as a process; its output line by line; its code, and the last lines."""
    process = subprocess.Popen(
        [sys.executable, "-m", f"tasks.{stage.name}", *stage.arguments],
        cwd=project,
        env=stage_environment(project, variables),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        bufsize=1,
    )

    def pass_on(number: int, frame: FrameType | None) -> None:
        process.send_signal(number)

    for number in (signal.SIGTERM, signal.SIGINT):  # the stage writes a checkpoint, and ends
        signal.signal(number, pass_on)
    assert process.stdout is not None
    last = _printed(process.stdout)
    code = process.wait()
    return (128 - code if code < 0 else code), last


def _printed(lines: IO[str]) -> list[str]:
    last: deque[str] = deque(maxlen=_LAST_LINES)
    for line in lines:
        print(redacted(line), end="", flush=True)
        last.append(line.rstrip())
    return list(last)


def _say_why(code: int, last: list[str], variables: Mapping[str, str]) -> None:
    """The stage's own message where SageMaker looks for the reason; the first process to fail is right."""
    starts = [number for number, line in enumerate(last) if re.match(r"(process \d+: )?error: ", line)]
    reason = redacted("\n".join(last[starts[-1] :] if starts else last))[:_REASON_LENGTH]
    path = Path(variables.get("SM_OUTPUT_FAILURE", ""))
    if path.name and not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"{reason or 'no output'}, exit code: {code}", encoding="utf-8")


def collect(stage: Stage, project: Path, model: Path, key: str) -> None:
    """The outs, what the stage told the trackers, and the list of all that, into the folder that comes back."""
    for part in (OUTS, TRACKING):
        shutil.rmtree(model / part, ignore_errors=True)
    for out in stage.outs:
        target = model / OUTS / out
        target.parent.mkdir(parents=True, exist_ok=True)
        if (project / out).is_dir():
            shutil.copytree(project / out, target)
        else:
            shutil.copyfile(project / out, target)
    for run in (project / WORK / "tracking").glob("[0-9a-f]*/run.json"):
        if read_json(run)["stage"] is not None:
            shutil.copytree(run.parent, model / TRACKING / run.parent.name)
    files = [path for part in (OUTS, TRACKING) for path in sorted((model / part).rglob("*")) if path.is_file()]
    listed = {
        path.relative_to(model).as_posix(): {"sha256": sha256_file(path), "bytes": path.stat().st_size}
        for path in files
    }  # fmt: skip
    write_json(model / MANIFEST, {"stage": stage.address, "key": key, "files": listed})


def _wait_for(path: Path) -> None:
    until = time.monotonic() + _WAIT_S
    while not path.exists():
        if time.monotonic() > until:
            raise WorldError(f"{path}: the first process of this machine did not lay out the project")
        time.sleep(0.1)


def main() -> None:
    """Of job.py."""

    def job() -> None:
        if code := run_job(os.environ):
            sys.exit(code)

    exit_cleanly(job)
