"""Verdicts for candidates: a pool of workers behind one small interface.

    with Judge(params.annotate, workers=2) as judge:
        for judgement in judge.judge_all((problem, code) for ...):
            ...

Results come in the order of the jobs, while later jobs already run, and do not depend on the number of workers. The
same program for the same problem runs once. A candidate may use `cpu_factor` times the CPU time of the problem's
reference solution, within bounds; the reference is timed, once, when the first candidate needs more than the least.
"""

import hashlib
import json
import operator
import os
import shutil
import sys
import tempfile
from collections import OrderedDict, deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType, TracebackType
from typing import Any, Self, get_args

from pydantic_core import to_jsonable_python

from greenlit.config import AnnotateParams
from greenlit.errors import ConfigError, SandboxError
from greenlit.execution.level import PATIENCE, START_S
from greenlit.execution.pool import TRIES, Pool, Task
from greenlit.execution.portable import NAME as PORTABLE
from greenlit.types import AssertTest, Problem, Role, Verdict

AHEAD_PER_WORKER = 64
REMEMBERED = 4_096


@dataclass(frozen=True)
class TestResult:
    """Of one test, in the problem's order."""

    __test__ = False

    index: int
    role: Role
    passed: bool | None
    """None where we could not find out."""
    kind: str
    """passed, failed, error, timeout, memory, syntax, no_code, infra, unsplittable."""
    error: str | None = None


@dataclass(frozen=True)
class Judgement:
    """Of one candidate; `verdict`, `tests_passed` and `tests_total` are of the shown and reward tests."""

    verdict: Verdict
    passed: bool | None
    passed_hidden: bool | None
    passed_all: bool | None
    tests_passed: int
    tests_total: int
    error: str | None
    cpu_s: float | None
    wall_s: float | None
    level: str
    tests: tuple[TestResult, ...] = ()


@dataclass(frozen=True)
class Prepared:
    """What is known of a problem before its first candidate."""

    reference_cpu_s: float | None
    """None without a reference that passes."""
    cpu_limit_s: float
    unsplittable: tuple[str, ...]
    """Why tests cannot be judged from outside; their results are None."""
    missing: str = ""
    """What is not installed here, so that no program can be judged; empty where all is."""


@dataclass
class _Known:
    """A problem in use."""

    problem: Problem
    key: str
    content: str
    task: Task | None = None
    waiting: list["_Slot"] = field(default_factory=list)


@dataclass
class _Slot:
    """One distinct program for one problem."""

    key: tuple[str, str]
    known: _Known | None
    """Let go, like the code, when the judgement is there: tests can be large."""
    code: str
    task: Task | None = None
    judgement: Judgement | None = None
    hurried: bool = False
    """Its run had the least limit there is; a timeout is to be looked into."""


