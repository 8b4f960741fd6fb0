"""`greenlit launch`: one stage as a job, or a look at what it would be and cost."""

import json
import os
import sys
from typing import Annotated

import typer

from greenlit.errors import ConfigError
from greenlit.stage.launching import LAUNCHER, launcher_of

LAUNCHER_HELP = "Where stages run: local, or sagemaker (docs/sagemaker.md)."


def choose_launcher(launcher: str | None) -> None:
    """For all stages of this command: `--launcher`, else what the environment and settings.yaml say.

    Raises:
        ConfigError: there is none of this name.
    """
    if launcher:
        os.environ[LAUNCHER] = launcher
    launcher_of("train")


def launch(
    stage: Annotated[str, typer.Argument(help="A stage, e.g. train, generate, evaluate.")],
    method: Annotated[str | None, typer.Option(help="Name under `methods` (train, evaluate).")] = None,
    name: Annotated[str | None, typer.Option(help="Name under `reward_models` (reward_model).")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only show the job and its cost; asks nothing of AWS.")] = (
        False
    ),
    local_container_layout: Annotated[
        bool, typer.Option("--local-container-layout", help="Run the job's entry here, in a container's folders.")
    ] = False,
    stop: Annotated[bool, typer.Option("--stop", help="Stop the job of this stage, if one runs.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print what --dry-run shows as JSON.")] = False,
) -> None:
    """Run one stage, and all it needs, with the launcher sagemaker (settings.yaml, docs/sagemaker.md)."""
    from dotenv import load_dotenv

    from greenlit.launch.cost import require_affordable
    from greenlit.launch.plan import make_plan
    from greenlit.launch.settings import sagemaker_settings
    from greenlit.launch.stages import find_stage

    load_dotenv(".env")
    if method and name:
        raise ConfigError("--method and --name: one of them")
    found, settings = find_stage(stage, method or name), sagemaker_settings()
    if not (dry_run or local_container_layout or stop):
        if stage not in settings.stages:
            raise ConfigError(
                f"settings.yaml: sagemaker.stages: {stage} is not among them", hint=f"stages: [{stage}] would run it"
            )
        os.environ[LAUNCHER] = "sagemaker"
        os.execv(sys.executable, [sys.executable, "-m", "greenlit.cli", "run", "--only", found.address])
    plan = make_plan(found, settings)
    if stop:
        from greenlit.launch.following import stop_and_wait
        from greenlit.launch.jobs import Jobs

        job = (jobs := Jobs(plan)).newest()
        if job is None or job.ended:
            print(f"no job of {found.address} runs", file=sys.stderr)
            return
        stop_and_wait(jobs, job.name)
        return
    if dry_run or as_json:
        from greenlit.launch.showing import as_json as told
        from greenlit.launch.showing import show

        print(json.dumps(told(plan), indent=2)) if as_json else show(told(plan))
        require_affordable(plan.cost, settings)
    if local_container_layout:
        from greenlit.launch.layout import run_in_layout

        print(run_in_layout(plan))
