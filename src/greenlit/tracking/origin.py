"""Where a run comes from, as tags: git commit, hardware, versions."""

import subprocess
from pathlib import Path

from greenlit.stage.hardware import facts
from greenlit.tracking.values import flatten


def git_commit(root: Path) -> str:
    """The commit checked out in a folder, `+changes` when tracked files differ from it, `unknown` outside of git."""
    try:
        commit, status = (
            subprocess.run(
                ["git", "-C", str(root), *command], capture_output=True, text=True, check=True
            ).stdout.strip()
            for command in (["rev-parse", "HEAD"], ["status", "--porcelain", "--untracked-files=no"])
        )
    except (FileNotFoundError, subprocess.CalledProcessError):
        return "unknown"
    return f"{commit}+changes" if status else commit


def origin_tags() -> dict[str, str]:
    """Of a run in the current folder: {"git_commit": ..., "packages.torch": "2.13.0", ...}."""
    return {"git_commit": git_commit(Path()), **{key: str(value) for key, value in flatten(facts()).items()}}
