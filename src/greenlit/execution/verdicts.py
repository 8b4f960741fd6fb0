"""Answers -> test results -> a judgement. Runs in a worker, outside every candidate's process.

A test passes only by values that were sent back, whole, in order, and compared here. Exit codes, output texts and
missing answers can only count against a program. What we could not find out is None, never a failure.
"""

import functools
import json
import operator
import signal
from collections.abc import Callable, Generator, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from greenlit.execution import values
from greenlit.execution.expressions import Evaluator, Unsupported
from greenlit.execution.level import Dialogue, Level, Request, Run
from greenlit.execution.split import Check, Plan, TestPlan

STARTS = 3
LITERAL_ROOM = 64 << 10
LITERAL_FACTOR = 32
MESSAGE = 300


@dataclass(frozen=True)
class Limits:
    """What one run of one candidate may use."""

    cpu_s: float
    wall_s: float
    memory_mib: int
    output_bytes: int


@dataclass
class Outcome:
    """Of one test. `kind`: passed, failed, error, timeout, memory, syntax, no_code, infra, unsplittable."""

    index: int
    role: str
    passed: bool | None
    kind: str
    error: str | None = None


@dataclass
class Findings:
    """Everything found out about one candidate."""

    tests: list[Outcome]
    cpu_s: float | None = None
    wall_s: float | None = None
    parts_cpu_s: list[float] = field(default_factory=list)
    """CPU time of each process, where there were several (stdio)."""

    def to_json(self) -> dict[str, Any]:
        """As a worker sends it."""
        return asdict(self)


class _Fault(Exception):
    """The test is decided, and not passed."""

    def __init__(self, kind: str, message: str) -> None:
        super().__init__(message)
        self.kind = kind


Judging = Generator[Request | Dialogue, Any, Findings]
"""Yields what is to be run, is sent what happened (a `Run`, or two of them for a `Dialogue`), returns what it means."""


def judge(plan: Plan, code: str, level: Level, limits: Limits) -> Findings:
    """Run a candidate against all tests of its problem, one process after the other."""
    steps = judging(plan, code, limits)
    happened: Any = None
    while True:
        try:
            wanted = steps.send(happened)
        except StopIteration as end:
            return end.value
        happened = level.converse(wanted) if isinstance(wanted, Dialogue) else level.run(wanted)


def judging(plan: Plan, code: str, limits: Limits) -> Judging:
    """Judge a candidate against all tests of its problem, while somebody else does the running."""
    if not code.strip():
        fault = _Fault("no_code", "there is no program")
        return Findings([_outcome(test, fault) for test in plan.tests])
    findings = Findings([])
    outcomes: dict[int, Outcome] = {}
    if plan.called:
        outcomes.update((yield from _judge_called(plan, code, limits, findings)))
    for test in plan.tests:
        if test.refusal:
            outcomes[test.index] = Outcome(test.index, test.role, None, "unsplittable", test.refusal)
        elif test.kind == "stdio":
            outcomes[test.index] = yield from _judge_stdio(test, code, limits, findings)
    findings.tests = [outcomes[test.index] for test in plan.tests]
    return findings


def _outcome(test: TestPlan, fault: _Fault | None) -> Outcome:
    if fault is None:
        return Outcome(test.index, test.role, True, "passed")
    passed = None if fault.kind == "infra" else False
    place = "" if fault.kind in {"syntax", "no_code"} else f"test {test.index}: "
    return Outcome(test.index, test.role, passed, fault.kind, _one_line(f"{place}{fault}"))


def _one_line(text: str) -> str:
    plain = "".join(char if char.isprintable() else " " for char in text[: 2 * MESSAGE])
    return plain if len(plain) <= MESSAGE else f"{plain[: MESSAGE - 3]}..."


def _started(request: Request, findings: Findings) -> Generator[Request, Run, Run | None]:
    """A run that got as far as the candidate's first line; a start that fails is ours, and tried again."""
    for _ in range(STARTS):
        run = yield request
        if run.started:
            findings.cpu_s = (findings.cpu_s or 0.0) + (run.cpu_s or 0.0)
            findings.wall_s = (findings.wall_s or 0.0) + (run.wall_s or 0.0)
            findings.parts_cpu_s.append(run.cpu_s or 0.0)
            return run
    return None


