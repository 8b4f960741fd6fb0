"""A stage that the warm process runs is, for whoever started it, the process it would have been alone."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import interruption
import psutil
import pytest
import workspace

STAGE = """
import os, sys, time
print(os.getpid(), os.getcwd(), sys.argv[1:], os.environ["SAID"], "torch" in sys.modules, __name__, flush=True)
print(sys.stdin.readline().strip(), file=sys.stderr, flush=True)
if sys.argv[1] == "sleep":
    time.sleep(60)
sys.exit(int(sys.argv[1]))
"""


@pytest.fixture
def stage(tmp_path: Path) -> Path:
    """A folder with a stage of our own, which goes by the name of one that is taken over."""
    (tmp_path / "tasks").mkdir()
    (tmp_path / "tasks/__init__.py").touch()
    (tmp_path / "tasks/report.py").write_text(STAGE)
    return tmp_path


def started(folder: Path, argument: str) -> subprocess.Popen:
    process = subprocess.Popen(
        [sys.executable, "-m", "tasks.report", argument], cwd=folder, env={**os.environ, "SAID": "x y"},
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    process.stdin.write("from stdin\n")
    process.stdin.flush()
    return process


def ended(process: subprocess.Popen) -> tuple[int, str, str]:
    out, err = process.communicate(timeout=60)
    return process.returncode, out.split(maxsplit=1)[1], err


@pytest.mark.parametrize("code", ["0", "75"])
def test_arguments_environment_streams_and_exit_code_come_through(stage, warm_process, monkeypatch, code) -> None:
    cold = ended(started(stage, code))
    workspace.start_warm(monkeypatch, warm_process)
    warm = ended(started(stage, code))
    assert cold == (int(code), f"{stage} ['{code}'] x y False __main__\n", "from stdin\n")
    assert warm == (cold[0], cold[1].replace("False", "True"), cold[2])


@pytest.mark.usefixtures("warm")
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_a_signal_ends_both(stage: Path, number: int) -> None:
    process = started(stage, "sleep")
    pid = int(process.stdout.readline().split()[0])
    assert pid != process.pid
    runs = [psutil.Process(pid)]
    process.send_signal(number)
    assert process.wait(20) == -number
    assert interruption.gone(runs, 20)
    process.communicate()


def test_where_nobody_listens_a_stage_starts_cold(stage: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    workspace.start_warm(monkeypatch, str(stage / "nobody"))
    assert ended(started(stage, "3")) == (3, f"{stage} ['3'] x y False __main__\n", "from stdin\n")
