"""`dvc repro` as a process of ours: what it runs ends in order when we are stopped, and its exit code comes through.

DVC hides a stage's exit code, ignores Ctrl-C while a stage runs, and leaves the stage running when it is terminated.
So a stage writes its exit code into a file we name, and it is the stage that gets our SIGTERM; DVC ends by itself when
its stage has failed.
"""

import json
import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import IO

import psutil
import yaml
from pydantic import BaseModel, ValidationError

from greenlit.config import PARAMS, read_yaml
from greenlit.errors import ConfigError, WorldError
from greenlit.stage.entry import EXIT_CODE_FILE, end_with_parent
from greenlit.stage.launching import SETTINGS, settings_file

BETWEEN_STAGES_S = 3.0
"""DVC without a stage for so long is not about to start one."""
_POLL_S = 0.1


class StageFailedError(Exception):
    """A stage ended with this exit code; its own message stands above."""

    def __init__(self, code: int) -> None:
        super().__init__(code)
        self.code = code


def repro_command(arguments: Sequence[str]) -> list[str]:
    """The command line of `dvc repro`."""
    return [sys.executable, "-m", "dvc", "repro", *arguments]


def repro_environment() -> dict[str, str]:
    """Our environment, with this Python first on the path: stages are started as `python -m tasks.<stage>`."""
    search_path = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])
    settings = settings_file()  # copies of the project lack what git does not track
    own = {SETTINGS: str(settings.resolve())} if settings else {}
    return {**os.environ, "PATH": search_path, "PYTHONUNBUFFERED": "1", **own}


def repro(
    targets: Sequence[str],
    force: bool,
    cwd: Path = Path(),
    settings: Mapping[str, str] | None = None,
    stdout: IO[str] | None = None,
) -> None:
    """`dvc repro` of the targets and all they need (all, when there are none).

    Args:
        cwd: the project's folder.
        settings: environment variables of the stages, besides ours.
        stdout: where standard output goes, if not to ours.

    A dvc.lock that a kill has torn, because DVC writes it in place, is set aside; what was done is in DVC's run cache.

    Raises:
        StageFailedError: a stage failed.
        ConfigError: a setting that dvc.yaml names is missing in params.yaml; DVC knows no defaults.
        WorldError: another DVC is at work here.
        Stopped: a signal came; the stage has ended.
    """
    require_settings(cwd)
    flags = (["--force", "--single-item"] if targets else ["--force"]) if force else []
    try:
        _repro([*flags, *targets], cwd, settings or {}, stdout)
    except StageFailedError:
        if not set_torn_lock_aside(cwd):
            raise
        _repro([*flags, *targets], cwd, settings or {}, stdout)


def require_settings(root: Path) -> None:
    """Everything that dvc.yaml takes from params.yaml must stand there, even where it has a default.

    Raises:
        ConfigError: one does not.
    """
    text = (root / "dvc.yaml").read_text(encoding="utf-8")
    names = {name for name in re.findall(r"\$\{([\w.]+)\}", text) if name.partition(".")[0] not in {"key", "item"}}
    params = read_yaml(root / PARAMS)
    if missing := sorted(name for name in names if not _holds(params, name.split("."))):
        raise ConfigError(
            f"{PARAMS}: {', '.join(missing)}: missing; dvc.yaml reads it there, defaults or not",
            hint="presets/starter.yaml has it: copy those lines",
        )


def _holds(settings: object, keys: Sequence[str]) -> bool:
    return not keys or (isinstance(settings, dict) and keys[0] in settings and _holds(settings[keys[0]], keys[1:]))


def _repro(arguments: Sequence[str], cwd: Path, settings: Mapping[str, str], stdout: IO[str] | None) -> None:
    with tempfile.TemporaryDirectory() as folder:
        left = Path(folder) / "exit_code"
        process = subprocess.Popen(
            repro_command(arguments),
            cwd=cwd,
            env={**repro_environment(), **settings, EXIT_CODE_FILE: str(left)},
            stdout=stdout,
            preexec_fn=end_with_parent,
        )
        try:
            code = process.wait()
        except BaseException:
            end_repro(process.pid, process.poll)
            raise
        if code and not left.exists() and (other := _other_dvc(cwd)):
            raise WorldError(f"another DVC is at work here (process {other})", hint="wait for it, or end it")
        if code:
            raise StageFailedError(int(left.read_text()) if left.exists() else 1)


def end_repro(pid: int, poll: Callable[[], int | None]) -> None:
    """End a `dvc repro` in order: its stage gets SIGTERM and the time it needs for a checkpoint.

    Args:
        pid: process of DVC.
        poll: says whether it has ended.
    """
    told: set[int] = set()
    idle_since = time.monotonic()
    while poll() is None:
        try:
            stages = psutil.Process(pid).children()
        except psutil.NoSuchProcess:
            return
        for stage in stages:
            if stage.pid not in told:
                told.add(stage.pid)
                with suppress(psutil.NoSuchProcess):
                    stage.terminate()
        if stages:
            idle_since = time.monotonic()
        elif time.monotonic() - idle_since > BETWEEN_STAGES_S:
            with suppress(psutil.NoSuchProcess):
                psutil.Process(pid).terminate()
        time.sleep(_POLL_S)


class _Hashed(BaseModel):
    path: str
    md5: str
    size: int


class _Locked(BaseModel):
    cmd: str | list[str]
    deps: list[_Hashed] = []
    outs: list[_Hashed] = []


class _LockFile(BaseModel):
    stages: dict[str, _Locked]


def set_torn_lock_aside(root: Path) -> bool:
    """Rename a dvc.lock that DVC cannot read to dvc.lock.torn; True if it was one."""
    lock = root / "dvc.lock"
    if not lock.exists():
        return False
    try:
        _LockFile.model_validate(yaml.safe_load(lock.read_text(encoding="utf-8")))
    except (yaml.YAMLError, ValidationError, UnicodeDecodeError):
        torn = lock.with_name("dvc.lock.torn")
        lock.replace(torn)
        print(f"{lock}: torn, as a kill in the middle of DVC's writing leaves it; set aside as {torn}", file=sys.stderr)
        print("what was done comes from DVC's run cache", file=sys.stderr)
        return True
    return False


def _other_dvc(root: Path) -> int | None:
    """Process of another DVC that holds files there, by DVC's own note of who reads and writes what."""
    try:
        noted = json.loads((root / ".dvc/tmp/rwlock").read_text())
    except (OSError, ValueError):
        return None
    readers = (reader for readers in noted.get("read", {}).values() for reader in readers)
    for holder in [*noted.get("write", {}).values(), *readers]:
        if psutil.pid_exists(holder["pid"]):
            return int(holder["pid"])
    return None
