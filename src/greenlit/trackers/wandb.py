"""Weights & Biases: a run per stage, grouped by execution, in the project of the experiment's name.

Without a key, or where its server does not answer, runs go to files in `.work/wandb`, which `wandb sync` uploads later;
WANDB_MODE decides otherwise. Nothing of the machine, the code or the environment goes along.
"""

import netrc
import os
import shutil
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal
from urllib.parse import urlsplit

from greenlit.stage.workspace import WORK
from greenlit.trackers.reporter import Reporter
from greenlit.tracking.spool import Header, State
from greenlit.tracking.values import Point, numbers, unreachable

FOLDER = WORK / "wandb"
SERVER = "https://api.wandb.ai"
_INIT_TIMEOUT_S = 30

Mode = Literal["online", "offline", "shared", "disabled"]


def server() -> str:
    """Address of the W&B server."""
    return os.environ.get("WANDB_BASE_URL") or SERVER


def has_key() -> bool:
    """Is there a key, in the environment or where `wandb login` puts it?"""
    if os.environ.get("WANDB_API_KEY"):
        return True
    try:
        return netrc.netrc().authenticators(urlsplit(server()).hostname or "") is not None
    except (OSError, netrc.NetrcParseError):
        return False


def why_offline() -> str | None:
    """Why runs go to files; None when they go to the server."""
    mode = os.environ.get("WANDB_MODE")
    if mode:
        return f"WANDB_MODE={mode}" if mode != "online" else None
    if not has_key():
        return "no WANDB_API_KEY"
    fault = unreachable(server())
    return f"{urlsplit(server()).hostname} does not answer: {fault}" if fault else None


class WandbReporter(Reporter):
    """One run in W&B."""

    def __init__(self, header: Header, known: dict[str, str]) -> None:
        for variable, value in (
            ("WANDB_ERROR_REPORTING", "false"),
            ("WANDB_CACHE_DIR", str(FOLDER / "cache")),
            ("WANDB_CONFIG_DIR", str(FOLDER / "config")),
        ):
            os.environ.setdefault(variable, value)
        import wandb

        why = why_offline()
        mode: Mode = os.environ.get("WANDB_MODE") or ("offline" if why else "online")  # type: ignore[assignment]
        FOLDER.mkdir(parents=True, exist_ok=True)
        settings = wandb.Settings(
            mode=mode,
            silent=True,
            console="off",
            root_dir=str(FOLDER.parent),
            init_timeout=_INIT_TIMEOUT_S,
            disable_git=True,
            save_code=False,
            disable_code=True,
            disable_job_creation=True,
            host="",
            x_disable_meta=True,
            x_disable_machine_info=True,
            x_disable_stats=True,
            x_save_requirements=False,
        )
        self._run: Any = wandb.init(
            project=header.experiment,
            id=header.id,
            name=header.name,
            group=header.group,
            job_type=header.stage,
            config={**header.params, "origin": header.tags},
            dir=str(FOLDER.parent),
            resume="allow" if mode == "online" else None,
            reinit="create_new",
            settings=settings,
        )
        self._exit_code = 0
        if mode == "offline":
            _tell_once(why or "WANDB_MODE=offline", header.group or header.experiment)

    def metrics(self, points: Sequence[Point]) -> None:
        """By step; W&B drops a step that it has."""
        for point in points:
            self._run.log(numbers(point.values), step=point.step)

    def figures(self, values: Mapping[str, Any], time: float) -> None:
        """As the run's summary."""
        self._run.summary.update(numbers(values))

    def file(self, path: Path, name: str) -> None:
        """As a file of the run, copied: the spool forgets its own."""
        target = Path(self._run.dir) / name
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, target)
        self._run.save(str(target), base_path=self._run.dir, policy="now")

    def state(self, state: State | None, time: float, error: str) -> None:
        """As the run's exit code: crashed unless it finished."""
        self._exit_code = 0 if state in {"finished", None} else 1
        if error:
            self._run.summary["error"] = error

    def close(self) -> None:
        """Finish: what is online is uploaded."""
        self._run.finish(exit_code=self._exit_code)


def _tell_once(why: str, group: str) -> None:
    """One line for each execution."""
    note = FOLDER / "told"
    if note.exists() and note.read_text() == group:
        return
    note.write_text(group)
    print(f"tracking: W&B is offline ({why}); `wandb sync {FOLDER}/offline-run-*` uploads its runs", file=sys.stderr)
