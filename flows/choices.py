"""What whoever starts a flow can choose. The types are what Prefect's form shows; every choice has a default."""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from greenlit.errors import ConfigError
from greenlit.jsonl import one_line, shortened

_PRESETS = sorted(path.stem for path in (Path(__file__).parent.parent / "presets").glob("*.yaml"))

Preset = Annotated[
    Literal[*_PRESETS] | None,  # type: ignore[valid-type]
    Field(description="Put this preset in the place of params.yaml first; none: params.yaml as it is."),
]
Methods = Annotated[
    list[str] | None,
    Field(description="Keep only these methods in params.yaml; none: all that this flow is for."),
]
Settings = Annotated[
    list[str] | None,
    Field(description="Change params.yaml first: key=value each, e.g. methods.dpo.beta=0.5 or seed=1."),
]
Launcher = Annotated[
    Literal["local", "sagemaker"] | None,
    Field(description="Where trainings run; none: as GREENLIT_LAUNCHER says, else local."),
]
Only = Annotated[
    list[str] | None,
    Field(description="Parts of the pipeline (baseline, train_gen, rl_build, ...) or stages, and what they need."),
]
FromStage = Annotated[
    str | None,
    Field(description="Leave out what comes before this stage; what it reads is taken as it lies there."),
]
Force = Annotated[bool, Field(description="Run the stages even if nothing changed.")]
Grace = Annotated[
    float | None,
    Field(
        ge=0, description="Seconds a stage has for its checkpoint when the run is cancelled; GREENLIT_GRACE_S, else 20."
    ),
]
StageTimeout = Annotated[
    float | None,
    Field(gt=0, description="Longest time of one stage in seconds; GREENLIT_STAGE_TIMEOUT_S, else none."),
]
Retries = Annotated[
    dict[str, int] | None,
    Field(description="More tries by stage, after exit code 75; GREENLIT_RETRIES, else 2 for scrape, fetch, generate."),
]


class Asked(BaseModel):
    """The choices that all flows have in common, checked."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    preset: Preset = None
    settings: Settings = None
    launcher: Launcher = None
    grace_s: Grace = None
    stage_timeout_s: StageTimeout = None
    retries: Retries = None

    @classmethod
    def of(cls, given: Mapping[str, Any]) -> Self:
        """The parameters that a flow was given.

        Raises:
            ConfigError: some are wrong; a line for each.
        """
        try:
            return cls.model_validate(dict(given))
        except ValidationError as error:
            raise ConfigError("\n".join(dict.fromkeys(map(_told, error.errors(include_url=False))))) from None


class Chosen(Asked):
    """Those of the flows that bring the stages of this folder up to date."""

    methods: Methods = None
    only: Only = None
    from_stage: FromStage = None
    force: Force = False


def _told(fault: Any) -> str:
    place = ".".join(str(part) for part in fault["loc"][:2])
    message = fault["msg"][0].lower() + fault["msg"][1:]
    return one_line(f"{place}: {message} (found {shortened(fault['input'])})", 400)
