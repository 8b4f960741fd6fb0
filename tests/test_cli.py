"""The command line: light, exact about what it does not know, and what it says it does it does."""

import subprocess
import sys
import time
from pathlib import Path

import pytest
import workspace

from greenlit.cli import STAGE_WORDS, stage_targets
from greenlit.config import read_yaml
from greenlit.errors import ConfigError

ROOT = Path(__file__).parent.parent


@pytest.fixture
def project(tmp_path: Path) -> Path:
    return workspace.make_workspace(tmp_path, "tiny")


def test_help_comes_quickly() -> None:
    def once() -> float:
        started = time.perf_counter()
        subprocess.run([sys.executable, "-m", "greenlit.cli", "--help"], capture_output=True, check=True)
        return time.perf_counter() - started

    assert min(once() for _ in range(5)) < 0.5


def test_words_of_the_earlier_projects_become_stages(monkeypatch) -> None:
    monkeypatch.chdir(ROOT)
    words = "baseline,train_gen,rl_build,train_all,test_after"
    assert stage_targets(words, ["dpo", "sft"]) == [
        "baseline", "generate", "annotate", "build",
        "train@dpo", "train@sft", "merge@dpo", "merge@sft", "evaluate@dpo", "evaluate@sft", "report",
    ]  # fmt: skip
    assert stage_targets("evaluate@dpo,generate", ["dpo"]) == ["evaluate@dpo", "generate"]


def test_every_word_names_stages_there_are() -> None:
    stages = set(read_yaml(ROOT / "dvc.yaml")["stages"])
    assert {stage for group in STAGE_WORDS.values() for stage in group} <= stages


def test_an_unknown_word_gets_a_hint(monkeypatch) -> None:
    monkeypatch.chdir(ROOT)
    with pytest.raises(ConfigError, match="no part of the pipeline is called 'basline'") as error:
        stage_targets("basline", ["dpo"])
    assert error.value.hint == "did you mean baseline?"


def test_a_failed_stage_ends_the_command_with_its_own_message(project: Path) -> None:
    text = (project / "params.yaml").read_text().replace("name: starter", "name: startr")
    (project / "params.yaml").write_text(text)
    done = workspace.greenlit(project, "run", "--only", "fetch", code=2)
    assert "error: params.yaml: dataset.name: no dataset 'startr'" in done.stdout + done.stderr


def test_stages_before_their_inputs_say_what_to_run(project: Path) -> None:
    done = workspace.run(project, sys.executable, "-m", "tasks.build", code=2)
    assert "error: assets/models/base: no model here" in done.stderr
    assert "hint: run the stage that writes it: `dvc repro`" in done.stderr
    assert "Traceback" not in done.stderr
