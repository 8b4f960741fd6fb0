"""MLflow's store and its registered models, against a real store in a SQLite file."""

import json
import sqlite3
import subprocess
import sys
from contextlib import closing

import pytest

from greenlit.errors import DataError, WorldError
from greenlit.registry.evidence import lineage_tags
from greenlit.registry.mlflow import already_registered, register_model, remember
from greenlit.stage.secrets import without_password
from greenlit.stage.workspace import sha256_tree
from greenlit.trackers import mlflow_store
from greenlit.tracking.origin import git_commit
from greenlit.tracking.spool import Header, new_id


@pytest.fixture(scope="module")
def uri(tmp_path_factory):
    """One store for all tests: its first use costs seconds."""
    return f"sqlite:///{tmp_path_factory.mktemp('store')}/mlflow.db"


@pytest.fixture(scope="module")
def client(uri):
    return mlflow_store.open_client(uri)


def model(folder, content):
    folder.mkdir(parents=True)
    (folder / "config.json").write_text("{}")
    (folder / "weights").mkdir()
    (folder / "weights" / "model.safetensors").write_bytes(content)
    return folder


def header(**changes):
    given = {"id": new_id(), "experiment": "registry", "name": "register@dpo", "stage": "register"}
    return Header(**given | {"report_to": [], "started": 1.0, "params": {"beta": 0.1}} | changes)


def register(merged, name, uri, record, **changes):
    given = {"tags": {"git_commit": "abc"}, "metrics": {"test": {"pass@1": 0.5}}, "header": header()}
    registered = register_model(merged, name, **(given | changes), uri=uri)
    remember(record, registered, uri)
    return registered


# the store


def test_the_store_is_the_environments_or_a_file_in_the_project(monkeypatch):
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    assert mlflow_store.tracking_uri() == "sqlite:///mlflow.db"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://localhost:5000")
    assert mlflow_store.tracking_uri() == "http://localhost:5000"
    assert mlflow_store.sqlite_file("http://localhost:5000") is None


def test_an_unusable_store_is_the_worlds_fault_and_keeps_its_password(tmp_path):
    (tmp_path / "mlflow.db").write_text("no database")
    with pytest.raises(WorldError, match="MLflow at"):
        mlflow_store.open_client(f"sqlite:///{tmp_path}/mlflow.db")
    with pytest.raises(WorldError, match=r"MLflow at http://me:\*\*\*@127.0.0.1:1: .*refused"):
        mlflow_store.open_client("http://me:secret@127.0.0.1:1")
    assert without_password("postgresql://me:secret@host/db") == "postgresql://me:***@host/db"
    assert mlflow_store.uri_hash("http://a:b@c") != mlflow_store.uri_hash("http://a:c@c")


