"""A copy of the project to run the pipeline in, with its own git, DVC cache and registry."""

import hashlib
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from greenlit.config import load_params
from greenlit.paths import Paths

ROOT = Path(__file__).parent.parent
WARM = ROOT / "tests" / "warm"
"""First on the path of a Python whose stages the warm process runs."""


def make_workspace(folder: Path, preset: str, cache_of: Path | None = None) -> Path:
    """The project's tracked files in `folder`, with the preset as params.yaml; nothing of runs in the checkout.

    Args:
        cache_of: a project whose DVC cache it gets: stages that ran there with the same settings need not run again.
    """
    listed = subprocess.run(
        ["git", "ls-files", "-co", "--exclude-standard"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    for name in listed.stdout.split("\n"):
        source = ROOT / name
        if name and source.is_file() and not name.startswith("tests/") and name != "dvc.lock":
            target = folder / name
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(source, target)  # with its time: make compares times
    shutil.copyfile(ROOT / "presets" / f"{preset}.yaml", folder / "params.yaml")
    for command in (
        ["init", "-q"],
        ["add", "-A"],
        ["-c", "user.name=t", "-c", "user.email=t@t", "commit", "-qm", "start"],
    ):
        subprocess.run(["git", *command], cwd=folder, check=True)
    if cache_of:
        shutil.copytree(cache_of / ".dvc/cache", folder / ".dvc/cache")
    return folder


def start_from(params: Path, project: Path) -> None:
    """Have a file of the tiny preset's params start from the model that was built in a project, instead of its own."""
    text, built = params.read_text(), "model: starter\n"
    assert built in text
    params.write_text(text.replace(built, f"model: {project}/assets/models/base\n"))


def start_warm(patch: pytest.MonkeyPatch, address: str) -> None:
    """From here on, have stages that load torch or MLflow run by the warm process that listens there."""
    patch.setenv("WARM_STAGES", address)
    patch.setenv("PYTHONPATH", str(WARM), prepend=os.pathsep)


def search_path(*folders: Path) -> str:
    """PYTHONPATH for the code of these folders; `start_warm` needs one more."""
    return os.pathsep.join(map(str, [*folders, *([WARM] if "WARM_STAGES" in os.environ else [])]))


def environment(folder: Path) -> dict[str, str]:
    """The environment of a user in that folder: its own code, nothing of this process's temporary settings.

    Where a test asked for the fixture `warm`, stages that load torch or MLflow are run by the warm process.
    """
    return {
        **os.environ,
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        "PYTHONPATH": search_path(folder / "src"),
        "PREFECT_HOME": str(folder / ".prefect"),
    }


def run(folder: Path, *command: str, code: int = 0) -> subprocess.CompletedProcess:
    """Run a command there and require its exit code."""
    done = subprocess.run(command, cwd=folder, env=environment(folder), capture_output=True, text=True, check=False)
    assert done.returncode == code, (
        f"{command} ended with {done.returncode}:\n{done.stdout[-4000:]}\n{done.stderr[-4000:]}"
    )
    return done


def greenlit(folder: Path, *arguments: str, code: int = 0) -> subprocess.CompletedProcess:
    """The `greenlit` command there."""
    return run(folder, sys.executable, "-m", "greenlit.cli", *arguments, code=code)


def paths_of(folder: Path) -> Paths:
    """Where the files of the experiment in that folder lie, relative to it."""
    return Paths.of(load_params(folder / "params.yaml"))


def digests(folder: Path) -> dict[str, str]:
    """Hashes of what must repeat: problems, candidates, verdicts, pairs."""
    paths = paths_of(folder)
    files = [
        *(paths.problems(split) for split in ("train", "validation", "test")),
        paths.candidates, paths.annotated, paths.rl / "pairs.jsonl", paths.rl / "nbest.jsonl",
        paths.measured("test", None), paths.measured("test", "dpo"), paths.measured("validation", "dpo"),
    ]  # fmt: skip
    return {path.as_posix(): hashlib.sha256((folder / path).read_bytes()).hexdigest() for path in files}
