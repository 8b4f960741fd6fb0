"""Languages whose programs run in an interpreter of their own: what they share.

All calls of a problem are answered by one process, line by line, as in Python; each input of a whole program has a
process of its own. The process is forked in the same jails as Python's candidates, then becomes the interpreter
(child_exec.py): the jail stays, the filter of system calls lets it start threads but no process.
"""

import functools
from collections.abc import Callable, Generator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from greenlit.execution import values
from greenlit.execution.answers import Answers
from greenlit.execution.findings import NO_START, Fault, Findings, Limits, Outcome, outcome, requested, started
from greenlit.execution.level import Command, Request, Run
from greenlit.execution.plan import Plan, Step, TestPlan
from greenlit.execution.scripts import Unsplittable
from greenlit.execution.stdio import printed_alone, program_outcome
from greenlit.execution.verdicts import Judging, fault_of

if TYPE_CHECKING:
    from greenlit.types import Problem, Test

ISOLATION = (
    "a process in a jail as Python's candidates have it, which becomes {}: no network, no files but the interpreter's, "
    "threads but no further processes; memory as it is written to"
)


@dataclass(frozen=True)
class Interpreter:
    """Where it was found, and what it needs."""

    words: tuple[str, ...]
    """Its full path, and arguments that come before the program's."""
    binds: tuple[str, ...] = ()
    environment: tuple[tuple[str, str], ...] = ()
    own_bytes: int = 0
    """Memory it takes for itself."""

    def command(self, *arguments: str, files: dict[str, str], **settings: Any) -> Command:
        """What a candidate's process becomes."""
        return Command(
            (*self.words, *arguments),
            tuple(files.items()),
            self.binds,
            self.environment,
            own_bytes=self.own_bytes,
            **settings,
        )


@dataclass(frozen=True)
class Runner:
    """What differs between these languages. `find` returns an `Interpreter`, or why there is none."""

    name: str
    find: Callable[[], Interpreter | str]
    call: Callable[[Interpreter, str, Plan, Limits], tuple[Command, str]]
    """Program and plan → the command that answers each step of the called tests, and its standard input."""
    whole: Callable[[Interpreter, str, Limits], Command]
    """Program → the command that runs it."""
    said: Callable[[bytes], Fault | None]
    """What the interpreter's last words on standard error mean."""
    decode: Callable[[Any], Any] = values.decode
    """The values that come back."""
    wanted: Callable[[Interpreter, Plan], Command] | None = None
    """Plan → the command that evaluates what its asserts and scripts compare with; None where there are no such."""
    check: Callable[[TestPlan, int, Answers, list[Any]], None] | None = None
    """Raises a Fault where an assert or script is not passed."""

    def missing(self) -> str:
        """Why its programs cannot run here; empty when they can."""
        found = self.find()
        return found if isinstance(found, str) else ""


@dataclass
class _Case:
    """One program being judged."""

    runner: Runner
    interpreter: Interpreter
    plan: Plan
    code: str
    limits: Limits
    findings: Findings = field(default_factory=lambda: Findings([]))

    def request(self, command: Command, stdin: str) -> Request:
        return requested(self.limits, code="", stdin=stdin, command=command)

    def explained(self, fault: Fault, run: Run) -> Fault:
        """With what the interpreter said before it ended; nothing that it says makes a test pass."""
        return (self.runner.said(run.stderr) or fault) if fault.kind == "error" else fault


def judging_with(runner: Runner, plan: Plan, code: str, limits: Limits) -> Judging:
    """Judge a program against all tests of its problem."""
    fault = _refused(runner, code, limits)
    if fault:
        return Findings([outcome(test, fault) for test in plan.tests])
    interpreter = runner.find()
    assert isinstance(interpreter, Interpreter)
    case = _Case(runner, interpreter, plan, code, limits)
    outcomes: dict[int, Outcome] = {}
    if plan.called:
        outcomes.update((yield from _called(case)))
    for test in plan.tests:
        if test.refusal:
            outcomes[test.index] = outcome(test, Fault("unsplittable", test.refusal))
        elif test.kind == "stdio":
            outcomes[test.index] = yield from _whole(case, test)
    case.findings.tests = [outcomes[test.index] for test in plan.tests]
    return case.findings


