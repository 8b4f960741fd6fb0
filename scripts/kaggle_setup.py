"""Make a notebook of this project run on Kaggle: the project on a writable disk, its packages installed.

    set_up = runpy.run_path("/kaggle/input/<dataset>/scripts/kaggle_setup.py")["set_up"]
    PROJECT = set_up(Path("/kaggle/working/greenlit"))

The dataset is read-only, and needs neither git nor DVC: no stage asks for them. Results go below the copy, which Kaggle
keeps as the notebook's output; what is downloaded or compiled on the way goes to a folder that it does not keep.

The packages come at the versions of requirements.lock. Left out are torch and what it brings along (Kaggle's own fits
its GPUs), and what schedules, versions and tracks pipelines, which a notebook has no use for.
"""

import importlib.metadata
import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

SOURCE = Path(__file__).resolve().parent.parent
NEEDLESS = {"torch", "prefect", "sqlalchemy", "dvc", "s3fs", "mlflow", "wandb", "tensorboard"}
OF_TORCH = re.compile(r"(torch|triton|nvidia-|cuda-|nccl)")
LEFT_BEHIND = shutil.ignore_patterns(
    ".git", ".dvc", ".venv", ".work", ".prefect", "assets", "results", "rounds", "mlruns", "mlartifacts", "__pycache__"
)
TEMPORARY = Path(tempfile.gettempdir()) / "greenlit"
CACHES = {"HF_HOME": "huggingface", "TRITON_CACHE_DIR": "triton", "MPLCONFIGDIR": "matplotlib"}
"""Environment variable → folder; one that is set already stays as it is."""


def set_up(target: Path, source: Path = SOURCE, caches: Path = TEMPORARY) -> Path:
    """Copy the project to `target`, unless it is there, and install what it needs; returns the project's folder.

    Args:
        caches: where models and compiled code are kept for this session.

    Raises:
        RuntimeError: this is another Python than the project is made for, or pip changed torch.
        CalledProcessError: pip failed; its message stands above.
    """
    if sys.version_info[:2] != (3, 11):
        found = ".".join(map(str, sys.version_info[:2]))
        raise RuntimeError(f"Python 3.11 is needed (found {found}); hint: Settings, Environment, pin an original one")
    if not (target / "dvc.yaml").exists():
        shutil.copytree(source, target, ignore=LEFT_BEHIND, dirs_exist_ok=True, copy_function=shutil.copyfile)
        make_writable(target)
    for variable, folder in CACHES.items():
        os.environ.setdefault(variable, str(caches / folder))
    torch = installed("torch")
    with tempfile.TemporaryDirectory() as folder:
        wanted, pinned = Path(folder) / "wanted.txt", Path(folder) / "pinned.txt"
        wanted.write_text("\n".join(requirements(target / "requirements.txt")))
        pinned.write_text("\n".join(constraints(target / "requirements.lock")))
        pip = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
        subprocess.run([*pip, "-r", str(wanted), "-c", str(pinned)], check=True)
    if (now := installed("torch")) != torch:
        raise RuntimeError(f"pip changed torch from {torch} to {now}; hint: start again in a fresh session")
    return target


def make_writable(folder: Path) -> None:
    """The folders of a copy are as read-only as those it was made of; files are not, since they are new."""
    for path in [folder, *(path for path in folder.rglob("*") if path.is_dir())]:
        path.chmod(path.stat().st_mode | 0o700)


def installed(package: str) -> str | None:
    """Its version; None where it is not there."""
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def requirements(path: Path) -> list[str]:
    """The lines of requirements.txt that a notebook needs."""
    return [line for line in _lines(path) if _name(line) not in NEEDLESS]


def constraints(path: Path) -> list[str]:
    """The pins of requirements.lock, without torch and its parts."""
    return [line for line in _lines(path) if not OF_TORCH.match(_name(line))]


def _lines(path: Path) -> list[str]:
    lines = (line.partition("#")[0].strip() for line in path.read_text(encoding="utf-8").splitlines())
    return [line for line in lines if line]


def _name(requirement: str) -> str:
    """`dvc[s3]>=3.67,<4` -> `dvc`."""
    return re.split(r"[^\w.-]", requirement, maxsplit=1)[0].lower()
