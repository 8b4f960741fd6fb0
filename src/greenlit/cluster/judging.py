"""Programs judged by a crew on the cluster: for its user the same as a judge of this machine.

    with judge_of_stage(kind, params.annotate, workers()) as judge: ...

A shard is some whole problems with all that is to be judged of them, so that what is compared (a program's time and the
reference's) is measured on one node. Programs run in the sandbox of the node, which has to be of one level everywhere:
that of this machine, or the one that GREENLIT_SANDBOX names.
"""

import itertools
import os
import sys
from collections.abc import Generator, Iterable, Iterator
from contextlib import AbstractContextManager
from functools import cache
from typing import Any

from greenlit.cluster import parcel, session
from greenlit.cluster.crew import Crew
from greenlit.cluster.member import Member, Place
from greenlit.config import AnnotateParams
from greenlit.errors import ConfigError, SandboxError
from greenlit.execution import profiles
from greenlit.execution.cache import engine_version
from greenlit.execution.cheats.gate import refuse_forgeable
from greenlit.execution.judgement import Judgement
from greenlit.execution.judges import Judge
from greenlit.execution.languages import LANGUAGES
from greenlit.execution.level import ways_of
from greenlit.execution.untested import Untested, judge_for
from greenlit.types import Kind, Problem

PROGRAMS = 64
"""A shard is closed at so many: enough that the way there costs little, few enough to lose little."""
_SANDBOX = "GREENLIT_SANDBOX"


def judge_of_stage(
    kind: Kind, params: AnnotateParams, workers: int, earns: bool = False
) -> "Judge | Untested | ClusterJudge":
    """What judges problems of a kind: this machine, or the cluster where the settings name one.

    Args:
        workers: processes on this machine.
        earns: rewards come of the verdicts; nodes on which a cheat forges one are refused, as `gate` does here.
    """
    if kind == "program" and session.wanted():
        return ClusterJudge(params, earns)
    return judge_for(kind, params, workers)


class Grader(Member):
    """Judges programs in its node's sandbox."""

    def __init__(self) -> None:
        super().__init__()
        self._judge: Judge | None = None

    def open(self, params: AnnotateParams, level: str | None, number: int) -> tuple[str, list[str], str]:
        """Build the sandbox; say its level, what is to be said about it, and what judges.

        Args:
            level: the one to use; None takes the best that works.
            number: of the members on this machine; decides the core.

        Raises:
            SandboxError, ConfigError: none works here, or none that is allowed.
        """
        if hasattr(os, "sched_setaffinity"):
            cores = sorted(os.sched_getaffinity(0))
            os.sched_setaffinity(0, {cores[number % len(cores)]})
        self._judge = Judge(params, 1, level)
        return self._judge.level, self._judge.notes, engine_version()

    def refuse_forgeable(self) -> None:
        """Does any cheat forge a verdict here? One member of the machine tries, and keeps what it found."""
        assert self._judge is not None
        with parcel.one_at_a_time("cheats"):
            refuse_forgeable(self._judge)

    def shard(self, piece: tuple[list[tuple[str, str]], list[tuple[Problem, str]]]) -> list[Judgement]:
        """The judgements of some programs, in their order.

        Args:
            piece: the languages and profiles that must be here; problems with programs.
        """
        assert self._judge is not None
        needs, jobs = piece
        for language, profile in needs:
            if absent := lacking(language, profile):
                raise SandboxError(
                    f"{absent}; it is on the driver's machine", hint="install on every node what the problems need"
                )
        return list(self._judge.judge_all(jobs))


