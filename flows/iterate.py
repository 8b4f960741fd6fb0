"""iterate: rounds of training, each from the model of the one before; as `greenlit iterate` does it.

python -m flows.iterate --rounds 3
"""

import argparse
from typing import Any

from prefect import flow, task
from prefect.artifacts import create_markdown_artifact
from prefect.states import State

from flows.stages import followed, start
from greenlit.evaluation.markdown import table
from greenlit.iterate.copies import end_step, start_step, step_environment
from greenlit.iterate.plan import Step, make_plan
from greenlit.iterate.results import COLUMNS, answer, table_rows
from greenlit.iterate.rounds import follow
from greenlit.stage.entry import exit_cleanly


@task(task_run_name="{step.name}", cache_policy=None)
def run_in_prefect(step: Step) -> State:
    """Run a step in its copy of the project.

    Raises:
        StageFailed: a stage failed in it.
    """
    process = start(start_step(step), step_environment(step), step.folder)
    return followed(step.name, process, lambda: end_step(process))


@flow(name="iterate")
def iterate(rounds: int = 3, method: str | None = None, patience: int = 1) -> dict[str, Any]:
    """Rounds, a choice between them on validation, and one look at test; one task run per round."""
    plan = make_plan(method, rounds, patience)
    found = follow(plan, run_in_prefect)
    content = f"{answer(found)}\n\n{table(COLUMNS, table_rows(found))}"
    create_markdown_artifact(content, key="rounds", description=plan.name)
    return found


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m flows.iterate")
    parser.add_argument("--rounds", type=int, required=True)
    parser.add_argument("--method")
    parser.add_argument("--patience", type=int, default=1)
    given = vars(parser.parse_args())
    exit_cleanly(lambda: iterate(**given))
