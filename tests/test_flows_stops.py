"""Flows on a toy project: states, faults in a sentence, retries, and every way to stop a run; nothing lives on."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import interruption
import psutil
import pytest
import workspace
from flow_runs import (
    artifacts,
    asked,
    dvc_of,
    end_flows,
    make_toy,
    newest_run,
    prefect_server,
    run_flow,
    stage_process,
    start_flow,
    task_states,
    tell,
    until,
)


@pytest.fixture(scope="module")
def api(tmp_path_factory: pytest.TempPathFactory):
    with prefect_server(tmp_path_factory.mktemp("prefect") / "home") as address:
        yield address


@pytest.fixture(scope="module")
def made_toy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = make_toy(tmp_path_factory.mktemp("made") / "toy")
    (folder / "generate.out").write_text("what the training reads, as it lies there")
    return folder


@pytest.fixture
def toy(made_toy: Path, tmp_path: Path):
    yield Path(shutil.copytree(made_toy, tmp_path / "toy", symlinks=True))
    end_flows()


TRAINING = ("pipeline", "--from-stage", "train")
"""All that it takes where it is the training that is stopped."""


def no_dvc_lock(folder: Path) -> bool:
    """DVC notes who reads and writes what, and takes the note back in the end."""
    noted = folder / ".dvc/tmp/rwlock"
    return not noted.exists() or not any(json.loads(noted.read_text()).values())


def nobody_holds(folder: Path) -> bool:
    """A DVC that was killed leaves its note behind; DVC itself minds only notes of processes that are alive."""
    noted = json.loads((folder / ".dvc/tmp/rwlock").read_text())
    readers = [one for readers in noted.get("read", {}).values() for one in readers]
    return not any(psutil.pid_exists(one["pid"]) for one in [*noted.get("write", {}).values(), *readers])


def resumes(folder: Path, api: str) -> None:
    """The next run goes on from the checkpoint and comes through."""
    tell(folder)
    assert "train-dpo: from the checkpoint" in run_flow(folder, api, *TRAINING)


def test_a_task_run_per_stage_called_as_the_stage_and_cached_the_second_time(toy: Path, api: str) -> None:
    output = run_flow(toy, api, "pipeline")
    assert "train-dpo: from the start" in output, "the stage's output is in the log"
    run = newest_run(api)
    names = {"generate", "train-dpo", "aside"}
    until(lambda: task_states(api, run) == dict.fromkeys(names, "Completed"), 10)
    assert run["state_name"] == "Completed"
    progress = artifacts(api, run)["progress-stage-train-dpo"]
    assert (progress["type"], progress["data"]) == ("progress", 100)
    assert progress["description"].startswith("train-dpo 3 of 3 things  7 things/s")
    run_flow(toy, api, "pipeline")
    run = newest_run(api)
    until(lambda: task_states(api, run) == dict.fromkeys(names, "Cached"), 10)


def test_only_from_stage_and_force_choose_among_dvcs_stages(toy: Path, api: str) -> None:
    run_flow(toy, api, "pipeline", "--only", "train-dpo")
    assert not (toy / "aside.out").exists()
    output = run_flow(toy, api, "pipeline", "--from-stage", "train", "--force")
    assert re.findall(r"Running stage '(.*?)'", output) == ["train@dpo"]
    told = run_flow(toy, api, "pipeline", "--from-stage", "trian", code=2)
    assert "no stage is called 'trian'\nhint: did you mean train?" in told


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--preset", "tinny"], "preset: input should be 'completion', "),
        (["--settings", "methods.dpo.beta=-1"], "params.yaml with the settings of this run: methods.dpo.beta: must be"),
    ],
)
def test_a_wrong_parameter_fails_the_run_in_a_sentence_and_changes_nothing(
    made_toy: Path, api: str, arguments: list[str], sentence: str
) -> None:
    before = (made_toy / "params.yaml").read_text()
    output = run_flow(made_toy, api, "pipeline", *arguments, code=2)
    run = newest_run(api)
    assert run["state_type"] == "FAILED"
    assert sentence in run["state"]["message"]
    assert "Traceback" not in output
    assert (made_toy / "params.yaml").read_text() == before


def test_preset_and_settings_change_params_yaml_and_unsaved_edits_are_not_lost(toy: Path, api: str) -> None:
    params = toy / "params.yaml"
    for _ in range(2):  # what a flow wrote is no edit to lose
        run_flow(
            toy, api, "pipeline", "--preset", "starter", "--methods", "sft", "--settings", "seed=7", "--only", "aside"
        )
        text = params.read_text()
        assert "seed: 7 " in text
        assert "  sft:  " in text
        assert "  dpo:" not in text
        assert "# of everything" in text, "comments stay"
    params.write_text(text.replace("seed: 7", "seed: 8"))
    told = run_flow(toy, api, "pipeline", "--preset", "tiny", code=2)
    assert "params.yaml: holds edits that are saved nowhere; nothing was changed" in told
    assert "seed: 8" in params.read_text()
    assert newest_run(api)["state"]["message"].startswith("params.yaml: holds edits")


def test_a_stage_that_fails_ends_the_run_with_its_own_words_and_code_and_is_not_tried_again(
    toy: Path, api: str
) -> None:
    tell(toy, generate="fail:2")
    output = run_flow(toy, api, "pipeline", "--only", "generate", "--retries", "generate=3", code=2)
    message = newest_run(api)["state"]["message"]
    assert message == "stage generate failed (exit code 2): generate: no good\nhint: make it better"
    assert output.count("Running stage 'generate'") == 1
    assert "Traceback" not in output
    assert "NoneType" not in output


def test_a_stage_is_tried_again_only_where_it_asks_for_it_and_may(toy: Path, api: str) -> None:
    tell(toy, generate="again:2", train_dpo="again:1")
    output = run_flow(toy, api, "pipeline", "--only", "generate", GREENLIT_RETRY_DELAY_S="0.1")
    assert output.count("Running stage 'generate'") == 3
    output = run_flow(toy, api, *TRAINING, code=75, GREENLIT_RETRY_DELAY_S="0.1")
    assert output.count("Running stage 'train@dpo'") == 1, "a training is not tried again unless one says so"
    tell(toy, train_dpo="again:2")
    output = run_flow(toy, api, *TRAINING, GREENLIT_RETRY_DELAY_S="0.1", GREENLIT_RETRIES="train=1")
    assert output.count("Running stage 'train@dpo'") == 2


def test_cancelled_a_stage_writes_its_checkpoint_and_the_next_run_goes_on_from_it(toy: Path, api: str) -> None:
    tell(toy, train_dpo="sleep")
    process = start_flow(toy, api, *TRAINING)
    stage = stage_process(toy, "train-dpo")
    family = interruption.tree(process.pid)
    assert len(family) >= 5, "flow, keeper, DVC, stage, its worker"
    process.terminate()
    assert process.wait(30) == 143
    assert interruption.gone([*family, stage], 5)
    assert (toy / ".work/train-dpo/checkpoint").exists()
    assert "checkpoint written" in (toy / "output.txt").read_text()
    assert no_dvc_lock(toy)
    (record,) = (toy / "results/runs").glob("*.json")
    assert (json.loads(record.read_text())["state"], json.loads(record.read_text())["exit_code"]) == ("stopped", 143)
    resumes(toy, api)
    assert no_dvc_lock(toy)


def test_a_stage_that_ignores_sigterm_is_gone_after_the_grace(toy: Path, api: str) -> None:
    tell(toy, train_dpo="ignore")
    process = start_flow(toy, api, *TRAINING, "--grace-s", "1.5")
    stage = stage_process(toy, "train-dpo")
    family = interruption.tree(process.pid)
    began = time.monotonic()
    process.terminate()
    assert interruption.gone([stage], 1.5 + 3)
    assert time.monotonic() - began > 1.4
    assert interruption.gone(family, 5)
    assert no_dvc_lock(toy)


def test_a_stage_whose_time_is_up_is_ended_and_the_run_says_so(toy: Path, api: str) -> None:
    tell(toy, train_dpo="sleep")
    output = run_flow(toy, api, *TRAINING, "--stage-timeout-s", "4", code=75)
    assert "stage train-dpo took longer than 4 s and was ended; its checkpoints are kept" in output
    until(lambda: task_states(api, newest_run(api)).get("train-dpo") == "TimedOut", 10)
    assert interruption.gone([one for one in psutil.process_iter() if toy_stage(one, toy)], 5)
    resumes(toy, api)
    assert no_dvc_lock(toy)


def toy_stage(process: psutil.Process, toy: Path) -> bool:
    try:
        return process.cwd() == str(toy)
    except psutil.Error:
        return False


@pytest.mark.parametrize("victim", ["flow", "keeper", "dvc", "stage"])
def test_whatever_is_killed_nothing_is_left_and_the_next_run_recovers(toy: Path, api: str, victim: str) -> None:
    tell(toy, train_dpo="sleep")
    settings = {"ENDS_WITH_DVC": "1"} if victim == "keeper" else {}
    process = start_flow(toy, api, *TRAINING, "--grace-s", "3", **settings)
    stage = stage_process(toy, "train-dpo")
    family = interruption.tree(process.pid)
    run = newest_run(api)
    dvc = dvc_of(stage)
    victims = {"flow": psutil.Process(process.pid), "keeper": dvc.parent(), "dvc": dvc, "stage": stage}
    os.kill(victims[victim].pid, signal.SIGKILL)
    if victim == "flow":
        process.wait(10)
        tell(toy)  # at once: the run waits for what the dead one has left
        assert "train-dpo: from the checkpoint" in run_flow(toy, api, *TRAINING)
        assert interruption.gone(family, 1)
        state = asked(api, "flow_runs/filter", {"flow_runs": {"id": {"any_": [run["id"]]}}})[0]["state"]
        assert state["type"] == "CRASHED"
        assert "its process ended without a word" in state["message"]
        assert task_states(api, run).get("train-dpo") in {"Crashed", None}
        return
    assert process.wait(30) not in {0, None}
    assert interruption.gone(family, 5)
    if victim == "stage":
        assert "stage train-dpo was killed by signal 9" in newest_run(api)["state"]["message"]
        tell(toy)
        run_flow(toy, api, *TRAINING)
        return
    resumes(toy, api)
    assert nobody_holds(toy)


def test_one_run_at_a_time_in_a_workspace_with_a_server_and_without(toy: Path, api: str) -> None:
    tell(toy, train_dpo="sleep")
    first = start_flow(toy, api, *TRAINING)
    stage_process(toy, "train-dpo")
    held = f"flow pipeline is at work here already (process {first.pid})"
    (toy / "elsewhere").mkdir()
    second = subprocess.run(
        [sys.executable, "-m", "flows.offline"], cwd=toy, capture_output=True, text=True, timeout=120,
        env=workspace.environment(toy) | {"PYTHONPATH": os.environ.get("PYTHONPATH", "") or str(workspace.ROOT)},
    )  # fmt: skip
    assert second.returncode == 75
    assert held in second.stderr
    assert "Traceback" not in second.stderr
    command = subprocess.run(
        [sys.executable, "-m", "greenlit.cli", "run"], cwd=toy, capture_output=True, text=True,
        env=workspace.environment(toy) | {"PYTHONPATH": str(workspace.ROOT / "src")}, timeout=60,
    )  # fmt: skip
    assert command.returncode == 75
    assert held in command.stderr
    first.terminate()
    first.wait(30)


def test_a_stage_that_dvc_runs_elsewhere_is_told_as_held(toy: Path, api: str) -> None:
    tell(toy, aside="sleep")
    other = interruption.start(toy, sys.executable, "-m", "dvc", "repro", "-s", "aside")
    stage_process(toy, "aside")
    run_flow(toy, api, "pipeline", "--only", "aside", code=75)
    message = newest_run(api)["state"]["message"]
    assert f"stage aside: another run holds it (process {other.pid})" in message
