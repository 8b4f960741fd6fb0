"""generation: tokens per CPU-second and per second, ours next to what is there, in one run.

    python benchmarks/generation.py [--problems 200] [--n 8] [--rounds 3] [--batch-size 256] [--only "one by one;ours"]
                                    [--preset starter] [--folder .work/generation-benchmark] [--json OUT]

Run it in the project's folder. Model and problems are made once, in a copy of the project, and kept. In every round
each way samples n completions of every problem's prompt, in a process of its own (generation_run.py): same model in
fp32, same prompts, temperature 1, same max_new_tokens. All but `ours, 2 ...` run one thread in one process. Loading is
not measured, so what is compared is the writing.

Ways
    one by one          transformers' generate, a completion at a time; it samples the first tenth of the problems
    batched             transformers' generate, batches of --batch-size, sorted by length, every prompt n times
    trl                 what GRPOTrainer calls for its completions, in batches of the same size
    ours                the transformers backend of `greenlit run`, with sampling that repeats (the others draw anew)
    ours, 2 processes   the same in two processes of one thread; what forking them costs is counted
    ours, 2 threads     the same in one process of two threads
    vllm                in-process `LLM`, where vllm is installed

All ways also write one greedy completion for each prompt; how many are those of `one by one`, token for token, stands
beside the figures. Ratios are taken within a round; the load of the machine stands beside them.
"""

import argparse
import importlib.util
import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from executor_tables import spread
from generation_run import WAYS
from methods_project import Project

from greenlit.config import parse_params, read_yaml
from greenlit.jsonl import write_json
from greenlit.paths import BASE, Paths
from greenlit.problems.files import read_problems
from greenlit.problems.prompts import render
from greenlit.stage.entry import exit_cleanly

PROMISED = {"one by one": 8.0, "batched": 1.3}
SLOW = ("one by one",)


@dataclass
class Took:
    """One way in one round."""

    way: str
    tokens: int
    wall_s: float
    cpu_s: float
    greedy: list[list[int]]
    load: float
    """Of the machine, before it."""

    @property
    def per_cpu_s(self) -> float:
        return self.tokens / self.cpu_s

    @property
    def per_s(self) -> float:
        return self.tokens / self.wall_s


def settings_of(options: argparse.Namespace) -> dict[str, Any]:
    """Prompts and model, made if they are not there yet."""
    raw = read_yaml(options.preset)
    params = parse_params(raw, str(options.preset))
    project = Project.made(options.folder, raw, options.folder.with_name(f"{options.folder.name}-cache"), update=True)
    project.repro("prepare", "base")
    problems = read_problems(project.folder / Paths.of(params).problems("train"))
    return {
        "model": str((project.folder / BASE).resolve()),
        "prompts": [render(problem, False) for problem in problems.values()][: options.problems],
        "n": options.n,
        "batch_size": options.batch_size,
        "max_new_tokens": params.generate.max_new_tokens,
    }


def measured(way: str, settings: dict[str, Any]) -> Took:
    """One way, as a process of its own."""
    count = len(settings["prompts"])
    settings = {**settings, "sampled": max(1, count // 10) if way in SLOW else count}
    load = os.getloadavg()[0]
    with tempfile.TemporaryDirectory(prefix="greenlit-generation-") as folder:
        source, out = Path(folder) / "settings.json", Path(folder) / "out.json"
        source.write_text(json.dumps(settings))
        command = [sys.executable, str(Path(__file__).with_name("generation_run.py")), way, str(source), str(out)]
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode:
            sys.exit(f"{way}: ended with {done.returncode}: {done.stderr[-3000:]}")
        return Took(**json.loads(out.read_text()), load=load)


def ratios(found: Sequence[Took], way: str, other: str, figure: str) -> list[float]:
    """One way / another, round by round."""
    ours, theirs = ([getattr(one, figure) for one in found if one.way == name] for name in (way, other))
    return [one / two for one, two in zip(ours, theirs, strict=True)]


def print_figures(found: Sequence[Took]) -> None:
    """The table, and whether what is promised is kept."""
    ways = list(dict.fromkeys(one.way for one in found))
    base = ways[0]
    width = max(map(len, ways))
    print(f"\nmedian [lowest-highest] of {len(found) // len(ways)} rounds; x: as many as {base}, in the same round")
    for way in ways:
        of = [one for one in found if one.way == way]
        texts = []
        for figure, unit in (("per_cpu_s", "tokens/CPU-s"), ("per_s", "tokens/s")):
            values = [getattr(one, figure) for one in of]
            times = spread(ratios(found, way, base, figure), "{:.1f}")
            texts.append(f"{spread(values, '{:,.0f}')} {unit} (x {times})")
        first = next(one for one in found if one.way == base).greedy
        same = sum(one == two for one, two in zip(first, of[0].greedy, strict=True))
        load = statistics.median(one.load for one in of)
        print(f"  {way.ljust(width)}  {'  '.join(texts)}  greedy alike {same}/{len(first)}  load {load:.1f}")
    for other, least in PROMISED.items():
        if {"ours", other} <= set(ways):
            values = ratios(found, "ours", other, "per_cpu_s")
            met = "met" if statistics.median(values) >= least else "MISSED"
            print(f"{met}: ours, tokens/CPU-s: {spread(values, '{:.2f}')} times {other}, promised >= {least}")
    if {"ours, 2 processes", "ours, 2 threads"} <= set(ways):
        values = ratios(found, "ours, 2 processes", "ours, 2 threads", "per_s")
        print(f"2 processes x 1 thread: {spread(values, '{:.2f}')} times the tokens/s of 1 process x 2 threads")


def parsed(arguments: list[str] | None) -> argparse.Namespace:
    here = [way for way in WAYS if way != "vllm" or importlib.util.find_spec("vllm")]
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--problems", type=int, default=200)
    parser.add_argument("--n", type=int, default=8)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--batch-size", type=int, default=256)
    parser.add_argument("--only", help=f"ways, with a semicolon between them, of: {'; '.join(here)}")
    parser.add_argument("--preset", default="starter", help="problems and model, by its name or a file")
    parser.add_argument("--folder", type=Path, default=Path(".work/generation-benchmark"))
    parser.add_argument("--json", type=Path, help="where to write every figure")
    options = parser.parse_args(arguments)
    options.preset = Path(options.preset if options.preset.endswith(".yaml") else f"presets/{options.preset}.yaml")
    options.ways = [way.strip() for way in options.only.split(";")] if options.only else here
    if unknown := set(options.ways) - set(WAYS):
        parser.error(f"--only: no way {', '.join(sorted(unknown))}")
    return options


def main(arguments: list[str] | None = None) -> None:
    options = parsed(arguments)
    settings = settings_of(options)
    print(
        f"{os.cpu_count()} cores, {len(settings['prompts'])} problems x {options.n} samples, load at each way's start"
    )
    found: list[Took] = []
    for number in range(options.rounds):
        for way in options.ways if number % 2 == 0 else options.ways[::-1]:
            found.append(measured(way, settings))
            print(f"round {number + 1} of {options.rounds}: {way}: {found[-1].per_cpu_s:,.0f}/CPU-s", file=sys.stderr)
    found.sort(key=lambda one: options.ways.index(one.way))  # stable: rounds stay in order
    print_figures(found)
    if options.json:
        runs = [{key: value for key, value in asdict(one).items() if key != "greedy"} for one in found]
        write_json(options.json, {"settings": {**settings, "prompts": len(settings["prompts"])}, "runs": runs})


if __name__ == "__main__":
    exit_cleanly(main)
