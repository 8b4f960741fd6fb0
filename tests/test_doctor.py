"""`greenlit doctor` says what is wrong, what to do about it, and no secret."""

import contextlib
import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import workspace

from greenlit import doctor
from greenlit.config import AnnotateParams
from greenlit.doctor import installation, machine, sandbox, trackers
from greenlit.doctor.lines import Line
from greenlit.execution.cheats import suite
from greenlit.execution.cheats.suite import CHEATS

SECTIONS = ["versions", "project", "machine", "gpu", "generation", "ray", "trackers", "sandbox"]


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("GREENLIT_SANDBOX", "portable")
    for name in ("GREENLIT_WORKERS", "MLFLOW_TRACKING_URI", "WANDB_API_KEY"):
        monkeypatch.delenv(name, raising=False)
    return workspace.make_workspace(tmp_path, "tiny")


def lines_of_trackers(folder: Path) -> list[Line]:
    """What doctor says of the trackers of a project."""
    with contextlib.chdir(folder):
        return list(trackers.trackers())


def examined(folder: Path, *arguments: str, code: int = 0) -> dict[str, Line]:
    """The lines of `greenlit doctor --json` there, by name."""
    done = workspace.greenlit(folder, "doctor", "--no-cheats", "--json", *arguments, code=code)
    report = json.loads(done.stdout)
    assert list(dict.fromkeys(line["section"] for line in report["lines"])) == SECTIONS
    lines = [Line(**line) for line in report["lines"]]
    assert report["red"] == sum(line.state == "red" for line in lines)
    for line in lines:
        assert (line.fix is None) is (line.state == "green"), line
    return {line.name: line for line in lines}


def test_a_project_that_is_fit(project: Path) -> None:
    lines = examined(project)
    assert not [line for line in lines.values() if line.state == "red"]
    assert lines["python"].value == ".".join(map(str, sys.version_info[:3]))
    assert "experiment tiny" in lines["params.yaml"].value
    assert lines["level"].state == "yellow"
    assert lines["level"].value.startswith("portable; ")
    assert "jail" in lines["level"].fix
    assert "verdicts/s" in lines["speed"].value


def test_the_table_for_people_names_what_is_not_well_and_what_to_do(project: Path) -> None:
    (project / "params.yaml").write_text((project / "params.yaml").read_text() + "\nsead: 3\n")
    done = workspace.greenlit(project, "doctor", "--no-cheats", code=1)
    line = next(line for line in done.stdout.splitlines() if "params.yaml" in line)
    assert "RED" in line
    assert "sead" in line
    assert "did you mean seed?" in done.stdout
    assert "1 red: something will fail; the fixes stand above" in done.stderr


def test_a_broken_params_yaml_is_red(project: Path) -> None:
    (project / "params.yaml").write_text("annotate: {timeout_s: -1}\n")
    line = examined(project, code=1)["params.yaml"]
    assert line.state == "red"
    assert "params.yaml" in line.value


def test_a_level_that_is_not_allowed_is_red(project: Path) -> None:
    text = (project / "params.yaml").read_text()
    assert "allow_portable: true" in text
    (project / "params.yaml").write_text(text.replace("allow_portable: true", "allow_portable: false"))
    line = examined(project, code=1)["level"]
    assert line.state == "red"
    assert "annotate.allow_portable" in line.value + line.fix


def test_outside_a_project_it_says_so_and_works(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "greenlit.cli", "doctor", "--no-cheats", "--json"]
    settings = {"GREENLIT_SANDBOX": "portable", "PYTHONPATH": str(Path(doctor.__file__).parents[2])}
    done = subprocess.run(
        command, cwd=tmp_path, env={**os.environ, **settings}, capture_output=True, text=True, check=True
    )
    lines = {line["name"]: line for line in json.loads(done.stdout)["lines"]}
    assert (lines["params.yaml"]["state"], lines["params.yaml"]["value"]) == ("yellow", "none in this folder")
    assert lines["dvc"]["fix"] == "go to your project's folder"
    assert lines["level"]["value"].startswith("portable")
    assert list(tmp_path.iterdir()) == []


