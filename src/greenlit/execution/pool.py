"""Worker processes, seen from the main process: hand out tasks, take answers, replace the dead.

One thread, one `step` at a time. A worker holds one task, so that a slow candidate never keeps others waiting behind it
in the same worker. A task whose worker died is tried on another one, and given up after `TRIES`.
"""

import contextlib
import itertools
import os
import selectors
import shutil
import subprocess
import sys
import time
from collections import deque
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import greenlit
from greenlit.execution.worker import Recent, read_message, write_message

TRIES = 3
_ENVIRONMENT = ("PATH", "HOME", "LANG", "LC_ALL", "TMPDIR")


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
    deadline: float = 0.0

    @property
    def done(self) -> bool:
        return self.answer is not None or self.lost


class WorkerProcess:
    """A worker and what it is doing."""

    def __init__(self, folder: Path) -> None:
        source = str(Path(greenlit.__file__).resolve().parents[1])
        environment = {name: os.environ[name] for name in _ENVIRONMENT if name in os.environ}
        self.process = subprocess.Popen(
            [sys.executable, "-P", "-m", "greenlit.execution.worker", str(folder)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env={**environment, "PYTHONPATH": source},
            start_new_session=True,
        )
        assert self.process.stdin is not None and self.process.stdout is not None
        self.input, self.output = self.process.stdin, self.process.stdout
        self.known = Recent()
        self.task: Task | None = None
        self.folder = folder

    def send(self, task: Task) -> None:
        """Hand over a task."""
        message = dict(task.message)
        key = message.get("key")
        if key is not None:
            if key not in self.known:
                message["problem"] = task.problem
            self.known.keep(key, True)
        self.task = task
        task.tries += 1
        task.deadline = time.monotonic() + task.slow_s
        write_message(self.input, message)

    def receive(self) -> dict[str, Any] | None:
        """Its answer; None when it died."""
        try:
            return read_message(self.output)
        except (OSError, ValueError):
            return None

    def close(self, patience_s: float) -> None:
        """Let it end itself and its candidate; insist if it does not."""
        with contextlib.suppress(OSError):
            self.input.close()
        for insist in (self.process.terminate, self.process.kill, None):
            try:
                self.process.wait(patience_s if insist else None)
                break
            except subprocess.TimeoutExpired:
                if insist:
                    insist()
        self.output.close()
        shutil.rmtree(self.folder, ignore_errors=True)


class Pool:
    """A fixed number of living workers."""

    def __init__(self, workers: int, folder: Path) -> None:
        self.folder = folder
        self.size = max(1, workers)
        self.idle: list[WorkerProcess] = []
        self.busy: list[WorkerProcess] = []
        self._queue: deque[Task] = deque()
        self._selector = selectors.DefaultSelector()
        self._numbers = itertools.count()
        for _ in range(self.size):
            self._start()

    def close(self) -> None:
        """End the workers and whatever they run."""
        processes, self.idle, self.busy = self.idle + self.busy, [], []
        for process in processes:
            with contextlib.suppress(OSError):
                process.input.close()
        for process in processes:
            process.close(patience_s=5.0)
        self._selector.close()

    def submit(self, message: dict[str, Any], problem: str, slow_s: float) -> Task:
        """Queue a task."""
        task = Task(message, problem, slow_s)
        self._queue.append(task)
        return task

    def step(self) -> None:
        """Hand out what there is to do, then wait until a task is answered or a worker is found dead."""
        self._hand_out()
        now = time.monotonic()
        deadline = min((process.task.deadline for process in self.busy if process.task), default=now + 60.0)
        for key, _ in self._selector.select(max(0.0, deadline - now)):
            process: WorkerProcess = key.data
            if process in self.busy:
                self._take_answer(process)
            else:
                self._replace(process)
        for process in list(self.busy):
            if process.task and process.task.deadline < time.monotonic():
                self._replace(process)

    def _start(self) -> None:
        process = WorkerProcess(self.folder / f"worker-{next(self._numbers)}")
        self._selector.register(process.output, selectors.EVENT_READ, process)
        self.idle.append(process)

    def _hand_out(self) -> None:
        while self._queue and self.idle:
            process, task = self.idle.pop(), self._queue.popleft()
            self.busy.append(process)
            try:
                process.send(task)
            except OSError:
                self._replace(process)

    def _take_answer(self, process: WorkerProcess) -> None:
        answer = process.receive()
        task = process.task
        if answer is None or task is None:
            self._replace(process)
            return
        task.answer = answer
        process.task = None
        self.busy.remove(process)
        self.idle.append(process)

    def _replace(self, process: WorkerProcess) -> None:
        """A worker died, or does not come back: start another one, and try its task again."""
        task = process.task
        (self.busy if process in self.busy else self.idle).remove(process)
        self._selector.unregister(process.output)
        process.close(patience_s=1.0)
        self._start()
        if task is None:
            return
        if task.tries < TRIES:
            self._queue.appendleft(task)
        else:
            task.lost = True
