"""adaptive: samples spent and pairs obtained, adaptive sampling against plain sampling at the same maximum.

    python benchmarks/adaptive.py [--n 6] [--round 6] [--max-n 24] [--passes 2] [--fails 3] [--preset starter]
                                  [--folder .work/adaptive-benchmark] [--json OUT]

Run it in the project's folder. In a copy of it, generate, annotate and build run for three settings: n samples of every
problem, max_n samples of every problem, and in rounds up to max_n. What is kept are the manifests' own counts; CPU
seconds are of the three stages and all they start.
"""

import argparse
import copy
import resource
from pathlib import Path
from typing import Any

from methods_project import Project

from greenlit.config import parse_params, read_yaml
from greenlit.jsonl import read_json, read_json_lines, write_json
from greenlit.paths import Paths
from greenlit.stage.entry import exit_cleanly


def measured(project: Project, paths: Paths) -> dict[str, Any]:
    """What came of the settings that stand in the copy's params.yaml."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    project.repro("build")
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    made = read_json(project.folder / paths.rl / "manifest.json")
    return {
        "samples": made["candidates"],
        "tokens": sum(row["tokens"] for _, row in read_json_lines(project.folder / paths.candidates)),
        "cpu_s": round(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime, 1),
        "pairs": made["pairs"],
        "problems_with_pairs": made["problems_with_pairs"],
        "problems": made["problems"],
        "train_pass@1": made["train_pass@k"]["1"],
        "adaptive": made.get("adaptive"),
    }


def with_sampling(preset: dict[str, Any], n: int, adaptive: dict[str, Any] | None) -> dict[str, Any]:
    """The preset with other numbers of samples."""
    changed = copy.deepcopy(preset)
    changed["generate"] |= {"n": n, "adaptive": adaptive and {**adaptive, "limits": changed["annotate"]}}
    return changed


def parsed(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name, value in (("--n", 6), ("--round", 6), ("--max-n", 24), ("--passes", 2), ("--fails", 3)):
        parser.add_argument(name, type=int, default=value)
    parser.add_argument("--preset", default="starter", help="by its name or a file")
    parser.add_argument("--folder", type=Path, default=Path(".work/adaptive-benchmark"))
    parser.add_argument("--json", type=Path, help="where to write every figure")
    options = parser.parse_args(arguments)
    options.preset = Path(options.preset if options.preset.endswith(".yaml") else f"presets/{options.preset}.yaml")
    return options


def main(arguments: list[str] | None = None) -> None:
    options = parsed(arguments)
    preset = read_yaml(options.preset)
    paths = Paths.of(parse_params(preset, str(options.preset)))
    cache = options.folder.with_name(f"{options.folder.name}-cache")
    rounds = {key: getattr(options, key) for key in ("max_n", "round", "passes", "fails")}
    settings = {
        f"plain, {options.n}": with_sampling(preset, options.n, None),
        f"plain, {options.max_n}": with_sampling(preset, options.max_n, None),
        f"adaptive, {options.n} to {options.max_n}": with_sampling(preset, options.n, rounds),
    }
    Project.made(options.folder, preset, cache, update=True).repro("prepare", "base")  # not measured
    found: dict[str, dict[str, Any]] = {}
    for name, params in settings.items():
        found[name] = measured(Project.made(options.folder, params, cache, update=True), paths)
        one = found[name]
        print(
            f"{name.ljust(20)} {one['samples']:>6} samples {one['tokens']:>8} tokens {one['cpu_s']:>7.1f} CPU s  "
            f"{one['pairs']} pairs of {one['problems_with_pairs']} of {one['problems']} problems, "
            f"pass@1 {one['train_pass@1']:.3f}",
            flush=True,
        )
    *_, plain, adaptive = found.values()
    share = adaptive["samples"] / plain["samples"]
    pairs = adaptive["pairs"] / plain["pairs"]
    print(f"adaptive: {share:.2f} of the samples, {pairs:.2f} of the pairs; {adaptive['adaptive']}")
    if options.json:
        write_json(options.json, {"rounds": rounds, "n": options.n, "found": found})


if __name__ == "__main__":
    exit_cleanly(main)
