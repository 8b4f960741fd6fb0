"""methods: what each training method makes of the same base model and problems, over several seeds.

    python benchmarks/methods.py [--seeds 0,1,2] [--methods sft,dpo,dpo_full,grpo,rloo,ppo] [--preset methods]
                                 [--placebo none|shuffled|batch|constant] [--split test|validation]
                                 [--set key=value ...] [--folder .work/methods] [--update] [--json OUT]

Run it in the project's folder. Every seed has a copy of the project, in which the pipeline itself runs, as the preset
says and with its own seed: problems, model, candidates, training and evaluation. What is done is kept: a call that
goes on runs only what is missing, or what a change of the preset changes.

Figures
    before, after  pass@1 of the base model and of the trained one: mean over problems of the samples that pass all
                   tests, hidden ones too
    gain           the paired difference, with its interval over problems (bootstrap)
    headroom       gain / (1 - before)
    greedy         the same with the likeliest program, before -> after
    CPU s          of the training's processes from start to end, by the kernel (`wait4`), verdicts included
    + candidates   of sampling and judging the candidates, where the method learns from these
    samples        programs that were sampled and judged to learn from

--placebo    verdicts that say nothing: offline methods learn from each problem's verdicts dealt out among its
             candidates; online ones from theirs dealt out in each group (shuffled), among all completions of a batch
             (batch; PPO, whose baseline is no group, learns from what a group's mean says), or from 1 for all
             (constant)
--set        a setting for all copies, e.g. methods.grpo.max_steps=10
--split      settings are chosen on validation; test is for the figures to be told
"""

import argparse
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml
from methods_project import PLACEBO, Project
from methods_tables import print_methods, print_rows

from greenlit.config import OnlineParams, Params, parse_params, read_yaml
from greenlit.errors import ConfigError
from greenlit.evaluation.compare import compare
from greenlit.evaluation.report import direction
from greenlit.jsonl import write_json
from greenlit.paths import Paths
from greenlit.repro import StageFailedError
from greenlit.stage.entry import exit_cleanly

METRIC = "pass@1"
SPLITS = ("test", "validation")


def params_of(preset: Path, seed: int, placebo: str, changes: Mapping[str, Any]) -> dict[str, Any]:
    """The params of a copy.

    Raises:
        ConfigError: a change names nothing there is, or they are no valid params.
    """
    raw = read_yaml(preset)
    raw |= {"seed": seed, "tracking": {"report_to": []}}
    if placebo != "none":
        raw["experiment"] += f"-{placebo}"
        raw["build"] = raw.get("build", {}) | {"shuffle_verdicts": True}
        rewards = {"weights": {"custom": 1.0, "tests": 0.0}, "custom": f"{PLACEBO.as_posix()}:{placebo}"}
        raw["rewards"] = raw.get("rewards", {}) | rewards
    for key, value in changes.items():
        *parents, last = key.split(".")
        section = raw
        for parent in parents:
            section = section.setdefault(parent, {})
            if not isinstance(section, dict):
                raise ConfigError(f"--set {key}: {parent} has no settings of its own")
        section[last] = value
    parse_params(raw, str(preset))
    return raw


def measured(project: Project, params: Params, name: str, candidates_cpu_s: float | None) -> dict[str, Any]:
    """Train and evaluate one method in a copy; its row."""
    method, paths = params.methods[name], Paths.of(params)
    online = isinstance(method, OnlineParams)
    cpu_s = project.timed(f"train@{name}")
    project.repro(f"evaluate@{name}")
    before, after = (project.json(paths.evaluation(who)) for who in (None, name))
    facts = project.json(paths.method(name) / "metrics.json")
    samples = facts["completions"] if online else count_rows(project.folder / paths.candidates)
    return {
        "name": name,
        "kind": "dpo, all weights" if method.method == "dpo" and method.lora is None else method.method,
        "seed": params.seed,
        "cpu_s": cpu_s,
        "candidates_cpu_s": 0.0 if online else candidates_cpu_s,
        "samples": samples,
        "settings": method.model_dump(),
        **{split: figures(before, after, split) for split in SPLITS},
    }


