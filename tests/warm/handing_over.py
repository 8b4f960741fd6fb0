"""What stays of a stage's own process when the warm one runs the stage: its pid, its signals, its exit code."""

import json
import os
import signal
import socket
import sys
from pathlib import Path
from typing import TextIO

LOADING = {"base", "baseline", "generate", "train", "merge", "evaluate", "reward_model", "report", "register"}
"""Stages that load torch, MLflow or matplotlib."""
OTHERS = {
    "greenlit.trackers.delivery", "greenlit.training.launch", "accelerate.commands.launch", "impatient_delivery",
}  # fmt: skip
"""What stages start that loads MLflow or torch too."""
_PASSED_ON = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)


def taken(module: str) -> bool:
    """Is that something which the warm process runs? COLD_STAGE names one that it is not to run."""
    stage = module.removeprefix("tasks.")
    return module in OTHERS or (stage in LOADING and stage != os.environ.get("COLD_STAGE"))


def hand_over(address: str, module: str, arguments: list[str]) -> None:
    """Have the stage run by the warm process; signals go to it, and this process ends as it does.

    Where nobody listens, the stage starts cold.
    """
    with socket.socket(socket.AF_UNIX) as stream:
        try:
            stream.connect(address)
        except OSError:
            return
        signal.pthread_sigmask(signal.SIG_BLOCK, _PASSED_ON)
        asked = {"module": module, "arguments": arguments, "folder": str(Path.cwd()), "environment": dict(os.environ)}
        socket.send_fds(stream, [b"\0"], [0, 1, 2])
        stream.sendall(json.dumps(asked).encode() + b"\n")
        told = stream.makefile("r")
        pid = _number(told)
        for number in _PASSED_ON:
            signal.signal(number, lambda number, _: os.kill(pid, number))
        signal.pthread_sigmask(signal.SIG_UNBLOCK, _PASSED_ON)
        code = os.waitstatus_to_exitcode(_number(told))
    if code < 0:
        signal.signal(-code, signal.SIG_DFL)
        os.kill(os.getpid(), -code)
    os._exit(code)


def _number(told: TextIO) -> int:
    """What the warm process says next; if that has died, this one ends too, and runs nothing a second time."""
    line = told.readline()
    if not line:
        print("the warm process has died", file=sys.stderr, flush=True)
        os._exit(70)
    return int(line)