def test_first_clients_in_a_fresh_project_are_silent_send_no_telemetry_and_do_not_break_each_other(tmp_path):
    code = (
        "import sys; from greenlit.trackers.mlflow_store import *; assert 'mlflow' not in sys.modules\n"
        "client = open_client(tracking_uri()); client.create_run(experiment_id(client, 'demo', tracking_uri()))\n"
        "from mlflow.telemetry.utils import is_telemetry_disabled; assert is_telemetry_disabled()"
    )
    environment = {"PATH": "/usr/bin:/bin", "PYTHONPATH": ":".join(sys.path), "HOME": str(tmp_path)}
    start = {"cwd": tmp_path, "env": environment, "stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
    running = [subprocess.Popen([sys.executable, "-c", code], **start) for _ in range(2)]
    said = [process.communicate()[0] for process in running]
    assert ([process.returncode for process in running], said) == ([0, 0], ["", ""])
    with closing(sqlite3.connect(tmp_path / "mlflow.db")) as connection:
        assert connection.execute("SELECT count(*) FROM runs").fetchone() == (2,)
    assert not (tmp_path / "mlruns").exists()


def test_a_set_up_that_was_killed_half_way_is_begun_anew(tmp_path):
    (tmp_path / "mlflow.db.part").write_bytes(b"half of it")
    (tmp_path / "mlflow.db.part-journal").write_bytes(b"of the half")
    client = mlflow_store.open_client(f"sqlite:///{tmp_path}/mlflow.db")
    assert [found.name for found in client.search_experiments()] == ["Default"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["mlflow.db", "mlflow.db.lock"]


# models


def test_the_same_model_is_registered_once_and_another_becomes_the_next_version(tmp_path, uri, client):
    merged, record = model(tmp_path / "merged", b"weights"), tmp_path / "record.json"
    first = register(merged, "twice", uri, record)
    again = register(merged, "twice", uri, record)
    assert (first.version, first.created) == ("1", True)
    assert (again.version, again.run_id, again.created) == ("1", first.run_id, False)
    second = register(model(tmp_path / "other", b"other weights"), "twice", uri, record)
    assert (second.version, second.created) == ("2", True)
    assert len(client.search_model_versions("name = 'twice'")) == 2


def test_a_copy_elsewhere_is_the_same_model(tmp_path, uri):
    first = register(model(tmp_path / "here", b"same"), "copied", uri, tmp_path / "a.json")
    again = register(model(tmp_path / "there", b"same"), "copied", uri, tmp_path / "b.json")
    assert (again.version, again.created) == (first.version, False)


def test_a_version_carries_its_lineage_and_its_run_the_figures(tmp_path, uri, client):
    (tmp_path / "pairs.jsonl").write_text("{}\n")
    figures = {"pass@1": {"value": 0.5, "low": 0.4, "high": 0.6, "n": 80}}
    tags = lineage_tags({"pairs": tmp_path / "pairs.jsonl"}, "starter", 3, figures, tmp_path)
    merged = model(tmp_path / "merged", b"lineage")
    found = register(merged, "lineage", uri, tmp_path / "r.json", tags=tags)
    stored = client.get_model_version("lineage", found.version).tags
    assert stored["merged_sha256"] == sha256_tree(merged) == found.sha256
    assert stored["pairs_sha256"] == "ca3d163bab055381827226140568f3bef7eaac187cebd76878e0b63e9e442356"
    assert (stored["git_commit"], stored["base"], stored["seed"]) == ("unknown", "starter", "3")
    assert json.loads(stored["figures"]) == figures
    run = client.get_run(found.run_id)
    assert (run.data.metrics["test.pass_at_1"], run.data.params["beta"]) == (0.5, "0.1")
    assert client.get_registered_model("lineage").aliases == {}


def test_a_version_comes_from_the_run_that_is_tracked_below_its_parent(tmp_path, uri, client):
    parent = header(stage=None, name="registry_now")
    child = header(report_to=["mlflow"], parent=parent.id)
    merged = model(tmp_path / "merged", b"tracked")
    found = register(merged, "tracked", uri, tmp_path / "r.json", header=child, parent=parent)
    run = client.get_run(found.run_id)
    assert run.data.tags["greenlit_run"] == child.id
    assert client.get_run(run.data.tags["mlflow.parentRunId"]).info.run_name == "registry_now"
    assert run.data.metrics == {"test.pass_at_1": 0.5}


def test_the_files_come_back_as_they_went(tmp_path, uri, client):
    merged = model(tmp_path / "merged", b"round trip")
    version = register(merged, "files", uri, tmp_path / "r.json").version
    from mlflow.artifacts import download_artifacts

    source = client.get_model_version_download_uri("files", version)
    back = download_artifacts(artifact_uri=source, dst_path=str(tmp_path / "back"), tracking_uri=uri)
    assert back.rstrip("/").endswith("model")
    assert sha256_tree(tmp_path / "back" / "model" / "merged") == sha256_tree(merged)


def test_what_is_registered_is_known_without_mlflow(tmp_path, uri, client):
    merged, record = model(tmp_path / "merged", b"known"), tmp_path / "r.json"
    sha256 = sha256_tree(merged)
    assert not already_registered(record, "known", sha256, uri)
    register(merged, "known", uri, record)
    assert already_registered(record, "known", sha256, uri)
    assert not already_registered(record, "known", "0" * 64, uri)
    assert not already_registered(record, "renamed", sha256, uri)
    assert not already_registered(record, "known", sha256, "http://elsewhere:5000")
    assert not already_registered(record, "known", sha256, uri, margin=0.1), "noted under other settings"
    client.delete_model_version("known", "1")
    assert not already_registered(record, "known", sha256, uri)


def test_a_deleted_or_new_database_is_not_believed_to_hold_the_model(tmp_path):
    database, record = tmp_path / "mlflow.db", tmp_path / "r.json"
    local = f"sqlite:///{database}"
    known = {"name": "m", "version": "1", "sha256": "a" * 64, "uri_hash": mlflow_store.uri_hash(local)}
    record.write_text(json.dumps(known))
    assert not already_registered(record, "m", "a" * 64, local)
    assert not database.exists()
    sqlite3.connect(database).close()
    assert not already_registered(record, "m", "a" * 64, local)


@pytest.mark.parametrize("content", ["", "not JSON", "[]", "{}"])
def test_a_damaged_record_is_no_record(tmp_path, content, uri):
    (tmp_path / "r.json").write_text(content)
    assert not already_registered(tmp_path / "r.json", "m", "a" * 64, uri)


def test_the_no_op_path_loads_no_mlflow(tmp_path):
    code = (
        "import sys; from pathlib import Path; from greenlit.registry.mlflow import already_registered\n"
        "already_registered(Path('r.json'), 'm', 'a', 'sqlite:///mlflow.db'); assert 'mlflow' not in sys.modules"
    )
    environment = {"PYTHONPATH": ":".join(sys.path)}
    subprocess.run([sys.executable, "-c", code], cwd=tmp_path, env=environment, check=True)


def test_an_empty_folder_is_no_model(tmp_path, uri):
    (tmp_path / "merged").mkdir()
    with pytest.raises(DataError, match="no merged model"):
        register(tmp_path / "merged", "empty", uri, tmp_path / "r.json")
    assert not (tmp_path / "r.json").exists()


def test_a_failed_upload_leaves_no_version_and_no_record(tmp_path, uri, client, monkeypatch):
    def full(*_):
        raise OSError("disk full")

    monkeypatch.setattr("greenlit.trackers.mlflow.MlflowReporter.folder", full)
    failing = header(experiment="failing")
    with pytest.raises(OSError, match="disk full"):
        register(model(tmp_path / "merged", b"failing"), "failing", uri, tmp_path / "r.json", header=failing)
    (run,) = client.search_runs([client.get_experiment_by_name("failing").experiment_id])
    assert run.info.status == "FAILED"
    assert client.search_model_versions("name = 'failing'") == []
    assert not (tmp_path / "r.json").exists()


def test_the_commit_says_when_the_code_differs_from_it(tmp_path):
    def git(*command):
        subprocess.run(["git", "-C", str(tmp_path), "-c", "user.name=n", "-c", "user.email=e", *command], check=True)

    assert git_commit(tmp_path) == "unknown"
    git("init", "-q")
    (tmp_path / "file").write_text("1")
    git("add", "file")
    git("commit", "-q", "-m", "first")
    clean = git_commit(tmp_path)
    assert len(clean) == 40
    (tmp_path / "file").write_text("2")
    assert git_commit(tmp_path) == f"{clean}+changes"