class Judge:
    """Runs candidates and says what became of them. Use it as a context manager, from one thread."""

    level: str = ""
    """The sandbox level in use: `namespaces`, `bubblewrap` or `portable`."""

    def __init__(self, params: AnnotateParams, workers: int = 1, level: str | None = None) -> None:
        """
        Args:
            level: the one level to use; None takes GREENLIT_SANDBOX, or else the best that works on this machine.

        Raises:
            ConfigError: an unknown level, or only `portable` works here and it is not allowed.
            SandboxError: the level does not work, or does not judge rightly, here.
        """
        ways = ways_of(level or os.environ.get("GREENLIT_SANDBOX") or None, params.allow_portable)
        self.params = params
        self.folder = Path(tempfile.mkdtemp(prefix="greenlit-judge-"))
        self.folder.chmod(0o711)
        self._pool: Pool | None = None
        self._objects: OrderedDict[int, tuple[Problem, _Known]] = OrderedDict()
        self._known: OrderedDict[str, _Known] = OrderedDict()
        self._prepared: OrderedDict[str, Prepared] = OrderedDict()
        self._unprepared: dict[str, _Known] = {}
        self._slots: OrderedDict[tuple[str, str], _Slot] = OrderedDict()
        self.notes: list[str] = []
        """What is to be said about the level on this machine."""
        try:
            self._pool = Pool(workers, self.folder, ways)
            self._settle_level()
            self._self_test()
        except BaseException:
            self.close()
            raise

    @property
    def banner(self) -> str:
        """One line on how safe this is, for the terminal."""
        what = "limits, but no jail" if self.level == PORTABLE else "every candidate in a jail"
        return f"sandbox level {self.level}: {what} ({'; '.join(self.notes)})"

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @property
    def pool(self) -> Pool:
        """The workers, while the judge is open."""
        if self._pool is None:
            raise SandboxError("the judge is closed")
        return self._pool

    def close(self) -> None:
        """End the workers and whatever they run."""
        if self._pool:
            self._pool.close()
            self._pool = None
        shutil.rmtree(self.folder, ignore_errors=True)

    def prepare(self, problem: Problem) -> Prepared:
        """Split the problem's tests and time its reference, once."""
        known = self._know(problem)
        while (prepared := self._prepared_of(known)) is None:
            self._step()
        return prepared

    def judge(self, problem: Problem, code: str) -> Judgement:
        """One verdict."""
        return next(self.judge_all([(problem, code)]))

    def judge_all(self, jobs: Iterable[tuple[Problem, str]]) -> Iterator[Judgement]:
        """Judgements in the order of the jobs; reads at most a bounded number of jobs ahead."""
        source = iter(jobs)
        waiting: deque[_Slot] = deque()
        ahead = AHEAD_PER_WORKER * self.pool.size
        more = True
        while True:
            while more and len(waiting) < ahead:
                job = next(source, None)
                if job is None:
                    more = False
                else:
                    waiting.append(self._slot(*job))
            if not waiting:
                return
            judgement = self._judgement_of(waiting[0])
            if judgement is None:
                self._step()
            else:
                waiting.popleft()
                yield judgement

    def _settle_level(self) -> None:
        """Ask the first worker what works here; the others are told."""
        hello = self.pool.submit({"op": "hello"}, "", slow_s=2 * START_S)
        while not hello.done:
            self.pool.step()
        found = hello.answer or {"no_jail": "the judge's worker died at its start"}
        if "no_jail" in found:
            raise SandboxError(
                f"no jail can be built here: {found['no_jail']}",
                hint="`greenlit doctor` says what is missing; or set annotate.allow_portable: true in params.yaml, if "
                "you trust the model that writes the programs: portable limits time, memory and processes, but does "
                "not stop a program from reading files, using the network or leaving files in /tmp",
            )
        self.level, self.notes = found["level"], found["notes"]
        self.pool.grow([found["way"] or PORTABLE])

    def _self_test(self) -> None:
        """A known right and two known wrong programs, before anything is believed."""
        problem = Problem(task_id="greenlit/self-test", entry_point="f", tests=[AssertTest(code="assert f(20) == 400")])
        expected = {
            "def f(x): return x * x": True,
            "def f(x): return x + x": False,
            "import os\nos._exit(0)": False,
        }
        for code, passed in expected.items():
            found = self.judge(problem, code)
            if found.passed is not passed:
                raise SandboxError(
                    f"the {self.level} level does not judge rightly on this machine: a program that should "
                    f"{'pass' if passed else 'fail'} got {found.verdict} ({found.error})",
                    hint="report this with the output of `greenlit doctor`",
                )

    def _know(self, problem: Problem) -> _Known:
        """What we keep of a problem: found again by the object, which is fast, or by its content."""
        seen = self._objects.get(id(problem))
        if seen is not None:
            return seen[1]
        content = _content(problem)
        key = hashlib.sha256(content.encode("utf-8", "surrogatepass")).hexdigest()
        known = self._known.get(key) or _Known(problem, key, content)
        self._objects[id(problem)] = (problem, known)
        self._known[key] = known
        self._known.move_to_end(key)
        for kept in (self._objects, self._known):
            if len(kept) > 4 * AHEAD_PER_WORKER:
                kept.popitem(last=False)
        return known

    def _prepared_of(self, known: _Known) -> Prepared | None:
        """What is known of the problem; None while it is being found out."""
        prepared = self._prepared.get(known.key)
        if prepared is not None:
            return prepared
        if known.task is None:
            limit_s = known.problem.time_limit_s or self.params.cpu_max_s
            known.task = self._submit(known, "prepare", limit_s, runs=3 * len(known.problem.tests))
            return None
        if not known.task.done:
            return None
        answer = known.task.answer or {"reference_cpu_s": None, "unsplittable": [], "missing": ""}
        cpu_s = answer["reference_cpu_s"]
        limit_s = self._cpu_limit_s(known.problem, cpu_s)
        prepared = Prepared(cpu_s, limit_s, tuple(answer["unsplittable"]), answer["missing"])
        self._prepared[known.key] = prepared
        if len(self._prepared) > REMEMBERED:
            self._prepared.popitem(last=False)
        return prepared

    def _cpu_limit_s(self, problem: Problem, reference_cpu_s: float | None) -> float:
        if problem.time_limit_s is not None:
            return problem.time_limit_s
        if reference_cpu_s is None:
            return self.params.cpu_max_s
        return min(max(self.params.cpu_factor * reference_cpu_s, self.params.cpu_min_s), self.params.cpu_max_s)

    def _slot(self, problem: Problem, code: str) -> _Slot:
        known = self._know(problem)
        key = (known.key, hashlib.sha256(code.encode("utf-8", "surrogatepass")).hexdigest())
        slot = self._slots.get(key)
        if slot is None:
            slot = self._slots[key] = _Slot(key, known, code)
            if len(self._slots) > REMEMBERED:
                self._slots.popitem(last=False)
            self._judgement_of(slot)
        return slot

    def _judgement_of(self, slot: _Slot) -> Judgement | None:
        """The slot's judgement; sets it going where that has not happened, None while it runs."""
        known = slot.known
        if known is None:
            return slot.judgement
        if slot.task is None:
            self._run(slot, known)
        elif slot.task.done:
            judgement = _judgement(known.problem, slot.task.answer, self.level)
            if slot.hurried and any(test.kind == "timeout" for test in judgement.tests):
                prepared = self._prepared_of(known)
                if prepared is None:
                    self._unprepared[known.key] = known
                    known.waiting.append(slot)
                    return None
                slot.hurried = False
                if prepared.cpu_limit_s > self.params.cpu_min_s:
                    self._run(slot, known)
                    return None
            slot.judgement = judgement
            if any(test.kind == "infra" for test in slot.judgement.tests):
                self._slots.pop(slot.key, None)  # no finding: another time may find more
            slot.known, slot.task, slot.code = None, None, ""
        return slot.judgement

    def _run(self, slot: _Slot, known: _Known) -> None:
        """Set a program going. As long as nobody needs it, the reference's time is not measured.

        Most programs are done within the least limit there is, whatever the reference takes.
        """
        prepared = self._prepared.get(known.key)
        if prepared is not None:
            cpu_s = prepared.cpu_limit_s
        elif known.problem.time_limit_s is not None or not known.problem.reference:
            cpu_s = self._cpu_limit_s(known.problem, None)
        else:
            cpu_s, slot.hurried = self.params.cpu_min_s, True
        slot.task = self._submit(known, "judge", cpu_s, len(known.problem.tests), code=slot.code)

    def _submit(self, known: _Known, what: str, cpu_s: float, runs: int, **content: str) -> Task:
        wall_s = max(self.params.timeout_s, 2 * cpu_s)
        limits = {
            "cpu_s": cpu_s,
            "wall_s": wall_s,
            "memory_mib": known.problem.memory_limit_mib or self.params.memory_mib,
            "output_bytes": self.params.output_kib << 10,
        }
        slow_s = 60.0 + (PATIENCE * wall_s + 2 * START_S) * max(1, runs)
        return self.pool.submit({"op": what, "key": known.key, "limits": limits, **content}, known.content, slow_s)

    def _step(self) -> None:
        """Wait for one answer; candidates of problems that have just been prepared can go."""
        self.pool.step()
        for known in list(self._unprepared.values()):
            if self._prepared_of(known) is not None:
                del self._unprepared[known.key]
                slots, known.waiting = known.waiting, []
                for slot in slots:
                    self._judgement_of(slot)


