"""pipeline: everything in params.yaml, whatever its methods are.

python -m flows.pipeline
python -m flows.pipeline --preset starter --methods dpo --settings methods.dpo.beta=0.5
"""

from prefect.states import State

from flows.arguments import run_from_command_line
from flows.choices import Force, FromStage, Grace, Launcher, Methods, Only, Preset, Retries, Settings, StageTimeout
from flows.flow import our_flow
from flows.running import Kind, run_pipeline


@our_flow("pipeline")
def pipeline(
    preset: Preset = None,
    methods: Methods = None,
    settings: Settings = None,
    launcher: Launcher = None,
    only: Only = None,
    from_stage: FromStage = None,
    force: Force = False,
    grace_s: Grace = None,
    stage_timeout_s: StageTimeout = None,
    retries: Retries = None,
) -> State:
    """Bring everything in params.yaml up to date, from the data to the registry."""
    return run_pipeline("pipeline", locals(), Kind.ANY)


if __name__ == "__main__":
    run_from_command_line(pipeline)
