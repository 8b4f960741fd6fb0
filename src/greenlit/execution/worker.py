"""One judge process: takes jobs from a socket, runs their candidates, sends back what was found out.

A process of its own because it takes in orphans of its candidates, and because whatever a candidate makes the judge do
(decode, compare) must not be able to take the training down. It knows nothing of torch, pydantic or the environment's
secrets, and ends with its candidates when the main process goes away.

At a jailed level it has several lanes. One candidate runs at a time, as on one core it should; but one that is not done
after `PARK_S` (it sleeps, or loops until its time is up) is left to its lane, and the next one starts on another.
"""

import contextlib
import gc
import json
import os
import select
import shutil
import signal
import socket
import sys
import time
from collections import deque
from collections.abc import Generator
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from greenlit.execution import languages
from greenlit.execution.blueprint import NoJail
from greenlit.execution.jailed import LOOK_AFTER_S, Jails
from greenlit.execution.lane import Lane
from greenlit.execution.level import PORTABLE, Dialogue, Level, Run
from greenlit.execution.link import Link, Recent
from greenlit.execution.plan import Plan
from greenlit.execution.portable import Portable, harden_worker
from greenlit.execution.verdicts import Judging, Limits

REFERENCES = 3
LANES = 6
PARK_S = 0.03
ANSWERS_TOGETHER = 4


@dataclass
class Job:
    """One message being answered: a program of steps that asks for runs."""

    number: int
    steps: Generator[Any, Any, dict[str, Any]]
    wants: Any = None
    """The next Request or Dialogue."""
    lane: Lane | None = None
    began: float = 0.0


class Worker:
    """Jobs in, answers out."""

    def __init__(self, level: Jails | Portable, link: Link) -> None:
        self.level = level
        self.link = link
        self.plans = Recent()
        self.waiting: deque[Job] = deque()
        self.running: dict[int, Job] = {}
        self.unsent_answers = 0
        self.epoll = select.epoll()
        self.epoll.register(link.fileno(), select.EPOLLIN)
        self.watched: set[int] = set()

    def serve(self) -> None:
        """Until the main process goes away."""
        while True:
            self._start()
            if self.unsent_answers and not self.waiting:
                self._flush()
            events = self.epoll.poll(self._patience_s())
            if not events:
                self._flush()
                self._look_after()
            for descriptor, _ in events:
                if descriptor == self.link.fileno():
                    self._flush()
                    self._take_in()
                elif descriptor in self.running:
                    self._finish(self.running[descriptor])
                elif descriptor in self.watched:
                    self._look(descriptor)
                else:
                    # The jail of an idle lane is gone, which its next user finds out; or a run has just been finished.
                    with contextlib.suppress(OSError):
                        self.epoll.unregister(descriptor)

    def _patience_s(self) -> float | None:
        """How long nothing needs to be done but to wait."""
        if not self.running:
            return None
        youngest = max(job.began for job in self.running.values())
        age = time.monotonic() - youngest
        if age < LOOK_AFTER_S:
            return LOOK_AFTER_S - age
        if self.waiting and len(self.running) < LANES:
            return max(0.0, PARK_S - age)
        return None

    def _take_in(self) -> None:
        for message in self.link.messages():
            self._advance(Job(message["id"], self._steps(message)), None)

    def _start(self) -> None:
        """Run what is waiting: one at a time, and one more for each that takes long."""
        while self.waiting and len(self.running) < LANES:
            now = time.monotonic()
            if any(now - job.began < PARK_S for job in self.running.values()):
                return
            job = self.waiting.popleft()
            if isinstance(self.level, Portable) or isinstance(job.wants, Dialogue):
                level: Level = self.level
                run = level.converse(job.wants) if isinstance(job.wants, Dialogue) else level.run(job.wants)
                self._advance(job, run)
                self._flush()
            else:
                try:
                    job.lane = self.level.start(job.wants)
                except NoJail as why:
                    print(f"no jail: {why}", file=sys.stderr)
                    self._advance(job, Run())
                    continue
                job.began = time.monotonic()
                self.running[job.lane.fileno()] = job
                self._listen(job.lane.fileno())

    def _listen(self, descriptor: int) -> None:
        with contextlib.suppress(FileExistsError):
            self.epoll.register(descriptor, select.EPOLLIN)

    def _finish(self, job: Job) -> None:
        assert job.lane is not None and not isinstance(self.level, Portable)
        lane, job.lane = job.lane, None
        del self.running[lane.fileno()]
        if lane.data is not None:
            self._look_away(lane.data.fileno())
        self._advance(job, self.level.finish(lane))

    def _look_after(self) -> None:
        """Candidates that have been running for a while may be waiting for somebody to read what they send."""
        for job in self.running.values():
            if job.lane is not None and job.lane.data is not None:
                descriptor = job.lane.data.fileno()
                if descriptor not in self.watched and time.monotonic() - job.began >= LOOK_AFTER_S:
                    self.watched.add(descriptor)
                    self.epoll.register(descriptor, select.EPOLLIN)

    def _look(self, descriptor: int) -> None:
        lane = next(
            job.lane
            for job in self.running.values()
            if job.lane is not None and job.lane.data is not None and job.lane.data.fileno() == descriptor
        )
        if not lane.look():
            self.epoll.unregister(descriptor)  # but it stays in `watched`, so as not to be listened to again

    def _look_away(self, descriptor: int) -> None:
        if descriptor in self.watched:
            self.watched.remove(descriptor)
            with contextlib.suppress(FileNotFoundError):
                self.epoll.unregister(descriptor)

    def _advance(self, job: Job, happened: Any) -> None:
        """Tell a job what happened; it wants another run, or is answered."""
        try:
            job.wants = job.steps.send(happened)
        except StopIteration as end:
            self.link.send({"id": job.number, **end.value})
            self.unsent_answers += 1
            if self.unsent_answers >= ANSWERS_TOGETHER:
                self._flush()
        else:
            # a job that has begun goes on before the next one begins
            (self.waiting.append if happened is None else self.waiting.appendleft)(job)

    def _flush(self) -> None:
        self.unsent_answers = 0
        while not self.link.flush():
            select.select([], [self.link.fileno()], [])

    def _steps(self, message: dict[str, Any]) -> Generator[Any, Any, dict[str, Any]]:
        """What this message asks for."""
        if message["op"] == "hello":
            return _hello(self.level)
        plan, references = self._plan(message)
        limits = Limits(**message["limits"])
        if message["op"] == "prepare":
            return _prepare(plan, references, limits)
        return _judge(languages.judging(plan, message["code"], limits))

    def _plan(self, message: dict[str, Any]) -> tuple[Plan, list[str]]:
        key = message["key"]
        if "problem" in message:
            problem = json.loads(message["problem"])
            problem["tests"] = [SimpleNamespace(**test) for test in problem["tests"]]
            kept = (languages.plan_of(SimpleNamespace(**problem)), problem["reference"][:REFERENCES])  # type: ignore[arg-type]
        else:
            kept = self.plans[key]
        self.plans.keep(key, kept)
        return kept


