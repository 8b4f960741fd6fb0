"""What stages tell reaches the trackers: whole, once, under one parent; and no tracker ever stops a stage."""

import ast
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import get_args

import pytest
import trackers

from greenlit.config import Params, Tracker, load_params, read_yaml
from greenlit.trackers import REPORTERS
from greenlit.trackers.delivery import Delivery, undelivered
from greenlit.trackers.mlflow import MlflowReporter
from greenlit.tracking import beside, executions, spool
from greenlit.tracking.beside import deliver
from greenlit.tracking.executions import EXECUTION, execution, reached_end
from greenlit.tracking.runs import tracked
from greenlit.tracking.spool import SPOOL, entries

ROOT = Path(__file__).parent.parent
TINY = load_params(ROOT / "presets" / "tiny.yaml")


@pytest.fixture(scope="module")
def uri(tmp_path_factory) -> str:
    """One store for all tests: its first use costs seconds."""
    return f"sqlite:///{tmp_path_factory.mktemp('store')}/mlflow.db"


@pytest.fixture(scope="module")
def store(uri: str) -> trackers.Mlflow:
    return trackers.Mlflow(uri)


@pytest.fixture(autouse=True)
def project(warm: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, uri: str) -> Path:
    """An empty folder as the project, MLflow's store set, nothing of W&B's; deliveries start warm."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    for name in ("WANDB_API_KEY", "WANDB_MODE", "WANDB_BASE_URL", EXECUTION):
        monkeypatch.delenv(name, raising=False)
    return tmp_path


def settings(name: str, *report_to: Tracker, **changes) -> Params:
    tracking = TINY.tracking.model_copy(update={"report_to": list(report_to or ("mlflow",))})
    return TINY.model_copy(update={"experiment": name, "tracking": tracking, **changes})


def closed_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return server.getsockname()[1]


def in_a_process(script: str) -> subprocess.CompletedProcess:
    start = f"import os, signal, sys; from pathlib import Path; sys.path[:0] = [{str(ROOT / 'tests')!r}]\n"
    command = [sys.executable, "-c", f"{start}import test_tracking as t\n{script}"]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def train(params: Params, steps, work: Path | None = None, **changes) -> str:
    with tracked(params, "train", "methods", method="dpo", work=work, **changes) as run:
        for step in steps:
            run.log(step, {"loss": 1 / step, "note": "text", "lost": float("nan")})
    return run.headers()[0].id


# what arrives


def test_a_stage_arrives_whole_below_the_execution(store, project) -> None:
    (project / "audit.json").write_text('{"kept": 3}')
    with (
        execution(settings("whole")),
        tracked(settings("whole"), "prepare", "dataset", "prepare") as run,
    ):
        run.log(1, {"loss": 0.5, "rewards/accuracies": 1})
        run.log(2, {"loss": 0.25})
        run.headline({"test": {"pass@1": {"value": 0.7, "low": None}}, "level": "namespaces"})
        run.file(project / "audit.json")
        run.file(project / "missing.json")
    found = store.run("whole", "prepare")
    assert found.info.status == "FINISHED"
    assert found.data.params["prepare.limits.train"] == "40"
    assert set(found.data.params) == {
        "seed",
        *(f"dataset.{key}" for key in ("name", "path", "variant", "revision")),
        *(f"prepare.limits.{key}" for key in ("train", "validation", "test")),
        *(
            f"prepare.{key}"
            for key in ("shown_tests", "mutants", "kill_share", "min_tests", "slow_share", "answer_format")
        ),
    }
    assert store.curve(found, "loss") == [(1, 0.5), (2, 0.25)]
    assert found.data.metrics["test.pass_at_1.value"] == 0.7
    assert "test.pass_at_1.low" not in found.data.metrics
    assert (found.data.tags["stage"], found.data.tags["git_commit"]) == ("prepare", "unknown")
    assert found.data.tags["packages.torch"]
    assert store.files(found) == ["audit.json"]
    parent = store.parent(found)
    assert parent.info.status == "FINISHED"
    assert parent.info.run_name.startswith("whole_20")
    assert parent.data.metrics == {"test.pass_at_1.value": 0.7}
    assert entries() == []


@pytest.mark.parametrize(
    ("fault", "status", "error"),
    [(ValueError("broken\nmore"), "FAILED", "ValueError: broken"), (KeyboardInterrupt(), "KILLED", None)],
)
def test_how_a_stage_ended_is_told(store, fault, status, error) -> None:
    name = f"ended-{status}"
    with pytest.raises(type(fault)), execution(settings(name)), tracked(settings(name), "build", "build"):
        raise fault
    found = store.run(name, "build")
    assert (found.info.status, found.data.tags.get("error")) == (status, error)
    assert store.parent(found).info.status == status


def test_a_stage_that_was_killed_is_found_out(store) -> None:
    script = "with t.tracked(t.settings('killed'), 'base', 'base'): os.kill(os.getpid(), signal.SIGKILL)"
    assert in_a_process(script).returncode == -signal.SIGKILL
    Delivery().all()
    assert store.run("killed", "base").info.status == "KILLED"


def test_a_stage_that_lives_is_not_taken_for_dead(store) -> None:
    with tracked(settings("alive"), "base", "base"):
        Delivery().all()
        assert store.runs("alive") == [] or {run.data.tags.get("stage") for run in store.runs("alive")} == {None}
    Delivery().all()
    assert store.run("alive", "base").info.status == "FINISHED"


def test_tensorboard_gets_curves_and_figures() -> None:
    params = settings("board", "tensorboard")
    with execution(params):
        run_id = train(params, [1, 2, 4])
        with tracked(params, "merge", "methods", method="dpo"):
            pass
    (folder,) = Path(".work/tensorboard").glob("board_*/*")
    assert folder.name == f"train@dpo-{run_id[:6]}"
    assert trackers.tensorboard_curves(folder) == {"loss": [(1, 1.0), (2, 0.5), (4, 0.25)]}


def test_wandb_without_a_key_writes_files_and_says_so_once(project) -> None:
    (project / "config.yaml").write_text("a: 1\n")
    script = (
        "params = t.settings('offline', 'wandb')\n"
        "with t.execution(params):\n"
        "    t.train(params, [1, 2])\n"
        "    with t.tracked(params, 'report', 'report') as run:\n"
        "        run.figures({'pass@1': 0.5}); run.file(Path('config.yaml'))\n"
    )
    done = in_a_process(script)
    assert (done.returncode, done.stdout) == (0, "")
    assert done.stderr == (
        "tracking: W&B is offline (no WANDB_API_KEY); `wandb sync .work/wandb/offline-run-*` uploads its runs\n"
    )
    found = {}
    for file in Path(".work/wandb").glob("offline-run-*/run-*.wandb"):
        records = trackers.wandb_records(file)
        (run,) = [record.run for record in records if record.WhichOneof("record_type") == "run"]
        found[run.display_name] = (run, records, file.parent)
    assert set(found) == {"train@dpo", "report"}
    run, records, _ = found["train@dpo"]
    assert (run.project, run.job_type) == ("offline", "train")
    assert run.run_group == found["report"][0].run_group
    config = {item.key: item.value_json for item in run.config.update}
    assert config["learning_rate"] == "0.001"
    assert not run.host
    logged = [
        {"/".join(item.nested_key) or item.key: json.loads(item.value_json) for item in record.history.item}
        for record in records
        if record.WhichOneof("record_type") == "history"
    ]
    assert [(row["_step"], row["loss"]) for row in logged] == [(1, 1.0), (2, 0.5)]
    _, records, folder = found["report"]
    summary = [item for record in records for item in record.summary.update]
    assert "0.5" in {item.value_json for item in summary if "pass@1" in (item.key, *item.nested_key)}
    assert (folder / "files" / "config.yaml").read_text() == "a: 1\n"
    assert not list(folder.rglob("wandb-metadata.json")) + list(folder.rglob("requirements.txt"))


def test_wandb_goes_online_with_a_key_and_a_server_only(monkeypatch) -> None:
    from greenlit.trackers import wandb

    monkeypatch.setenv("HOME", str(Path.cwd()))
    assert wandb.why_offline() == "no WANDB_API_KEY"
    with socket.create_server(("127.0.0.1", 0)) as server:
        monkeypatch.setenv("WANDB_BASE_URL", f"http://127.0.0.1:{server.getsockname()[1]}")
        Path(".netrc").touch(0o600)
        Path(".netrc").write_text("machine 127.0.0.1 login user password hush-hush\n")
        assert wandb.why_offline() is None
        Path(".netrc").unlink()
        monkeypatch.setenv("WANDB_API_KEY", "hush-hush")
        assert wandb.why_offline() is None
        monkeypatch.setenv("WANDB_MODE", "offline")
        assert wandb.why_offline() == "WANDB_MODE=offline"
    monkeypatch.setenv("WANDB_MODE", "")
    assert "127.0.0.1 does not answer" in wandb.why_offline()


def test_no_tracker_no_spool() -> None:
    params = TINY.model_copy(update={"tracking": TINY.tracking.model_copy(update={"report_to": []})})
    with execution(params), tracked(params, "build", "build", live=True) as run:
        run.log(1, {"loss": 1.0})
        run.headline({"a": 1})
        run.file(Path("x"))
        assert run.headers() == (None, None)
    reached_end(params, "dpo")
    assert not SPOOL.exists()


# once


def test_a_delivery_that_broke_off_and_comes_again_doubles_nothing(store, project) -> None:
    train(settings("again"), range(1, 40))
    shutil.copytree(SPOOL, project / "before")
    Delivery().all()
    shutil.rmtree(SPOOL)
    shutil.copytree(project / "before", SPOOL)  # nothing of what was delivered was noted
    Delivery().all()
    assert len(store.runs("again")) == 2
    assert store.curve(store.run("again", "train@dpo"), "loss") == [(step, 1 / step) for step in range(1, 40)]


def test_a_delivery_that_breaks_off_goes_on_where_it_was(store, monkeypatch, capsys) -> None:
    params = settings("midway")
    with tracked(params, "train", "methods", method="dpo") as run:
        run.log(1, {"loss": 1.0})
        run.figures({"rows": 3})
        run.log(2, {"loss": 0.5})
    sent = []
    figures = MlflowReporter.figures

    def breaks(self, values, when):
        raise OSError("cut off")

    metrics = MlflowReporter.metrics
    monkeypatch.setattr(MlflowReporter, "metrics", lambda *given: sent.append(given[1][0].step) or metrics(*given))
    monkeypatch.setattr(MlflowReporter, "figures", breaks)
    Delivery().all()
    assert capsys.readouterr().err == "tracking: mlflow fails (OSError: cut off); its news wait in .work/tracking\n"
    assert undelivered() == ["train@dpo"]
    monkeypatch.setattr(MlflowReporter, "figures", figures)
    Delivery().all()
    assert sent == [1, 0, 2]
    assert undelivered() == []
    assert store.curve(store.run("midway", "train@dpo"), "loss") == [(1, 1.0), (2, 0.5)]


def test_an_interrupted_training_goes_on_in_the_same_run_and_tells_no_step_twice(store, project) -> None:
    work = project / "work"
    work.mkdir()

    def dies(params):
        for step in range(1, 10):
            if step == 6:
                raise KeyboardInterrupt
            yield step

    params = settings("resumed")
    with pytest.raises(KeyboardInterrupt), execution(params):
        train(params, dies(params), work)
    assert store.run("resumed", "train@dpo").info.status == "KILLED"
    with execution(params):
        train(params, range(5, 9), work)  # from the checkpoint of step 4
        shutil.rmtree(work)
    found = store.run("resumed", "train@dpo")
    assert found.info.status == "FINISHED"
    assert store.curve(found, "loss") == [(step, 1 / step) for step in range(1, 9)]
    assert len(store.client.get_metric_history(found.info.run_id, "loss")) == 8
    assert [run.info.status for run in store.runs("resumed")] == ["FINISHED", "FINISHED"]
    assert entries() == []


def test_a_line_that_was_half_written_costs_that_line_only(store, project) -> None:
    work = project / "work"
    work.mkdir()
    params = settings("torn")
    run_id = train(params, [1, 2], work)
    events = SPOOL / run_id / "events.jsonl"
    lines = events.read_text().splitlines(keepends=True)
    events.write_text(lines[0] + lines[1][:20])
    train(params, [2, 3], work)
    shutil.rmtree(work)
    Delivery().all()
    assert store.curve(store.run("torn", "train@dpo"), "loss") == [(1, 1.0), (2, 0.5), (3, 1 / 3)]


# executions


def parents(name: str) -> list[str]:
    return [entry.header.parent for entry in entries() if entry.header.experiment == name and entry.header.stage]


def stage(params: Params, name: str = "build") -> None:
    with tracked(params, name, name):
        pass


def test_what_fails_goes_on_under_the_same_parent_and_what_is_new_gets_a_new_one(monkeypatch) -> None:
    monkeypatch.setattr(executions, "deliver", lambda: None)
    params, other = settings("parents"), settings("parents", seed=1)
    for code in (75, 0, 0):
        with pytest.raises(SystemExit), execution(params):
            stage(params)
            sys.exit(code)
    first, second, third = parents("parents")
    assert first == second != third
    with pytest.raises(SystemExit), execution(other):
        stage(other)
        sys.exit(2)
    with execution(params):
        stage(params)
    assert len(set(parents("parents"))) == 4
    states = {entry.folder.name: entry.state() for entry in entries() if entry.header.stage is None}
    assert [states[parent] for parent in dict.fromkeys(parents("parents"))] == [
        "finished", "finished", "failed", "finished",
    ]  # fmt: skip


def test_stages_of_a_bare_repro_find_each_other_until_every_method_is_done(monkeypatch) -> None:
    monkeypatch.setattr(executions, "deliver", lambda: None)
    params = settings("bare", methods={"a": TINY.methods["dpo"], "b": TINY.methods["dpo"]})
    stage(params)
    reached_end(params, "a")
    with pytest.raises(RuntimeError), tracked(params, "report", "report"):
        raise RuntimeError
    stage(params)
    assert len(set(parents("bare"))) == 1
    reached_end(params, "b")
    assert [entry.state() for entry in entries() if entry.header.stage is None] == ["finished"]
    stage(params)
    assert len(set(parents("bare"))) == 2


def test_where_nothing_ran_nothing_is_told_and_no_process_is_started(monkeypatch) -> None:
    monkeypatch.setattr(beside, "_delivery_command", lambda: pytest.fail("a process was started"))
    with execution(settings("idle")):
        reached_end(settings("idle"), "dpo")
    deliver()
    assert entries() == []


# trackers that fail


def test_a_store_that_is_down_costs_one_line_and_gets_everything_later(store, uri, monkeypatch, capfd) -> None:
    params = settings("down", "mlflow", "tensorboard")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://me:hush@127.0.0.1:{closed_port()}")
    with execution(params):
        train(params, [1, 2, 3])
        stage(params)
    told = capfd.readouterr()
    assert told.out == ""
    (line,) = told.err.splitlines()
    assert line.startswith("tracking: mlflow fails (MLflow at http://me:***@127.0.0.1:")
    assert line.endswith("its news wait in .work/tracking")
    (folder,) = Path(".work/tensorboard").glob("down_*/train*")
    assert len(trackers.tensorboard_curves(folder)["loss"]) == 3
    assert sorted(undelivered()) == ["build", "train@dpo"]
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    deliver()
    assert capfd.readouterr().err == ""
    assert store.curve(store.run("down", "train@dpo"), "loss") == [(1, 1.0), (2, 0.5), (3, 1 / 3)]
    assert len(trackers.tensorboard_curves(folder)["loss"]) == 3
    assert {run.info.status for run in store.runs("down")} == {"FINISHED"}
    assert entries() == []


def test_live_metrics_arrive_while_the_stage_runs(store) -> None:
    with tracked(settings("live"), "train", "methods", method="dpo", live=True) as run:
        run.log(1, {"loss": 1.0})
        deadline = time.monotonic() + 60
        while not (found := [r for r in store.runs("live") if r.data.metrics.get("loss")]):
            assert time.monotonic() < deadline, "nothing arrived"
            time.sleep(0.2)
        assert found[0].info.status == "RUNNING"
        run.log(2, {"loss": 0.5})
    while (found := store.run("live", "train@dpo")).info.status == "RUNNING":
        assert time.monotonic() < deadline, "its end did not arrive"
        time.sleep(0.2)
    assert (found.info.status, store.curve(found, "loss")) == ("FINISHED", [(1, 1.0), (2, 0.5)])


def test_metrics_cost_a_training_next_to_nothing() -> None:
    metrics = {f"rewards/{i}": i / 7 for i in range(20)}
    with tracked(settings("cost"), "train", "methods", method="dpo") as run:
        started = time.process_time()
        for step in range(1000):
            run.log(step, metrics)
        took_s = time.process_time() - started
    assert took_s < 2  # 2 ms a step; measured 0.1 ms


class Server:
    """`mlflow server`, which can die and come back with what it had."""

    def __init__(self, folder: Path) -> None:
        self.port, self._folder, self._process = closed_port(), folder, None
        self.uri = f"http://127.0.0.1:{self.port}"

    def start(self) -> None:
        arguments = ["--host", "127.0.0.1", "--port", str(self.port), "--workers", "1"]
        arguments += ["--backend-store-uri", f"sqlite:///{self._folder}/served.db"]
        arguments += ["--artifacts-destination", str(self._folder / "artifacts")]
        self._process = subprocess.Popen(
            [sys.executable, "-m", "mlflow", "server", *arguments],
            env={**os.environ, "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"},  # three processes for nothing
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True,
        )  # fmt: skip
        deadline = time.monotonic() + 180
        while True:
            try:
                socket.create_connection(("127.0.0.1", self.port), timeout=1).close()
                return
            except OSError:
                assert time.monotonic() < deadline, "the server does not come up"
                time.sleep(0.2)

    def die(self) -> None:
        if self._process:
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()
            self._process = None


@pytest.mark.slow
def test_a_server_that_dies_in_mid_training_gets_the_rest_later_and_nothing_twice(tmp_path, monkeypatch, capfd) -> None:
    params, server = settings("served"), Server(tmp_path)
    monkeypatch.setattr(beside, "_delivery_command", lambda: [sys.executable, "-m", "impatient_delivery"])
    monkeypatch.setenv("MLFLOW_TRACKING_URI", server.uri)
    (tmp_path / "config.yaml").write_text("a: 1\n")
    try:
        with execution(params), tracked(params, "train", "methods", method="dpo", live=True) as run:
            run.log(1, {"loss": 1.0})  # nobody there yet
            time.sleep(3)
            server.start()
            store = trackers.Mlflow(server.uri)
            for step in range(2, 200):
                run.log(step, {"loss": 1 / step})
            deadline = time.monotonic() + 90  # a tracker that failed rests for a moment
            while not any(found.data.metrics for found in store.runs("served")):
                assert time.monotonic() < deadline, "nothing arrived"
                time.sleep(0.5)
            server.die()
            for step in range(200, 300):
                run.log(step, {"loss": 1 / step})
            run.file(tmp_path / "config.yaml")
        assert undelivered() == ["train@dpo"]
        assert "tracking: mlflow fails" in capfd.readouterr().err
        server.start()
        deliver()
        found = store.run("served", "train@dpo")
        history = store.client.get_metric_history(found.info.run_id, "loss")
        assert sorted(point.step for point in history) == list(range(1, 300))
        assert len(store.runs("served")) == 2
        assert (found.info.status, store.files(found)) == ("FINISHED", ["config.yaml"])
        assert entries() == []
    finally:
        server.die()


# house


def test_params_name_the_trackers_there_are() -> None:
    assert tuple(REPORTERS) == get_args(Tracker)


def test_a_run_has_the_parameters_that_its_stage_depends_on() -> None:
    stages = read_yaml(ROOT / "dvc.yaml")["stages"]
    told = {}
    for name in stages:
        for node in ast.walk(ast.parse((ROOT / "tasks" / f"{name}.py").read_text())):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "tracked":
                stage_name, *sections = [argument.value for argument in node.args[1:]]
                told.setdefault(stage_name, set()).update(sections)
    depends = {
        name: {part.split(".")[0] for part in body.get("do", body)["params"]} - {"seed"}
        for name, body in stages.items()
    }
    assert told == depends


def test_tracking_is_nothing_a_stage_depends_on() -> None:
    for name, body in read_yaml(ROOT / "dvc.yaml")["stages"].items():
        assert "tracking" not in body.get("do", body)["params"], name


def test_the_spool_keeps_no_large_file(project, monkeypatch) -> None:
    monkeypatch.setattr(spool, "_LARGE", 10)
    (project / "large").write_text("x" * 11)
    with tracked(settings("large"), "build", "build") as run:
        run.file(project / "large")
    (entry,) = [entry for entry in entries() if entry.header.stage]
    assert not entry.files.exists()
