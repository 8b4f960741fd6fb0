"""Start a run in a copy of the project, end it in some way, and see what is left. By pid only, never a group."""

import os
import random
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import psutil
import workspace

DVC_REPRO = (sys.executable, "-m", "dvc", "repro")
_started: list[subprocess.Popen] = []
GREENLIT_RUN = (sys.executable, "-m", "greenlit.cli", "run")


def start(folder: Path, *command: str, **settings: str) -> subprocess.Popen:
    """The command there, with its output in `output.txt`."""
    with (folder / "output.txt").open("ab") as output:
        process = subprocess.Popen(
            command,
            cwd=folder,
            env=workspace.environment(folder) | settings,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    _started.append(process)
    return process


def end_all() -> None:
    """Whatever a failed test left running."""
    while _started:
        process = _started.pop()
        if process.poll() is None:
            for one in reversed(tree(process.pid)):
                with suppress(psutil.NoSuchProcess):
                    one.kill()
            process.wait()


def tree(pid: int) -> list[psutil.Process]:
    """A process and all below it."""
    try:
        process = psutil.Process(pid)
        return [process, *process.children(recursive=True)]
    except psutil.NoSuchProcess:
        return []


def gone(processes: list[psutil.Process], seconds: float) -> bool:
    """Have they all ended (a zombie has) within that time?"""
    until = time.monotonic() + seconds
    while alive := [one for one in processes if one.is_running() and one.status() != psutil.STATUS_ZOMBIE]:
        if time.monotonic() > until:
            print("still there:", alive)
            return False
        time.sleep(0.05)
    return True


def wait_for(folder: Path, text: str, seconds: float = 120) -> None:
    """Until the output says so; whoever writes it may still have to open it."""
    until, output = time.monotonic() + seconds, folder / "output.txt"
    while text not in (said := output.read_text(errors="replace") if output.exists() else ""):
        assert time.monotonic() < until, said[-2000:]
        time.sleep(0.05)


def kill_somewhere(folder: Path, chance: random.Random, most_s: float) -> str:
    """Start `dvc repro`, kill -9 it at a random moment: DVC, its stage, or everything; say what and when.

    Whatever is killed, nothing of it may live on.
    """
    process = start(folder, *DVC_REPRO)
    moment = chance.uniform(0, most_s)
    with suppress(subprocess.TimeoutExpired):
        process.wait(moment)
    family = tree(process.pid)
    victims = {"dvc": family[:1], "stage": family[1:2] or family[:1], "all": family}
    who = chance.choice(list(victims))
    for one in victims[who]:
        with suppress(ProcessLookupError):
            os.kill(one.pid, signal.SIGKILL)
    assert gone(family, 20), f"{who} killed after {moment:.1f} s left processes"
    process.wait()
    return f"{who} after {moment:.1f} s"
