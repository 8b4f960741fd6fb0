"""A secret in the environment or in `.env` is found in nothing that Greenlit writes."""

import json
import re
import subprocess
import sys
from dataclasses import fields
from pathlib import Path

import pytest
import trackers
import workspace

from greenlit.config import DpoParams
from greenlit.stage.secrets import redacted, redacted_values, secret_names

IN_ENVIRONMENT = {
    "HF_TOKEN": "hf_canaryTurquoise0001",
    "WANDB_API_KEY": "canaryTurquoise0002canaryTurquoise0002ab",
    "AWS_SECRET_ACCESS_KEY": "canary/Turquoise+0003",
    "MLFLOW_TRACKING_PASSWORD": "canaryTurquoise0004",
}
IN_FILE = {
    "HF_TOKEN": "hf_canaryTurquoise0011",
    "HUGGING_FACE_HUB_TOKEN": "hf_canaryTurquoise0012",
    "WANDB_API_KEY": "canaryTurquoise0013canaryTurquoise0013ab",
    "AWS_SECRET_ACCESS_KEY": "canary/Turquoise+0014",
    "OPENAI_API_KEY": "sk-canaryTurquoise0015",
}
CANARY = re.compile(rb"canary(/|%2F)?Turquoise", re.IGNORECASE)
"""In all of them, plain or as in a URL."""


@pytest.fixture
def nothing_secret(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """No secret in the environment, an empty folder."""
    for name in secret_names():
        monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_values_of_secret_variables_are_hidden(nothing_secret, monkeypatch) -> None:
    monkeypatch.setenv("MY_API_KEY", "a-b-c-d")
    monkeypatch.setenv("MY_TOKEN", "a-b-c-d-e")
    assert redacted("a-b-c-d-e, a-b-c-d, a-b-c") == "***, ***, a-b-c"
    monkeypatch.setenv("MY_TOKEN", "short")
    monkeypatch.setenv("TOKENIZERS_PARALLELISM", "disabled")
    assert redacted("short, disabled") == "short, disabled"


def test_secrets_of_the_env_file_are_hidden_also_where_it_is_not_loaded_and_when_it_changes(nothing_secret) -> None:
    file = nothing_secret / ".env"
    file.write_text('# a comment\nHF_TOKEN="hf_one111"\nexport OTHER_SECRET=second22\nPLAIN=something\nEMPTY_TOKEN=\n')
    assert redacted("hf_one111 second22 something") == "*** *** something"
    assert secret_names() == ["HF_TOKEN", "OTHER_SECRET"]
    file.write_text("HF_TOKEN=hf_another\n")
    assert redacted("hf_one111 hf_another") == "hf_one111 ***"
    file.unlink()
    assert redacted("hf_another") == "hf_another"


def test_secrets_are_hidden_in_urls(nothing_secret, monkeypatch) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "ab/cd+ef=gh")
    assert redacted("https://host/?key=ab%2Fcd%2Bef%3Dgh and ab/cd+ef=gh") == "https://host/?key=*** and ***"
    assert redacted("http://me:pass@host/x") == "http://me:***@host/x"


def test_nested_values_are_walked_and_others_stay(nothing_secret, monkeypatch) -> None:
    monkeypatch.setenv("MY_TOKEN", 'quo"ted\\value')
    given = {'a quo"ted\\value': [1, 2.5, None, True, {"b": ('x quo"ted\\value',)}]}
    assert redacted_values(given) == {"a ***": [1, 2.5, None, True, {"b": ["x ***"]}]}


def holders(folder: Path) -> list[str]:
    """Files below a folder whose name or bytes hold a canary; links and git's own copies too."""
    return [
        path.relative_to(folder).as_posix()
        for path in sorted(folder.rglob("*"))
        if path.name != ".env" and (CANARY.search(bytes(path)) or (path.is_file() and CANARY.search(path.read_bytes())))
    ]


def test_the_search_finds_what_it_looks_for(tmp_path) -> None:
    for name, value in {**IN_ENVIRONMENT, **IN_FILE}.items():
        (tmp_path / f"{name}{len(value)}").write_bytes(b"\0" + value.encode())
    assert len(holders(tmp_path)) == len(list(tmp_path.iterdir()))


