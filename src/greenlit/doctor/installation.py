"""Python, packages, the project's files."""

import re
import sys
from collections.abc import Iterator
from pathlib import Path

from greenlit.doctor.lines import INSTALL, Line, installed, output, read_params

NEEDED = (
    "torch",
    "transformers",
    "trl",
    "peft",
    "datasets",
    "tokenizers",
    "numpy",
    "mlflow",
    "wandb",
    "tensorboard",
    "dvc",
    "prefect",
)
OPTIONAL = ("accelerate",)
PYTHON = (3, 11)
LOCK = Path("requirements.lock")


def versions() -> Iterator[Line]:
    """Python and packages, against the lock where there is one."""
    running = ".".join(map(str, sys.version_info[:3]))
    right = sys.version_info[:2] == PYTHON
    wanted = ".".join(map(str, PYTHON))
    fix = None if right else f"make the virtual environment anew with Python {wanted}"
    yield Line("versions", "python", "green" if right else "red", running, fix)
    yield Line("versions", "greenlit", "green", installed("greenlit") or "runs from its source")
    locked = _locked()
    for name in NEEDED:
        found = installed(name)
        if found is None:
            yield Line("versions", name, "red", "not installed", INSTALL)
        elif name in locked and found.split("+")[0] != locked[name]:
            yield Line("versions", name, "yellow", f"{found}, the lock says {locked[name]}", INSTALL)
        else:
            yield Line("versions", name, "green", found)
    for name in OPTIONAL:
        yield Line("versions", name, "green", installed(name) or "not installed; optional")


def _locked() -> dict[str, str]:
    """Package -> version in requirements.lock of this folder."""
    if not LOCK.exists():
        return {}
    return dict(re.findall(r"^([\w.-]+)==([^\s;+]+)", LOCK.read_text(), re.MULTILINE))


def project() -> Iterator[Line]:
    """params.yaml, DVC and git."""
    yield read_params()[1]
    if not Path("dvc.yaml").exists():
        yield Line("project", "dvc", "yellow", "no dvc.yaml in this folder", "go to your project's folder")
        return
    if not Path(".dvc").is_dir():
        yield Line("project", "dvc", "red", "dvc.yaml, but no repository (.dvc)", "run `dvc init`")
    else:
        history = "has run before" if Path("dvc.lock").exists() else "has not run yet"
        yield Line("project", "dvc", "green", f"repository found; the pipeline {history}")
    commit = output(["git", "rev-parse", "--short", "HEAD"])
    if commit:
        yield Line("project", "git", "green", f"at commit {commit}")
    else:
        fix = "install git, then `git init` and commit: versions of models name the commit they come from"
        yield Line("project", "git", "yellow", "no commit found", fix)
