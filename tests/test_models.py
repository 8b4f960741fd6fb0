"""`greenlit models` and what comes back from the registry, on the tiny run's own version."""

import json
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import httpx
import interruption
import pytest
import workspace
from typer.testing import CliRunner
from workspace import paths_of

from greenlit.cli import app
from greenlit.jsonl import read_rows
from greenlit.problems.files import read_problems
from greenlit.problems.prompts import render
from greenlit.types import Annotated

MODEL = "greenlit-tiny"
ASK = """
import json, sys
from greenlit.trackers.mlflow_store import open_client, tracking_uri
open_client(tracking_uri())
import mlflow, pandas
mlflow.set_tracking_uri(tracking_uri())
model = mlflow.pyfunc.load_model(sys.argv[1])
prompts = pandas.DataFrame({"prompt": json.load(sys.stdin)})
print(json.dumps(list(model.predict(prompts, params={"max_new_tokens": int(sys.argv[2])}))))
"""


@pytest.fixture(scope="module")
def registered(tiny: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny run; whether its model was better is not the point here, so its version becomes champion by hand."""
    from mlflow import MlflowClient

    folder = Path(shutil.copytree(tiny, tmp_path_factory.mktemp("registered") / "project", symlinks=True))
    MlflowClient(f"sqlite:///{folder}/mlflow.db").set_registered_model_alias(MODEL, "champion", "1")
    return folder


def greedy(folder: Path) -> tuple[list[str], list[str], int]:
    """Prompts of the test problems, what the merged model wrote for them when it was evaluated, and its limit."""
    from greenlit.config import load_params

    paths = paths_of(folder)
    problems = read_problems(folder / paths.problems("test"))
    rows = [row for row in read_rows(folder / paths.measured("test", "dpo"), Annotated) if row.decoding == "greedy"]
    prompts = [render(problems[row.task_id], chat=False) for row in rows]
    return prompts, [row.text for row in rows], load_params(folder / "params.yaml").evaluate.max_new_tokens


def test_what_is_loaded_from_the_registry_writes_what_the_merged_model_wrote(registered: Path) -> None:
    prompts, texts, limit = greedy(registered)
    done = subprocess.run(
        [sys.executable, "-c", ASK, f"models:/{MODEL}@champion", str(limit)],
        cwd=registered, env=workspace.environment(registered) | {"HF_HUB_OFFLINE": "1"}, input=json.dumps(prompts),
        capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    assert json.loads(done.stdout.splitlines()[-1]) == texts


@pytest.mark.slow
def test_mlflow_serves_it_offline(registered: Path) -> None:
    prompts, texts, limit = greedy(registered)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    environment = workspace.environment(registered) | {
        "HF_HUB_OFFLINE": "1", "MLFLOW_TRACKING_URI": "sqlite:///mlflow.db", "MLFLOW_DISABLE_TELEMETRY": "true",
    }  # fmt: skip
    command = [sys.executable, "-m", "mlflow", "models", "serve", "-m", f"models:/{MODEL}@champion"]
    server = subprocess.Popen(
        [*command, "--env-manager", "local", "--port", str(port), "--workers", "1"],
        cwd=registered, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True,
    )  # fmt: skip
    try:
        until = time.monotonic() + 180
        while True:
            assert server.poll() is None
            assert time.monotonic() < until, "the server did not come up"
            try:
                if httpx.get(f"http://127.0.0.1:{port}/ping").status_code == 200:
                    break
            except httpx.HTTPError:
                time.sleep(0.5)
        asked = {"dataframe_records": [{"prompt": prompts[0]}], "params": {"max_new_tokens": limit}}
        answer = httpx.post(f"http://127.0.0.1:{port}/invocations", json=asked, timeout=60)
        assert answer.json() == {"predictions": [texts[0]]}
    finally:
        for process in reversed(interruption.tree(server.pid)):
            process.kill()
        server.wait()


@pytest.fixture
def models(registered: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., str]:
    """`greenlit models` in this process, which has MLflow by now; returns what it printed."""
    monkeypatch.chdir(registered)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{registered}/mlflow.db")

    def run(*arguments: str, code: int = 0) -> str:
        done = CliRunner().invoke(app, ["models", *arguments])
        assert done.exit_code == code, (done.output, done.exception)
        return done.stdout

    return run


def test_lineage_leads_from_the_champion_back_to_the_dataset_with_dvcs_hashes(
    registered: Path, models: Callable[..., str]
) -> None:
    import yaml

    found = json.loads(models("lineage", "--json"))
    stages = [link["stage"] for link in found["chain"]]
    assert stages[0] == "merge@dpo"
    assert {"train@dpo", "build", "annotate", "generate", "prepare", "fetch", "base"} == set(stages[1:])
    locked = yaml.safe_load((registered / "dvc.lock").read_text())["stages"]["fetch"]["outs"][0]
    (fetch,) = (link for link in found["chain"] if link["stage"] == "fetch")
    assert fetch["writes"] == {locked["path"]: locked["md5"]}
    shown = models("lineage")
    assert locked["md5"] in shown
    assert shown.index("merge@dpo") < shown.index("train@dpo") < shown.index("prepare") < shown.index("fetch")


def test_list_and_show_tell_figures_decision_and_where_it_comes_from(
    registered: Path, models: Callable[..., str]
) -> None:
    listed = json.loads(models("list", "--json"))
    assert [(one["number"], one["aliases"]) for one in listed] == [(1, ["candidate", "champion"])]
    tags = listed[0]["tags"]
    assert {"git_commit", "reads_sha256", "start_sha256", "test_sha256", "merged_sha256", "open_leaks"} <= set(tags)
    assert (tags["method"], tags["test_looks"], tags["open_leaks"]) == ("dpo", "1", [])
    assert (tags["decision"]["incumbent"], tags["decision"]["delta"]["n"]) == ("base", 10)
    assert tags["params"]["method"] == "dpo"
    table = models("list")
    assert "v1 candidate" in table
    assert "tiny" in table
    shown = models("show", "champion")
    assert "look 1 at this test set" in shown
    assert "pass@1" in shown


def test_promote_says_by_its_exit_code_whether_champion_moved(registered: Path, models: Callable[..., str]) -> None:
    decision = json.loads(models("list", "--json"))[0]["tags"]["decision"]
    asked = models("promote", "1", code=0 if decision["promoted"] else 1)
    assert asked.startswith(f"{MODEL} v1: ")


def test_a_version_measured_again_here_has_the_same_figures_and_the_look_is_counted(
    registered: Path, models: Callable[..., str]
) -> None:
    before = json.loads((registered / paths_of(registered).evaluation("dpo")).read_text())["splits"]["test"]
    found = json.loads(models("compare", "1", "1", "--measure", "--json"))
    assert found["pass@1"]["value"] == 0
    from mlflow import MlflowClient

    client = MlflowClient(f"sqlite:///{registered}/mlflow.db")
    version = client.get_model_version(MODEL, "1")
    (kept,) = client.list_artifacts(version.run_id, "model/evaluations")
    again = json.loads(Path(client.download_artifacts(version.run_id, kept.path)).read_text())["splits"]["test"]
    assert again["problems"] == before["problems"]
    assert version.tags["remeasured_test_sha256"] == version.tags["test_sha256"]


def test_download_gives_the_merged_directory_and_refuses_to_overwrite(
    registered: Path, models: Callable[..., str]
) -> None:
    from greenlit.stage.workspace import sha256_tree

    models("download", "champion", "taken")
    assert sha256_tree(registered / "taken") == sha256_tree(registered / paths_of(registered).method("dpo") / "merged")
    again = workspace.greenlit(registered, "models", "download", "champion", "taken", code=2)
    assert "is there already" in again.stderr


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("show", "v9"), "no version 'v9'"),
        (("show", "champion", "--model", "nobody"), "nobody: has no versions"),
        (("rollback", "--reason", " "), "--reason: is empty"),
    ],
)
def test_what_is_not_there_is_one_sentence_and_exit_2(registered: Path, arguments: tuple[str, ...], said: str) -> None:
    done = workspace.greenlit(registered, "models", *arguments, code=2)
    assert said in done.stderr
    assert "Traceback" not in done.stderr
    assert done.stdout == ""