def project_with_canaries(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The tiny preset with all three trackers, secrets in the environment and others in `.env`."""
    workspace.make_workspace(folder, "tiny")
    (folder / "params.yaml").open("a").write("tracking: {report_to: [mlflow, wandb, tensorboard]}\n")
    (folder / ".env").write_text("".join(f"{name}={value}\n" for name, value in IN_FILE.items()))
    for name, value in IN_ENVIRONMENT.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("WANDB_BASE_URL", "http://127.0.0.1:1")
    monkeypatch.setenv("HOME", str(folder / "home"))
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    (folder / "home").mkdir()
    return folder


def run(folder: Path, *command: str, **more: str) -> subprocess.CompletedProcess:
    return subprocess.run(
        command, cwd=folder, env=workspace.environment(folder), capture_output=True, text=True, check=False, **more
    )


FAULTS = """
import os, sys
from pathlib import Path

from greenlit.config import load_params
from greenlit.stage.entry import exit_cleanly
from greenlit.tracking.runs import tracked

def main():
    Path('note.txt').write_text(value)
    with tracked(load_params(), 'fetch', 'dataset') as run:
        run.log(1, {f'loss/{value}': 1.0})
        run.figures({value: 2.0})
        run.file(Path('note.txt'))
        Path('note.txt').unlink()
        raise RuntimeError(f'the hub refused {value}')

for value in sys.stdin.read().splitlines():
    if not (child := os.fork()):
        exit_cleanly(main)
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
"""


def faults(folder: Path) -> subprocess.CompletedProcess:
    """Processes that tell a secret in every way they can, and then die of a fault whose message holds it."""
    values = (*IN_ENVIRONMENT.values(), *IN_FILE.values())
    done = run(folder, sys.executable, "-c", FAULTS, input="\n".join(values))
    assert done.stdout.split() == ["1"] * len(values), done.stderr
    assert done.stderr.count("the hub refused ***") == len(values)
    return done


def test_faults_that_hold_a_canary_leave_none_in_spool_traces_and_messages(tmp_path, monkeypatch) -> None:
    folder = project_with_canaries(tmp_path / "project", monkeypatch)
    done = faults(folder)
    assert not CANARY.search((done.stdout + done.stderr).encode())
    assert len(list(folder.glob(".work/tracking/*/files/note.txt"))) == len(IN_ENVIRONMENT) + len(IN_FILE)
    assert holders(folder) == []


@pytest.mark.slow
@pytest.mark.usefixtures("warm")
def test_a_canary_is_nowhere_after_a_whole_run_with_every_tracker_and_after_faults_that_hold_it(
    tiny, tmp_path, monkeypatch
) -> None:
    folder = project_with_canaries(tmp_path / "project", monkeypatch)
    workspace.start_from(folder / "params.yaml", tiny)
    said = faults(folder)
    whole = run(folder, sys.executable, "-m", "dvc", "repro")
    assert whole.returncode == 0, whole.stderr[-4000:]
    doctor = run(folder, sys.executable, "-m", "greenlit.cli", "doctor", "--no-cheats")
    for done in (said, whole, doctor):
        assert not CANARY.search((done.stdout + done.stderr).encode())
    assert holders(folder) == []
    everything_arrived(folder)


def everything_arrived(folder: Path) -> None:
    """Nothing was hidden by not being told at all: parents, children, parameters, curves, in each tracker."""
    from transformers import TrainingArguments

    store = trackers.Mlflow(f"sqlite:///{folder}/mlflow.db")
    listed = {"fetch", "prepare", "base", "baseline", "generate", "annotate", "build", "report"}
    listed |= {f"{name}@dpo" for name in ("train", "merge", "evaluate", "register")}
    finished = [found for found in store.runs("tiny") if found.info.status == "FINISHED"]
    children = [found for found in finished if trackers.PARENT in found.data.tags]
    assert {found.info.run_name for found in children} == listed
    (parent,) = {store.parent(found).info.run_id for found in children}
    failed = [found for found in store.runs("tiny") if found.info.status == "FAILED"]
    assert len(failed) == len(IN_ENVIRONMENT) + len(IN_FILE)
    assert {found.data.tags["error"] for found in failed} == {"RuntimeError: the hub refused ***"}
    theirs = {field.name for field in fields(TrainingArguments)} - set(DpoParams.model_fields) - {"seed"}
    assert not [name for found in children for name in found.data.params if name in theirs]
    assert store.client.get_run(parent).data.metrics["delta.dpo.pass_at_1.value"] is not None
    trained = store.run("tiny", "train@dpo")
    logged = [json.loads(line) for line in (folder / "results/tiny/dpo/logs/training_log.jsonl").open()]
    curve = store.curve(trained, "loss")
    assert [step for step, _ in curve] == [row["step"] for row in logged]
    assert [value for _, value in curve] == pytest.approx([row["loss"] for row in logged], rel=1e-4)
    assert "config.yaml" in store.files(trained)
    assert "audit.json" in store.files(store.run("tiny", "prepare"))
    assert "tiny_summary.md" in store.files(store.run("tiny", "report"))
    evaluated = store.run("tiny", "evaluate@dpo").data.metrics
    assert {f"test.pass_at_1.{part}" for part in ("value", "low", "high", "n")} <= set(evaluated)
    (board,) = folder.glob(".work/tensorboard/*/train@dpo-*")
    assert [step for step, _ in trackers.tensorboard_curves(board)["loss"]] == [row["step"] for row in logged]
    names = set()
    for file in folder.glob(".work/wandb/offline-run-*/run-*.wandb"):
        names |= {record.run.display_name for record in trackers.wandb_records(file) if record.HasField("run")}
    assert names == listed
    assert not [path for path in folder.glob(".work/tracking/*") if path.is_dir()]
