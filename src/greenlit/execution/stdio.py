"""Whole programs that read standard input: all inputs in one process first, alone where that cannot be trusted.

Starting a process costs more than most programs need for an input. So the first process runs the program once for each
input, each time in a fresh `__main__` with fresh standard streams (child_stdio.py). That is not quite a process of its
own, therefore

- programs that mention threads, processes, signals and the like have one process per input from the start;
- an input that has no answer begins the next process: the CPU limit, which is for one input, holds for every process,
  so a test that passes never had more;
- unless the program plainly leaves nothing behind (`leaves_nothing`), the first failure that is not the first run of
  its process is repeated alone. If that says anything else, the inputs disturb each other, and every test runs alone.

Only outputs are compared, here, so a program that disturbs a later run of itself can do no more than be wrong.
"""

import re
from collections.abc import Generator, Sequence

from greenlit.execution import values
from greenlit.execution.answers import Answers, missing, signal_name
from greenlit.execution.findings import (
    NO_START,
    Fault,
    Findings,
    Limits,
    Outcome,
    outcome,
    requested,
    shown,
    started,
)
from greenlit.execution.level import Request, Run
from greenlit.execution.plan import TestPlan

_UNSHARED = re.compile(
    r"\b(?:_thread|_exit|__builtins__|__import__|asyncio|atexit|builtins|concurrent|ctypes|execl\w*|execv\w*|"
    r"faulthandler|fork\w*|gc|importlib|kill|linecache|locale|logging|mmap|modules|multiprocessing|pty|resource|"
    r"setprofile|setrlimit|settrace|signal|sitecustomize|socket|spawn\w*|subprocess|system|tempfile|threading|"
    r"tracemalloc|warnings|weakref)\b|\bopen\s*\((?!\s*[01]\s*[,)])"
)
"""What may outlive one run of a program in a process, or end the process."""

_PURE = frozenset({
    "bisect", "cmath", "collections", "copy", "datetime", "decimal", "fractions", "functools", "heapq", "io",
    "itertools", "math", "operator", "queue", "random", "re", "statistics", "string", "sys", "textwrap", "typing",
})  # fmt: skip
"""Modules in which a program that assigns nothing to them leaves nothing behind."""
_IMPORT = re.compile(r"\b(?:from\s+([\w.]+)\s+import\b|import\s+([^\n;#]+))")
_REACHES_FURTHER = re.compile(
    r"\b(?:setattr|delattr|exec|eval|compile|globals|vars|__dict__|__class__|__globals__|__bases__|__subclasses__)\b|"
    rf"\b(?:{'|'.join(sorted(_PURE - {'sys'}))})\s*\.\s*\w+\s*=(?!=)"
)

Judged = dict[int, Outcome]
Printed = bytes | Fault


def judge_programs(
    tests: Sequence[TestPlan], code: str, limits: Limits, findings: Findings
) -> Generator[Request, Run, Judged]:
    """Judge all stdio tests."""
    # The file limit is made for outputs; a process that makes the file for its input itself is under it.
    together = [test for test in tests if len(test.stdin.encode("utf-8", "replace")) <= limits.output_bytes]
    judged: Judged | None = {}
    if len(together) > 1 and not _UNSHARED.search(code):
        judged = yield from _together(together, code, limits, findings)
    rest = [test for test in tests if test.index not in (judged or {})]
    return {**(judged or {}), **(yield from _each_alone(rest, code, limits, findings))}


def leaves_nothing(code: str) -> bool:
    """Can no run of this program disturb the next one in the same process? Plainly so, or we do not know."""
    for whole, listed in _IMPORT.findall(code):
        names = [whole] if whole else [part.split()[0] for part in listed.split(",") if part.split()]
        if any(name.split(".")[0] not in _PURE for name in names):
            return False
    return not _REACHES_FURTHER.search(code)


