"""A run that is stopped or killed leaves nothing running, nothing torn, and goes on to the same bytes."""

import hashlib
import json
import os
import random
import re
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import interruption
import psutil
import pytest
import workspace
import yaml
from interruption import DVC_REPRO, GREENLIT_RUN, gone, start, tree, wait_for
from workspace import digests, paths_of

KILLS = int(os.environ.get("GREENLIT_TEST_KILLS", "1"))
"""Random moments to kill at; more of them: GREENLIT_TEST_KILLS=20 make test ARGS="-n 0 -k killed"."""


def outcome(folder: Path) -> dict[str, object]:
    """What must be the same however often a run was interrupted: data byte by byte, weights, and every figure."""
    paths = paths_of(folder)
    run = paths.method("dpo")
    files = [run / "metrics.json", run / "adapter/adapter_model.safetensors", run / "merged/model.safetensors",
             run / "logs/training_log.jsonl", paths.evaluation(None), paths.evaluation("dpo")]  # fmt: skip
    summary = json.loads((folder / paths.report("summary.json")).read_text())
    figures = {key: summary[key] for key in ("baseline_test", "after_test", "delta")}
    return {
        **digests(folder),
        **{path.as_posix(): hashlib.sha256((folder / path).read_bytes()).hexdigest() for path in files},
        **figures,
    }


def no_litter(folder: Path) -> None:
    assert not [path for path in folder.rglob("*.part") if ".dvc" not in path.parts]