WAYS = {"namespaces": ["root", "user"], "bubblewrap": ["bubblewrap"], PORTABLE: [PORTABLE]}
"""Level → ways a worker tries, best first."""


def ways_of(level: str | None, allow_portable: bool) -> list[str]:
    """What workers may try.

    Raises:
        ConfigError: no such level, or it is not allowed.
    """
    if level is None:
        return [way for name, ways in WAYS.items() for way in ways if name != PORTABLE or allow_portable]
    if level not in WAYS:
        raise ConfigError(f"GREENLIT_SANDBOX: no sandbox level {level!r}", hint=f"one of {', '.join(WAYS)}")
    if level == PORTABLE and not allow_portable:
        raise ConfigError(
            "params.yaml: annotate.allow_portable: must be true for the sandbox level `portable` (found False)",
            hint="portable limits time, memory and processes, but does not stop a program from reading files, using "
            "the network or leaving files in /tmp: allow it only if you trust the model that writes the programs",
        )
    return WAYS[level]


_NEEDED = (
    "task_id", "language", "profile", "entry_point", "starter_code", "setup", "reference", "time_limit_s",
    "memory_limit_mib",
)  # fmt: skip


def _content(problem: Problem) -> str:
    """What a worker needs of a problem, as it would stand in a file: with defaults, tuples as lists."""
    tests = [{name: getattr(test, name) for name in type(test).model_fields} for test in problem.tests]
    content = {**{name: getattr(problem, name) for name in _NEEDED}, "tests": tests}
    return json.dumps(to_jsonable_python(content, inf_nan_mode="constants"))


