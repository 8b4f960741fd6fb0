"""A small process between a flow and what it runs: whatever dies, nothing is left running. Needs psutil only.

    python keeper.py PARENT GRACE_S -- command ...

The command is ended in order when the keeper gets a signal or its parent is gone (kill -9 included): the stage gets
SIGTERM and GRACE_S seconds for its checkpoint, DVC then ends by itself, and what is left is killed. If DVC is killed,
the stage it leaves behind is ended the same way: orphans become the keeper's children, not init's (Linux). Ends with
the command's exit code.
"""

import ctypes
import os
import signal
import subprocess
import sys
import time
from contextlib import suppress

import psutil

BETWEEN_STAGES_S = 3.0
"""DVC without a stage for so long is not about to start one."""
FOR_DVC_S = 8.0
"""What DVC gets to notice that its stage was killed, and to free its locks."""
_POLL_S = 0.1
_PR_SET_PDEATHSIG, _PR_SET_CHILD_SUBREAPER = 1, 36


def keep(parent: int, grace_s: float, command: list[str]) -> int:
    """Run the command until it has ended, or until it must."""
    _linux(_PR_SET_CHILD_SUBREAPER, 1)
    asked: list[int] = []
    for one in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(one, lambda number, frame: asked.append(number))
    process = subprocess.Popen(command, preexec_fn=lambda: _linux(_PR_SET_PDEATHSIG, signal.SIGTERM))
    while not asked and os.getppid() == parent:
        with suppress(subprocess.TimeoutExpired):
            process.wait(_POLL_S)
            break
    end(process, grace_s)
    code = process.wait()
    return 128 - code if code < 0 else code


def _linux(option: int, value: int) -> None:
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(option, value, 0, 0, 0)


def end(process: "subprocess.Popen[bytes]", grace_s: float) -> None:
    """End all below us: SIGTERM and the grace for whatever is no DVC, then SIGKILL, and last DVC itself."""
    deadline, told, idle_since = time.monotonic() + grace_s, set(), time.monotonic()
    while (below := _below(process)) and time.monotonic() < deadline:
        stages = _topmost(below)
        for stage in stages:
            if stage not in told:
                told.add(stage)
                with suppress(psutil.Error):
                    stage.terminate()
        if stages:
            idle_since = time.monotonic()
        elif time.monotonic() - idle_since > BETWEEN_STAGES_S:
            process.terminate()
        time.sleep(_POLL_S)
    deadline = time.monotonic() + FOR_DVC_S
    while below := _below(process):
        late = time.monotonic() > deadline
        for one in below:
            with suppress(psutil.Error):
                if late or not is_dvc(one):
                    one.kill()
        time.sleep(_POLL_S / 2)


def _below(process: "subprocess.Popen[bytes]") -> list[psutil.Process]:
    """All that still runs below us, orphans included; those that have ended are reaped."""
    process.poll()
    alive = []
    for one in psutil.Process().children(recursive=True):
        with suppress(psutil.Error):
            if one.status() != psutil.STATUS_ZOMBIE:
                if one.cmdline()[1:4] != ["-m", "dvc", "daemon"]:  # asks for news, and ends by itself
                    alive.append(one)
            elif one.pid != process.pid and one.ppid() == os.getpid():
                with suppress(ChildProcessError):
                    os.waitpid(one.pid, os.WNOHANG)
    return alive


def _topmost(below: list[psutil.Process]) -> list[psutil.Process]:
    """What DVC started, or what stands alone: their own children are theirs to end."""
    stages = {one.pid: one for one in below if not is_dvc(one)}
    found = []
    for one in stages.values():
        with suppress(psutil.Error):
            if one.ppid() not in stages:
                found.append(one)
    return found


def is_dvc(process: psutil.Process) -> bool:
    """`python -m dvc ...` or `dvc ...`: it would die of SIGTERM and leave its stage behind."""
    with suppress(psutil.Error):
        words = process.cmdline()
        return words[1:3] == ["-m", "dvc"] or any(word.endswith("/dvc") for word in words[:2])
    return False


if __name__ == "__main__":
    sys.exit(keep(int(sys.argv[1]), float(sys.argv[2]), sys.argv[4:]))
