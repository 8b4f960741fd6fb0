"""Where a stage runs: here, or as a job elsewhere, by one word.

    GREENLIT_LAUNCHER    local or sagemaker; `--launcher` of a stage and of `greenlit run` sets it
    settings.yaml        the same as `launcher:`, and what a launcher needs (docs/sagemaker.md); git ignores it
    GREENLIT_SETTINGS    another file in its place

Where a stage runs is not what it computes: none of this is a parameter that DVC tracks, and the program that drives a
job elsewhere is started in the stage's place, so that its code is none of the stage's dependencies either.
"""

import difflib
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from greenlit.errors import ConfigError

LAUNCHERS: dict[str, str | None] = {"local": None, "sagemaker": "greenlit.launch"}
"""Name -> the module that is run in a stage's place; None runs the stage itself."""
LAUNCHER, SETTINGS = "GREENLIT_LAUNCHER", "GREENLIT_SETTINGS"
ANEW = "GREENLIT_LAUNCH_ANEW"
"""Environment variable: 1 fetches no finished job's result, as `greenlit run --force` wants it."""
SETTINGS_FILE = Path("settings.yaml")
LAUNCHED_STAGES = ("reward_model", "train", "generate", "baseline", "evaluate")
"""What a job runs by default: the stages that want a GPU."""
_ROOT_OF_DVC = "DVC_ROOT"


def settings_file() -> Path | None:
    """The file of untracked settings; in DVC's copy for a queued experiment, that of the checkout."""
    if named := os.environ.get(SETTINGS):
        if not Path(named).is_file():
            raise ConfigError(f"{SETTINGS}: no file {named}", hint="name a settings.yaml, or unset it")
        return Path(named)
    places = (SETTINGS_FILE, Path(os.environ.get(_ROOT_OF_DVC, ".")) / SETTINGS_FILE)
    return next((path for path in places if path.is_file()), None)


def read_settings() -> dict[str, Any]:
    """What stands in settings.yaml; empty where there is none.

    Raises:
        ConfigError: it is no mapping.
    """
    path = settings_file()
    if path is None:
        return {}
    from greenlit.config.yaml_file import read_yaml

    content = read_yaml(path) or {}
    if not isinstance(content, dict):
        raise ConfigError(f"{path}: must be a mapping (found {type(content).__name__})", hint="see docs/sagemaker.md")
    return content


def launcher_of(stage: str) -> str:
    """The launcher of a stage, e.g. `train`.

    Raises:
        ConfigError: a launcher that there is not.
    """
    content = read_settings()
    place = LAUNCHER if os.environ.get(LAUNCHER) else f"{SETTINGS_FILE}: launcher"
    chosen = os.environ.get(LAUNCHER) or content.get("launcher", "local")
    if chosen not in LAUNCHERS:
        close = difflib.get_close_matches(str(chosen), LAUNCHERS, n=1)
        hint = f"did you mean {close[0]}?" if close else f"one of {', '.join(LAUNCHERS)}"
        raise ConfigError(f"{place}: no launcher {chosen!r}", hint=hint)
    own = content.get(chosen)
    stages = own.get("stages", LAUNCHED_STAGES) if isinstance(own, dict) else LAUNCHED_STAGES
    return chosen if stage in stages else "local"


def hand_over(stage: str, arguments: Sequence[str]) -> None:
    """Put the launcher's driver in the place of this process, unless the stage runs here; then return."""
    driver = LAUNCHERS[launcher_of(stage)]
    if driver is None:
        return
    sys.stdout.flush()
    sys.stderr.flush()
    os.execv(sys.executable, [sys.executable, "-m", driver, stage, *arguments])
