"""A job's container on this machine: the same entry script with the folders and variables that SageMaker gives it.

For a look at what a job would do before one is paid for. What it cannot show: the image, the network, rights, GPUs.
"""

import json
import os
import shutil
import subprocess
import sys
import tarfile
from pathlib import Path

from greenlit.launch.fetching import unpack, verify
from greenlit.launch.plan import CHECKPOINT_DIR, ENTRY, Plan
from greenlit.launch.sending import make_source
from greenlit.stage.secrets import is_secret_name
from greenlit.stage.workspace import WORK

LAYOUTS = WORK / "launch" / "layouts"


def run_in_layout(plan: Plan) -> Path:
    """Run a stage as its job would, and check the result as if it had come from S3.

    Returns:
        the folder with the result's outs; those of the project stay as they are.

    Raises:
        SystemExit: the stage failed; its own message stands above, and the code is its own.
    """
    root = (LAYOUTS / plan.stage.address).resolve()
    shutil.rmtree(root, ignore_errors=True)
    for folder in ("model", "output/data", "input/config", "tmp"):
        (root / folder).mkdir(parents=True)
    make_source(plan, root / "input/data/code", None)
    variables = layout_variables(plan, root)
    for channel in plan.channels:
        folder = root / "input/data" / channel.name
        folder.mkdir(parents=True)
        if channel.path.is_dir():
            shutil.copytree(channel.path, folder, dirs_exist_ok=True)
        else:
            shutil.copy2(channel.path, folder)
    code = root / "input/data/code"
    done = subprocess.run([sys.executable, ENTRY], cwd=code, env=variables, stdout=sys.stderr, check=False)
    if done.returncode:
        sys.exit(done.returncode)
    with tarfile.open(root / "model.tar.gz", "w:gz") as archive:
        archive.add(root / "model", arcname=".")
    result = unpack(root / "model.tar.gz", root / "result", plan.settings.max_result_gib * 2**30)
    verify(result, plan.stage, plan.key)
    return result / "outs"


def layout_variables(plan: Plan, root: Path) -> dict[str, str]:
    """What SageMaker's container would have set, for folders below `root`; nothing secret of this environment."""
    inherited = {name: value for name, value in os.environ.items() if not is_secret_name(name)}
    channels = {f"SM_CHANNEL_{name.upper()}": str(root / "input/data" / name) for name in _names(plan)}
    return {
        **inherited,
        **plan.environment,
        **channels,
        CHECKPOINT_DIR: str(root / "checkpoints"),
        "SM_HPS": json.dumps(plan.hyperparameters),
        "SM_MODEL_DIR": str(root / "model"),
        "SM_OUTPUT_DIR": str(root / "output"),
        "SM_OUTPUT_DATA_DIR": str(root / "output/data"),
        "SM_OUTPUT_FAILURE": str(root / "output/failure"),
        "TRAINING_JOB_NAME": plan.job_prefix,
        "TMPDIR": str(root / "tmp"),
    }


def _names(plan: Plan) -> list[str]:
    return ["code", *(channel.name for channel in plan.channels)]
