"""Answers -> what became of each test. Runs in a worker, outside every candidate's process.

A test passes only by values that were sent back, whole, in order, and compared here. Exit codes, output texts and
missing answers can only count against a program. What we could not find out is None, never a failure.
"""

import functools
import json
import operator
from collections.abc import Callable, Generator
from dataclasses import replace
from typing import Any

from greenlit.execution import profiles, values
from greenlit.execution.answers import Answers
from greenlit.execution.dialogue import judge_script
from greenlit.execution.expressions import Evaluator, Unsupported
from greenlit.execution.findings import NO_START, Fault, Findings, Limits, Outcome, outcome, requested, shown, started
from greenlit.execution.level import Dialogue, Level, Request, Run
from greenlit.execution.plan import Check, Plan, TestPlan
from greenlit.execution.precompiled import NotPython, precompiled
from greenlit.execution.stdio import judge_programs

LITERAL_ROOM = 64 << 10
LITERAL_FACTOR = 32

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
        fault = Fault("no_code", "there is no program")
        return Findings([outcome(test, fault) for test in plan.tests])
    try:
        precompiled(code)
    except NotPython as why:
        return Findings([outcome(test, Fault("syntax", str(why))) for test in plan.tests])
    absent = profiles.missing(plan.profile)
    if absent:
        return Findings([outcome(test, Fault("infra", absent)) for test in plan.tests])
    limits = replace(limits, profile=plan.profile)
    findings = Findings([])
    outcomes: dict[int, Outcome] = {}
    if plan.called:
        outcomes.update((yield from _judge_called(plan, code, limits, findings)))
    if plan.programs:
        outcomes.update((yield from judge_programs(plan.programs, code, limits, findings)))
    for test in plan.tests:
        if test.refusal:
            outcomes[test.index] = outcome(test, Fault("unsplittable", test.refusal))
        elif test.script:
            outcomes[test.index] = yield from judge_script(test, code, plan.setup, limits, findings)
    findings.tests = [outcomes[test.index] for test in plan.tests]
    return findings


def _judge_called(
    plan: Plan, code: str, limits: Limits, findings: Findings
) -> Generator[Request, Run, dict[int, Outcome]]:
    """All asserts and calls, in one process."""
    tests = plan.called
    run = yield from started(requested(limits, code=code, setup=plan.setup, steps=plan.steps), findings)
    if run is None:
        return {test.index: outcome(test, NO_START) for test in tests}
    findings.parts_cpu_s.append(run.cpu_s or 0.0)
    answers = Answers(run)
    outcomes = {}
    base = 0
    for test in tests:
        outcomes[test.index] = outcome(test, fault_of(test, base, answers))
        base += len(test.steps)
    return outcomes


def fault_of(test: TestPlan, base: int, answers: Answers) -> Fault | None:
    """Why this test is not passed, or None."""
    try:
        if test.kind == "call":
            _check_call(test, base, answers)
        else:
            _check_asserts(test, base, answers)
    except Fault as fault:
        return fault
    return None


def _guarded(what: str, evaluate: Callable[[], Any]) -> Any:
    """Evaluate over a candidate's values: what Python raises is the test's outcome, not ours."""
    try:
        return evaluate()
    except Fault:
        raise
    except Unsupported as error:
        raise Fault("infra", f"{what}: the judge cannot evaluate {error}") from None
    except MemoryError:
        raise Fault("error", f"{what}: too large to compare") from None
    except Exception as error:  # any operator over any plain values: the assert would have raised it
        raise Fault("error", f"{what}: {type(error).__name__}: {shown(error, str)}") from None


def _check_asserts(test: TestPlan, base: int, answers: Answers) -> None:
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
            raise Fault("failed", _failure(check, base, answers))


def _evaluate(check: Check, base: int, answers: Answers, bound: dict[str, Any], equal: Callable[..., Any]) -> Any:
    if check.literal:
        (step,) = check.holes.values()
        if answers.size(base + step) > LITERAL_ROOM + LITERAL_FACTOR * len(check.source):
            return False
        if not bound:
            return equal(answers.value(base + step), check.expected)
    names: dict[str, Callable[[], Any]] = {name: functools.partial(bound.get, name) for name in bound}
    names |= {name: functools.partial(answers.value, base + step) for name, step in check.holes.items()}
    return Evaluator(names, equal).value(check.expression)


def _failure(check: Check, base: int, answers: Answers) -> str:
    found = [shown(answers.value(base + step)) for step in check.holes.values() if not answers.fault(base + step)]
    return f"{check.source}: got {', '.join(found)}" if found else check.source


def _check_call(test: TestPlan, base: int, answers: Answers) -> None:
    source = test.steps[0].source
    wanted = values.as_json(test.expected)
    if answers.size(base) > LITERAL_ROOM + LITERAL_FACTOR * len(json.dumps(wanted)):
        raise Fault("failed", f"{source}: returned far more than expected")
    found = answers.value(base)

    def compare() -> bool:
        return values.matches(test.checker, values.as_json(found), wanted)

    if not _guarded(source, compare):
        raise Fault("failed", f"{source}: got {shown(found)}, expected {shown(test.expected)}")
