"""Worker processes, seen from the main process: hand out tasks, take answers, replace the dead.

One thread, one `step` at a time. Each worker holds a few tasks, so that it need not wait for the next one; fewer when
few are left, so that none waits behind a slow one while others are idle. A task whose worker died is tried again with a
worker to itself, and given up after `TRIES`: so a program that kills workers takes no other one's verdict with it.
"""

import contextlib
import itertools
import os
import selectors
import shutil
import socket
import subprocess
import sys
import time
from collections import deque
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import greenlit
from greenlit.execution.link import Link, Recent

TRIES = 3
DEPTH = 8
"""Tasks a worker holds at most."""
_ENVIRONMENT = ("PATH", "HOME", "LANG", "LC_ALL", "TMPDIR", "GREENLIT_Q", "QHOME", "QLIC")


@dataclass
class Task:
    """One message to a worker, until it is answered."""

    message: dict[str, Any]
    problem: str
    """The problem it is about, as JSON; travels only to workers that do not remember it."""
    slow_s: float
    """Longer than any honest answer takes."""
    answer: dict[str, Any] | None = None
    lost: bool = False
    """Given up: every worker that had it died."""
    tries: int = 0
    alone: bool = False
    """A worker died of this task or of one beside it."""

    @property
    def done(self) -> bool:
        return self.answer is not None or self.lost


class WorkerProcess:
    """A worker and what it is doing."""

    def __init__(self, folder: Path, ways: list[str], number: int) -> None:
        source = str(Path(greenlit.__file__).resolve().parents[1])
        environment = {name: os.environ[name] for name in _ENVIRONMENT if name in os.environ}
        ours, theirs = socket.socketpair()
        with theirs:
            self.process = subprocess.Popen(
                [sys.executable, "-P", "-m", "greenlit.execution.worker", str(folder), ",".join(ways), str(number)],
                stdin=theirs,
                env={**environment, "PYTHONPATH": source},
                start_new_session=True,
            )
        self.link = Link(ours)
        self.known = Recent()
        self.tasks: dict[int, Task] = {}
        self.folder = folder
        self.progress = time.monotonic()
        self._numbers = itertools.count()

    def send(self, task: Task) -> None:
        """Queue a task for it."""
        number = next(self._numbers)
        message = {**task.message, "id": number}
        key = message.get("key")
        if key is not None:
            if key not in self.known:
                message["problem"] = task.problem
            self.known.keep(key, True)
        if not self.tasks:
            self.progress = time.monotonic()
        self.tasks[number] = task
        task.tries += 1
        self.link.send(message)

    def receive(self) -> bool:
        """Take its answers; False when it died."""
        try:
            for answer in self.link.messages():
                self.tasks.pop(answer["id"]).answer = answer
                self.progress = time.monotonic()
        except (EOFError, ValueError, KeyError):
            return False
        return True

    @property
    def deadline(self) -> float:
        """It says nothing for longer than any of its tasks may take: then it does not come back."""
        return self.progress + max((task.slow_s for task in self.tasks.values()), default=60.0)

    def takes(self, task: Task, depth: int) -> bool:
        """May it have this task now?"""
        if any(held.alone for held in self.tasks.values()):
            return False
        return len(self.tasks) < (1 if task.alone else depth)

    def close(self, patience_s: float) -> None:
        """Let it end itself and its candidates; insist if it does not."""
        self.link.stream.close()
        for insist in (self.process.terminate, self.process.kill, None):
            try:
                self.process.wait(patience_s if insist else None)
                break
            except subprocess.TimeoutExpired:
                if insist:
                    insist()
        shutil.rmtree(self.folder, ignore_errors=True)


class Pool:
    """A fixed number of living workers."""

    def __init__(self, workers: int, folder: Path, ways: list[str]) -> None:
        """
        Args:
            ways: ways to isolate candidates that a worker may try, best first; see `worker.open_level`.
        """
        self.folder = folder
        self.size = max(1, workers)
        self.ways = ways
        self.workers: list[WorkerProcess] = []
        self._queue: deque[Task] = deque()
        self._selector = selectors.DefaultSelector()
        self._numbers = itertools.count()
        self._start()

    def grow(self, ways: list[str]) -> None:
        """Start the other workers, with the way that the first one found to work."""
        self.ways = ways
        while len(self.workers) < self.size:
            self._start()

    def close(self) -> None:
        """End the workers and whatever they run."""
        workers, self.workers = self.workers, []
        for worker in workers:
            with contextlib.suppress(OSError):
                worker.link.stream.shutdown(socket.SHUT_RDWR)
        for worker in workers:
            worker.close(patience_s=5.0)
        self._selector.close()

    def submit(self, message: dict[str, Any], problem: str, slow_s: float) -> Task:
        """Queue a task."""
        task = Task(message, problem, slow_s)
        self._queue.append(task)
        return task

    def step(self) -> None:
        """Hand out what there is to do, then wait until something is answered or a worker is found dead."""
        self._hand_out()
        now = time.monotonic()
        deadline = min((worker.deadline for worker in self.workers if worker.tasks), default=now + 60.0)
        for key, events in self._selector.select(max(0.0, deadline - now)):
            worker: WorkerProcess = key.data
            if events & selectors.EVENT_WRITE:
                self._write(worker)
            if events & selectors.EVENT_READ and not worker.receive():
                self._replace(worker)
        for worker in list(self.workers):
            if worker.tasks and worker.deadline < time.monotonic():
                self._replace(worker)

    def _start(self) -> None:
        number = next(self._numbers)
        worker = WorkerProcess(self.folder / f"worker-{number}", self.ways, number)
        self._selector.register(worker.link, selectors.EVENT_READ, worker)
        self.workers.append(worker)

    def _hand_out(self) -> None:
        depth = max(1, min(DEPTH, len(self._queue) // self.size))
        while self._queue:
            worker = min(self.workers, key=lambda worker: len(worker.tasks))
            if not worker.takes(self._queue[0], depth):
                worker = next((one for one in self.workers if one.takes(self._queue[0], depth)), worker)
                if not worker.takes(self._queue[0], depth):
                    break
            worker.send(self._queue.popleft())
        for worker in self.workers:
            if worker.link.unsent:
                self._write(worker)

    def _write(self, worker: WorkerProcess) -> None:
        try:
            done = worker.link.flush()
        except OSError:
            done = True  # it is gone: reading from it tells
        wanted = selectors.EVENT_READ if done else selectors.EVENT_READ | selectors.EVENT_WRITE
        if self._selector.get_key(worker.link).events != wanted:
            self._selector.modify(worker.link, wanted, worker)

    def _replace(self, worker: WorkerProcess) -> None:
        """A worker died, or does not come back: start another one, and try its tasks again, each by itself."""
        self.workers.remove(worker)
        self._selector.unregister(worker.link)
        worker.close(patience_s=1.0)
        self._start()
        for task in reversed(worker.tasks.values()):
            if task.tries < TRIES:
                task.alone = True
                self._queue.appendleft(task)
            else:
                task.lost = True
