"""Folders that appear whole, keys that change when anything does, pointers to models, progress in logs."""

import os
import sys
from pathlib import Path
from unittest import mock

import pytest

from greenlit import models
from greenlit.errors import ConfigError, DataError, MismatchError, SandboxError, WorldError
from greenlit.stage import hardware, progress, workspace
from greenlit.stage.entry import exit_cleanly


def test_a_folder_appears_whole_and_replaces_the_old_one(tmp_path: Path) -> None:
    target = tmp_path / "model"
    with workspace.atomic_folder(target) as part:
        (part / "a").write_text("1")
        assert not target.exists()
    with workspace.atomic_folder(target) as part:
        (part / "b").write_text("2")
    assert [path.name for path in target.iterdir()] == ["b"]


def test_a_failed_folder_leaves_the_old_one_and_no_litter(tmp_path: Path) -> None:
    target = tmp_path / "model"
    target.mkdir()
    (target / "old").touch()
    with pytest.raises(RuntimeError), workspace.atomic_folder(target) as part:
        (part / "half").touch()
        raise RuntimeError
    assert [path.name for path in target.iterdir()] == ["old"]
    assert list(tmp_path.iterdir()) == [target]


def test_unfinished_work_survives_a_failure_and_is_found_again(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    source = tmp_path / "in.jsonl"
    source.write_text("1")
    with pytest.raises(RuntimeError), workspace.work_dir("generate", {"n": 1}, [source]) as work:
        (work / "partial").write_text("x")
        raise RuntimeError
    with workspace.work_dir("generate", {"n": 1}, [source]) as again:
        assert (again / "partial").read_text() == "x"


def test_finished_work_stays_until_the_stage_works_on_something_else(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    source = tmp_path / "in.jsonl"
    source.write_text("1")
    with pytest.raises(RuntimeError), workspace.work_dir("generate", {"n": 3}, [source]) as unfinished:
        raise RuntimeError
    with workspace.work_dir("generate", {"n": 1}, [source]) as first:
        (first / "rows").write_text("x")
    with workspace.work_dir("generate", {"n": 1}, [source]) as same:  # killed before DVC noted the outs
        assert (same / "rows").read_text() == "x"
    with workspace.work_dir("annotate", {"n": 1}, [source]):
        assert first.exists()
    with workspace.work_dir("generate", {"n": 2}, [source]) as second:
        assert not first.exists()
    workspace.sweep()
    assert not second.exists()
    assert unfinished.exists()


def test_a_key_changes_with_settings_inputs_and_names(tmp_path: Path) -> None:
    one, two = tmp_path / "a", tmp_path / "b"
    one.mkdir()
    (one / "f").write_text("1")
    two.write_text("1")
    keys = [
        workspace.work_key({"n": 1}, [one]),
        workspace.work_key({"n": 2}, [one]),
        workspace.work_key({"n": 1}, [two]),
    ]
    (one / "f").rename(one / "g")
    keys.append(workspace.work_key({"n": 1}, [one]))
    assert len(set(keys)) == 4
    assert workspace.work_key({"n": 1}, [one]) == keys[-1]


def test_a_model_that_is_nowhere_is_one_clear_error(tmp_path: Path, monkeypatch) -> None:
    with pytest.raises(DataError, match=r"no model here \(no config.json\)"):
        models.resolve(tmp_path)
    with pytest.raises(DataError, match=r"no weights here"):
        models.weights_sha256(tmp_path)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(WorldError, match="the hub did not answer"):
        models.write_pointer("nobody/nothing", None, tmp_path)
    with pytest.raises(DataError, match="neither a local directory nor a model of the hub"):
        models.write_pointer("no such model!", None, tmp_path)


def test_a_pinned_hub_model_needs_no_network_to_be_pinned(tmp_path: Path) -> None:
    assert models.write_pointer("a/b", "abc123", tmp_path) == {"source": "a/b", "revision": "abc123"}
    with pytest.raises(WorldError, match="a/b: could not be downloaded"):
        models.resolve(tmp_path)


@pytest.mark.parametrize("said", ["0", "-1", "many", "1.5", ""])
def test_workers_must_be_a_positive_integer(monkeypatch, said: str) -> None:
    monkeypatch.setenv("GREENLIT_WORKERS", said)
    with pytest.raises(ConfigError, match="GREENLIT_WORKERS: must be an integer >= 1"):
        hardware.workers()


def test_workers_and_facts(monkeypatch) -> None:
    monkeypatch.setenv("GREENLIT_WORKERS", "3")
    assert hardware.workers() == 3
    monkeypatch.delenv("GREENLIT_WORKERS")
    assert hardware.workers() == hardware.cores() >= 1
    assert hardware.facts()["packages"]["torch"].startswith("2.13")


def test_a_token_of_the_old_name_counts_and_env_file_is_read(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN"):
        monkeypatch.setenv(name, "")
        monkeypatch.delenv(name)
    (tmp_path / ".env").write_text("HUGGING_FACE_HUB_TOKEN=hf_test\n")
    with mock.patch.dict(sys.modules):  # what it shuts out is none of the other tests' business
        hardware.quiet_libraries()
    assert os.environ["HF_TOKEN"] == "hf_test"
    for name in ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN"):
        monkeypatch.delenv(name)


def test_logs_get_throttled_lines_with_rate_and_eta(monkeypatch, capsys) -> None:
    now = [0.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    with progress.progress("generate", 10, "problems") as bar:
        for _ in range(10):
            now[0] += 1.0
            bar.advance(1, tokens=30)
    assert capsys.readouterr().err.splitlines() == [
        "PROGRESS generate 2/10 problems  60 tokens  30 tokens/s  eta 8 s",
        "PROGRESS generate 4/10 problems  120 tokens  30 tokens/s  eta 6 s",
        "PROGRESS generate 6/10 problems  180 tokens  30 tokens/s  eta 4 s",
        "PROGRESS generate 8/10 problems  240 tokens  30 tokens/s  eta 2 s",
        "PROGRESS generate 10/10 problems  300 tokens  30 tokens/s  in 10 s",
    ]


def test_what_was_done_before_does_not_shorten_the_time_left(monkeypatch, capsys) -> None:
    now = [0.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    with progress.progress("generate", 100, "programs") as bar:
        bar.advance(80)
        now[0] += 4.0
        bar.advance(4, tokens=80)
    assert capsys.readouterr().err == "PROGRESS generate 84/100 programs  80 tokens  20 tokens/s  eta 16 s\n"


def test_a_terminal_gets_a_bar(monkeypatch, capsys) -> None:
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    with progress.progress("train dpo", 3, "steps") as bar:
        bar.advance(3, tokens=5)
    assert "train dpo" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("error", "code"), [(ConfigError("x", "do y"), 2), (MismatchError("x", "do y"), 2), (SandboxError("x", "do y"), 75)]
)
def test_errors_leave_with_their_code_and_hint(error, code, capsys, tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("GREENLIT_EXIT_CODE_FILE", str(tmp_path / "code"))

    def fail() -> None:
        raise error

    with pytest.raises(SystemExit) as left:
        exit_cleanly(fail)
    assert left.value.code == code
    assert capsys.readouterr().err == "error: x\nhint: do y\n"
    assert (tmp_path / "code").read_text() == str(code)