@pytest.mark.slow
@pytest.mark.parametrize("number", range(KILLS))
def test_killed_at_any_moment_it_ends_the_same(
    tiny: Path, tmp_path: Path, warm_process: str, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    folder = workspace.make_workspace(tmp_path / "killed", "tiny")
    chance = random.Random(f"kill {number}")
    told = interruption.kill_somewhere(folder, chance, most_s=float((tiny / "took_s.txt").read_text()))
    workspace.start_warm(monkeypatch, warm_process)
    go_on(folder)
    assert outcome(folder) == outcome(tiny), told


def go_on(folder: Path) -> None:
    """`dvc repro`; or `greenlit run`, where the kill fell into the writing of dvc.lock, which DVC does in place."""
    again = subprocess.run(
        DVC_REPRO, cwd=folder, env=workspace.environment(folder), capture_output=True, text=True, check=False
    )
    if again.returncode:
        assert "dvc.lock" in again.stderr, again.stderr[-2000:]
        assert "set aside as dvc.lock.torn" in workspace.greenlit(folder, "run").stderr


@pytest.mark.slow
@pytest.mark.usefixtures("warm")
@pytest.mark.parametrize("share", [0.0, 0.4, 0.9])
def test_a_lock_file_that_dvc_left_torn_costs_nothing(tiny: Path, tmp_path: Path, share: float) -> None:
    folder = tmp_path / "project"
    shutil.copytree(tiny, folder, symlinks=True)
    lock = (folder / "dvc.lock").read_bytes()
    (folder / "dvc.lock").write_bytes(lock[: int(len(lock) * share)])
    done = workspace.greenlit(folder, "run")
    ran = set(re.findall(r"^> exec python -m tasks\.(\w+)", done.stdout + done.stderr, re.MULTILINE))
    assert ran <= {"register"}
    assert outcome(folder) == outcome(tiny)
    assert sorted(yaml.safe_load((folder / "dvc.lock").read_text())["stages"]) == sorted(yaml.safe_load(lock)["stages"])


SLOW_REGISTER = """
import sys, time
from pathlib import Path
from greenlit.stage.entry import run_stage
from greenlit.trackers.mlflow import MlflowReporter
from tasks import register

send = MlflowReporter.folder

def slowly(*arguments, **options):
    print("in the middle", flush=True)
    time.sleep(2)
    return send(*arguments, **options)

MlflowReporter.folder = slowly
sys.argv = ["register", "--method", "dpo"]
sys.modules[register.main.__module__] = register
run_stage(register.main, "--method")
"""


@pytest.mark.slow
def test_a_signal_in_the_middle_of_registering_waits_for_its_end(
    tiny: Path, tmp_path: Path, warm_process: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "project"
    shutil.copytree(tiny, folder, symlinks=True, ignore=shutil.ignore_patterns(".work", "mlflow.db*", "output.txt"))
    process = start(folder, sys.executable, "-c", SLOW_REGISTER)
    wait_for(folder, "in the middle")
    process.terminate()
    assert process.wait(60) == 143
    with closing(sqlite3.connect(folder / "mlflow.db", timeout=0.1)) as database:
        database.execute("BEGIN IMMEDIATE")  # nobody holds it
        assert database.execute("SELECT name, version FROM model_versions").fetchall() == [("greenlit-tiny", 1)]
    workspace.start_warm(monkeypatch, warm_process)
    workspace.run(folder, sys.executable, "-m", "tasks.register", "--method", "dpo")
    with closing(sqlite3.connect(folder / "mlflow.db")) as database:
        assert database.execute("SELECT count(*) FROM model_versions").fetchone() == (1,)


@pytest.fixture(autouse=True)
def nothing_left_running() -> Iterator[None]:
    yield
    interruption.end_all()


@pytest.fixture
def fetched(tiny: Path, tmp_path: Path) -> Path:
    """The tiny preset's project with everything before `train` done, and DVC knowing of nothing after it."""
    folder = tmp_path / "project"
    left_out = shutil.ignore_patterns(".work", "results", "mlflow.db*")
    shutil.copytree(tiny, folder, symlinks=True, ignore=left_out)
    shutil.rmtree(folder / ".dvc/cache/runs")
    lock = yaml.safe_load((folder / "dvc.lock").read_text())
    lock["stages"] = {name: stage for name, stage in lock["stages"].items() if "@" not in name and name != "report"}
    (folder / "dvc.lock").write_text(yaml.safe_dump(lock))
    (folder / "output.txt").write_text("")
    return folder


@pytest.fixture(scope="module")
def uninterrupted(warm_process: str, tiny: Path, tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """What `generate` comes to in small batches."""
    folder = tmp_path_factory.mktemp("uninterrupted") / "project"
    left_out = shutil.ignore_patterns(".work", ".dvc", "results", "mlflow.db*")
    shutil.copytree(tiny, folder, symlinks=True, ignore=left_out)
    in_small_batches(folder)
    with pytest.MonkeyPatch.context() as patch:
        workspace.start_warm(patch, warm_process)
        workspace.run(folder, sys.executable, "-m", "tasks.generate")
    return (folder / paths_of(folder).candidates).read_bytes()


def in_small_batches(folder: Path) -> None:
    params = (folder / "params.yaml").read_text()
    (folder / "params.yaml").write_text(params.replace("batch_size: 256", "batch_size: 8"))


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_stage_that_is_stopped_leaves_nothing_and_goes_on(
    fetched: Path, uninterrupted: bytes, warm_process: str, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    out = paths_of(fetched).candidates
    in_small_batches(fetched)
    (fetched / out).unlink()
    process = start(fetched, sys.executable, "-m", "tasks.generate", GREENLIT_WORKERS="2")
    rows = wait_for_rows(fetched / ".work/generate", 16)
    family = tree(process.pid)
    assert len(family) >= 3  # itself and two that generate
    os.kill(process.pid, number)
    assert process.wait(20) == 128 + number
    assert gone(family, 5)
    (partial,) = (fetched / ".work/generate").glob("*/candidates.jsonl")
    lines = partial.read_bytes().splitlines(keepends=True)
    assert len(lines) >= rows
    assert all(line.endswith(b"}\n") for line in lines)
    assert not (fetched / out).exists()
    said = (fetched / "output.txt").read_text()
    assert f"stopped by {signal.Signals(number).name}; what was done is kept" in said
    assert "Traceback" not in said
    no_litter(fetched)
    before = partial.read_bytes()
    workspace.start_warm(monkeypatch, warm_process)
    workspace.run(fetched, sys.executable, "-m", "tasks.generate")
    assert partial.read_bytes().startswith(before)  # nothing sampled twice
    assert partial.read_bytes().count(b"\n") == (fetched / out).read_bytes().count(b"\n")
    assert (fetched / out).read_bytes() == uninterrupted


def wait_for_rows(work: Path, rows: int, seconds: float = 60) -> int:
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        found = sum(path.read_bytes().count(b"\n") for path in work.glob("*/candidates.jsonl"))
        if found >= rows:
            return found
        time.sleep(0.02)
    raise AssertionError(f"no {rows} rows in {seconds} s")


@pytest.mark.slow
def test_greenlit_run_passes_a_stop_on_and_a_training_keeps_its_checkpoint(
    tiny: Path, fetched: Path, warm_process: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = {"GREENLIT_SAVE_EVERY_S": "0"}
    process = start(fetched, *GREENLIT_RUN, **settings)
    log = fetched / paths_of(fetched).method("dpo") / "logs/training_log.jsonl"
    wait_for_log(process, log, 2)
    family = tree(process.pid)
    os.kill(process.pid, signal.SIGTERM)
    assert process.wait(60) == 143
    assert gone(family, 5)
    said = (fetched / "output.txt").read_text()
    assert "stopped by SIGTERM; `greenlit run` goes on from there" in said
    (checkpoint,) = (fetched / ".work/train").glob("*/checkpoint-*/complete")
    steps = int(checkpoint.parent.name.rpartition("-")[2])
    assert steps >= 2
    workspace.start_warm(monkeypatch, warm_process)
    workspace.greenlit(fetched, "run")
    assert outcome(fetched) == outcome(tiny)
    assert not list((fetched / ".work").glob("train/*"))  # all is done and noted: nothing to go on from


def wait_for_log(process: subprocess.Popen, path: Path, lines: int, seconds: float = 90) -> None:
    until = time.monotonic() + seconds
    while not path.exists() or path.read_bytes().count(b"\n") < lines:
        assert process.poll() is None
        assert time.monotonic() < until, f"no {lines} lines in {path}"
        time.sleep(0.02)


@pytest.mark.slow
def test_a_second_ctrl_c_ends_at_once(fetched: Path) -> None:
    """The first lets the step in hand end; the second does not wait for it."""
    code = (
        "import time\n"
        "from greenlit.stage.entry import run_stage\n"
        "from greenlit.stage.stopping import postponed\n"
        "def main():\n"
        "    with postponed():\n"
        "        print('working', flush=True)\n"
        "        end = time.monotonic() + 60\n"
        "        while time.monotonic() < end: time.sleep(0.05)\n"
        "run_stage(main)\n"
    )
    process = start(fetched, sys.executable, "-c", code)
    wait_for(fetched, "working")
    os.kill(process.pid, signal.SIGINT)
    wait_for(fetched, "stopping; Ctrl-C again ends at once")
    os.kill(process.pid, signal.SIGTERM)  # no hurry
    time.sleep(0.3)
    assert process.poll() is None
    started = time.monotonic()
    os.kill(process.pid, signal.SIGINT)
    assert process.wait(10) == 130
    assert time.monotonic() - started < 2


BRIEF = ("rows: 3000, steps: 380", "rows: 600, steps: 60")
"""The tiny preset's model and one that learns for a moment, where it is enough that `base` is at work for seconds."""


def brief_project(folder: Path) -> Path:
    """The tiny preset's project with a brief `base` and no tracker, in which nothing has run."""
    workspace.make_workspace(folder, "tiny")
    params = (folder / "params.yaml").read_text()
    assert BRIEF[0] in params
    (folder / "params.yaml").write_text(params.replace(*BRIEF) + "tracking: {report_to: []}\n")
    (folder / "output.txt").touch()
    return folder


def test_two_runs_at_once_do_not_disturb_each_other(tmp_path: Path) -> None:
    folder = brief_project(tmp_path)
    process = start(folder, *GREENLIT_RUN, "--only", "base")
    wait_for(folder, "> exec python -m tasks.base")
    second = workspace.greenlit(folder, "run", code=75)
    assert f"error: greenlit run is at work here already (process {process.pid})" in second.stderr
    assert "hint: wait for it, or end it" in second.stderr
    other = workspace.run(folder, sys.executable, "-m", "tasks.base", code=75)
    assert re.search(r"error: stage base is at work here already \(process \d+\)", other.stderr)
    assert psutil.pid_exists(process.pid)
    assert process.wait(120) == 0
    assert (folder / "assets/models/base/model.safetensors").exists()


FULL_FOR_TRAINING = """
set -u
mount -t tmpfs -o size=2m tmpfs .work
dd if=/dev/zero of=.work/ballast bs=1k count=1500 status=none
"$PYTHON" -m tasks.train --method dpo 2> full.txt
echo $? > full.code
rm .work/ballast
mount -o remount,size=64m .work
"$PYTHON" -m tasks.train --method dpo 2> again.txt
echo $? > again.code
"""


@pytest.mark.slow
def test_a_checkpoint_that_finds_the_disk_full_is_told_and_the_training_repeats(tiny: Path, fetched: Path) -> None:
    mounts = own_mounts()
    (fetched / ".work").mkdir()
    environment = workspace.environment(fetched) | {"PYTHON": sys.executable, "GREENLIT_SAVE_EVERY_S": "0"}
    subprocess.run([*mounts, "bash", "-c", FULL_FOR_TRAINING], cwd=fetched, env=environment, check=True)
    said = (fetched / "full.txt").read_text()
    assert (fetched / "full.code").read_text().strip() == "75", said
    assert "the disk is full" in said  # or, where torch does not tell, "most likely"
    assert "Traceback" not in said
    assert (fetched / "again.code").read_text().strip() == "0", (fetched / "again.txt").read_text()
    for name in ("metrics.json", "adapter/adapter_model.safetensors", "logs/training_log.jsonl"):
        out = paths_of(fetched).method("dpo") / name
        assert (fetched / out).read_bytes() == (tiny / out).read_bytes(), name


def own_mounts() -> list[str]:
    mounts = ["unshare", "--mount"] if os.geteuid() == 0 else ["unshare", "--user", "--map-root-user", "--mount"]
    if subprocess.run([*mounts, "mount", "-t", "tmpfs", "tmpfs", "/mnt"], capture_output=True).returncode:
        pytest.skip("no right to mount a small disk")
    return mounts


FULL_DISK = """
set -u
mount -t tmpfs -o size=256k tmpfs .work
dd if=/dev/zero of=.work/ballast bs=1k count=190 status=none
"$PYTHON" -m tasks.generate 2> full.txt
echo $? > full.code
cp .work/generate/*/candidates.jsonl half.jsonl
rm .work/ballast
"$PYTHON" -m tasks.generate 2> again.txt
echo $? > again.code
cp .work/generate/*/candidates.jsonl whole.jsonl
"""


@pytest.mark.slow
def test_a_full_disk_stops_sampling_and_once_there_is_room_it_goes_on(fetched: Path, uninterrupted: bytes) -> None:
    mounts = own_mounts()
    out = paths_of(fetched).candidates
    in_small_batches(fetched)
    (fetched / out).unlink()
    (fetched / ".work").mkdir()
    environment = workspace.environment(fetched) | {"PYTHON": sys.executable, "GREENLIT_WORKERS": "1"}
    subprocess.run([*mounts, "bash", "-c", FULL_DISK], cwd=fetched, env=environment, check=True)

    said = (fetched / "full.txt").read_text()
    assert (fetched / "full.code").read_text().strip() == "75", said
    assert re.search(r"^error: \.work/generate/\w+/candidates\.jsonl: the disk is full$", said, re.MULTILINE), said
    assert "hint: free some space; what was done is kept; the same command goes on from there" in said
    assert "Traceback" not in said
    half, whole = (fetched / "half.jsonl").read_bytes(), (fetched / "whole.jsonl").read_bytes()
    assert half
    assert half.endswith(b"}\n")
    assert (fetched / "again.code").read_text().strip() == "0", (fetched / "again.txt").read_text()
    assert whole.startswith(half)  # nothing lost
    assert whole.count(b"\n") == len(set(whole.splitlines())) == uninterrupted.count(b"\n")  # or repeated
    assert (fetched / out).read_bytes() == uninterrupted


def test_a_dvc_that_is_at_work_already_is_named(tmp_path: Path) -> None:
    folder = brief_project(tmp_path)
    process = start(folder, *DVC_REPRO, "base")
    wait_for(folder, "> exec python -m tasks.base")
    second = workspace.greenlit(folder, "run", "--only", "base", code=75)
    assert f"error: another DVC is at work here (process {process.pid})" in second.stderr
    assert process.wait(120) == 0  # and not disturbed
