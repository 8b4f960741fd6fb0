"""What stays of a stage's own process when the warm one runs the stage: its pid, its signals, its exit code."""

import json
import os
import signal
import socket
from pathlib import Path

LOADING = {"base", "baseline", "generate", "train", "merge", "evaluate", "reward_model", "report", "register"}
"""Stages that load torch, MLflow or matplotlib."""
OTHERS = {"greenlit.trackers.delivery", "greenlit.training.launch", "accelerate.commands.launch"}
"""What stages start that loads MLflow or torch too."""
_PASSED_ON = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)


def taken(module: str) -> bool:
    """Is that something which the warm process runs?"""
    return module in OTHERS or module.removeprefix("tasks.") in LOADING


def hand_over(address: str, module: str, arguments: list[str]) -> None:
    """Have the stage run by the warm process; signals go to it, and this process ends as it does."""
    signal.pthread_sigmask(signal.SIG_BLOCK, _PASSED_ON)
    with socket.socket(socket.AF_UNIX) as stream:
        stream.connect(address)
        asked = {"module": module, "arguments": arguments, "folder": str(Path.cwd()), "environment": dict(os.environ)}
        socket.send_fds(stream, [b"\0"], [0, 1, 2])
        stream.sendall(json.dumps(asked).encode() + b"\n")
        told = stream.makefile("r")
        pid = int(told.readline())
        for number in _PASSED_ON:
            signal.signal(number, lambda number, _: os.kill(pid, number))
        signal.pthread_sigmask(signal.SIG_UNBLOCK, _PASSED_ON)
        code = os.waitstatus_to_exitcode(int(told.readline()))
    if code < 0:
        signal.signal(-code, signal.SIG_DFL)
        os.kill(os.getpid(), -code)
    os._exit(code)
