"""Flows on the tiny experiment: what they show, a champion that has become worse, a sweep, a training cancelled."""

import json
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import interruption
import psutil
import pytest
import workspace
from flow_runs import (
    artifacts,
    asked,
    code_of,
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
from test_flows_chosen import webhook

from greenlit.jsonl import read_json, write_json


@pytest.fixture(scope="module")
def api(tmp_path_factory: pytest.TempPathFactory):
    with prefect_server(tmp_path_factory.mktemp("prefect") / "home") as address:
        yield address


@pytest.fixture(autouse=True)
def nothing_lives_on():
    yield
    end_flows()


@pytest.fixture(scope="module")
def project(tiny: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny experiment, run, to be changed by the tests in their order."""
    folder = Path(shutil.copytree(tiny, tmp_path_factory.mktemp("flows") / "project", symlinks=True))
    (folder / "output.txt").write_text("")
    return folder


@pytest.mark.usefixtures("warm")
def test_a_second_start_is_all_cached_and_shows_table_report_and_links(project: Path, api: str) -> None:
    run_flow(project, api, "offline", **code_of(project))
    run = newest_run(api)
    summary = read_json(project / "results/reports/tiny_summary.json")
    assert re.match(r"(Yes|No),? .*pass@1 on test went from", run["state"]["message"])
    listed = workspace.run(project, sys.executable, "-m", "dvc", "stage", "list", "--name-only").stdout.split()
    names = {stage.replace("@", "-") for stage in listed}
    until(lambda: set(task_states(api, run)) == names, 10)
    states = task_states(api, run)
    assert set(states.values()) == {"Cached"}
    found = artifacts(api, run)
    rows = json.loads(found["results-tiny"]["data"])
    delta = summary["delta"]["dpo"]["pass@1"]
    assert rows[0]["change"] == f"{delta['value']:+.3f} [{delta['low']:+.3f}, {delta['high']:+.3f}]"
    assert found["report-tiny"]["type"] == "markdown"
    assert "# tiny: before and after" in found["report-tiny"]["data"]
    assert "results/reports/tiny_summary." in found["report-file-tiny"]["data"]


@pytest.mark.usefixtures("warm")
def test_the_model_in_use_is_measured_again_and_an_alarm_is_raised_when_it_is_worse(project: Path, api: str) -> None:
    output = run_flow(project, api, "refresh", **code_of(project))
    assert "greenlit-tiny has no champion: measuring dpo" in output
    assert newest_run(api)["state"]["message"].startswith("dpo: no regression: pass@1 on validation +0.000 [")
    (kept,) = (project / ".work/refresh").glob("*.json")
    first = read_json(kept)
    for row in first["splits"]["validation"]["problems"].values():
        row["c"], row["greedy"] = row["n"], True  # as if it had solved everything once
    write_json(kept, first)
    from mlflow import MlflowClient

    client = MlflowClient(f"sqlite:///{project}/mlflow.db")
    client.set_registered_model_alias("greenlit-tiny", "champion", "1")
    with webhook() as (address, notes):
        run_flow(project, api, "refresh", "--no-pull", code=1, GREENLIT_NOTIFY=address, **code_of(project))
    run = newest_run(api)
    said = "champion, greenlit-tiny version 1 (dpo): worse than when it was measured first, by more than 0: pass@1"
    assert (run["state_name"], run["state_type"]) == ("Regressed", "FAILED")
    assert run["state"]["message"].startswith(said)
    assert [note["event"] for note in notes] == ["failed"]
    assert said in notes[0]["text"]
    (row,) = json.loads(artifacts(api, run)["refresh-tiny"]["data"])
    assert row["n"] == 10
    run_flow(project, api, "refresh", "--no-pull", "--margin", "1", **code_of(project))


@pytest.mark.slow
@pytest.mark.usefixtures("warm")
def test_a_champion_that_no_method_here_has_made_is_fetched_and_measured_in_a_copy(project: Path, api: str) -> None:
    from mlflow import MlflowClient

    client = MlflowClient(f"sqlite:///{project}/mlflow.db")
    client.set_registered_model_alias("greenlit-tiny", "champion", "1")
    shutil.move(project / "results/tiny/dpo/merged", project / "elsewhere")
    shutil.rmtree(project / ".work/refresh")
    run_flow(project, api, "refresh", "--no-pull", **code_of(project))
    assert "champion, greenlit-tiny version 1: measured for the first time" in newest_run(api)["state"]["message"]
    (kept,) = (project / ".work/refresh").glob("*.json")
    before = read_json(project / "assets/datasets/starter/test/dpo/evaluations_after.json")
    assert read_json(kept)["splits"]["validation"]["pass@1"] == before["splits"]["validation"]["pass@1"]
    shutil.move(project / "elsewhere", project / "results/tiny/dpo/merged")


@pytest.mark.slow
def test_cancelled_while_it_trains_it_goes_on_from_its_checkpoint(
    project: Path, api: str, warm_process: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    arguments = ["--from-stage", "train", "--settings", "methods.dpo.epochs=3", "methods.dpo.learning_rate=0.0005"]
    (project / "output.txt").write_text("")
    process = start_flow(project, api, "offline", *arguments, GREENLIT_SAVE_EVERY_S="1", **code_of(project))
    interruption.wait_for(project, "PROGRESS train", 240)
    family = interruption.tree(process.pid)
    process.terminate()
    assert process.wait(60) == 143
    assert interruption.gone(family, 5)
    workspace.start_warm(monkeypatch, warm_process)
    output = run_flow(project, api, "offline", "--from-stage", "train", **code_of(project))
    assert re.search(r"going on from the checkpoint of step \d+", output), output[-3000:]
    assert newest_run(api)["state_name"] == "Completed"


# --- a sweep, and runs that a runner serves, on a toy -----------------------------------------------------------------


@pytest.fixture
def toy(tmp_path: Path) -> Path:
    return make_toy(tmp_path / "toy")


def test_a_sweep_runs_every_point_as_an_experiment_and_none_twice(toy: Path, api: str) -> None:
    run_flow(toy, api, "sweep", "--target", "generate", "--grid", "seed=3,4", "--name", "seeds")
    run = newest_run(api)
    rows = json.loads(artifacts(api, run)["sweep-tiny-seeds"]["data"])
    assert [(row["seed"], row["state"]) for row in rows] == [("3", "done"), ("4", "done")]
    assert re.fullmatch(r"seeds-1-[0-9a-f]{6}", rows[0]["experiment"])
    listed = workspace.run(toy, sys.executable, "-m", "dvc", "exp", "list", "--name-only").stdout.split()
    assert sorted(listed) == sorted(row["experiment"] for row in rows)
    assert "seed: 0\n" in (toy / "params.yaml").read_text(), "the project is left as it was"
    run_flow(toy, api, "sweep", "--target", "generate", "--grid", "seed=3,4", "--name", "seeds")
    until(lambda: set(task_states(api, newest_run(api)).values()) == {"Cached"}, 10)
    output = run_flow(toy, api, "sweep", "--target", "generate", "--grid", "methods.dpo.beta=-1", code=2)
    assert "methods.dpo.beta: must be" in output


def test_a_served_run_that_is_cancelled_or_killed_ends_its_stage_and_says_why(toy: Path, api: str) -> None:
    code = "from flows.pipeline import pipeline; pipeline.serve('toy', pause_on_shutdown=False)"
    environment = {"PREFECT_API_URL": api, "PYTHONPATH": f"{workspace.ROOT}:{workspace.ROOT / 'src'}"}
    runner = interruption.start(toy, sys.executable, "-c", code, **environment)
    tell(toy, train_dpo="sleep")
    found = until(lambda: asked(api, "deployments/filter", {"deployments": {"name": {"any_": ["toy"]}}}), 60)
    deployment = found[0]["id"]

    def started() -> tuple[dict, psutil.Process]:
        (toy / "output.txt").write_text("")
        run = asked(api, f"deployments/{deployment}/create_flow_run", {"parameters": {"grace_s": 5}})
        return run, stage_process(toy, "train-dpo")

    def state(run: dict) -> dict:
        return asked(api, "flow_runs/filter", {"flow_runs": {"id": {"any_": [run["id"]]}}})[0]["state"]

    run, stage = started()
    family = [stage, *stage.parents()[:3]]
    asked(api, f"flow_runs/{run['id']}/set_state", {"state": {"type": "CANCELLING", "name": "Cancelling"}})
    assert interruption.gone(family, 30)
    until(lambda: state(run)["type"] == "CANCELLED", 30)
    assert (toy / ".work/train-dpo/checkpoint").exists()

    run, stage = started()
    flow = dvc_of(stage).parent().parent()  # above DVC and its keeper
    flow.send_signal(signal.SIGKILL)
    assert interruption.gone([stage, flow], 20)
    until(lambda: state(run)["type"] == "CRASHED", 30)
    until(lambda: "its process ended without a word" in state(run)["message"], 30, lambda: str(state(run)))
    runner.terminate()
    runner.wait(30)


def test_the_module_is_a_command_with_help_and_needs_no_server_at_hand(toy: Path) -> None:
    environment = workspace.environment(toy) | {"PYTHONPATH": f"{workspace.ROOT}:{workspace.ROOT / 'src'}"}
    command = [sys.executable, "-m", "flows.sweep"]
    told = subprocess.run([*command, "--help"], cwd=toy, env=environment, capture_output=True, text=True, timeout=60)
    assert told.returncode == 0
    assert "--grid KEY=VALUE" in told.stdout
    assert "Values by key of params.yaml" in told.stdout
    told = subprocess.run([*command, "--grids"], cwd=toy, env=environment, capture_output=True, text=True, timeout=60)
    assert told.returncode == 2
