"""The command behind `greenlit grade`: options in, figures on stdout, everything else on stderr."""

import json
import sys
from dataclasses import dataclass
from pathlib import Path

from greenlit.errors import ConfigError
from greenlit.execution.api import limits_of
from greenlit.execution.cache import default_path
from greenlit.execution.intake import ProblemIndex
from greenlit.grade.figures import read_ks, table
from greenlit.grade.grade import Assignment, grade
from greenlit.grade.partial import partial_of
from greenlit.grade.sources import read_dataset, read_problem_file
from greenlit.stage import hardware
from greenlit.stage.stopping import Stopped


@dataclass(frozen=True)
class Options:
    """As they stand on the command line."""

    samples: Path
    out: Path
    problems: Path | None
    dataset: str | None
    path: Path | None
    workers: int | None
    timeout_s: float | None
    memory_mib: int | None
    k: str
    cache: bool
    allow_portable: bool
    as_json: bool


def grade_command(options: Options) -> int:
    """Grade and print; return the exit code.

    Raises:
        GreenlitError: as `grade`.
    """
    try:
        _grade(options)
    except Stopped as stopped:
        partial = partial_of(options.out)
        kept = f"; what was judged stays in {partial}, the same command goes on from there" if partial.exists() else ""
        print(f"stopped by {stopped.name}{kept}", file=sys.stderr)
        return stopped.exit_code
    return 0


def _grade(options: Options) -> None:
    ks = read_ks(options.k)
    params = limits_of(options.timeout_s, options.memory_mib, options.allow_portable)
    work = Assignment(_problems(options), options.samples, options.out, params)
    cache = default_path() if options.cache else None
    figures = grade(work, ks, options.workers or hardware.workers(), cache)
    print(json.dumps(figures, indent=2) if options.as_json else table(figures))
    missing, unmeasured = figures["problems_without_samples"], figures["unmeasured"]
    if missing:
        print(f"warning: {missing} of {figures['problems']} problems have no samples: left out", file=sys.stderr)
    if unmeasured:
        of_all = f"{unmeasured} of {figures['samples']} samples"
        print(f"warning: no verdict for {of_all} (passed is null): left out of pass@k", file=sys.stderr)


def _problems(options: Options) -> ProblemIndex:
    if (options.problems is None) == (options.dataset is None):
        raise ConfigError("grade needs either --problems FILE or --dataset NAME")
    if options.problems is None:
        assert options.dataset is not None
        return read_dataset(options.dataset, options.path)
    if options.path is not None:
        raise ConfigError("--path: goes with --dataset", hint="--problems names its file itself")
    return read_problem_file(options.problems)
