"""Grade a samples file: one row per sample in the order given, and the figures they add up to."""

import hashlib
import os
import sys
import time
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from greenlit.cluster.judging import ClusterJudge, judge_of_stage
from greenlit.config import AnnotateParams
from greenlit.errors import ConfigError, DataError, SandboxError
from greenlit.execution.cache import VerdictCache, engine_version, judged, problem_key
from greenlit.execution.intake import ProblemIndex
from greenlit.execution.judgement import AnyJudge, Judgement
from greenlit.grade.figures import Tally
from greenlit.grade.partial import PartialRows, partial_rows
from greenlit.grade.sources import Sample, count_samples, read_samples
from greenlit.problems.files import kind_of
from greenlit.stage.progress import progress
from greenlit.stage.workspace import sha256_file
from greenlit.types import FORMAT_VERSION, Problem


@dataclass(frozen=True)
class Assignment:
    """What is to be graded, and under which limits."""

    problems: ProblemIndex
    samples: Path
    out: Path
    params: AnnotateParams


def grade(work: Assignment, ks: Sequence[int], workers: int, cache: Path | None) -> dict[str, Any]:
    """Write the graded rows; return the figures. A stop or fault keeps the rows; the same call goes on after them.

    Args:
        workers: processes; change the speed, never a row.
        cache: file of verdicts found before; None judges everything.

    Raises:
        ConfigError, DataError: something is wrong with what was handed in; told before anything runs.
        WorldError: the disk or the sandbox failed.
    """
    if kind_of(work.problems) == "completion":
        raise DataError(
            "problems: have no tests (kind: completion), so that no program could be said to pass",
            hint="`baseline` and `evaluate` measure how near completions come to the held-back text",
        )
    total = count_samples(work.samples, work.problems)
    with (
        _opened(work.params, workers) as judge,
        VerdictCache(cache) if cache else nullcontext() as known,
        partial_rows(work.out, _made_from(work, judge.level)) as (rows, differing),
    ):
        print(judge.banner, file=sys.stderr)
        if differing:
            _warn(f"{rows.path} is of other {differing}: starting anew")
        tally, samples = _taken_up(rows, work)
        if rows.found:
            print(f"going on after {rows.found} of {total} rows in {rows.path}", file=sys.stderr)
        began = time.monotonic()
        try:
            with progress("grade", total - rows.found, "programs") as bar:
                for sample, row in _graded(samples, judge, known):
                    rows.add(row)
                    tally.add(sample.problem.task_id, row, sample.greedy)
                    bar.advance()
        finally:
            rows.flush()
        seconds = time.monotonic() - began
        rows.finish()
    cached = known.hits if known else 0
    new = total - rows.found - cached
    return {
        **tally.figures(ks, len(work.problems)),
        "resumed": rows.found,
        "cached": cached,
        "judged": new,
        "seconds": round(seconds, 3),
        "verdicts_per_s": round(new / seconds, 1) if new and seconds else None,
        "workers": judge.workers if isinstance(judge, ClusterJudge) else workers,
        "limits": _limits(work.params),
        "out": str(work.out),
    }


_PORTABLE = (
    "give --allow-portable if you trust whoever wrote the programs: the portable level limits time, memory and "
    "processes, but does not stop a program from reading files or using the network"
)


def _opened(params: AnnotateParams, workers: int) -> Any:
    """A judge, whose faults speak of our options instead of params.yaml."""
    if os.environ.get("GREENLIT_SANDBOX") == "portable" and not params.allow_portable:
        raise ConfigError("GREENLIT_SANDBOX: the level `portable` has no jail and must be allowed", hint=_PORTABLE)
    try:
        return judge_of_stage("program", params, workers)
    except SandboxError as error:
        if params.allow_portable:
            raise
        raise SandboxError(
            str(error.args[0]), hint=f"`greenlit doctor` says what is missing; or {_PORTABLE}"
        ) from error


def _limits(params: AnnotateParams) -> dict[str, Any]:
    return params.model_dump(exclude={"allow_portable"})


def _made_from(work: Assignment, level: str) -> dict[str, Any]:
    """All that a row depends on; workers, cache and ks are no part of it."""
    problems = hashlib.sha256()
    for problem in work.problems:
        problems.update(problem_key(problem))
        problems.update(problem.prompt.encode("utf-8", "surrogatepass") + b"\0")  # completions may continue it
    return {
        "problems": problems.hexdigest(),
        "samples": sha256_file(work.samples),
        "limits": _limits(work.params),
        "level": level,
        "engine": engine_version(),
        "format": FORMAT_VERSION,
    }


def _taken_up(rows: PartialRows, work: Assignment) -> tuple[Tally, Iterator[Sample]]:
    """Counts of the rows that are there, and the samples that are still to be judged."""
    tally, samples = Tally(), read_samples(work.samples, work.problems)
    try:
        for row, sample in zip(rows.rows(), samples, strict=False):  # asks for a sample only where there is a row
            tally.add(sample.problem.task_id, row, sample.greedy)
    except (ValueError, KeyError, TypeError):
        _warn(f"{rows.path} is damaged: starting anew")
        rows.start_anew()
        return Tally(), read_samples(work.samples, work.problems)
    return tally, samples


def _graded(
    samples: Iterable[Sample], judge: AnyJudge, cache: VerdictCache | None
) -> Iterator[tuple[Sample, dict[str, Any]]]:
    """Each sample with its row; what waits for its verdict is no more than the judge reads ahead."""
    waiting: deque[Sample] = deque()

    def jobs() -> Iterator[tuple[Problem, str]]:
        for sample in samples:
            waiting.append(sample)
            yield sample.problem, sample.program

    for judgement in judged(judge, jobs(), cache):
        sample = waiting.popleft()
        yield sample, graded_row(sample, judgement)


def graded_row(sample: Sample, judgement: Judgement) -> dict[str, Any]:
    """The row of the output. All tests count, whatever their role; `passed` is null where we could not find out."""
    failed = [test for test in judgement.tests if test.passed is False]
    culprit = next(iter(failed or [test for test in judgement.tests if test.passed is None]), None)
    verdict = "passed" if culprit is None else culprit.kind if failed else "infra"
    return {
        "task_id": sample.task_id,
        "candidate_idx": sample.candidate_idx,
        "passed": judgement.passed_all,
        "passed_hidden": judgement.passed_hidden,
        "verdict": verdict,
        "tests_passed": sum(test.passed is True for test in judgement.tests),
        "tests_total": len(judgement.tests),
        "cpu_s": judgement.cpu_s,
        "wall_s": judgement.wall_s,
        "error": culprit.error if culprit else None,
        "level": judgement.level,
    }


def _warn(message: str) -> None:
    print(f"warning: {message}", file=sys.stderr)