def _refused(runner: Runner, code: str, limits: Limits) -> Fault | None:
    if not code.strip():
        return Fault("no_code", "there is no program")
    absent = runner.missing()
    if absent:
        return Fault("infra", absent)
    if len(code.encode("utf-8", "surrogatepass")) > limits.output_bytes:
        return Fault("error", f"the program is longer than the {limits.output_bytes >> 10} KiB that it may write")
    return None


def _called(case: _Case) -> Any:
    tests = case.plan.called
    wanted = yield from _wanted(case)
    command, stdin = case.runner.call(case.interpreter, case.code, case.plan, case.limits)
    run = yield from started(case.request(command, stdin), case.findings)
    if run is None:
        return {test.index: outcome(test, NO_START) for test in tests}
    case.findings.parts_cpu_s.append(run.cpu_s or 0.0)
    answers = Answers(run, case.runner.decode)
    answers.missing = case.explained(answers.missing, run)
    outcomes = {}
    base = 0
    for test in tests:
        outcomes[test.index] = outcome(test, _fault(case.runner, test, base, answers, wanted.get(test.index)))
        base += len(test.steps)
    return outcomes


def _fault(
    runner: Runner, test: TestPlan, base: int, answers: Answers, wanted: list[Any] | Fault | None
) -> Fault | None:
    if test.kind == "call":
        return fault_of(test, base, answers)
    assert runner.check is not None and wanted is not None
    if isinstance(wanted, Fault):
        return wanted
    try:
        runner.check(test, base, answers, wanted)
    except Fault as fault:
        return fault
    return None


def _wanted(case: _Case) -> Generator[Request, Run, dict[int, list[Any] | Fault]]:
    """What asserts and scripts compare with, from a process that the program does not reach; found out once."""
    tests = case.plan.compared
    kept: dict[int, list[Any] | Fault] = case.plan.wanted
    if not tests or kept:
        return kept
    assert case.runner.wanted is not None
    run = yield from started(case.request(case.runner.wanted(case.interpreter, case.plan), ""), Findings([]))
    if run is None:
        return dict.fromkeys((test.index for test in tests), NO_START)
    answers = Answers(run, case.runner.decode)
    base = 0
    for test in tests:
        try:
            kept[test.index] = [answers.value(base + place) for place in range(len(test.expected))]
        except Fault as fault:
            kept[test.index] = Fault("unsplittable", f"what it compares with cannot be evaluated: {fault}")
        base += len(test.expected)
    return kept


def _whole(case: _Case, test: TestPlan) -> Any:
    command = case.runner.whole(case.interpreter, case.code, case.limits)
    run = yield from started(case.request(command, test.stdin), case.findings)
    if run is None:
        return outcome(test, NO_START)
    case.findings.parts_cpu_s.append(run.cpu_s or 0.0)
    printed = printed_alone(run, case.limits)
    return program_outcome(test, case.explained(printed, run) if isinstance(printed, Fault) else printed)


def plan_with(language: str, plan_test: Callable[["Test", "Problem"], dict[str, Any]], problem: "Problem") -> Plan:
    """Split all tests, those that count for the verdict first.

    Args:
        plan_test: the fields of a test's plan, or Unsplittable.
    """
    order = sorted(range(len(problem.tests)), key=lambda index: problem.tests[index].role == "hidden")
    tests = []
    for index in order:
        test = problem.tests[index]
        plan = functools.partial(TestPlan, index, test.kind, test.role, test.checker)
        try:
            fields = (
                {"stdin": test.input, "expected": test.output} if test.kind == "stdio" else plan_test(test, problem)
            )
            tests.append(plan(**fields))
        except Unsplittable as why:
            tests.append(plan(refusal=str(why)))
    return Plan(problem.task_id, problem.setup, tuple(tests), language=language)


def call_plan(test: Any, problem: "Problem", show: Callable[[Any], str]) -> dict[str, Any]:
    """The plan of a call with plain arguments."""
    source = f"{problem.entry_point}({', '.join(map(show, test.input))})"
    source = source if len(source) <= 100 else f"{source[:97]}..."
    return {"steps": (Step(("call", problem.entry_point, list(test.input)), source),), "expected": test.output}
