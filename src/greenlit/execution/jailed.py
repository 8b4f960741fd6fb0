"""The jailed levels: candidates forked inside a jail that is built once per lane. The worker's end.

jail.py builds what blueprint.py says, zygote.py forks and watches, child.py runs the program; lane.py is one jail at
work, and here are several of them side by side.

What these levels do NOT stop: kernel bugs; reading the system's and the interpreter's world-readable libraries; using
one core for as long as the limits allow; and, where no control group can be made (`notes` says so), many processes of
one candidate that together take more memory than one may. Programs that guess the answers pass, of course.
"""

import itertools
import select
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from greenlit.execution import descendants
from greenlit.execution.blueprint import Blueprint, NoJail
from greenlit.execution.cgroups import remove_stale_groups
from greenlit.execution.jailed_dialogue import Talk, pass_on
from greenlit.execution.lane import Lane
from greenlit.execution.level import PATIENCE, START_S, Dialogue, Request, Run

LOOK_AFTER_S, LOOK_S = 0.005, 0.25
IDLE_LANES = 8
"""Jails kept for later candidates: one for each lane of a worker, and two for another profile."""
_WHOSE = {
    "root": "each candidate runs under a user id that owns nothing on this machine",
    "user": "candidates run under one id inside a user namespace of this user, without capabilities",
    "bubblewrap": "jails are built by bubblewrap; candidates run under one id, without capabilities",
}


class Jails:
    """The jailed levels: lanes side by side, built when they are needed."""

    def __init__(self, ways: Sequence[str], folder: Path, watch: int | None = None) -> None:
        """
        Args:
            ways: which to try, in this order: `root`, `user`, `bubblewrap`.
            folder: where the jails' mount points go.
            watch: a file descriptor that hangs up when the judge's main process is gone.

        Raises:
            NoJail: none of them works here.
        """
        self.folder = folder
        self.watch = watch
        self.idle: list[Lane] = []
        self.busy: list[Lane] = []
        self._numbers = itertools.count()
        descendants.adopt_orphans()
        remove_stale_groups()
        reasons = []
        for way in ways:
            try:
                self.way = way
                self.idle.append(self._build(Blueprint(way)))
                break
            except NoJail as why:
                reasons.append(f"{way}: {why}")
        else:
            raise NoJail("; ".join(reasons))
        self.name = "bubblewrap" if self.way == "bubblewrap" else "namespaces"
        self.notes = [_WHOSE[self.way], *([note] if (note := self.idle[0].group.note) else [])]

    def _build(self, blueprint: Blueprint) -> Lane:
        return Lane(blueprint, self.folder / f"jail-{next(self._numbers)}")

    def start(self, request: Request) -> Lane:
        """A lane that runs this; it is busy until `finish`.

        Raises:
            NoJail: no jail can be built any more.
        """
        becomes = (request.command.words[0], *request.command.binds) if request.command else ()
        blueprint = Blueprint(self.way, request.profile, request.output_bytes, becomes)
        lane = next((lane for lane in self.idle if lane.blueprint == blueprint), None)
        if lane is None:
            lane = self._build(blueprint)
        else:
            self.idle.remove(lane)
        self.busy.append(lane)
        lane.start(request)
        return lane

    def finish(self, lane: Lane) -> Run:
        """What happened; the lane is free again, or gone if its jail is."""
        run, usable = lane.finish()
        self.busy.remove(lane)
        if usable:
            self.idle.append(lane)
        else:
            lane.close()
        while len(self.idle) > IDLE_LANES:
            self.idle.pop(0).close()
        return run

    def run(self, request: Request) -> Run:
        """One candidate, waiting for it."""
        lane = self.start(request)
        poll = select.poll()
        poll.register(lane.fileno(), select.POLLIN)
        self._register_watch(poll)
        wait_ms: float | None = 1000 * LOOK_AFTER_S
        while True:
            ready = {descriptor for descriptor, _ in poll.poll(wait_ms)}
            self._leave_if_alone(ready)
            if lane.fileno() in ready:
                return self.finish(lane)
            assert lane.data is not None
            if wait_ms is not None:
                wait_ms = None
                poll.register(lane.data, select.POLLIN)
            elif not lane.look():
                poll.unregister(lane.data)

    def converse(self, dialogue: Dialogue) -> tuple[Run, Run]:
        """Two candidates' lanes and the relay between them.

        Each waits for the other, so the zygotes' wall limits are no measure here: whose turn it is has the time.
        """
        patience_s = START_S + 2 * PATIENCE * (dialogue.script.wall_s + dialogue.program.wall_s)
        script = Talk(self.start(replace(dialogue.script, wall_s=patience_s)), dialogue.script.wall_s)
        program = Talk(self.start(replace(dialogue.program, wall_s=patience_s)), dialogue.program.wall_s)
        talks = (script, program)
        for talk in talks:
            talk.lane.room = dialogue.room
        poll = select.poll()
        self._register_watch(poll)
        for talk in talks:
            poll.register(talk.lane.fileno(), select.POLLIN)
            poll.register(talk.data, select.POLLIN)
        over: set[int] = set()
        turn, since, talking = script, time.monotonic(), True
        while len(over) < 2:
            ready = {descriptor for descriptor, _ in poll.poll(1000 * LOOK_S)}
            self._leave_if_alone(ready)
            now = time.monotonic()
            turn.waited_s, since = turn.waited_s + now - since, now
            for talk in talks:
                if talk.heard and talk.data in ready and not talk.lane.look():
                    poll.unregister(talk.data)
                    talk.heard = False
                if talk.lane.fileno() in ready:
                    poll.unregister(talk.lane.fileno())
                    over.add(talk.lane.fileno())
            if talking:
                turn.stop_if_late()
                talking = (
                    pass_on(script, program, dialogue.relay) and not over and not any(t.lane.stopped for t in talks)
                )
                turn = program if program.owes else script
                for talk in talks:
                    talk.flush(poll)
            if not talking:
                for talk in talks:
                    if talk.lane.fileno() not in over:
                        talk.lane.stop()
        return self.finish(script.lane), self.finish(program.lane)

    def _register_watch(self, poll: Any) -> None:
        if self.watch is not None:
            poll.register(self.watch, 0)

    def _leave_if_alone(self, ready: set[int]) -> None:
        if self.watch in ready:
            raise SystemExit(1)

    def close(self) -> None:
        """End all jails."""
        for lane in self.idle + self.busy:
            lane.close()
        self.idle, self.busy = [], []
