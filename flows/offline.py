"""offline: baseline, candidates, verdicts, pairs; training on them, merging, measuring; report, registration.

python -m flows.offline
python -m flows.offline --preset starter --methods dpo --settings methods.dpo.beta=0.5
"""

from prefect.states import State

from flows.arguments import run_from_command_line
from flows.choices import Force, FromStage, Grace, Launcher, Methods, Only, Preset, Retries, Settings, StageTimeout
from flows.flow import our_flow
from flows.running import Kind, run_pipeline


@our_flow("offline")
def offline(
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
    """Bring the methods of params.yaml that learn from candidates up to date, from the baseline to the registry."""
    return run_pipeline("offline", locals(), Kind.OFFLINE)


if __name__ == "__main__":
    run_from_command_line(offline)
