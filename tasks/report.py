"""report: baseline and all methods side by side, every figure with its interval.

Reads   assets/datasets/<ds>/test/{evaluations_baseline.json,<m>/evaluations_after.json}, the graded candidates beside
        them (those of validation where test was not measured), assets/datasets/<ds>/audit.json,
        results/<e>/<m>/logs/, and where a method reads from there, assets/rl/<ds>/manifest.json
Writes  results/reports/<e>_summary.{json,md}                           figures, and the same to read
        results/reports/<e>_{pass_at_k,by_problem,training}.csv         for `dvc plots`
        results/reports/<e>_{pass_at_k,by_problem,verdicts,training}.png
Params  dataset, methods, report
"""

from pathlib import Path
from typing import Any

from greenlit.config import Params, load_params
from greenlit.evaluation.markdown import write_markdown
from greenlit.evaluation.plots import write_plots
from greenlit.evaluation.report import Example, build_summary, pick_examples
from greenlit.evaluation.tables import shown_split, write_tables
from greenlit.jsonl import read_json, read_json_lines, read_rows, write_json
from greenlit.paths import Paths
from greenlit.problems.files import read_problems
from greenlit.stage.entry import run_stage
from greenlit.stage.hardware import made_with, quiet_libraries
from greenlit.tracking.runs import tracked
from greenlit.types import Annotated


def run(params: Params, paths: Paths) -> tuple[dict[str, Any], list[Path]]:
    """Compare every method with the baseline, and write it down; returns the summary and the pictures."""
    baseline = read_json(paths.evaluation(None))
    after = {name: read_json(paths.evaluation(name)) for name in params.methods}
    logs = {name: _log(paths.log(name, "training_log.jsonl")) for name in params.methods}
    summary = build_summary(
        params.experiment,
        params.seed,
        baseline,
        after,
        (paths.rl / "manifest.json").as_posix(),
        {name: (paths.method(name) / "merged").as_posix() for name in params.methods},
        made_with(params.seed),
        read_json(paths.audit),
    )
    if adaptive := _rounds(params, paths):
        summary["adaptive"] = adaptive
    folder = paths.report("summary.json").parent
    write_json(paths.report("summary.json"), summary)
    write_tables(folder, summary, baseline, after, logs)
    pictures = write_plots(folder, summary, baseline, after, logs)
    write_markdown(paths.report("summary.md"), summary, _examples(params, paths, summary), pictures)
    return summary, list(pictures.values())


def _rounds(params: Params, paths: Paths) -> dict[str, Any] | None:
    """What adaptive sampling did, where a method learned from its candidates; `build` is long done then."""
    if all(Path(method.reads).parent != paths.rl for method in params.methods.values()):
        return None
    found: dict[str, Any] | None = read_json(paths.rl / "manifest.json").get("adaptive")
    return found


def _log(path: Path) -> list[dict[str, Any]]:
    return [row for _, row in read_json_lines(path)]


def _examples(params: Params, paths: Paths, summary: dict[str, Any]) -> dict[str, list[Example]]:
    split = shown_split(summary)
    problems = read_problems(paths.problems(split))
    return {
        name: pick_examples(
            summary["changed"][name],
            read_rows(paths.measured(split, None), Annotated),
            read_rows(paths.measured(split, name), Annotated),
            params.report.examples,
            problems,
        )
        for name in params.methods
    }


def main() -> None:
    """Run as params.yaml says."""
    quiet_libraries()
    params = load_params()
    paths = Paths.of(params)
    with tracked(params, "report", "dataset", "methods", "report") as tracker:
        summary, pictures = run(params, paths)
        measured = ("baseline_test", "after_test", "delta") if shown_split(summary) == "test" else ("validation",)
        tracker.headline({key: summary[key] for key in measured})
        for file in (paths.report("summary.md"), paths.report("summary.json"), *pictures):
            tracker.file(file)


if __name__ == "__main__":
    run_stage(main)