class ClusterJudge(AbstractContextManager):
    """As a `Judge`, with workers on the cluster; they are there only while something is being judged."""

    nodes_try_cheats = True
    """The gate has nothing to do here: every node that rewards come from tries the cheats itself."""

    def __init__(self, params: AnnotateParams, earns: bool = False) -> None:
        """
        Raises:
            ConfigError, SandboxError: as `Judge` does, about this machine.
            WorldError: no cluster answers.
        """
        self.params = params
        self._earns = earns
        self._stated = stated_level()
        self.level = _level_here(params, self._stated)
        self._cluster = session.connect()
        self.workers = session.most_workers(self._cluster, 0.0)
        """Members at most."""
        self._on_machine: dict[str, int] = {}
        self._reported: set[str] = set()

    @property
    def banner(self) -> str:
        """One line on where programs run, for the terminal."""
        return f"judging on {self._cluster.told}; sandbox level {self.level} on every node"

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Nothing to end: the workers have ended with what they judged."""

    def judge_all(self, jobs: Iterable[tuple[Problem, str]]) -> Iterator[Judgement]:
        """Judgements in the order of the jobs; reads a bounded number of jobs ahead.

        Raises:
            ConfigError: a node's sandbox is not of the level that it should be, or judges by another Python.
            SandboxError: a node has no sandbox, or a cheat forges a verdict there.
            WorldError: workers die too often, or find no place.
        """
        shards = _shards(jobs)
        first = next(shards, None)
        if first is None:
            return
        crew = Crew(Grader, self.workers, self._opening, depth=2)
        done: dict[int, list[Judgement]] = {}
        turn = 0
        for number, judgements in crew.spread(itertools.chain([first], shards)):
            done[number] = judgements
            while turn in done:
                yield from done.pop(turn)
                turn += 1

    def _opening(self, actor: Any, place: Place) -> Generator[Any, Any, None]:
        number = self._on_machine.get(place.machine, 0)
        self._on_machine[place.machine] = number + 1
        level, notes, engine = yield actor.open.remote(self.params, self._stated, number)
        if level != self.level:
            raise ConfigError(
                f"sandbox level {level}, but {self.level} on the driver's machine",
                hint=f"`greenlit doctor` there says why; {_SANDBOX}={level} here asks for that level everywhere",
            )
        if engine != engine_version():
            raise ConfigError(
                f"judges by {engine}, the driver's machine by {engine_version()}",
                hint="the same Python, to the last digit, on every node: verdicts may depend on it",
            )
        if self._earns:
            yield actor.refuse_forgeable.remote()
        if place.node not in self._reported:
            self._reported.add(place.node)
            print(f"node {place.node}: sandbox level {level} ({'; '.join(notes)})", file=sys.stderr)


def stated_level() -> str | None:
    """The level that the user asks for; None: the best that works."""
    return os.environ.get(_SANDBOX) or None


def _level_here(params: AnnotateParams, stated: str | None) -> str:
    """The level that every node has to have."""
    if stated is not None:
        ways_of(stated, params.allow_portable)
        return stated
    with Judge(params, 1) as judge:
        return judge.level


def _shards(jobs: Iterable[tuple[Problem, str]]) -> Iterator[tuple[list[tuple[str, str]], list[tuple[Problem, str]]]]:
    """Whole problems, as far as their programs stand together, with what they need on a node."""
    piece: list[tuple[Problem, str]] = []
    for problem, code in jobs:
        if len(piece) >= PROGRAMS and problem.task_id != piece[-1][0].task_id:
            yield _needs(piece), piece
            piece = []
        piece.append((problem, code))
    if piece:
        yield _needs(piece), piece


def _needs(piece: list[tuple[Problem, str]]) -> list[tuple[str, str]]:
    """Languages and profiles, as far as they are on this machine: what is nowhere is judged as it is here."""
    kinds = {(problem.language, problem.profile) for problem, _ in piece}
    return sorted(kind for kind in kinds if not lacking(*kind))


@cache
def lacking(language: str, profile: str) -> str:
    """What is not installed here of what programs of that kind need; empty where all is."""
    known = LANGUAGES.get(language)
    return (known.missing() if known else "") or profiles.missing(profile)
