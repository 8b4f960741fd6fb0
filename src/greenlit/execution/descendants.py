"""The processes a worker started: their CPU time, and the end of whole trees.

Signals go to processes that cannot be anybody else's: the group of a child that is not yet reaped (so its number cannot
have been given to another), and direct children found afterwards (orphans that came to us, likewise not yet reaped).
"""

import contextlib
import ctypes
import os
import signal
import sys
import time
from dataclasses import dataclass
from pathlib import Path

_LINUX = sys.platform == "linux"
PATIENCE_S = 20.0


@dataclass(frozen=True)
class Ending:
    """How a process ended, and the CPU time it and its reaped children used."""

    signal: int | None
    status: int | None
    cpu_s: float


def adopt_orphans() -> None:
    """From now on orphans among our descendants become our children (Linux), also after setsid and a double fork."""
    if _LINUX:
        ctypes.CDLL(None, use_errno=True).prctl(36, 1, 0, 0, 0)  # PR_SET_CHILD_SUBREAPER


def cpu_s(pid: int) -> float:
    """CPU time of a process, read from outside by its own clock; 0 when it is gone."""
    try:
        if _LINUX:
            return time.clock_gettime((~pid << 3) | 2)
        import psutil

        times = psutil.Process(pid).cpu_times()
        return float(times.user + times.system)
    except OSError:
        return 0.0


def has_exited(pid: int) -> bool:
    """Is this child of ours over, though not yet reaped?"""
    if hasattr(os, "waitid"):
        return os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None
    import psutil

    return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE


def end(pid: int) -> Ending:
    """Kill a child that leads its own session, everything in its group, and every orphan that came to us."""
    return end_all([pid])[0]


def end_all(pids: list[int]) -> list[Ending]:
    """The same for several children, which must be all there are: the rest would be taken for orphans."""
    for pid in pids:
        if pid <= 1:
            raise ValueError(f"not a child of ours: {pid}")
    for pid in pids:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(pid, signal.SIGKILL)
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    endings = []
    for pid in pids:
        _, status, usage = os.wait4(pid, 0)
        code = os.waitstatus_to_exitcode(status)
        cpu_s = usage.ru_utime + usage.ru_stime
        endings.append(Ending(-code if code < 0 else None, code if code >= 0 else None, cpu_s))
    _end_orphans()
    return endings


def _end_orphans() -> None:
    deadline = time.monotonic() + PATIENCE_S
    while True:
        try:
            pid, _ = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return
        if pid:
            continue
        for child in _children():
            with contextlib.suppress(ProcessLookupError):
                os.kill(child, signal.SIGKILL)
        if time.monotonic() > deadline:
            raise RuntimeError("a candidate's processes could not be ended")
        time.sleep(0.0005)


def _children() -> list[int]:
    """Our direct children; none of them can have been reaped, since only this thread reaps."""
    try:
        listed = Path(f"/proc/self/task/{os.getpid()}/children").read_text(encoding="ascii").split()
        children = [int(pid) for pid in listed]
    except OSError:
        import psutil

        children = [process.pid for process in psutil.Process().children()]
    return [pid for pid in children if pid > 1]
