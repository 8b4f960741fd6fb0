"""prepare: problems in train, validation and test, without leaks, with references that pass.

Reads   assets/raw/<ds>/
Writes  assets/datasets/<ds>/{train,validation,test}/problems.jsonl
        assets/datasets/<ds>/audit.json                                   what was kept and dropped, and why
Params  seed, dataset, prepare, annotate
"""

from greenlit.config import Params, load_params
from greenlit.errors import exit_cleanly
from greenlit.execution.judge import Judge
from greenlit.hardware import workers
from greenlit.jsonl import write_json, write_rows
from greenlit.paths import Paths
from greenlit.problems.adapters import adapter_for
from greenlit.problems.splits import Audit, split_problems
from greenlit.types import FORMAT_VERSION, SPLITS


def run(params: Params, paths: Paths) -> None:
    """Load, split, check, write."""
    adapter = adapter_for(params.dataset)
    problems = adapter.load(paths.raw, params.dataset, params.prepare.limits, params.seed)
    audit = Audit()
    with Judge(params.annotate, workers()) as judge:
        by_split = split_problems(problems, params.prepare, judge, audit)
        facts = {"format": FORMAT_VERSION, "dataset": params.dataset.name, "sandbox_level": judge.level}
    for split in SPLITS:
        write_rows(paths.problems(split), by_split[split])
    write_json(paths.audit, {**facts, **audit.as_dict()})


def main() -> None:
    """Run as params.yaml says."""
    params = load_params()
    run(params, Paths.of(params))


if __name__ == "__main__":
    exit_cleanly(main)
