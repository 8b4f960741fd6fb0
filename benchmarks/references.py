"""references: does the reference of every problem of a dataset pass the judge? The table of docs/datasets.md.

    python benchmarks/references.py NAME[/VARIANT]=PATH ... [--workers 2] [--every 1] [--json out.json]

Reads each file through its adapter, runs the first reference of every problem that has one, and of those that fail the
others, and prints per file: records, problems, dropped by reason, references that pass, and those that do not with the
judge's words. `--every 10` runs every tenth problem.
"""

import argparse
import json
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

from greenlit.config import AnnotateParams, DatasetParams, Limits
from greenlit.execution.judges import Judge
from greenlit.problems.adapters import adapter_for
from greenlit.problems.records import Dropped
from greenlit.types import Problem

REFERENCES = 3
"""As the oracle audit: so many are tried until one passes."""
SETTINGS = AnnotateParams(allow_portable=True, timeout_s=60, cpu_max_s=20)


def load(spec: str) -> tuple[list[Problem], dict[str, Any]]:
    """The problems of NAME[/VARIANT]=PATH, and what became of the records."""
    dataset, path = spec.split("=", 1)
    name, _, variant = dataset.partition("/")
    params = DatasetParams(name=name, variant=variant or None, path=path)
    with tempfile.TemporaryDirectory() as folder:
        adapter = adapter_for(params)
        adapter.fetch(params, Path(folder))
        made = list(adapter.load(Path(folder), params, Limits(), 0))
    problems = [one for one in made if isinstance(one, Problem)]
    dropped = Counter(one.reason for one in made if isinstance(one, Dropped))
    splits = Counter(str(one.split) for one in problems)
    return problems, {"records": len(made), "problems": len(problems), "dropped": dict(dropped), "splits": dict(splits)}


def run(problems: list[Problem], judge: Judge) -> dict[str, Any]:
    """How many references pass, and what is said of those that do not."""
    waiting = [problem for problem in problems if problem.reference]
    found: dict[str, str] = {}
    later: list[str] = []
    began = time.perf_counter()
    for place in range(REFERENCES):
        tried = [problem for problem in waiting if place < len(problem.reference)]
        verdicts = judge.judge_all((problem, problem.reference[place]) for problem in tried)
        failed = []
        for problem, verdict in zip(tried, verdicts, strict=True):
            if verdict.passed_all is True:
                later += [problem.task_id] if found.pop(problem.task_id, None) else []
            else:
                failed.append(problem)
                kinds = [test.kind for test in verdict.tests if test.passed is not True]
                found.setdefault(problem.task_id, f"{kinds[0]}: {verdict.error}")
        waiting = failed
    with_reference = sum(bool(problem.reference) for problem in problems)
    return {
        "references": with_reference,
        "pass": with_reference - len(found),
        "pass_with_a_later_one": later,
        "not": found,
        "wall_s": round(time.perf_counter() - began, 1),
    }


def main() -> None:
    """Print a line of JSON per file."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("specs", nargs="+")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--every", type=int, default=1)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    report = {}
    with Judge(SETTINGS, options.workers) as judge:
        for spec in options.specs:
            problems, facts = load(spec)
            report[spec.split("=")[0]] = facts = {**facts, **run(problems[:: options.every], judge)}
            print(json.dumps({"file": spec, **facts}), flush=True)
        print(f"level: {judge.level}", file=sys.stderr)
    if options.json:
        options.json.write_text(json.dumps(report, indent=2) + "\n")


if __name__ == "__main__":
    main()