def _each_alone(
    tests: Sequence[TestPlan], code: str, limits: Limits, findings: Findings
) -> Generator[Request, Run, Judged]:
    judged = {}
    for test in tests:
        judged[test.index] = program_outcome(test, (yield from _alone(test, code, limits, findings)))
    return judged


def _together(
    tests: Sequence[TestPlan], code: str, limits: Limits, findings: Findings
) -> Generator[Request, Run, Judged | None]:
    """As many tests per process as it can take; None if they disturb each other."""
    judged: Judged = {}
    waiting = list(tests)
    trusted = leaves_nothing(code)
    while waiting:
        steps = tuple(("stdio", test.stdin) for test in waiting)
        run = yield from started(requested(limits, code=code, steps=steps), findings)
        if run is None:
            return {**judged, **{test.index: outcome(test, NO_START) for test in waiting}}
        answers = Answers(run)
        if answers.whole:
            return {**judged, **{test.index: outcome(test, answers.whole) for test in waiting}}
        for place, test in enumerate(waiting[: len(answers.frames)]):
            printed, cpu_s = _printed(answers, place)
            found = program_outcome(test, printed)
            if place and not found.passed and not trusted:
                if _differ(printed, (yield from _alone(test, code, limits, findings))):
                    return None
                trusted = True
            findings.parts_cpu_s.append(min(cpu_s, run.cpu_s or 0.0))
            judged[test.index] = found
        waiting = waiting[len(answers.frames) :]
        if waiting and not answers.frames:
            first = waiting.pop(0)
            if run.ended not in {"cpu", "wall"}:
                rest = yield from _each_alone([first, *waiting], code, limits, findings)
                return {**judged, **rest}
            findings.parts_cpu_s.append(run.cpu_s or 0.0)
            judged[first.index] = outcome(first, missing(run))
    return judged


def _printed(answers: Answers, place: int) -> tuple[Printed, float]:
    """What the program printed, and the CPU time it says it took."""
    try:
        match answers.value(place):
            case (bytes(printed), float(cpu_s)) if cpu_s >= 0.0:
                return printed, cpu_s
    except Fault as fault:
        return fault, 0.0
    return Fault("error", "sent something that is no answer"), 0.0


def _differ(one: Printed, other: Printed) -> bool:
    if isinstance(one, Fault) and isinstance(other, Fault):
        return (one.kind, str(one)) != (other.kind, str(other))
    return one != other


def _alone(test: TestPlan, code: str, limits: Limits, findings: Findings) -> Generator[Request, Run, Printed]:
    """One process for one input; its output counts when it ended by itself and without an error."""
    run = yield from started(requested(limits, code=code, stdin=test.stdin), findings)
    if run is None:
        return NO_START
    findings.parts_cpu_s.append(run.cpu_s or 0.0)
    return printed_alone(run, limits)


def printed_alone(run: Run, limits: Limits) -> Printed:
    """What a program that had a process for itself printed, or why that does not count."""
    if run.ended != "exited":
        return missing(run)
    if len(run.stdout) > limits.output_bytes:
        return Fault("error", f"printed more than {limits.output_bytes >> 10} KiB")
    whole = Answers(run).whole
    if whole:
        return whole
    if run.signal or run.status:
        return Fault("error", f"killed by {signal_name(run.signal)}" if run.signal else f"exit status {run.status}")
    return run.stdout


def program_outcome(test: TestPlan, printed: Printed) -> Outcome:
    """What it means for a test that the program printed this."""
    if isinstance(printed, Fault):
        return outcome(test, printed)
    try:
        text = printed.decode("utf-8")
    except UnicodeDecodeError:
        return outcome(test, Fault("error", "printed something that is not UTF-8"))
    if values.output_matches(test.checker, text, test.expected):
        return outcome(test, None)
    lines = values.lines_of(text)
    return outcome(test, Fault("failed", f"printed {shown(lines[0])}{' ...' if len(lines) > 1 else ''}"))
