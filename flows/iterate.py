"""iterate: rounds of training, each from the model of the one before; as `greenlit iterate` does it.

python -m flows.iterate --rounds 3
"""

from typing import Annotated

from prefect import task
from prefect.artifacts import create_markdown_artifact
from prefect.states import State
from pydantic import Field

from flows.arguments import run_from_command_line
from flows.choices import Asked, Grace, Launcher, Preset, Settings
from flows.flow import our_flow, told
from flows.guard import alone
from flows.progress import key_of
from flows.running import how_to_run
from flows.stages import ONCE, How, followed, required
from greenlit.applying import apply
from greenlit.evaluation.markdown import table
from greenlit.iterate.copies import start_step, step_environment
from greenlit.iterate.plan import Step, make_plan
from greenlit.iterate.results import COLUMNS, answer, table_rows
from greenlit.iterate.rounds import follow

Rounds = Annotated[int, Field(ge=1, description="Rounds at most.")]
Method = Annotated[str | None, Field(description="Name under methods in params.yaml, where there are several.")]
Patience = Annotated[int, Field(ge=1, description="Rounds without a gain on validation to stop after.")]


@task(task_run_name="{step.name}", **ONCE)
def run_in_prefect(step: Step, how: How) -> State:
    """Run a step in its copy of the project."""
    return followed(step.name, start_step(step), step_environment(step), step.folder, how)


class _Asked(Asked):
    rounds: Rounds = 3
    method: Method = None
    patience: Patience = 1


@our_flow("iterate")
def iterate(
    rounds: Rounds = 3,
    method: Method = None,
    patience: Patience = 1,
    preset: Preset = None,
    settings: Settings = None,
    launcher: Launcher = None,
    grace_s: Grace = None,
) -> State:
    """Rounds, a choice between them on validation, and one look at test; one task run per round."""
    given = locals()
    return told(lambda: _rounds(_Asked.of(given)))


def _rounds(asked: _Asked) -> str:
    how = how_to_run(asked)
    with alone("flow iterate"):
        apply(asked.preset, asked.settings or [], None)
        plan = make_plan(asked.method, asked.rounds, asked.patience)
        found = follow(plan, lambda step: required(run_in_prefect(step, how)))
    content = f"{answer(found)}\n\n{table(COLUMNS, table_rows(found))}"
    create_markdown_artifact(content, key=key_of(f"rounds-{plan.name}"), description=plan.name)
    return answer(found)


if __name__ == "__main__":
    run_from_command_line(iterate)
