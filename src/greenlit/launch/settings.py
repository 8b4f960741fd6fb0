"""`sagemaker:` in settings.yaml: which account's machines, how many, how long, at what price. None of it is tracked."""

import re
from typing import Annotated, Any, Literal

from pydantic import Field, ValidationError, field_validator, model_validator

from greenlit.config.section import Section
from greenlit.errors import ConfigError
from greenlit.jsonl import one_line, shortened
from greenlit.stage.launching import LAUNCHED_STAGES, LAUNCHERS, SETTINGS_FILE, read_settings, settings_file
from greenlit.stage.secrets import is_secret_name

Stage = Literal["base", "baseline", "generate", "annotate", "reward_model", "train", "merge", "evaluate"]


class SageMaker(Section):
    """Jobs on SageMaker."""

    role: Annotated[str, Field(pattern=r"^arn:aws[\w-]*:iam::\d{12}:role/[\w+=,.@/-]+$")]
    """ARN of the role that the job runs as (docs/iam/job-role.json)."""
    bucket: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]$")]
    """S3 bucket for inputs, code, checkpoints and results; it must exist."""
    prefix: Annotated[str, Field(pattern=r"^[\w.-]+(/[\w.-]+)*$")] = "greenlit"
    """Everything lies below it."""
    region: str | None = None
    """Else that of the environment or the profile."""
    stages: list[Stage] = list(LAUNCHED_STAGES)
    """Stages that run as jobs; all others run here."""
    image: str | None = None
    """URI of the image; null: `greenlit` in the role's own account, tag `train-gpu` or `train-cpu`."""
    requirements: str | None = None
    """A requirements file of the project to install when the job starts, for images that lack packages."""
    instance_type: Annotated[str, Field(pattern=r"^ml\.[a-z0-9-]+\.[a-z0-9-]+$")] = "ml.g5.xlarge"
    instance_count: Annotated[int, Field(ge=1)] = 1
    processes: Annotated[int, Field(ge=1)] = 1
    """Per instance, by torchrun; one for each GPU."""
    volume_gib: Annotated[int, Field(ge=1)] = 50
    spot: bool = True
    """Spare capacity: cheaper, may be interrupted; the job then goes on from its checkpoints."""
    max_runtime_minutes: Annotated[int, Field(ge=1, le=40_320)] = 240
    """SageMaker ends the job after it; a training goes on from its checkpoint in the next one."""
    max_wait_minutes: Annotated[int, Field(ge=1, le=40_320)] | None = None
    """Spot: time to wait for capacity and to run together; null: twice the run time."""
    max_cost_usd: Annotated[float, Field(gt=0)] | None = 20.0
    """A job whose ceiling is above it is not started; null: no limit."""
    usd_per_hour: Annotated[float, Field(gt=0)] | None = None
    """Price of one instance, where the price list lacks it or yours is another."""
    expected_minutes: Annotated[float, Field(gt=0)] | None = None
    """For the estimate; else what the last job of this stage took."""
    capacity_retries: Annotated[int, Field(ge=0)] = 5
    """Further jobs when the region has no capacity, or SageMaker an error of its own."""
    capacity_wait_s: Annotated[float, Field(ge=0)] = 60.0
    """Before the first of them; twice as long before each further one."""
    poll_s: Annotated[float, Field(gt=0, le=60)] = 5.0
    """Between two looks at a job."""
    out_of_reach_minutes: Annotated[float, Field(gt=0)] = 15.0
    """So long AWS may be out of reach before the driver gives up; the job goes on."""
    network_isolation: bool = True
    """No network in the container: sampled programs and packages reach nothing, nor the role's credentials."""
    subnets: list[str] = []
    security_groups: list[str] = []
    encrypt_traffic: bool = False
    """Between the containers of a job on several instances."""
    kms_key: str | None = None
    """For results and what is sent; null: the bucket's own encryption."""
    volume_kms_key: str | None = None
    tags: dict[str, str] = {}
    environment: dict[str, str] = {}
    """Of the job; for settings, never for secrets: whoever may look at the job reads them."""
    max_result_gib: Annotated[float, Field(gt=0)] = 50.0
    """A larger result is not unpacked."""

    @field_validator("environment", "tags")
    @classmethod
    def _no_secrets(cls, values: dict[str, str]) -> dict[str, str]:
        for name in values:
            if is_secret_name(name):
                raise ValueError(f"{name} is named like a secret, and everyone who sees the job would read it")
        return values

    @model_validator(mode="after")
    def _fits(self) -> "SageMaker":
        if self.max_wait_minutes is not None and self.max_wait_minutes < self.max_runtime_minutes:
            raise ValueError("max_wait_minutes: must be at least max_runtime_minutes, which it includes")
        if bool(self.subnets) != bool(self.security_groups):
            raise ValueError("subnets and security_groups: give both, or neither")
        if self.requirements and self.network_isolation:
            raise ValueError("requirements: packages cannot be installed under network_isolation: true")
        return self

    @property
    def account(self) -> str:
        """The role's."""
        return self.role.split(":")[4]

    @property
    def has_gpu(self) -> bool:
        """By the instance's family: g and p have NVIDIA's GPUs."""
        return bool(re.match(r"ml\.[gp]\d", self.instance_type))

    @property
    def wait_minutes(self) -> int:
        """`max_wait_minutes`, or its default."""
        return self.max_wait_minutes or 2 * self.max_runtime_minutes


class Settings(Section):
    """settings.yaml."""

    launcher: Annotated[str, Field(pattern="|".join(f"^{name}$" for name in LAUNCHERS))] = "local"
    sagemaker: SageMaker | None = None


def sagemaker_settings() -> SageMaker:
    """What `sagemaker:` says, checked.

    Raises:
        ConfigError: it is missing, or one line per fault.
    """
    place = str(settings_file() or SETTINGS_FILE)
    try:
        settings = Settings.model_validate(read_settings())
    except ValidationError as error:
        raise ConfigError("\n".join(_fault(place, fault) for fault in error.errors(include_url=False))) from None
    if settings.sagemaker is None:
        raise ConfigError(
            f"{place}: sagemaker: is missing", hint="at least `role:` and `bucket:`; docs/sagemaker.md shows one"
        )
    return settings.sagemaker


def _fault(place: str, fault: Any) -> str:
    where = ".".join(map(str, fault["loc"]))
    if fault["type"] == "missing":
        return f"{place}: {where}: is missing"
    if fault["type"] == "extra_forbidden":
        return f"{place}: {where}: unknown key"
    if fault["type"] == "value_error":  # a sentence of our own
        return f"{place}: {where}: {one_line(str(fault['ctx']['error']))}"
    said = str(fault["msg"])
    return f"{place}: {where}: {one_line(said[0].lower() + said[1:])} (found {shortened(fault['input'])})"
