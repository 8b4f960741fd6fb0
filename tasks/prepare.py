"""prepare: problems in train, validation and test, without leaks, audited: references pass, wrong versions fail.

Problems without tests (kind: completion) are not run; what can be seen of their references is.

Reads   assets/raw/<ds>/, and the benchmarks that prepare.benchmarks names
Writes  assets/datasets/<ds>/{train,validation,test}/problems.jsonl
        assets/datasets/<ds>/audit.json                                   what was kept, with its grade, and dropped
        assets/datasets/<ds>/quarantine.jsonl                             problems not fit to learn from, and why
Params  seed, dataset, prepare, annotate
"""

import sys
from typing import Any

from greenlit.config import Params, load_params
from greenlit.execution.cache import VerdictCache
from greenlit.execution.untested import judge_for
from greenlit.jsonl import atomic_writes, dump_json, to_line
from greenlit.paths import Paths
from greenlit.problems.adapters import adapter_for
from greenlit.problems.audit import Audit, audit_figures, leak_lines, reason_lines, terminal_table
from greenlit.problems.benchmarks import benchmark_problems
from greenlit.problems.files import of_one_kind
from greenlit.problems.splits import all_filled, split_problems
from greenlit.stage.entry import run_stage
from greenlit.stage.hardware import made_with, workers
from greenlit.tracking.runs import tracked
from greenlit.types import FORMAT_VERSION, SPLITS


def run(params: Params, paths: Paths) -> dict[str, Any]:
    """Load, split, check, write; the audit is written and shown even where a split ends up empty. Returns its figures.

    Nothing is in memory that grows with the dataset.
    """
    adapter = adapter_for(params.dataset)
    kind, problems = of_one_kind(adapter.load(paths.raw, params.dataset, params.prepare.limits, params.seed))
    audit, sources = Audit(), {}
    benchmarks = benchmark_problems(params.prepare.benchmarks, params.seed, sources)
    with judge_for(kind, params.annotate, workers()) as judge, VerdictCache() as cache:
        kept = split_problems(
            problems, params.prepare, judge, audit, params.seed, cache, benchmarks, ngrams=not adapter.composed
        )
        facts = {"format": FORMAT_VERSION, "dataset": params.dataset.name, "sandbox_level": judge.level}
    with kept:
        found = audit.document()
        found["leaks"]["benchmarks"] = sources
        with atomic_writes(paths.quarantine, paths.audit) as (quarantine, told):
            quarantine.writelines(map(to_line, audit.quarantined()))
            dump_json(told, {**facts, **found, "made_with": made_with(params.seed)})
        _show(found)
        only_measured = adapter.evaluation_only and not params.methods
        if not (only_measured and kept.counts["test"]):
            all_filled(kept.counts, params.dataset.name, adapter.evaluation_only)
        with atomic_writes(*map(paths.problems, SPLITS)) as files:
            for file, split in zip(files, SPLITS, strict=True):
                file.writelines(line for _, line in kept.lines(split))
    return audit_figures(found)


def _show(found: dict[str, Any]) -> None:
    from rich.console import Console

    Console(file=sys.stderr).print(terminal_table(found))
    print("\n".join([*reason_lines(found), *leak_lines(found)]), file=sys.stderr)


def main() -> None:
    """Run as params.yaml says."""
    params = load_params()
    paths = Paths.of(params)
    with tracked(params, "prepare", "dataset", "prepare", "annotate") as tracker:
        try:
            figures = run(params, paths)
        finally:
            tracker.file(paths.audit)
        tracker.figures(figures)


if __name__ == "__main__":
    run_stage(main)
