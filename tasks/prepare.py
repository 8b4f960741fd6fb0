"""prepare: problems in train, validation and test, without leaks, audited: references pass, wrong versions fail.

Reads   assets/raw/<ds>/
Writes  assets/datasets/<ds>/{train,validation,test}/problems.jsonl
        assets/datasets/<ds>/audit.json                                   what was kept, with its grade, and dropped
        assets/datasets/<ds>/quarantine.jsonl                             problems not fit to learn from, and why
Params  seed, dataset, prepare, annotate
"""

import sys

from greenlit.config import Params, load_params
from greenlit.errors import exit_cleanly
from greenlit.execution.judge import Judge
from greenlit.hardware import workers
from greenlit.jsonl import write_json, write_rows
from greenlit.paths import Paths
from greenlit.problems.adapters import adapter_for
from greenlit.problems.audit import Audit, terminal_table
from greenlit.problems.splits import all_filled, split_problems
from greenlit.types import FORMAT_VERSION, SPLITS


def run(params: Params, paths: Paths) -> None:
    """Load, split, check, write; the audit is written and shown even where a split ends up empty."""
    adapter = adapter_for(params.dataset)
    problems = adapter.load(paths.raw, params.dataset, params.prepare.limits, params.seed)
    audit = Audit()
    with Judge(params.annotate, workers()) as judge:
        by_split = split_problems(problems, params.prepare, judge, audit, params.seed)
        facts = {"format": FORMAT_VERSION, "dataset": params.dataset.name, "sandbox_level": judge.level}
    write_rows(paths.quarantine, audit.quarantined())
    write_json(paths.audit, {**facts, **audit.as_dict()})
    _show(audit)
    all_filled(by_split, params.dataset.name, adapter.evaluation_only)
    for split in SPLITS:
        write_rows(paths.problems(split), by_split[split])


def _show(audit: Audit) -> None:
    from rich.console import Console

    Console(file=sys.stderr).print(terminal_table(audit))


def main() -> None:
    """Run as params.yaml says."""
    params = load_params()
    run(params, Paths.of(params))


if __name__ == "__main__":
    exit_cleanly(main)
