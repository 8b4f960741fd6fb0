"""May a judge's word count? Only where a calibration of exactly this judge says that it agrees with execution.

`greenlit calibrate-judge` writes calibration/<dataset>/<model>-<rubric>-<identity>.json. Commit these files: they are
the evidence on which an experiment trusts a judge, and copies of the project need them.
"""

import hashlib
import json
import re
from pathlib import Path
from typing import Any

from greenlit.config import JudgeParams
from greenlit.errors import ConfigError
from greenlit.feedback.judge import identity_of
from greenlit.jsonl import read_json

FOLDER = Path("calibration")
COMMAND = "greenlit calibrate-judge"


def calibration_file(params: JudgeParams, dataset: str, folder: Path = FOLDER) -> Path:
    """Where the calibration of this judge lies.

    Raises:
        DataError: no such model directory.
    """
    identity = hashlib.sha256(json.dumps(identity_of(params), sort_keys=True).encode()).hexdigest()
    model = re.sub(r"[^\w.-]+", "-", params.model).strip("-.")[-60:]
    return folder / dataset / f"{model}-{params.rubric}-{identity[:8]}.json"


def lowest_auc(calibration: dict[str, Any]) -> float | None:
    """The lower of the low ends of both areas under the curve; None where one could not be measured."""
    lows = [calibration[name]["low"] for name in ("auc", "auc_within")]
    return None if None in lows else min(lows)


def require_calibrated(
    params: JudgeParams, dataset: str, place: str = "rewards.judge", folder: Path = FOLDER
) -> dict[str, Any]:
    """The calibration of this judge on this dataset.

    Args:
        place: of the judge's settings in params.yaml, for the message.

    Raises:
        ConfigError: there is none, or its AUC is too low.
    """
    file = calibration_file(params, dataset, folder)
    named = f"params.yaml: {place}: {params.model} with rubric {params.rubric}"
    calibration = read_json(file) if file.exists() else None
    if calibration is None or calibration.get("judge") != identity_of(params):
        raise ConfigError(
            f"{named}: is not calibrated on {dataset} (no {file}), and so its weight must be 0",
            hint=f"`{COMMAND}` measures how well it agrees with execution",
        )
    low = lowest_auc(calibration)
    if low is None or low < params.threshold:
        found = "could not be measured" if low is None else f"has a low end of {low:.3f}"
        raise ConfigError(
            f"{named}: its AUC against execution {found}, less than threshold {params.threshold:g} ({file}): "
            "its weight must be 0",
            hint=f"another model or rubric, then `{COMMAND}`; or more problems (--problems) for a narrower interval",
        )
    return calibration
