"""sweep: a grid of settings, an experiment of DVC for each of its points, and a table of what came out.

python -m flows.sweep --grid methods.dpo.beta=0.2,1.0 seed=0,1
python -m flows.sweep --target build --grid build.max_pairs=[2,4]

Every point runs in a copy of the project (`dvc exp run --temp`) and is kept under its name: `dvc exp show`,
`dvc exp apply NAME`. A point that was run before, from the same commit with the same name, is not run again. Choose on
validation, which is what the table shows; docs/sweeps.md.
"""

import itertools
import json
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

from prefect import task
from prefect.states import Completed, Failed, State
from pydantic import Field

from flows.arguments import run_from_command_line
from flows.artifacts import show_table
from flows.choices import Asked, Grace, Launcher, Preset, Settings, StageTimeout
from flows.flow import our_flow, told
from flows.running import how_to_run, in_workspace
from flows.stages import ONCE, How, StageFailed, followed, required
from greenlit.applying import changed
from greenlit.config import PARAMS, parse_yaml, read_yaml
from greenlit.errors import ConfigError
from greenlit.evaluation.report import change_text, figure_text, first_metric
from greenlit.repro import repro_environment
from greenlit.stage.workspace import work_key

SEEDS: Mapping[str, list[Any]] = {"seed": [0, 1]}
Grid = Annotated[
    dict[str, Any] | None,
    Field(description="Values by key of params.yaml, every combination is run; none: the seeds 0 and 1."),
]
Name = Annotated[
    str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]*$", description="First part of the names of the experiments.")
]
Target = Annotated[str, Field(description="Stage to run up to, e.g. report or build.")]


class _Asked(Asked):
    grid: Grid = None
    name: Name = "sweep"
    target: Target = "report"


@our_flow("sweep")
def sweep(
    grid: Grid = None,
    name: Name = "sweep",
    target: Target = "report",
    preset: Preset = None,
    settings: Settings = None,
    launcher: Launcher = None,
    grace_s: Grace = None,
    stage_timeout_s: StageTimeout = None,
) -> State:
    """Run every combination of some settings as an experiment of DVC, and show what each came to on validation."""
    given = locals()
    return told(lambda: _sweep(_Asked.of(given)))


def _sweep(asked: _Asked) -> str | State:
    how, failed = how_to_run(asked), []
    how = How(how.grace_s, how.timeout_s, {}, how.retry_delay_s, {**how.environment, "DVC_ROOT": str(Path.cwd())})
    with in_workspace("flow sweep", asked) as (params, graph):
        (target, *more) = sorted(graph.named(asked.target))
        if more:
            raise ConfigError(f"target {asked.target}: which one?", hint=f"one of {', '.join([target, *more])}")
        points = grid_points(asked.grid if asked.grid is not None else SEEDS)
        names = [f"{asked.name}-{number}-{work_key(point, [PARAMS])[:6]}" for number, point in enumerate(points, 1)]
        there = _experiments()
        for name, point in zip(names, points, strict=True):
            try:
                required(run_experiment(name, _arguments(point), target, name in there, how))
            except StageFailed as fault:
                failed.append((name, fault))
        found = _experiments()
        rows = [_row(name, point, found.get(name)) for name, point in zip(names, points, strict=True)]
        columns = list(dict.fromkeys(column for row in rows for column in row))
        cells = [[row.get(column, "") for column in columns] for row in rows]
        show_table(
            "sweep", f"{params.experiment}-{asked.name}", columns, cells, "figures of validation, with intervals"
        )
    said = f"{len(points) - len(failed)} of {len(points)} experiments are there: {', '.join(names)}"
    return Failed(message=f"{said}\nfailed: {failed[0][0]}: {failed[0][1]}") if failed else said


def grid_points(grid: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Every combination, checked before anything runs.

    Raises:
        ConfigError: there is none, or params.yaml would not be valid with it.
    """
    values = {key: _values(value) for key, value in grid.items()}
    if not values or not all(values.values()):
        raise ConfigError("grid: nothing to run", hint='e.g. {"methods.dpo.beta": [0.2, 1.0], "seed": [0, 1]}')
    points = [dict(zip(values, combination, strict=True)) for combination in itertools.product(*values.values())]
    for point in points:
        changed(PARAMS, {tuple(key.split(".")): value for key, value in point.items()})
    return points


def _values(value: Any) -> list[Any]:
    """A list as it is; text as DVC's `-S key=1,2` reads it."""
    if isinstance(value, str):
        return [parse_yaml(part, "grid") for part in value.split(",")]
    return value if isinstance(value, list) else [value]


def _arguments(point: Mapping[str, Any]) -> list[str]:
    """`-S key=value` for DVC, with the plus that it wants where params.yaml has no such key."""
    content, words = read_yaml(PARAMS), []
    for key, value in point.items():
        place: Any = content
        for part in key.split("."):
            place = place.get(part) if isinstance(place, dict) else None
        text = value if isinstance(value, str) else json.dumps(value)
        words += ["-S", f"{'+' if place is None else ''}{key}={text}"]
    return words


@task(task_run_name="{name}", **ONCE)
def run_experiment(name: str, arguments: list[str], target: str, is_there: bool, how: How) -> State:
    """Run a point of the grid in a copy of the project, unless it is there already."""
    if is_there:
        return Completed(name="Cached", message=f"{name}: was run before")
    command = [sys.executable, "-m", "dvc", "exp", "run", "--temp", "-n", name, *arguments, target]
    return followed(f"experiment {name}", command, repro_environment(), Path(), how)


def _experiments() -> dict[str, Any]:
    """DVC's experiments of the current commit with their params and figures, by name."""
    command = [sys.executable, "-m", "dvc", "exp", "show", "--json"]
    done = subprocess.run(command, capture_output=True, text=True, env=repro_environment())
    if done.returncode:
        raise ConfigError(f"`dvc exp show` failed: {(done.stderr.strip().splitlines() or ['it said nothing'])[-1]}")
    found: dict[str, Any] = {}
    for baseline in json.loads(done.stdout):
        for experiment in baseline.get("experiments") or []:
            (revision, *_) = experiment["revs"]
            found[experiment["name"]] = revision.get("data") or {}
    return found


def _row(name: str, point: Mapping[str, Any], data: Mapping[str, Any] | None) -> dict[str, str]:
    row = {"experiment": name, **{key: str(value) for key, value in point.items()}}
    if data is None:
        return {**row, "state": "failed"}
    for file, metrics in (data.get("metrics") or {}).items():
        summary = metrics.get("data")
        if not file.endswith("_summary.json") or not summary:
            continue
        metric, block = first_metric(summary), summary["validation"]
        for method, figures in block["after"].items():
            row[f"{method} {metric}"] = figure_text(figures[metric])
            row[f"{method} change"] = change_text(block["delta"][method][metric])
    return {**row, "state": "done"}


if __name__ == "__main__":
    run_from_command_line(sweep)