def test_no_secret_is_shown(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WANDB_API_KEY", "hush-hush-key")
    monkeypatch.setenv("WANDB_BASE_URL", "http://me:hush-hush-too@127.0.0.1:1")
    (project / "params.yaml").open("a").write("tracking: {report_to: [mlflow, wandb]}\n")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://me:hush-hush-word@127.0.0.1:9")
    monkeypatch.setenv("HF_TOKEN", "hush-hush-token")
    for arguments in (["--json"], []):
        done = workspace.greenlit(project, "doctor", "--no-cheats", *arguments, code=1)
        assert "hush" not in done.stdout + done.stderr
        assert "offline: 127.0.0.1 does not answer" in done.stdout
        assert "http://me:***@127.0.0.1:9" in done.stdout


def test_a_key_in_env_file_counts(project: Path) -> None:
    (project / ".env").write_text("WANDB_API_KEY=hush-hush\nWANDB_BASE_URL=http://127.0.0.1:1\n")
    (project / "params.yaml").open("a").write("tracking: {report_to: [wandb, tensorboard]}\n")
    lines = examined(project)
    assert lines["wandb"].state == "yellow"
    assert lines["wandb"].value.startswith("offline: 127.0.0.1 does not answer")
    assert "wandb sync" in lines["wandb"].fix
    assert lines["tensorboard"].value == "tensorboard --logdir .work/tensorboard"


def test_trackers_that_nobody_wants_are_not_looked_at(project: Path) -> None:
    assert not {"wandb", "tensorboard", "undelivered"} & {line.name for line in lines_of_trackers(project)}


def test_what_waits_for_a_tracker_is_yellow_and_says_how_to_deliver_it(project: Path) -> None:
    script = (
        "from greenlit.config import load_params\nfrom greenlit.tracking.runs import tracked\n"
        "with tracked(load_params(), 'build', 'build'): pass"
    )
    workspace.run(project, sys.executable, "-c", script)
    (line,) = [line for line in lines_of_trackers(project) if line.name == "undelivered"]
    assert (line.state, line.value) == ("yellow", "1 runs wait in .work/tracking (build)")
    command = line.fix.split("`")[-2]
    assert command == "python -m greenlit.trackers.delivery"
    workspace.run(project, *command.replace("python", sys.executable).split())
    assert "undelivered" not in {line.name for line in lines_of_trackers(project)}


def test_bad_workers_are_red_and_the_rest_is_still_examined(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GREENLIT_WORKERS", "many")
    lines = examined(project, code=1)
    assert lines["workers"].state == "red"
    assert "'many'" in lines["workers"].value
    assert lines["speed"].state == "green"


def test_mlflow_stores(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def found(uri: str) -> Line:
        monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
        return next(line for line in trackers.trackers() if line.name == "mlflow")

    assert found(f"sqlite:///{tmp_path / 'mlflow.db'}").state == "green"
    assert found(f"sqlite:///{tmp_path / 'nowhere' / 'mlflow.db'}").state == "red"
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        assert found(f"http://127.0.0.1:{port}").state == "green"
    assert found(f"http://127.0.0.1:{port}").state == "red"


def test_versions_are_compared_with_the_lock(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "requirements.lock").write_text("# a comment\nnumpy==0.0.1 ; python_version > '3'\n")
    lines = {line.name: line for line in installation.versions()}
    assert lines["numpy"].state == "yellow"
    assert lines["numpy"].value.endswith("the lock says 0.0.1")
    assert lines["torch"].state == "green"


def test_a_package_that_is_missing_is_red(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(installation, "NEEDED", ("greenlit-no-such-package",))
    line = next(line for line in installation.versions() if line.name == "greenlit-no-such-package")
    assert (line.state, line.value) == ("red", "not installed")
    assert "make setup" in line.fix


def test_a_full_disk_is_red(monkeypatch: pytest.MonkeyPatch) -> None:
    def usage(folder: Path) -> object:
        return type("Usage", (), {"free": 100 << 20})

    monkeypatch.setattr(machine.shutil, "disk_usage", usage)
    assert {line.state for line in machine.machine() if line.name.startswith("disk")} == {"red"}


def test_the_cheats_become_lines_and_a_table(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture) -> None:
    monkeypatch.setenv("GREENLIT_SANDBOX", "portable")
    names = ("an object that equals everything", "a file that all may read", "every process killed")
    monkeypatch.setattr(suite, "CHEATS", tuple(cheat for cheat in CHEATS if cheat.name in names))
    report = sandbox.sandbox([], AnnotateParams(allow_portable=True), cheats=True)
    line = next(line for line in report.lines if line.name == "cheats")
    assert line.state == "yellow"
    assert line.value == "1 of 3 stopped, no verdict forged; 2 are not stopped at this level, 0 get no verdict"
    told = report.as_json()["cheats"]
    assert told["level"] == "portable"
    assert told["outcomes"] | {"stopped": 1, "let through": 1, "not run": 1, "forged": 0} == told["outcomes"]
    assert told["not_stopped"] == {
        "other processes": ["every process killed (not run)"],
        "files of the host": ["a file that all may read"],
    }
    assert report.verdicts_per_s > 0
    doctor.show(report)
    shown = capsys.readouterr().out
    assert "cheats at level portable" in shown
    assert "not stopped: files of the host: a file that all may read" in shown