def _hello(level: Jails | Portable) -> Generator[Any, Any, dict[str, Any]]:
    yield from ()
    way = None if isinstance(level, Portable) else level.way
    return {"level": level.name, "way": way, "notes": level.notes}


def _judge(steps: Judging) -> Generator[Any, Any, dict[str, Any]]:
    findings = yield from steps
    return findings.to_json()


def _prepare(plan: Plan, references: list[str], limits: Limits) -> Generator[Any, Any, dict[str, Any]]:
    return {
        "reference_cpu_s": (yield from _reference_cpu_s(plan, references, limits)),
        "unsplittable": [f"test {test.index}: {test.refusal}" for test in plan.tests if test.refusal],
        "missing": languages.missing(plan),
    }


def _reference_cpu_s(plan: Plan, references: list[str], limits: Limits) -> Generator[Any, Any, float | None]:
    """CPU time of the first reference that passes what can be judged: of its one run, or of its slowest one."""
    for code in references:
        findings = yield from languages.judging(plan, code, limits)
        judged = [test for test in findings.tests if test.kind != "unsplittable"]
        if judged and all(test.passed for test in judged):
            return max(findings.parts_cpu_s)
    return None


def open_level(ways: list[str], folder: Path) -> Jails | Portable:
    """The first of these ways that works: `root`, `user`, `bubblewrap` (jailed), `portable`.

    Raises:
        NoJail: none does.
    """
    jailed = [way for way in ways if way != PORTABLE]
    why = ""
    if jailed:
        try:
            return Jails(jailed, folder, watch=0)
        except NoJail as reasons:
            if PORTABLE not in ways:
                raise
            why = str(reasons)
    level = Portable(folder, watch=0)
    if why:
        level.notes.append(f"no jail can be built here ({why})")
    return level


def stay_on_one_core(number: int) -> None:
    """A worker, its jail and its candidate take turns: on one core each wakes the next one for less.

    5 to 19 % less CPU time, in four alternating runs. Another judge on this machine begins at another core.
    """
    if hasattr(os, "sched_setaffinity"):
        cores = sorted(os.sched_getaffinity(0))
        os.sched_setaffinity(0, {cores[(number + os.getppid()) % len(cores)]})


def main() -> None:
    """Serve until standard input, a socket, ends. Arguments: folder for candidates; ways to try; number."""
    folder, ways = Path(sys.argv[1]), sys.argv[2].split(",")
    stay_on_one_core(int(sys.argv[3]))
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    os.dup2(2, 1)
    harden_worker(may_gain_privileges="bubblewrap" in ways)
    folder.mkdir(parents=True, exist_ok=True)
    link = Link(socket.socket(fileno=os.dup(0)))
    try:
        try:
            level = open_level(ways, folder)
        except NoJail as reasons:
            link.send({"id": 0, "no_jail": str(reasons)})
            link.flush()
            return
        gc.freeze()  # what is loaded by now stays; what comes is mostly gone when it has been answered
        gc.set_threshold(20_000, 20, 20)
        try:
            Worker(level, link).serve()
        finally:
            if isinstance(level, Jails):
                level.close()
    except (EOFError, BrokenPipeError, ConnectionResetError):
        pass  # the main process has gone
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        with contextlib.suppress(OSError):
            folder.parent.rmdir()  # the last worker of a main process that was killed


if __name__ == "__main__":
    main()
