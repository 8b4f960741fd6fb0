"""refresh: new data, audited again; the model in use measured on it again; an alarm if it has become worse.

python -m flows.refresh
python -m flows.refresh --margin 0.02 --no-pull

The model in use is the registry's champion; where none was promoted yet, every merged model of params.yaml that lies
here. Nothing is trained. A model is compared with itself when it was measured first, problem by problem, on validation
unless told otherwise: looking at test again and again is what makes a test set wear out. Where neither data nor code
nor settings have changed, DVC has nothing to do and the figures are the same: `force` measures again all the same.
"""

from typing import Annotated, Literal

from prefect.states import Failed, State
from pydantic import Field

from flows.arguments import run_from_command_line
from flows.artifacts import show_table
from flows.choices import Asked, Force, Grace, Launcher, Preset, Retries, Settings, StageTimeout
from flows.flow import our_flow, told
from flows.in_use import measure_in_use
from flows.running import how_to_run, in_workspace, run_stages
from flows.stages import pull
from greenlit.evaluation.report import change_text

Pull = Annotated[bool, Field(description="Fetch the data from DVC's remote first, where one is set.")]
Margin = Annotated[float, Field(ge=0, le=1, description="Loss of pass@1 that is no alarm.")]
Split = Annotated[Literal["validation", "test"], Field(description="Problems that decide.")]


class _Asked(Asked):
    pull: Pull = True
    margin: Margin = 0.0
    split: Split = "validation"
    force: Force = False


@our_flow("refresh")
def refresh(
    pull: Pull = True,
    margin: Margin = 0.0,
    split: Split = "validation",
    force: Force = False,
    preset: Preset = None,
    settings: Settings = None,
    launcher: Launcher = None,
    grace_s: Grace = None,
    stage_timeout_s: StageTimeout = None,
    retries: Retries = None,
) -> State:
    """Take in new data, audit it, measure the model in use on it, and fail if that has become worse beyond chance."""
    given = locals()
    return told(lambda: _refresh(_Asked.of(given)))


def _refresh(asked: _Asked) -> str | State:
    how = how_to_run(asked)
    with in_workspace("flow refresh", asked) as (params, graph):
        data = graph.towards(["prepare"])
        if asked.pull:
            pull(data, how)
        asks_again = {stage for stage in data if stage == "fetch" or stage.startswith("scrape@")}
        run_stages(data, how, params, set(data) if asked.force else asks_again)
        looks = measure_in_use(params, how, asked.split, asked.margin, asked.force)
    columns = ("model", "change since it was measured first", "n", "")
    rows = [(look.model, change_text(look.delta) if look.delta else "", look.n, look.said) for look in looks]
    title = f"{params.experiment}: {asked.split}, interval at {params.evaluate.confidence:.0%} confidence"
    show_table("refresh", params.experiment, columns, rows, title)
    said = "\n".join(f"{look.model}: {look.said}" for look in looks)
    return Failed(name="Regressed", message=said) if any(look.regressed for look in looks) else said


if __name__ == "__main__":
    run_from_command_line(refresh)
