"""A process that is followed line by line, has a time limit, and leaves nothing behind however it ends."""

import os
import queue
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import IO

from flows import guard, keeper

_AFTER_GRACE_S = keeper.FOR_DVC_S + 5
_LAST_WORDS_S = 2.0
"""How long lines of a process that has ended are waited for: an orphan may hold the pipe."""


class TimeLimitError(Exception):
    """The process ran longer than it may."""


def run_kept(
    command: Sequence[str],
    environment: Mapping[str, str],
    cwd: Path,
    grace_s: float,
    timeout_s: float | None,
    on_line: Callable[[str], None],
) -> int:
    """Run a command under a keeper until it ends; return its exit code.

    Args:
        grace_s: what it has between SIGTERM and SIGKILL, when we are cancelled or its time is up.
        timeout_s: its time; None: no limit.
        on_line: gets every line of its output, as it comes.

    Raises:
        TimeLimitError: its time was up; it has ended.
    """
    until = time.monotonic() + timeout_s if timeout_s is not None else float("inf")
    process = _start(command, environment, cwd, grace_s)
    lines: queue.SimpleQueue[str | None] = queue.SimpleQueue()
    assert process.stdout is not None
    threading.Thread(target=_read, args=(process.stdout, lines), daemon=True).start()
    try:
        while time.monotonic() < until:
            try:
                line = lines.get(timeout=min(1.0, max(until - time.monotonic(), 0.01)))
            except queue.Empty:
                if process.poll() is not None:
                    break
                continue
            if line is None:
                break
            on_line(line)
        else:
            raise TimeLimitError
        return process.wait()
    except BaseException:
        process.terminate()
        try:
            process.wait(grace_s + _AFTER_GRACE_S)
        except subprocess.TimeoutExpired:
            process.kill()  # the keeper itself hangs; what it kept gets SIGTERM by its end
        raise
    finally:
        _last_words(lines, on_line)


def _start(
    command: Sequence[str], environment: Mapping[str, str], cwd: Path, grace_s: float
) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [sys.executable, "-P", keeper.__file__, str(os.getpid()), str(grace_s), "--", *command],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        bufsize=1,
        env=dict(environment),
        cwd=cwd,
        pass_fds=guard.held(),
    )


def _read(stream: IO[str], lines: "queue.SimpleQueue[str | None]") -> None:
    for line in stream:
        lines.put(line.rstrip("\n"))
    lines.put(None)


def _last_words(lines: "queue.SimpleQueue[str | None]", on_line: Callable[[str], None]) -> None:
    """What came while it ended."""
    until = time.monotonic() + _LAST_WORDS_S
    while time.monotonic() < until:
        try:
            line = lines.get(timeout=0.2)
        except queue.Empty:
            return
        if line is None:
            return
        on_line(line)
