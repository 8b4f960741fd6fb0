"""Experiments with DVC: `-S` in the workspace, `--queue` in copies, each with the code and the params of its own."""

import json
import os
import re
import sys
from pathlib import Path

import pytest
import workspace

from greenlit.stage import entry

DVC = (sys.executable, "-m", "dvc")
SMALLER = (("{train: 40, validation: 10, test: 10}", "{train: 16, validation: 4, test: 4}"), ("n: 8\n", "n: 6\n"))


def as_a_user(project: Path, *command: str, code: int = 0) -> str:
    """Run a command as somebody does who installed Greenlit elsewhere, and whose path has no code of ours."""
    done = workspace.run(project, "env", f"PYTHONPATH={workspace.WARM}", *command, code=code)
    return done.stdout + done.stderr


def manifest(project: Path) -> dict:
    return json.loads((project / "assets/rl/starter/manifest.json").read_text())


@pytest.fixture(scope="module")
def project(warm_module: None, tiny: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny preset cut down, as far as `build`, by an experiment."""
    folder = workspace.make_workspace(tmp_path_factory.mktemp("sweeps"), "tiny", cache_of=tiny)
    params = folder / "params.yaml"
    for before, after in SMALLER:
        assert before in params.read_text()
        params.write_text(params.read_text().replace(before, after))
    workspace.run(folder, "git", "-c", "user.name=t", "-c", "user.email=t@t", "commit", "-qam", "smaller")
    told = as_a_user(folder, *DVC, "exp", "run", "build", "-S", "build.max_pairs=2", "-n", "two")
    assert "Ran experiment(s): two" in told
    return folder


@pytest.mark.slow
def test_an_experiment_changes_params_and_runs_what_depends_on_them(project: Path) -> None:
    assert manifest(project)["settings"]["build"]["max_pairs"] == 2
    assert manifest(project)["pairs"] > 0
    assert "max_pairs: 2" in (project / "params.yaml").read_text()
    told = as_a_user(project, *DVC, "exp", "run", "build", "-S", "build.max_pairs=1")
    assert set(re.findall(r"Running stage '(.*?)'", told)) == {"build"}
    assert manifest(project)["settings"]["build"]["max_pairs"] == 1
    workspace.run(project, "git", "checkout", "-q", "params.yaml")


@pytest.mark.slow
def test_a_value_that_is_not_valid_gets_our_message_and_an_unknown_key_dvcs(project: Path) -> None:
    told = as_a_user(project, *DVC, "exp", "run", "build", "-S", "build.max_pairs=-1", code=255)
    assert "error: params.yaml: build.max_pairs: must be >= 0 (found -1)" in told
    assert "Traceback" not in told
    workspace.run(project, "git", "checkout", "-q", "params.yaml")
    told = as_a_user(project, *DVC, "exp", "run", "build", "-S", "+build.max_pair=1", code=255)
    assert "error: params.yaml: build.max_pair: unknown key" in told
    assert "hint: did you mean max_pairs?" in told
    workspace.run(project, "git", "checkout", "-q", "params.yaml")
    assert "Could not override 'build.max_pair'" in as_a_user(
        project, *DVC, "exp", "run", "build", "-S", "build.max_pair=1", code=255
    )


@pytest.mark.slow
def test_queued_experiments_run_the_code_and_params_they_were_queued_with(project: Path) -> None:
    code = project / "src/greenlit/pairs/manifest.py"
    before = code.read_text()
    code.write_text(before.replace('"problems": counts.problems,', '"problems": counts.problems, "marker": 1,'))
    as_a_user(project, *DVC, "exp", "run", "--queue", "build", "-S", "build.max_pairs=3", "-n", "marked")
    code.write_text(before)
    as_a_user(project, *DVC, "exp", "run", "--queue", "build", "-S", "build.max_pairs=1,5", "-n", "pairs")
    as_a_user(project, *DVC, "exp", "run", "--queue", "build", "-S", "build.max_pairs=-5", "-n", "bad")
    ran = as_a_user(project, *DVC, "exp", "run", "--run-all", "-j", "1")
    assert "error: params.yaml: build.max_pairs: must be >= 0 (found -5)" in ran
    assert set(re.findall(r"Running stage '(.*?)'", ran)) == {"build"}, "the rest comes from DVC's cache"
    states = dict(re.findall(r"^\w{7}\s+(\S+)\s.*?(\w+)$", as_a_user(project, *DVC, "queue", "status"), re.MULTILINE))
    assert states == {"marked": "Success", "pairs-1": "Success", "pairs-2": "Success", "bad": "Failed"}
    assert "params.yaml: build.max_pairs" in as_a_user(project, *DVC, "queue", "logs", "bad")
    shown = as_a_user(project, *DVC, "exp", "show", "--no-pager", "--csv")
    assert {"marked", "pairs-1", "pairs-2"} <= {line.split(",")[0] for line in shown.splitlines()}
    for name, pairs in (("marked", 3), ("pairs-1", 1), ("pairs-2", 5)):
        # the stages after `build` were not run: DVC applies what there is, and says that their outs are missing
        assert "Checkout failed" in as_a_user(project, *DVC, "exp", "apply", name, code=255)
        assert manifest(project)["settings"]["build"]["max_pairs"] == pairs
        assert ("marker" in manifest(project)) is (name == "marked")


def test_in_a_copy_of_dvc_settings_and_runs_are_those_of_the_checkout(tmp_path: Path, monkeypatch) -> None:
    copy = tmp_path / ".dvc/tmp/exps/tmpabc"
    copy.mkdir(parents=True)
    (tmp_path / ".env").write_text("GREENLIT_TEST_SETTING=from the checkout\n")
    for name in ("GREENLIT_TEST_SETTING", "MLFLOW_TRACKING_URI", "GREENLIT_CACHE", "GREENLIT_JUDGE_CACHE"):
        monkeypatch.setenv(name, "")
        monkeypatch.delenv(name)
    monkeypatch.setenv("DVC_ROOT", str(tmp_path))
    monkeypatch.setattr(sys, "argv", ["tasks/nothing.py"])
    monkeypatch.setenv("PYTHONPATH", "elsewhere")
    monkeypatch.chdir(tmp_path)
    entry.run_stage(lambda: None)
    assert "GREENLIT_TEST_SETTING" not in os.environ, "the checkout itself reads its own .env where it needs it"
    monkeypatch.chdir(copy)
    entry.run_stage(lambda: None)
    assert os.environ["GREENLIT_TEST_SETTING"] == "from the checkout"
    assert os.environ["MLFLOW_TRACKING_URI"] == f"sqlite:///{tmp_path}/mlflow.db"
    assert os.environ["GREENLIT_CACHE"] == f"{tmp_path}/.work/verdicts.sqlite"
    assert os.environ["GREENLIT_JUDGE_CACHE"] == f"{tmp_path}/.work/judge/answers.jsonl"
    assert (copy / ".work/tracking").resolve() == tmp_path / ".work/tracking"
    for name in ("GREENLIT_TEST_SETTING", "MLFLOW_TRACKING_URI", "GREENLIT_CACHE", "GREENLIT_JUDGE_CACHE"):
        monkeypatch.delenv(name)
    assert os.environ["PYTHONPATH"].startswith(f"{Path(entry.__file__).parents[2]}{os.pathsep}")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://somewhere")
    entry.run_stage(lambda: None)
    assert os.environ["MLFLOW_TRACKING_URI"] == "http://somewhere"