def _judgement(problem: Problem, answer: dict[str, Any] | None, level: str) -> Judgement:
    """What a worker found, as one judgement; a worker that died on it every time found nothing out."""
    if answer is None:
        tests = tuple(
            TestResult(index, test.role, None, "infra", f"test {index}: the judge's worker died {TRIES} times")
            for index, test in enumerate(problem.tests)
        )
        answer = {"cpu_s": None, "wall_s": None}
    else:
        roles = [test.role for test in problem.tests]
        found = sorted(answer["tests"], key=operator.itemgetter(0))
        tests = tuple(TestResult(index, roles[index], passed, kind, error) for index, passed, kind, error in found)
    seen = [test for test in tests if test.role != "hidden"]
    hidden = [test for test in tests if test.role == "hidden"]
    culprit = _culprit(seen) or _culprit(hidden)
    passed = _all_passed(seen)
    return Judgement(
        verdict=_verdict(seen, passed),
        passed=passed,
        passed_hidden=_all_passed(hidden),
        passed_all=_all_passed(tests),
        tests_passed=sum(test.passed is True for test in seen),
        tests_total=len(seen),
        error=culprit.error if culprit else None,
        cpu_s=answer["cpu_s"],
        wall_s=answer["wall_s"],
        level=level,
        tests=tests,
    )


def _all_passed(tests: Iterable[TestResult]) -> bool | None:
    """False if one failed, else None if one is unknown or there are none."""
    results = [test.passed for test in tests]
    if False in results:
        return False
    return None if None in results or not results else True


def _culprit(tests: list[TestResult]) -> TestResult | None:
    """The test that decides the verdict: the first that failed, else the first we know nothing of."""
    failed = next((test for test in tests if test.passed is False), None)
    return failed or next((test for test in tests if test.passed is None), None)


def _verdict(tests: list[TestResult], passed: bool | None) -> Verdict:
    culprit = _culprit(tests)
    if passed or culprit is None:
        return "passed" if passed else "infra"
    kind = culprit.kind if culprit.passed is False else "infra"
    return next(name for name in get_args(Verdict) if name == kind)


class _Callable(ModuleType):
    """This module, which is also the function `greenlit.execution.judge`: both names are promised, and they are one."""

    def __call__(self, *problems_and_candidates: Any, **options: Any) -> Iterator[Judgement]:
        from greenlit.execution.api import judge

        return judge(*problems_and_candidates, **options)


sys.modules[__name__].__class__ = _Callable