def figures(before: Mapping[str, Any], after: Mapping[str, Any], split: str) -> dict[str, Any]:
    """Of one split of two evaluation documents."""
    found = compare(before, after, split)
    old, new = (document["splits"][split] for document in (before, after))
    base, change = old[METRIC]["value"], found[METRIC]
    known = base is not None and change["value"] is not None and base < 1
    return {
        "before": base,
        "after": new[METRIC]["value"],
        "gain": change,
        "direction": direction(change, before["settings"]["confidence"]),
        "headroom": change["value"] / (1 - base) if known else None,
        "greedy": [old["greedy"]["value"], new["greedy"]["value"]],
    }


def count_rows(path: Path) -> int:
    with path.open("rb") as lines:
        return sum(1 for _ in lines)


def rows_of(seed: int, options: argparse.Namespace) -> list[dict[str, Any]]:
    """Everything of one seed."""
    raw = params_of(options.preset, seed, options.placebo, options.set)
    params = parse_params(raw, str(options.preset))
    ending = "" if options.placebo == "none" else f"-{options.placebo}"
    folder = options.folder / f"{options.preset.stem}-{seed}{ending}"
    project = Project.made(folder, raw, options.folder / "cache", options.update)
    project.repro("baseline")
    cpu_s: float | None = 0.0
    if any(not isinstance(params.methods[name], OnlineParams) for name in options.methods):
        if options.placebo == "none":
            parts = [project.timed(stage) for stage in ("generate", "annotate")]
            cpu_s = None if None in parts else sum(part for part in parts if part is not None)
        project.repro("build")
    rows = []
    for name in options.methods:
        rows.append(measured(project, params, name, cpu_s))
        print(f"seed {seed}: {name} done", file=sys.stderr)
    return rows


def parsed(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )
    parser.add_argument("--seeds", default="0,1,2", help="with commas")
    parser.add_argument("--methods", default="", help="names under `methods`, with commas; all")
    parser.add_argument("--preset", default="methods", help="its name, or a file")
    parser.add_argument("--placebo", choices=("none", "shuffled", "batch", "constant"), default="none")
    parser.add_argument("--split", choices=SPLITS, default="test")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE")
    parser.add_argument("--folder", type=Path, default=Path(".work/methods"))
    parser.add_argument("--update", action="store_true", help="take over the code as it is here")
    parser.add_argument("--json", type=Path, help="where to write every figure")
    options = parser.parse_args(arguments)
    options.seeds = [int(seed) for seed in options.seeds.split(",")]
    options.preset = Path(options.preset if options.preset.endswith(".yaml") else f"presets/{options.preset}.yaml")
    options.set = {key: yaml.safe_load(value) for key, _, value in (one.partition("=") for one in options.set)}
    known = list(read_yaml(options.preset)["methods"])
    options.methods = options.methods.split(",") if options.methods else known
    if unknown := [name for name in options.methods if name not in known]:
        parser.error(f"--methods: {options.preset} has no {', '.join(unknown)}; it has {', '.join(known)}")
    return options


def main(arguments: list[str] | None = None) -> None:
    options = parsed(arguments)
    rows: list[dict[str, Any]] = []
    for seed in options.seeds:
        try:
            rows += rows_of(seed, options)
        except StageFailedError as fault:
            print("a stage failed; its own message stands above", file=sys.stderr)
            sys.exit(fault.code)
        if options.json:
            write_json(options.json, {"placebo": options.placebo, "rows": rows})
    rows.sort(key=lambda row: options.methods.index(row["name"]))
    title = options.preset.stem if options.placebo == "none" else f"{options.preset.stem}, placebo {options.placebo}"
    print_rows(rows, options.split, title)
    print_methods(rows, options.split, options.placebo != "none")


if __name__ == "__main__":
    exit_cleanly(main)
