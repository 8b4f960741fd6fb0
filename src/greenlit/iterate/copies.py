"""The copy of the project that a step runs in, and the run.

The copy has the project's files as they are here whenever its step is run; code that has changed since makes DVC run
again what depends on it. Its params.yaml, its dvc.lock and its results are its own. DVC's cache, MLflow's store and the
verdicts found before are shared, so what several rounds have in common (the problems) is made once.
"""

import configparser
import filecmp
import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import yaml

from greenlit.config import PARAMS
from greenlit.iterate.plan import PREVIOUS, Step
from greenlit.jsonl import atomic_write
from greenlit.repro import StageFailedError, repro_environment
from greenlit.runs.fresh_copy import files_here
from greenlit.runs.records import CODE, cache_dir, git
from greenlit.stage.entry import end_with_parent
from greenlit.stage.workspace import WORK, python_path

_NEW_IN = (*CODE, "custom", "human")
"""Where files that git does not track yet belong to the project."""
_OWN = {PARAMS, Path("dvc.lock")}


def run_step(step: Step) -> None:
    """Run a step in its copy, its output on stderr; what is done there is not run again.

    Raises:
        StageFailedError: a stage failed.
        Stopped: a signal came; the step has ended.
    """
    process = subprocess.Popen(
        start_step(step),
        cwd=step.folder,
        env=step_environment(step),
        stdout=sys.stderr,
        preexec_fn=end_with_parent,
    )
    try:
        code = process.wait()
    except BaseException:
        end_step(process)
        raise
    if code:
        raise StageFailedError(code)


def start_step(step: Step) -> list[str]:
    """Bring the step's copy up to date; return the command to run there."""
    folder = step.folder
    _with_history(folder)
    _mirror([path for path in files_here(_NEW_IN) if path not in _OWN], folder)
    with atomic_write(folder / PARAMS) as stream:
        yaml.safe_dump(dict(step.content), stream, sort_keys=False)
    _share_cache(folder)
    shutil.rmtree(folder / PREVIOUS, ignore_errors=True)
    for path, source in step.links.items():
        _link(folder / path, source)
    return [sys.executable, "-m", "greenlit.cli", "run", "--only", step.stage]


def step_environment(step: Step) -> dict[str, str]:
    """Our environment, with the copy's own code, and the checkout's MLflow store and verdicts."""
    here = Path.cwd()
    shared = {
        "MLFLOW_TRACKING_URI": f"sqlite:///{here / 'mlflow.db'}",
        "GREENLIT_CACHE": str(here / WORK / "verdicts.sqlite"),
    }
    return {**shared, **repro_environment(), "PYTHONPATH": python_path(step.folder / "src")}


def end_step(process: "subprocess.Popen[str] | subprocess.Popen[bytes]") -> None:
    """End a step in order: its stage gets the time it needs for a checkpoint."""
    process.terminate()
    process.wait()


def _with_history(folder: Path) -> None:
    """A git repository of its own, as DVC wants one, which knows the commit that the files come from, if there is one.

    The project may be a folder of a repository; its copy then has no history.
    """
    commit = git("rev-parse", "HEAD") if git("rev-parse", "--show-prefix") == "\n" else None
    if commit and not folder.exists():
        git("clone", "--quiet", "--shared", "--no-checkout", str(Path.cwd()), str(folder))
    folder.mkdir(parents=True, exist_ok=True)
    git("init", "--quiet", str(folder))
    if commit:
        git("-C", str(folder), "reset", "--quiet", commit.strip())


def _mirror(files: Sequence[Path], folder: Path) -> None:
    """Write what is new or other than here; remove code that is no longer here."""
    wanted = {folder / path for path in files}
    for name in _NEW_IN:
        for path in list((folder / name).rglob("*")):
            if path.is_file() and path not in wanted and "__pycache__" not in path.parts:
                path.unlink()
    for path in files:
        target = folder / path
        if not target.exists() or not filecmp.cmp(path, target, shallow=False):
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(path, target)


def _share_cache(folder: Path) -> None:
    settings = configparser.ConfigParser(interpolation=None)
    settings["cache"] = {"dir": os.path.relpath(cache_dir(Path()).resolve(), (folder / ".dvc").resolve())}
    with atomic_write(folder / ".dvc/config.local") as stream:
        settings.write(stream)


def _link(path: Path, source: Path) -> None:
    """A relative link, unless the copy has a file of its own there."""
    if path.is_symlink():
        path.unlink()
    if path.exists():
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    path.symlink_to(os.path.relpath(source.resolve(), path.parent.resolve()))