_NO_START = _Fault("infra", "the candidate's process did not start")


def _request(limits: Limits, **what: Any) -> Request:
    return Request(
        cpu_s=limits.cpu_s,
        wall_s=limits.wall_s,
        memory_mib=limits.memory_mib,
        output_bytes=limits.output_bytes,
        **what,
    )


def _judge_called(
    plan: Plan, code: str, limits: Limits, findings: Findings
) -> Generator[Request, Run, dict[int, Outcome]]:
    """All asserts and calls, in one process."""
    tests = plan.called
    steps = tuple(step.content for test in tests for step in test.steps)
    run = yield from _started(_request(limits, code=code, setup=plan.setup, steps=steps), findings)
    if run is None:
        return {test.index: _outcome(test, _NO_START) for test in tests}
    answers = _Answers(run)
    outcomes = {}
    base = 0
    for test in tests:
        outcomes[test.index] = _outcome(test, _fault_of(test, base, answers))
        base += len(test.steps)
    return outcomes


class _Answers:
    """The frames of a run, read in order up to the first one that is none."""

    def __init__(self, run: Run) -> None:
        self.whole: _Fault | None = None
        self.frames: list[list[Any] | _Fault] = []
        self.sizes: list[int] = []
        self.missing = _missing(run)
        for line in run.lines:
            frame = self._frame(line, len(self.frames))
            if frame is None:
                break
            self.frames.append(frame)
            self.sizes.append(len(line))

    def _frame(self, line: bytes, index: int) -> list[Any] | _Fault | None:
        try:
            frame = values.parse(line)
            place, kind, *content = frame
            if place == -1 and index == 0 and len(content) == 2:
                self.whole = _reported(kind, content)
                return None
            if place is not True and place == index and kind == "value" and len(content) == 1:
                return content[0]
            if place is not True and place == index and kind in {"error", "memory", "large"} and len(content) == 2:
                return _reported(kind, content)
        except (values.BadFrame, ValueError, TypeError):
            pass
        self.missing = _Fault("error", "sent something that is no answer")
        return None

    def fault(self, index: int) -> _Fault | None:
        """Why there is no value for this step, or None."""
        if self.whole:
            return self.whole
        if index >= len(self.frames):
            return self.missing
        frame = self.frames[index]
        return frame if isinstance(frame, _Fault) else None

    def value(self, index: int) -> Any:
        """The decoded value of a step."""
        fault = self.fault(index)
        if fault:
            raise fault
        try:
            return values.decode(self.frames[index])
        except values.BadFrame:
            raise _Fault("error", "sent something that is no value") from None

    def size(self, index: int) -> int:
        """Bytes of a step's answer; 0 when there is none."""
        return self.sizes[index] if index < len(self.sizes) else 0


def _reported(kind: Any, content: list[Any]) -> _Fault:
    """A fault the candidate's process tells of itself; it can choose which, but none of them passes."""
    try:
        name, message = (values.text_of(text) for text in content)
    except (ValueError, TypeError):
        name, message = "", ""
    said = f"{name}: {message}" if message else name
    if kind == "large":
        return _Fault("error", message)
    return _Fault(kind if kind in {"memory", "syntax"} else "error", said or "an exception")


def _missing(run: Run) -> _Fault:
    """What it means that an answer did not come."""
    if run.ended == "cpu":
        return _Fault("timeout", "CPU time is up")
    if run.ended == "wall":
        return _Fault("timeout", "wall-clock time is up")
    if run.ended == "flood":
        return _Fault("error", "sent more than may cross")
    if run.signal:
        return _Fault("error", f"killed by {_signal_name(run.signal)}")
    return _Fault("error", "the process ended before it answered")


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


def _fault_of(test: TestPlan, base: int, answers: _Answers) -> _Fault | None:
    """Why this test is not passed, or None."""
    try:
        if test.kind == "call":
            _check_call(test, base, answers)
        else:
            _check_asserts(test, base, answers)
    except _Fault as fault:
        return fault
    return None


