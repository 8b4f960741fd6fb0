"""The whole pipeline in a copy of the project: DVC's view, Prefect's view, repetition, real MBPP records."""

import json
import os
import re
import shutil
import socket
import subprocess
import sys
import time
from pathlib import Path

import httpx
import interruption
import pytest
import workspace
from flow_runs import noted
from workspace import paths_of

from greenlit.config import load_params
from greenlit.jsonl import read_rows
from greenlit.types import Annotated, Candidate, Pair, Problem

DVC = (sys.executable, "-m", "dvc")


def test_the_run_ends_with_the_table_and_the_path(tiny: Path) -> None:
    stdout = (tiny / "stdout.txt").read_text()
    assert re.search(r"dpo\s+.*pass@1", stdout)
    assert stdout.rstrip().endswith("report: results/reports/tiny_summary.md")


def test_every_stage_left_what_it_promises(tiny: Path) -> None:
    paths = paths_of(tiny)
    problems = {
        split: list(read_rows(tiny / paths.problems(split), Problem)) for split in ("train", "validation", "test")
    }
    assert {split: len(rows) for split, rows in problems.items()} == {"train": 40, "validation": 10, "test": 10}
    candidates = list(read_rows(tiny / paths.candidates, Candidate))
    assert len(candidates) == 40 * load_params(tiny / "params.yaml").generate.n
    annotated = list(read_rows(tiny / paths.annotated, Annotated))
    assert [(row.task_id, row.candidate_idx) for row in annotated] == [(c.task_id, c.candidate_idx) for c in candidates]
    level = json.loads((tiny / paths.audit).read_text())["sandbox_level"]
    assert {row.level for row in annotated} == {level}
    assert level in {"namespaces", "bubblewrap", "portable"}
    assert {row.passed for row in annotated} == {True, False}
    pairs = list(read_rows(tiny / paths.rl / "pairs.jsonl", Pair))
    verdicts = {(row.task_id, row.candidate_idx): row.passed for row in annotated}
    assert pairs
    assert all(verdicts[p.task_id, p.chosen_idx] and verdicts[p.task_id, p.rejected_idx] is False for p in pairs)
    assert all(p.chosen.endswith(p.rejected[-5:]) for p in pairs)
    for name in (
        "adapter/adapter_config.json",
        "merged/model.safetensors",
        "merged/README.md",
        "config.yaml",
        "metrics.json",
    ):
        assert (tiny / paths.method("dpo") / name).exists(), name
    for ending in ("summary.md", "pass_at_k.csv", "by_problem.png", "verdicts.png", "training.png"):
        assert (tiny / paths.report(ending)).stat().st_size > 100


def test_the_summary_has_the_keys_people_look_for(tiny: Path) -> None:
    summary = json.loads((tiny / paths_of(tiny).report("summary.json")).read_text())
    assert list(summary)[:7] == [
        "experiment", "seed", "baseline_test", "after_test", "delta", "rl_manifest", "checkpoint",
    ]  # fmt: skip
    assert set(summary["baseline_test"]) == {"pass@1", "pass@4", "greedy"}
    assert set(summary["baseline_test"]["pass@1"]) == {"value", "low", "high", "n"}
    assert set(summary["delta"]["dpo"]["greedy"]) == {"value", "low", "high", "n", "p"}
    assert not any(str(tiny) in str(value) for value in summary.values())


def test_a_second_repro_has_nothing_to_do_and_is_quick(tiny: Path) -> None:
    seconds = []
    for _ in range(2):
        before = os.times()
        done = workspace.run(tiny, *DVC, "repro")
        after = os.times()
        seconds.append(after.children_user + after.children_system - before.children_user - before.children_system)
    ran = set(re.findall(r"Running stage '(.*?)'", done.stdout + done.stderr))
    assert ran == {"register@dpo"}
    assert min(seconds) < 4, seconds  # of CPU, since what others do on this machine is none of its doing


@pytest.mark.parametrize("stage", ["fetch", "prepare", "annotate", "build", "report", "register"])
def test_a_stage_that_needs_no_torch_loads_none(tiny: Path, stage: str) -> None:
    argument = []
    if stage == "register":
        argument = ["--method", "dpo"]
        workspace.run(tiny, *DVC, "repro", "register@dpo")  # a copy's store is another one, and has to be asked once
    code = (
        f"import sys; sys.argv[1:] = {argument}\n"
        f"import tasks.{stage}; tasks.{stage}.main()\n"
        "print([name for name in ('torch', 'transformers', 'mlflow') if name in sys.modules])"
    )
    assert workspace.run(tiny, sys.executable, "-c", code).stdout.splitlines()[-1] == "[]"


def test_dvc_shows_metrics_plots_and_the_graph(tiny: Path) -> None:
    metrics = json.loads(workspace.run(tiny, *DVC, "metrics", "show", "--json").stdout)
    data = metrics[""]["data"]["results/reports/tiny_summary.json"]["data"]
    assert data["delta"]["dpo"]["pass@1"]["n"] == 10
    assert "file://" in workspace.run(tiny, *DVC, "plots", "show").stdout
    assert "evaluate@dpo" in workspace.run(tiny, *DVC, "dag").stdout


