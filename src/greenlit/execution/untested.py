"""Instead of a judge, for problems without tests: nothing is run, and nothing is said of what would have passed.

    with judge_for(problems, params.annotate, workers()) as judge: ...

What can be seen without running is told: `no_code` and, of Python, `syntax`; all else is `untested`. `passed` is None
for every one of them.
"""

from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager

from greenlit.config import AnnotateParams
from greenlit.execution.judgement import Judgement
from greenlit.execution.judges import Judge
from greenlit.execution.parsing import UNPARSABLE, parsed
from greenlit.types import Kind, Problem, Verdict

NO_LEVEL = "none"
"""Stands where the sandbox level would."""


class Untested(AbstractContextManager):
    """Answers as a `Judge` does."""

    level = NO_LEVEL
    banner = "no tests: nothing is run, and `passed` stays null"

    def __init__(self, params: AnnotateParams) -> None:
        self.params = params

    def __exit__(self, *_: object) -> None:
        pass

    def close(self) -> None:
        """Nothing to end."""

    def judge_all(self, jobs: Iterable[tuple[Problem, str]]) -> Iterator[Judgement]:
        """Judgements in the order of the jobs."""
        return (untested(problem, code) for problem, code in jobs)


def judge_for(kind: Kind, params: AnnotateParams, workers: int) -> Judge | Untested:
    """What judges problems of a kind.

    Raises:
        SandboxError, ConfigError: programs are to be run, and cannot be here; see `Judge`.
    """
    return Judge(params, workers) if kind == "program" else Untested(params)


def untested(problem: Problem, code: str) -> Judgement:
    """What can be said of a program without running it."""
    verdict, error = _seen(problem, code)
    return Judgement(verdict, None, None, None, 0, 0, error, None, None, NO_LEVEL)


def _seen(problem: Problem, code: str) -> tuple[Verdict, str | None]:
    if not code.strip():
        return "no_code", None
    if problem.language != "python":
        return "untested", None
    try:
        parsed(code)
    except UNPARSABLE as error:
        return "syntax", f"{type(error).__name__}: {getattr(error, 'msg', error)}"
    return "untested", None
