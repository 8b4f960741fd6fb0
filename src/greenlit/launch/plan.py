"""What a job is going to be, before anything is asked of AWS."""

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from greenlit.errors import ConfigError
from greenlit.launch.access import region_of
from greenlit.launch.channels import Channel, channels_of
from greenlit.launch.cost import Cost, cost_of
from greenlit.launch.settings import SageMaker
from greenlit.launch.stages import Stage, code_of, require_inputs
from greenlit.stage.secrets import redacted
from greenlit.stage.workspace import work_key

CHECKPOINTS = "/opt/ml/checkpoints"
"""Where SageMaker mounts a job's checkpoints; the container is told by GREENLIT_CHECKPOINT_DIR."""
CHECKPOINT_DIR, KEY = "GREENLIT_CHECKPOINT_DIR", "GREENLIT_LAUNCH_KEY"
ENTRY = "job.py"
"""What SageMaker starts: docker/job.py."""
_TOLD = "params_"
"""Before the names of settings: the SDK passes them to torchrun, which takes `--start` for one of its own options."""
_LONGEST_NAME = 63
_TIME = 15
"""Characters that the SDK adds to a job's name."""


@dataclass(frozen=True)
class Plan:
    """One job."""

    stage: Stage
    settings: SageMaker
    region: str
    key: str
    """Hash of parameters, inputs and code: checkpoints and finished jobs of the same key are gone on with."""
    channels: tuple[Channel, ...]
    hyperparameters: dict[str, Any]
    environment: dict[str, str]
    cost: Cost

    @property
    def image(self) -> str:
        """URI; by default the image of docker/train.Dockerfile in the role's account."""
        kind = "gpu" if self.settings.has_gpu else "cpu"
        own = f"{self.settings.account}.dkr.ecr.{self.region}.amazonaws.com/greenlit:train-{kind}"
        return self.settings.image or own

    @property
    def job_prefix(self) -> str:
        """What the names of this job and of its further attempts begin with."""
        address = re.sub(r"[^A-Za-z0-9]+", "-", self.stage.address)
        room = _LONGEST_NAME - _TIME - len(self.key) - len("greenlit--")
        return f"greenlit-{address[:room].strip('-')}-{self.key}"

    @property
    def home(self) -> str:
        """Where this project's things lie in S3."""
        return f"s3://{self.settings.bucket}/{self.settings.prefix}"

    @property
    def checkpoints(self) -> str:
        """S3 URI below which they are, the same for all attempts."""
        return f"{self.home}/checkpoints/{self.job_prefix}/"

    @property
    def results(self) -> str:
        """S3 URI below which SageMaker puts a folder for each job."""
        return f"{self.home}/jobs"

    @property
    def machines(self) -> str:
        """In words."""
        several = f", {self.settings.processes} processes each" if self.settings.processes > 1 else ""
        spot = ", spot" if self.settings.spot else ""
        return f"{self.settings.instance_count} x {self.settings.instance_type}{several}{spot}"

    @property
    def command(self) -> str:
        """What the container runs in the end."""
        stage = " ".join(["python -m", f"tasks.{self.stage.name}", *self.stage.arguments])
        several = self.settings.processes > 1 or self.settings.instance_count > 1
        nodes = f"--nnodes={self.settings.instance_count} --nproc_per_node={self.settings.processes}"
        return f"{f'torchrun {nodes}' if several else 'python'} {ENTRY}, which runs `{stage}`"

    @property
    def tags(self) -> dict[str, str]:
        """Of the job."""
        own = {"greenlit:stage": self.stage.address, "greenlit:key": self.key}
        return {"project": "greenlit", **own, **self.settings.tags}


def make_plan(stage: Stage, settings: SageMaker) -> Plan:
    """The job of a stage.

    Raises:
        DataError: an input is missing.
        ConfigError: no region, or something that would be sent holds a secret.
    """
    require_inputs(stage)
    key = work_key([stage.address, stage.params], [*stage.inputs, *code_of(Path())])
    environment = {
        **settings.environment,
        CHECKPOINT_DIR: CHECKPOINTS,
        KEY: key,
        "PYTHONUNBUFFERED": "1",
        "HF_HUB_DISABLE_TELEMETRY": "1",
        "DO_NOT_TRACK": "1",
    }
    plan = Plan(
        stage=stage,
        settings=settings,
        region=region_of(settings),
        key=key,
        channels=tuple(channels_of(stage)),
        hyperparameters=hyperparameters_of(stage),
        environment=environment,
        cost=cost_of(settings, stage.address),
    )
    _require_no_secret(plan)
    return plan


def hyperparameters_of(stage: Stage) -> dict[str, Any]:
    """What SageMaker shows of a job and the container is told: the stage, and its settings to look at.

    The settings that count are those of params.yaml, which travels with the code. SageMaker's container sources a shell
    file with these values between single quotes, so what holds one stays out.
    """
    settings: dict[str, Any] = {}
    for name, value in stage.params.items():
        nested = value if isinstance(value, dict) else {name: value}
        prefix = "" if not isinstance(value, dict) or name.startswith("methods.") else f"{name}."
        settings |= {f"{prefix}{key}".replace(".", "_"): item for key, item in nested.items()}
    plain = {key: value for key, value in settings.items() if isinstance(value, str | int | float | bool)}
    told = {key: value for key, value in plain.items() if "'" not in str(value) and len(str(value)) < 256}
    told = {f"{_TOLD}{key}": value for key, value in told.items()}
    return {**told, "stage": stage.name, **({"entry": stage.entry} if stage.entry else {})}


def _require_no_secret(plan: Plan) -> None:
    """Nothing that a job's description holds may be the value of a secret of ours."""
    told = json.dumps([plan.hyperparameters, plan.environment, plan.tags, plan.stage.params], default=str)
    if redacted(told) != told:
        raise ConfigError(
            "the job's description would hold a secret of your environment or .env",
            hint="look at params.yaml and at `environment` and `tags` in settings.yaml: secrets stay out of them",
        )