def test_the_merged_model_is_registered_once_with_its_lineage(tiny: Path) -> None:
    from mlflow import MlflowClient

    client = MlflowClient(f"sqlite:///{tiny}/mlflow.db")
    workspace.run(tiny, *DVC, "repro")
    (version,) = client.search_model_versions("name = 'greenlit-tiny'")
    assert {"git_commit", "reads_sha256", "start_sha256", "test_sha256", "seed", "figures", "merged_sha256"} <= set(
        version.tags
    )
    runs = client.search_runs([e.experiment_id for e in client.search_experiments()])
    trained = next(run for run in runs if run.info.run_name == "train@dpo")
    assert client.get_run(version.run_id).info.run_name == "register@dpo"
    assert trained.data.params["method"] == "dpo"
    assert len(trained.data.params) < 40
    assert client.get_metric_history(trained.info.run_id, "loss")


@pytest.mark.slow
def test_mlflows_own_pages_show_the_runs(tiny: Path) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, "-m", "mlflow", "ui", "--backend-store-uri", "sqlite:///mlflow.db", "--port", str(port)]
    environment = workspace.environment(tiny) | {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}  # as `make up` does
    server = subprocess.Popen(
        [*command, "--workers", "1"], cwd=tiny, env=environment, stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL, start_new_session=True,
    )  # fmt: skip
    try:
        until = time.monotonic() + 90
        while True:
            try:
                page = httpx.get(f"http://127.0.0.1:{port}/", timeout=5)
                break
            except httpx.TransportError:
                assert server.poll() is None
                assert time.monotonic() < until
                time.sleep(0.3)
        assert page.status_code == 200
        found = httpx.post(
            f"http://127.0.0.1:{port}/api/2.0/mlflow/experiments/search", json={"max_results": 10}, timeout=20
        )
        assert "tiny" in {one["name"] for one in found.json()["experiments"]}
    finally:
        for process in reversed(interruption.tree(server.pid)):
            process.kill()
        server.wait()


@pytest.mark.usefixtures("warm")
def test_prefect_shows_one_task_run_per_stage_and_finds_nothing_to_do(tiny: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(tiny, tmp_path / "project", symlinks=True))  # flows keep records of their own
    workspace.run(folder, sys.executable, "-m", "flows.offline")
    states = dict(noted(folder, "task_run"))
    listed = workspace.run(folder, *DVC, "stage", "list", "--name-only").stdout.split()
    assert set(states) == {stage.replace("@", "-") for stage in listed}
    assert set(states.values()) == {"Cached"}
    assert [state for _, state in noted(folder, "flow_run")] == ["Completed"]


@pytest.mark.slow
@pytest.mark.usefixtures("warm")
def test_another_seed_gives_other_bytes(tiny: Path, tmp_path: Path) -> None:
    """With the same model: that weights depend on the seed is shown in tests/test_starter_model.py, and that the same
    seed gives the same bytes, in another folder, in tests/test_reproduce.py."""
    other = workspace.make_workspace(tmp_path / "other", "tiny")
    params = other / "params.yaml"
    params.write_text(params.read_text().replace("seed: 0", "seed: 1"))
    workspace.start_from(params, tiny)
    workspace.greenlit(other, "run", "--only", "baseline")
    sampled = paths_of(tiny).measured("test", None)
    assert (tiny / sampled).read_bytes() != (other / sampled).read_bytes()


@pytest.mark.slow
@pytest.mark.usefixtures("warm")
def test_metrics_can_be_compared_between_commits(tiny: Path, tmp_path: Path) -> None:
    folder = tmp_path / "copy"
    shutil.copytree(tiny, folder, symlinks=True)
    workspace.run(folder, "git", "add", "dvc.lock")
    workspace.run(folder, "git", "-c", "user.name=t", "-c", "user.email=t@t", "commit", "-qm", "results")
    params = folder / "params.yaml"
    params.write_text(params.read_text().replace("  resamples: 1000", "  resamples: 1000\n  confidence: 0.8"))
    workspace.greenlit(folder, "run", "--only", "test_after")
    found = json.loads(workspace.run(folder, *DVC, "metrics", "diff", "--json").stdout)
    changed = found["results/reports/tiny_summary.json"]
    assert (changed["confidence"]["old"], changed["confidence"]["new"]) == (0.95, 0.8)
    assert "baseline_test.pass@1.value" not in changed
    assert changed["baseline_test.pass@1.high"]["diff"] < 0


@pytest.mark.slow
@pytest.mark.usefixtures("warm")
def test_real_mbpp_records_go_through_the_same_stages(tiny: Path, tmp_path: Path, shared_data: Path) -> None:
    folder = workspace.make_workspace(tmp_path / "mbpp", "tiny")
    shutil.copytree(tiny / "assets/models/base", tmp_path / "base")
    params = (folder / "params.yaml").read_text()
    params = params.replace("name: starter", f"name: mbpp\n  path: {shared_data}/mbpp/mbpp.jsonl")
    params = params.replace("model: starter\n", f"model: {tmp_path}/base\n")
    params = re.sub(r"limits: .*", "limits: {train: 6, validation: 4, test: 4}", params)
    params = params.replace("assets/rl/starter/", "assets/rl/mbpp/")
    (folder / "params.yaml").write_text(params)
    workspace.greenlit(folder, "run", "--only", "rl_build")
    paths = paths_of(folder)
    problems = list(read_rows(folder / paths.problems("train"), Problem))
    assert [problem.task_id for problem in problems] == [f"mbpp/{i}" for i in (601, 603, 604, 605, 606, 607)]
    assert all([test.role for test in problem.tests[:2]] == ["shown", "reward"] for problem in problems)
    rows = list(read_rows(folder / paths.annotated, Annotated))
    assert len(rows) == 6 * 8
    assert all(row.passed is False for row in rows)
    audit = json.loads((folder / paths.audit).read_text())
    assert audit["reference_passes"] == 14
    assert audit["dropped"]["mbpp/602"].startswith("repeats a problem of test (prompt): mbpp/217: ")
