"""training: what a step of ours takes next to a bare TRL script with the same settings, and what rewards take of it.

    python benchmarks/training.py [--rounds 5] [--steps 15] [--only dpo,grpo] [--preset starter]
                                  [--folder .work/training-benchmark] [--json OUT]

Run it in the project's folder. Problems, model and pairs are made once, in a copy of the project; then every round
trains each method twice, with our stage `train` and with training_bare.py, each in a process of its own and in turns
about who goes first: same start model, data, seed, settings, one thread.

Figures, for each round
    step     wall seconds per step, median over the steps after the first, which ends all that is loaded late
    CPU      CPU seconds of the trainer's process per step, over the same steps
    process  CPU seconds of the process and all that it started, from its start to its end, by the kernel (`wait4`)
    rewards  ours: seconds per step in which the trainer waits for rewards / seconds per step, from timings.jsonl
Ratios are ours / bare within a round. Our steps hold logs, tables, curves, checkpoints and the run's tracking; the bare
script prints its numbers and saves at the end.
"""

import argparse
import itertools
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from executor_tables import spread
from methods_project import Project

from greenlit.config import parse_params, read_yaml
from greenlit.jsonl import write_json
from greenlit.paths import Paths
from greenlit.stage.entry import exit_cleanly
from greenlit.stage.hardware import workers
from greenlit.stage.workspace import python_path

SIDES = ("ours", "bare")
PROMISED = 1.05
REWARDS_SHARE = 0.10
METHODS = ("dpo", "grpo")


@dataclass
class Took:
    """One training."""

    method: str
    side: str
    steps_s: list[float]
    """Wall seconds of each step after the first."""
    cpu_s: float
    """CPU seconds of the trainer's process per step, the first left out."""
    process_s: float
    rewards: float | None
    """Share of the step that the trainer waits for rewards; None where there are none, or it was not measured."""

    @property
    def step_s(self) -> float:
        return statistics.median(self.steps_s)


def project_of(options: argparse.Namespace) -> tuple[Project, dict[str, Any]]:
    """The copy that all runs train in, with all that they read."""
    raw = read_yaml(options.preset)
    methods = read_yaml(Path("presets/methods.yaml"))["methods"]
    raw["methods"] = {name: methods[name] | {"max_steps": options.steps} for name in METHODS}
    parse_params(raw, str(options.preset))
    project = Project.made(options.folder, raw, options.folder.with_name(f"{options.folder.name}-cache"), update=True)
    project.repro("build")
    return project, raw


def trained(project: Project, raw: dict[str, Any], name: str, side: str) -> Took:
    """One training, as a process of its own."""
    script = Path(__file__).with_name("training_run.py").resolve()
    root = project.folder.resolve()
    shutil.rmtree(root / ".work/train", ignore_errors=True)  # a run that is there already would be gone on with
    path = os.pathsep.join([str(root), python_path(root / "src")])
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": path}
    with tempfile.TemporaryDirectory(prefix="greenlit-training-") as folder:
        out, log = Path(folder) / "ends.json", Path(folder) / "log"
        with log.open("w") as stream:
            command = [sys.executable, str(script), side, name, str(out)]
            child = subprocess.Popen(command, cwd=root, env=environment, stdout=stream, stderr=stream)
            _, status, usage = os.wait4(child.pid, 0)
            child.returncode = os.waitstatus_to_exitcode(status)
        if child.returncode:
            sys.exit(f"{name}, {side}: ended with {child.returncode}: {log.read_text()[-3000:]}")
        ends = json.loads(out.read_text())
    steps_s = [after[0] - before[0] for before, after in itertools.pairwise(ends)]
    cpu_s = (ends[-1][1] - ends[0][1]) / len(steps_s)
    shares = rewards_share(project, raw, name) if side == "ours" else None
    return Took(name, side, steps_s, cpu_s, usage.ru_utime + usage.ru_stime, shares)


def rewards_share(project: Project, raw: dict[str, Any], name: str) -> float | None:
    """Of our last run of this method."""
    file = project.folder / Paths(raw["dataset"]["name"], raw["experiment"]).log(name, "timings.jsonl")
    rows = [json.loads(line) for line in file.read_text().splitlines()][1:]
    if not rows:
        return None
    return sum(row.get("reward_s", 0.0) for row in rows) / sum(row["step_s"] for row in rows)


def ratios(found: Sequence[Took], name: str, figure: str) -> list[float]:
    """Ours / bare, round by round."""
    ours, bare = ([getattr(one, figure) for one in found if (one.method, one.side) == (name, side)] for side in SIDES)
    return [one / other for one, other in zip(ours, bare, strict=True)]


def print_method(found: Sequence[Took], name: str) -> None:
    """A method's figures, and whether it keeps what is promised."""
    figures = {"step_s": "step, wall", "cpu_s": "step, CPU", "process_s": "process, CPU"}
    print(f"\n{name}, seconds: median [lowest-highest] over the rounds")
    for figure, words in figures.items():
        texts = []
        for side in SIDES:
            values = [getattr(one, figure) for one in found if (one.method, one.side) == (name, side)]
            texts.append(f"{side} {spread(values, '{:.3f}')}")
        print(f"  {words.ljust(12)}  {'  '.join(texts)}  ratio {spread(ratios(found, name, figure), '{:.3f}')}")
    for figure in ("step_s", "cpu_s"):
        ratio = ratios(found, name, figure)
        met = "met" if statistics.median(ratio) <= PROMISED else "MISSED"
        print(f"{met}: {name}, {figures[figure]}: {spread(ratio, '{:.3f}')}, promised <= {PROMISED}")
    shares = [one.rewards for one in found if one.method == name and one.rewards is not None]
    if shares:
        met = "met" if statistics.median(shares) <= REWARDS_SHARE else "MISSED"
        print(f"{met}: {name}, share of rewards: {spread(shares, '{:.3f}')}, promised <= {REWARDS_SHARE}")


def parsed(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--steps", type=int, default=15)
    parser.add_argument("--only", default=",".join(METHODS), help="methods, with commas")
    parser.add_argument("--preset", default="starter", help="problems and model, by its name or a file")
    parser.add_argument("--folder", type=Path, default=Path(".work/training-benchmark"))
    parser.add_argument("--json", type=Path, help="where to write every figure")
    options = parser.parse_args(arguments)
    options.preset = Path(options.preset if options.preset.endswith(".yaml") else f"presets/{options.preset}.yaml")
    options.only = options.only.split(",")
    if unknown := set(options.only) - set(METHODS):
        parser.error(f"--only: no method {', '.join(sorted(unknown))}")
    if options.steps < 3:
        parser.error("--steps: at least 3, of which the first does not count")
    return options


def main(arguments: list[str] | None = None) -> None:
    options = parsed(arguments)
    project, raw = project_of(options)
    print(f"{os.cpu_count()} cores, load {os.getloadavg()[0]:.1f} at the start, {workers()} workers that judge")
    found: list[Took] = []
    for number in range(options.rounds):
        for name in options.only:
            for side in SIDES if number % 2 else SIDES[::-1]:
                found.append(trained(project, raw, name, side))
                print(f"round {number + 1} of {options.rounds}: {name}, {side}", file=sys.stderr)
    for name in options.only:
        print_method(found, name)
    if options.json:
        write_json(options.json, {"steps": options.steps, "runs": [asdict(one) for one in found]})


if __name__ == "__main__":
    exit_cleanly(main)
