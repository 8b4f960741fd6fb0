"""The executor for other people's code: problems and programs in, judgements out, streaming.

>>> from greenlit.execution import judge
>>> problems = [{"task_id": "square", "tests": [{"kind": "assert", "code": "assert square(3) == 9"}]}]
>>> programs = [("square", "def square(x): return x * x"), ("square", "def square(x): return x + x")]
>>> for found in judge(problems, programs, workers=1, allow_portable=True):
...     print(found.passed, found.verdict, found.error)
True passed None
False failed test 0: assert square(3) == 9: got 6
"""

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from greenlit.config import AnnotateParams
from greenlit.errors import ConfigError, DataError
from greenlit.execution.cache import VerdictCache, judged
from greenlit.execution.intake import ProblemIndex, index_problems, program_of, task_id_of
from greenlit.execution.judgement import Judgement
from greenlit.execution.untested import judge_for
from greenlit.problems.files import kind_of
from greenlit.stage import hardware
from greenlit.types import Problem


def judge(
    problems: Mapping[str, Any] | Iterable[Any],
    candidates: Iterable[tuple[str, str] | Mapping[str, Any]],
    *,
    workers: int | None = None,
    timeout_s: float | None = None,
    memory_mib: int | None = None,
    allow_portable: bool = False,
    cache: Path | None = None,
) -> Iterator[Judgement]:
    """Judge programs nobody trusts. Yields one judgement per candidate, in their order, while later ones already run.

    Reads a bounded number of candidates ahead, so that both sides can be streams of any length. The worker processes
    end when the iterator does, is closed, or is let go.

    Args:
        problems: records or dicts (`task_id` and `tests` are required), as a list or by task_id.
        candidates: pairs (task_id, program), or rows with `task_id` and `solution` or `completion`.
        workers: processes; null takes GREENLIT_WORKERS or one per core. Changes the speed, never a verdict.
        timeout_s: CPU seconds a program may use at most, twice that by the wall clock; null takes Greenlit's defaults.
        memory_mib: address space of a program; a problem's own limit wins.
        allow_portable: judge also where only the `portable` level works, which has limits but no jail.
        cache: file of judgements found before; null judges everything anew.

    Raises:
        DataError: a problem or candidate breaks its format, or a candidate's problem is not there.
        ConfigError: a limit out of bounds, or no sandbox level that is allowed.
        SandboxError: the sandbox does not judge rightly on this machine.
    """
    index = index_problems(problems)
    params = limits_of(timeout_s, memory_mib, allow_portable)
    return _judgements(index, candidates, params, workers or hardware.workers(), cache)


def _judgements(
    index: ProblemIndex, candidates: Iterable[Any], params: AnnotateParams, workers: int, cache: Path | None
) -> Iterator[Judgement]:
    with judge_for(kind_of(index), params, workers) as open_judge:
        jobs = (_job(index, place, candidate) for place, candidate in enumerate(candidates))
        if cache is None:
            yield from open_judge.judge_all(jobs)
        else:
            with VerdictCache(cache) as known:
                yield from judged(open_judge, jobs, known)


def _job(index: ProblemIndex, place: int, candidate: Any) -> tuple[Problem, str]:
    name = f"candidate {place}"
    row = candidate
    if not isinstance(candidate, Mapping):
        try:
            task_id, program = candidate
        except (TypeError, ValueError):
            raise DataError(f"{name}: must be a pair (task_id, program) or a mapping") from None
        row = {"task_id": task_id, "solution": program}
    task_id = task_id_of(row, name)
    problem = index.find(task_id)
    if problem is None:
        raise DataError(f"{name}: task_id: no problem {task_id!r}", hint=index.hint(task_id))
    return problem, program_of(row, problem, name)


def limits_of(timeout_s: float | None, memory_mib: int | None, allow_portable: bool) -> AnnotateParams:
    """Limits from the two that people know; the rest follows as in the defaults.

    `timeout_s` caps the CPU time, which decides; the wall clock, the backstop for sleepers, gets twice that, as in the
    defaults. A problem with a reference solution can still get less: ten times what the reference takes.

    Raises:
        ConfigError: out of bounds.
    """
    given: dict[str, Any] = {"allow_portable": allow_portable}
    if timeout_s is not None:
        if not timeout_s > 0:
            raise ConfigError(f"timeout_s: must be > 0 (found {timeout_s:g})")
        lowest = AnnotateParams().cpu_min_s
        given |= {"timeout_s": 2.0 * timeout_s, "cpu_max_s": timeout_s, "cpu_min_s": min(lowest, timeout_s)}
    if memory_mib is not None:
        if memory_mib < 64:
            raise ConfigError(f"memory_mib: must be >= 64 (found {memory_mib})")
        given["memory_mib"] = memory_mib
    return AnnotateParams(**given)
