"""online: baseline; training on programs that are sampled meanwhile, merging, measuring; report, registration.

python -m flows.online
python -m flows.online --preset methods --methods grpo --settings methods.grpo.max_steps=25
"""

from prefect.states import State

from flows.arguments import run_from_command_line
from flows.choices import Force, FromStage, Grace, Launcher, Methods, Only, Preset, Retries, Settings, StageTimeout
from flows.flow import our_flow
from flows.running import Kind, run_pipeline


@our_flow("online")
def online(
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
    """Bring the methods of params.yaml that sample while they train up to date, from the baseline to the registry."""
    return run_pipeline("online", locals(), Kind.ONLINE)


if __name__ == "__main__":
    run_from_command_line(online)
