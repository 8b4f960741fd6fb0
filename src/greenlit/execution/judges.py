"""Verdicts for candidates: a pool of workers behind one small interface.

    with Judge(params.annotate, workers=2) as judge:
        for judgement in judge.judge_all((problem, code) for ...):
            ...

Results come in the order of the jobs, while later jobs already run, and do not depend on the number of workers. The
same program for the same problem runs once. A candidate may use `cpu_factor` times the CPU time of the problem's
reference solution, within bounds; the reference is timed, once, when the first candidate needs more than the least.
"""

import hashlib
import os
import shutil
import tempfile
from collections import OrderedDict, deque
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path

from greenlit.config import AnnotateParams
from greenlit.errors import SandboxError
from greenlit.execution.judgement import Judgement, judgement_of
from greenlit.execution.known import Known, KnownProblems
from greenlit.execution.level import PATIENCE, PORTABLE, START_S, ways_of
from greenlit.execution.pool import Pool, Task
from greenlit.types import AssertTest, Problem

AHEAD_PER_WORKER = 64
REMEMBERED = 4_096


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
class _Slot:
    """One distinct program for one problem."""

    key: tuple[str, str]
    known: Known | None
    """Let go, like the code, when the judgement is there: tests can be large."""
    code: str
    task: Task | None = None
    judgement: Judgement | None = None
    hurried: bool = False
    """Its run had the least limit there is; a timeout is to be looked into."""
    doubt: Judgement | None = None
    """That timeout, until it is known whether the problem's own limit is longer."""


class Judge(AbstractContextManager):
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
        self._known = KnownProblems(4 * AHEAD_PER_WORKER)
        self._prepared: OrderedDict[str, Prepared] = OrderedDict()
        self._slots: OrderedDict[tuple[str, str], _Slot] = OrderedDict()
        self._doubtful: list[_Slot] = []
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

    def __exit__(self, *_: object) -> None:
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
        known = self._known.of(problem)
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

    def _prepared_of(self, known: Known) -> Prepared | None:
        """What is known of the problem; None while it is being found out."""
        prepared = self._prepared.get(known.key)
        if prepared is not None:
            return prepared
        if known.preparing is None:
            limit_s = known.problem.time_limit_s or self.params.cpu_max_s
            known.preparing = self._submit(known, "prepare", limit_s, runs=3 * len(known.problem.tests))
            return None
        if not known.preparing.done:
            return None
        answer = known.preparing.answer or {"reference_cpu_s": None, "unsplittable": [], "missing": ""}
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
        known = self._known.of(problem)
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
        elif slot.doubt is not None:
            return self._resolved(slot, known, slot.doubt)
        elif slot.task.done:
            found = judgement_of(known.problem, slot.task.answer, self.level)
            if not slot.hurried or all(test.kind != "timeout" for test in found.tests):
                return self._settled(slot, found)
            slot.doubt = found
            self._doubtful.append(slot)
            return self._resolved(slot, known, found)
        return None

    def _resolved(self, slot: _Slot, known: Known, doubt: Judgement) -> Judgement | None:
        """A timeout under the least limit stands if the problem has no longer one; else the program runs again."""
        prepared = self._prepared_of(known)
        if prepared is None:
            return None
        slot.hurried, slot.doubt = False, None
        if prepared.cpu_limit_s <= self.params.cpu_min_s:
            return self._settled(slot, doubt)
        self._run(slot, known)
        return None

    def _settled(self, slot: _Slot, judgement: Judgement) -> Judgement:
        slot.judgement = judgement
        if any(test.kind == "infra" for test in judgement.tests):
            self._slots.pop(slot.key, None)  # no finding: another time may find more
        slot.known, slot.task, slot.code = None, None, ""
        return judgement

    def _run(self, slot: _Slot, known: Known) -> None:
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

    def _submit(self, known: Known, what: str, cpu_s: float, runs: int, **content: str) -> Task:
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
        """Wait for one answer; timeouts in doubt, of problems that have just been prepared, go on."""
        self.pool.step()
        for slot in self._doubtful:
            self._judgement_of(slot)
        self._doubtful = [slot for slot in self._doubtful if slot.doubt is not None]
