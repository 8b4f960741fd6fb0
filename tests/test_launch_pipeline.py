"""The pipeline with launcher sagemaker, its jobs really run: the same bytes as without, also where machines go away."""

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import launch_project
import pytest
import trackers
import workspace
import yaml
from sagemaker_server import Cloud
from test_interruption import outcome


@pytest.fixture
def cloud(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Cloud]:
    for name in [name for name in os.environ if name.startswith(("AWS_", "GREENLIT_", "MLFLOW_TRACKING"))]:
        monkeypatch.delenv(name)
    cloud = Cloud(tmp_path / "cloud").start()
    for name, value in cloud.environment().items():
        monkeypatch.setenv(name, value)
    yield cloud
    cloud.stop()


def base_from(project: Path, folder: Path) -> None:
    """Have DVC take the base, which no job makes, from another project's cache, and nothing else."""
    shutil.copytree(project / ".dvc/cache", folder / ".dvc/cache")
    for run in (folder / ".dvc/cache/runs").glob("*/*/*"):
        if "tasks.base\n" not in run.read_text():
            shutil.rmtree(run.parent)


def warm_jobs(folder: Path, warm: str) -> dict[str, str]:
    """Have stages in jobs start warm: what hands them over goes with the code; returns what to set in the jobs."""
    for file in workspace.WARM.glob("[!w]*.py"):
        shutil.copy(file, folder / "src")
    return {"WARM_STAGES": warm}


@pytest.mark.slow
@pytest.mark.usefixtures("warm")
def test_the_pipeline_gives_the_same_bytes_with_either_launcher(
    tiny: Path, tmp_path: Path, cloud: Cloud, warm_process: str
) -> None:
    folder = workspace.make_workspace(tmp_path / "project", "tiny")
    base_from(tiny, folder)
    settings = yaml.safe_load(launch_project.SETTINGS)
    settings["sagemaker"]["poll_s"] = 0.5
    settings["sagemaker"]["environment"] = {"GREENLIT_SAVE_EVERY_S": "0", **warm_jobs(folder, warm_process)}
    (folder / "settings.yaml").write_text(yaml.safe_dump(settings))
    cloud.weather.interrupt_at.extend([2, 5])  # the training's machine is taken away twice ...
    cloud.weather.lose_newest_file = True  # ... and once in the middle of copying a checkpoint
    said = workspace.greenlit(folder, "run", "--launcher", "sagemaker").stderr
    assert outcome(folder) == outcome(tiny)
    jobs = cloud.jobs()
    assert [job.training_job_status for job in jobs] == ["Completed"] * 4
    assert {job.hyper_parameters["stage"] for job in jobs} == {"baseline", "generate", "train", "evaluate"}
    moves = [move["Status"] for job in jobs for move in job.secondary_status_transitions]
    assert moves.count("Interrupted") == 2
    assert not cloud.weather.lose_newest_file
    assert "PROGRESS" in said or "done, its result is here" in said
    store = trackers.Mlflow(f"sqlite:///{folder}/mlflow.db")
    trained = store.run("tiny", "train@dpo")
    assert [step for step, _ in store.curve(trained, "loss")] == list(range(1, 9))
    (parent,) = {store.parent(store.run("tiny", name)).info.run_id for name in ("prepare", "generate", "train@dpo")}
    assert parent
    status = workspace.run(folder, "dvc", "status")
    assert {line.strip() for line in status.stdout.splitlines()} <= {"register@dpo:", "always changed"}