def _guarded(what: str, evaluate: Callable[[], Any]) -> Any:
    """Evaluate over a candidate's values: what Python raises is the test's outcome, not ours."""
    try:
        return evaluate()
    except _Fault:
        raise
    except Unsupported as error:
        raise _Fault("infra", f"{what}: the judge cannot evaluate {error}") from None
    except MemoryError:
        raise _Fault("error", f"{what}: too large to compare") from None
    except Exception as error:  # any operator over any plain values: the assert would have raised it
        raise _Fault("error", f"{what}: {type(error).__name__}: {_safe(str, error)}") from None


def _safe(show: Callable[[Any], str], value: Any) -> str:
    try:
        text = show(value)
    except (ValueError, RecursionError, MemoryError):
        return f"<{type(value).__name__}>"
    return text if len(text) <= 100 else f"{text[:97]}..."


def _check_asserts(test: TestPlan, base: int, answers: _Answers) -> None:
    equal = operator.eq if test.checker == "exact" else functools.partial(values.matches, test.checker)
    bound: dict[str, Any] = {}
    for check in test.checks:
        for step in check.steps_before:
            fault = answers.fault(base + step)
            if fault:
                raise fault
        found = _guarded(check.source, functools.partial(_evaluate, check, base, answers, bound, equal))
        if check.bind is not None:
            bound[check.bind] = found
        elif not _guarded(check.source, functools.partial(bool, found)):
            raise _Fault("failed", _failure(check, base, answers))


def _evaluate(check: Check, base: int, answers: _Answers, bound: dict[str, Any], equal: Callable[..., Any]) -> Any:
    if check.literal:
        (step,) = check.holes.values()
        if answers.size(base + step) > LITERAL_ROOM + LITERAL_FACTOR * len(check.source):
            return False
    names: dict[str, Callable[[], Any]] = {name: functools.partial(bound.get, name) for name in bound}
    names |= {name: functools.partial(answers.value, base + step) for name, step in check.holes.items()}
    return Evaluator(names, equal).value(check.expression)


def _failure(check: Check, base: int, answers: _Answers) -> str:
    found = [_safe(repr, answers.value(base + step)) for step in check.holes.values() if not answers.fault(base + step)]
    return f"{check.source}: got {', '.join(found)}" if found else check.source


def _check_call(test: TestPlan, base: int, answers: _Answers) -> None:
    source = test.steps[0].source
    wanted = values.as_json(test.expected)
    if answers.size(base) > LITERAL_ROOM + LITERAL_FACTOR * len(json.dumps(wanted)):
        raise _Fault("failed", f"{source}: returned far more than expected")
    found = answers.value(base)

    def compare() -> bool:
        return values.matches(test.checker, values.as_json(found), wanted)

    if not _guarded(source, compare):
        raise _Fault("failed", f"{source}: got {_safe(repr, found)}, expected {_safe(repr, test.expected)}")


def _judge_stdio(test: TestPlan, code: str, limits: Limits, findings: Findings) -> Generator[Request, Run, Outcome]:
    """One process for one input; its output counts when it ended by itself and without an error."""
    run = yield from _started(_request(limits, code=code, stdin=test.stdin), findings)
    if run is None:
        return _outcome(test, _NO_START)
    try:
        _check_stdio(test, run, limits)
    except _Fault as fault:
        return _outcome(test, fault)
    return _outcome(test, None)


def _check_stdio(test: TestPlan, run: Run, limits: Limits) -> None:
    if run.ended != "exited":
        raise _missing(run)
    if len(run.stdout) > limits.output_bytes:
        raise _Fault("error", f"printed more than {limits.output_bytes >> 10} KiB")
    whole = _Answers(run).whole
    if whole:
        raise whole
    if run.signal or run.status:
        raise _Fault("error", f"killed by {_signal_name(run.signal)}" if run.signal else f"exit status {run.status}")
    try:
        printed = run.stdout.decode("utf-8")
    except UnicodeDecodeError:
        raise _Fault("error", "printed something that is not UTF-8") from None
    if not values.output_matches(test.checker, printed, test.expected):
        lines: Sequence[str] = values.lines_of(printed)
        first = lines[0] if lines else ""
        raise _Fault("failed", f"printed {_safe(repr, first)}{' ...' if len(lines) > 1 else ''}")
