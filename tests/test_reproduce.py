"""A run can be repeated: the same bytes whatever the processes and batches, and a record to compare with."""

import hashlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import workspace
import yaml

from greenlit.config import load_params
from greenlit.errors import ConfigError
from greenlit.evaluation.summary import flat_figures
from greenlit.jsonl import read_json, write_json
from greenlit.locked import md5_file
from greenlit.repro import StageFailedError
from greenlit.runs.comparing import first_difference
from greenlit.runs.differences import Change, changes_since, compare_with
from greenlit.runs.records import git_state, outs_of, record_run
from greenlit.runs.reproduce import find_record
from greenlit.stage import hardware
from greenlit.stage.stopping import Stopped
from greenlit.stage.workspace import sha256_tree
from tasks import annotate, build, generate, prepare


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the project in which nothing has run."""
    folder = workspace.make_workspace(tmp_path / "project", "tiny")
    monkeypatch.chdir(folder)
    return folder


@pytest.fixture
def ran(tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of a project in which everything has run."""
    folder = tmp_path / "ran"
    shutil.copytree(tiny, folder, symlinks=True)
    monkeypatch.chdir(folder)
    monkeypatch.setenv("GREENLIT_CACHE", str(tmp_path / "verdicts.sqlite"))
    return folder


def record_of(folder: Path) -> Path:
    (path,) = (folder / "results/runs").glob("*.json")
    return path


def change_record(path: Path, **changes: object) -> Path:
    """The record with other values; `git__commit` is a key inside `git`."""
    record = read_json(path)
    for name, value in changes.items():
        *outer, key = name.split("__")
        place = record
        for section in outer:
            place = place[section]
        place[key] = value
    write_json(path, record)
    return path


# --- the same bytes ---------------------------------------------------------------------------------------------------


def sampled_again(batch_size: int, workers: int, monkeypatch: pytest.MonkeyPatch) -> bytes:
    """What the stage `generate` writes in this folder with these settings."""
    monkeypatch.setenv("GREENLIT_WORKERS", str(workers))
    params, paths = load_params(), workspace.paths_of(Path())
    changed = params.generate.model_copy(update={"batch_size": batch_size})
    generate.run(changed, params.seed, paths.problems("train"), Path("assets/models/base"), Path("again.jsonl"))
    return Path("again.jsonl").read_bytes()


@pytest.mark.slow
def test_generated_bytes_do_not_depend_on_the_number_of_processes(ran: Path, monkeypatch) -> None:
    expected = workspace.paths_of(ran).candidates.read_bytes()
    assert [sampled_again(256, workers, monkeypatch) == expected for workers in (1, 2)] == [True, True]
    assert sampled_again(50, 1, monkeypatch) == sampled_again(50, 2, monkeypatch)


@pytest.mark.slow
def test_another_batch_size_samples_the_same_programs_to_the_last_digit_of_their_probability(
    ran: Path, monkeypatch
) -> None:
    rows = [json.loads(line) for line in workspace.paths_of(ran).candidates.read_text().splitlines()]
    again = [json.loads(line) for line in sampled_again(7, 2, monkeypatch).splitlines()]
    assert max(abs(a.pop("logprob") - b.pop("logprob")) for a, b in zip(rows, again, strict=True)) < 0.0015
    assert again == rows


@pytest.mark.slow
@pytest.mark.parametrize("workers", ["1", "2", "4"])
def test_problems_verdicts_and_pairs_do_not_depend_on_processes(ran: Path, monkeypatch, workers: str) -> None:
    monkeypatch.setenv("GREENLIT_WORKERS", workers)
    params, paths = load_params(), workspace.paths_of(ran)
    expected = {
        path: path.read_bytes()
        for path in (
            paths.annotated, paths.audit, paths.quarantine,
            *(paths.problems(split) for split in ("train", "validation", "test")),
            *(paths.rl / name for name in ("pairs.jsonl", "nbest.jsonl", "manifest.json")),
        )
    }  # fmt: skip
    for path in expected:
        path.unlink()
    prepare.run(params, paths)
    annotate.run(params.annotate, paths.problems("train"), paths.candidates, paths.annotated, paths.timings)
    build.run(params, paths)
    assert {path: path.read_bytes() for path in expected} == expected


# --- what everything was made with ------------------------------------------------------------------------------------


def test_facts_name_what_can_change_a_result_and_are_the_same_every_time() -> None:
    facts = hardware.facts()
    assert facts == hardware.facts() == json.loads(json.dumps(facts))
    assert list(facts) == [
        "python", "system", "processor", "cores", "memory_gib", "gpus", "gpu_driver", "threads", "packages",
    ]  # fmt: skip
    assert (facts["threads"], facts["processor"] != "") == (1, True)
    assert facts["memory_gib"] > 0.5
    for name in ("torch", "transformers", "trl", "peft", "accelerate", "tokenizers", "safetensors", "numpy"):
        assert re.match(r"\d+\.", facts["packages"][name]), name
    assert hardware.made_with(7) == {"seed": 7, **facts}


@pytest.mark.parametrize(
    ("script", "gpus", "driver"),
    [
        ("echo 'NVIDIA H200, 570.1'; echo 'NVIDIA H200, 570.1'", ["NVIDIA H200", "NVIDIA H200"], "570.1"),
        ("echo 'NVIDIA-SMI has failed'; exit 9", [], None),
        ("echo 'No devices were found'", [], None),
    ],
)
def test_gpus_are_those_that_nvidia_smi_names(tmp_path: Path, monkeypatch, script, gpus, driver) -> None:
    tool = tmp_path / "nvidia-smi"
    tool.write_text(f"#!/bin/sh\n{script}\n")
    tool.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    hardware._gpus.cache_clear()
    facts = hardware.facts()
    hardware._gpus.cache_clear()
    assert (facts["gpus"], facts["gpu_driver"]) == (gpus, driver)


def test_facts_load_nothing_heavy() -> None:
    heavy = "[m for m in ('torch', 'mlflow') if m in sys.modules]"
    code = f"import sys, greenlit.stage.hardware as h; h.facts(); print({heavy})"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout == "[]\n"


def test_every_manifest_says_what_it_was_made_with(tiny: Path) -> None:
    paths = workspace.paths_of(tiny)
    expected = hardware.made_with(0)
    for path in (
        paths.audit, paths.rl / "manifest.json", paths.evaluation(None), paths.evaluation("dpo"),
        paths.method("dpo") / "metrics.json", paths.method("dpo") / "merged/greenlit.json",
        paths.report("summary.json"),
    ):  # fmt: skip
        assert read_json(tiny / path)["made_with"] == expected, path
    assert read_json(tiny / paths.raw / "source.json")["made_with"] == hardware.facts()


def test_config_yaml_holds_all_that_a_method_was_trained_with(tiny: Path) -> None:
    params, paths = load_params(tiny / "params.yaml"), workspace.paths_of(tiny)
    config = yaml.safe_load((tiny / paths.method("dpo") / "config.yaml").read_text())
    made_with, inputs = config.pop("made_with"), config.pop("inputs_sha256")
    assert config == {"experiment": "tiny", "name": "dpo", "seed": 0, **params.methods["dpo"].model_dump()}
    assert made_with == hardware.made_with(0)
    reads = (tiny / params.methods["dpo"].reads).read_bytes()
    assert inputs["reads"] == hashlib.sha256(reads).hexdigest()
    assert inputs["start"] == (tiny / paths.method("dpo") / "adapter/start.sha256").read_text().strip()


def test_eval_results_are_the_figures_with_one_level_of_keys(tiny: Path) -> None:
    paths = workspace.paths_of(tiny)
    document = read_json(tiny / paths.evaluation("dpo"))
    flat = read_json(tiny / paths.log("dpo", "eval_results.json"))
    assert flat == flat_figures(document)
    test, validation = document["splits"]["test"], document["splits"]["validation"]
    assert (flat["pass@1"], flat["pass@1_low"]) == (test["pass@1"]["value"], test["pass@1"]["low"])
    assert (flat["greedy_high"], flat["n"]) == (test["greedy"]["high"], 10)
    assert flat["validation_pass@4"] == validation["pass@4"]["value"]
    assert len(flat) == 2 * (3 * 4 + 1)


# --- the record -------------------------------------------------------------------------------------------------------


def test_a_run_leaves_a_record_of_what_it_was_and_what_came_out(tiny: Path) -> None:
    record = read_json(record_of(tiny))
    assert (record["experiment"], record["seed"], record["state"], record["exit_code"]) == ("tiny", 0, "done", 0)
    assert record["params"] == load_params(tiny / "params.yaml").model_dump(mode="json", by_alias=True)
    assert (len(record["git"]["commit"]), record["git"]["dirty"]) == (40, [])
    assert record["sandbox_level"] in {"namespaces", "bubblewrap", "portable"}
    assert record["settings"]["OMP_NUM_THREADS"] == "1"
    assert record["started"] < record["ended"]
    assert record["facts"] == hardware.facts()
    assert set(record["stages"]) == {
        "fetch", "prepare", "base", "baseline", "generate", "annotate", "build", "train@dpo", "merge@dpo",
        "evaluate@dpo", "report",
    }  # fmt: skip
    order = list(record["stages"])
    assert order.index("prepare") < order.index("generate") < order.index("train@dpo") < order.index("report")
    (pairs,) = [out for path, out in record["stages"]["build"].items() if path.endswith("pairs.jsonl")]
    assert pairs == {"md5": md5_file(tiny / "assets/rl/starter/pairs.jsonl")}
    merged = record["stages"]["merge@dpo"]["results/tiny/dpo/merged"]
    assert merged["files"]["model.safetensors"] == md5_file(tiny / "results/tiny/dpo/merged/model.safetensors")


@pytest.mark.parametrize(
    ("ending", "state", "code"),
    [
        (None, "done", 0),
        (StageFailedError(75), "failed", 75),
        (ConfigError("wrong"), "failed", 2),
        (SystemExit(2), "failed", 2),
        (RuntimeError("unforeseen"), "failed", 1),
        (Stopped(signal.SIGTERM), "stopped", 143),
        (KeyboardInterrupt(), "stopped", 130),
    ],
)
def test_a_record_says_how_the_run_ended(project: Path, ending, state: str, code: int) -> None:
    def run() -> None:
        with record_run(load_params(), whole=False) as path:
            assert read_json(path)["state"] == "running"
            if ending is not None:
                raise ending

    if ending is None:
        run()
    else:
        with pytest.raises(type(ending)):
            run()
    record = read_json(record_of(project))
    assert (record["state"], record["exit_code"], record["stages"]) == (state, code, {})


def test_runs_in_the_same_second_have_records_of_their_own(project: Path) -> None:
    for _ in range(3):
        with record_run(load_params(), whole=True):
            pass
    records = list((project / "results/runs").glob("*.json"))
    assert len(records) == 3
    assert not workspace.run(project, "git", "status", "--porcelain").stdout


def test_a_record_tells_code_that_was_not_committed_but_not_params(project: Path) -> None:
    (project / "params.yaml").write_text((project / "params.yaml").read_text().replace("seed: 0", "seed: 1"))
    assert git_state()["dirty"] == []
    (project / "tasks/new.py").write_text("")
    (project / "dvc.yaml").write_text((project / "dvc.yaml").read_text() + "\n")
    assert git_state()["dirty"] == ["dvc.yaml", "tasks/new.py"]
    (project / ".git").rename(project / "elsewhere")
    assert git_state() is None


def test_only_stages_that_are_up_to_date_are_recorded(ran: Path) -> None:
    record_of(ran).unlink()
    params = Path("params.yaml")
    params.write_text(params.read_text().replace("max_pairs: 4", "max_pairs: 2"))
    with pytest.raises(StageFailedError), record_run(load_params(), whole=False):
        raise StageFailedError(1)
    stages = set(read_json(record_of(ran))["stages"])
    assert {"prepare", "annotate", "baseline"} <= stages
    assert not stages & {"build", "train@dpo", "merge@dpo", "evaluate@dpo", "report"}


def test_a_record_is_found_by_path_name_or_experiment(project: Path) -> None:
    runs = project / "results/runs"
    for name, experiment, started in (
        ("tiny-20260101T000000Z", "tiny", "2026-01-01T00:00:00+00:00"),
        ("tiny-20260102T000000Z", "tiny", "2026-01-02T00:00:00+00:00"),
        ("tiny-b-20260103T000000Z", "tiny-b", "2026-01-03T00:00:00+00:00"),
    ):
        write_json(runs / f"{name}.json", {"experiment": experiment, "started": started})
    assert find_record("tiny").stem == "tiny-20260102T000000Z"
    assert find_record("tiny-20260101T000000Z").stem == "tiny-20260101T000000Z"
    assert find_record("tiny-20260101T000000Z.json").stem == "tiny-20260101T000000Z"
    assert find_record("results/runs/tiny-b-20260103T000000Z.json").stem == "tiny-b-20260103T000000Z"
    with pytest.raises(ConfigError, match=r"no run 'tinny' in results/runs/") as error:
        find_record("tinny")
    assert error.value.hint == "did you mean tiny?"
    shutil.rmtree(runs)
    with pytest.raises(ConfigError) as error:
        find_record("tiny")
    assert error.value.hint == "`greenlit run` first"


# --- what differs -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "then", "now", "expected"),
    [
        ("a.jsonl", '{"a": 1}\n{"b": {"c": 1}}\n', '{"a": 1}\n{"b": {"c": 2}}\n', "record 2: b.c: 1 -> 2"),
        ("a.jsonl", '{"a": 1}\n{"a": 2}\n', '{"a": 1}\n', "record 2: missing now"),
        ("a.jsonl", '{"a": 1}\n', '{"a":1}\n', "record 1: written otherwise"),
        ("a.json", '{"a": [1, {"b": null}]}', '{"a": [1, {"b": 0}]}', "a[1].b: None -> 0"),
        ("a.json", '{"a": 1}', '{"a": 1, "b": 2}', "b: nothing -> 2"),
        ("a.json", '{"a": [1]}', '{"a": [1, 2]}', "a[1]: nothing -> 2"),
        ("a.json", '{"a": 1}', '{"a": true}', "a: 1 -> True"),
        ("a.json", '{"a": 1}', '{"a":  1}', """line 1: '{"a": 1}' -> '{"a":  1}'"""),
        ("a.json", "{", "}", "byte 0"),
        ("a.yaml", "a: 1\nb: x\n", "a: 1\nb: y\n", "b: 'x' -> 'y'"),
        ("a.md", "one\ntwo\n", "one\nzwei\n", "line 2: 'two' -> 'zwei'"),
        ("a.md", "one\n", "one\ntwo\n", "line 2: nothing -> 'two'"),
        ("a.png", b"\x89\xff\x00", b"\x89\xff\x01", "byte 2"),
        ("a.png", b"\x89\xff", b"\x89\xff\x01", "byte 2"),
        ("a.json", '{"a": 1}', '{"a": 1}', None),
    ],
)
def test_the_first_difference_is_named(tmp_path: Path, name: str, then, now, expected: str | None) -> None:
    files = tmp_path / "d41d8cd9", tmp_path / name  # the older one as DVC's cache names it
    for path, content in zip(files, (then, now), strict=True):
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
    assert first_difference(*files) == expected


def test_the_first_tensor_that_differs_is_named(tmp_path: Path) -> None:
    import torch
    from safetensors.torch import save_file

    weights = {"a": torch.zeros(3), "b": torch.zeros(2, 2)}
    save_file(weights, tmp_path / "then.safetensors")
    save_file({**weights, "b": torch.ones(2, 2)}, tmp_path / "now.safetensors")
    assert first_difference(tmp_path / "then.safetensors", tmp_path / "now.safetensors") == "tensor b"
    save_file({**weights, "b": torch.zeros(4)}, tmp_path / "now.safetensors")
    assert "b.shape[0]: 2 -> 4" in first_difference(tmp_path / "then.safetensors", tmp_path / "now.safetensors")


def test_a_difference_behind_the_first_megabyte_is_found(tmp_path: Path) -> None:
    content = bytearray(3 << 20)
    (tmp_path / "a.bin").write_bytes(content)
    content[(2 << 20) + 5] = 255
    (tmp_path / "b.bin").write_bytes(content)
    assert first_difference(tmp_path / "a.bin", tmp_path / "b.bin") == f"byte {(2 << 20) + 5}"


def test_what_has_changed_since_is_told_by_area(ran: Path, monkeypatch) -> None:
    assert changes_since(read_json(record_of(ran))) == []
    record = read_json(record_of(ran))
    commit = record["git"]["commit"]
    record["facts"] |= {"processor": "abacus"}
    record["facts"]["packages"]["torch"] = "1.0"
    record["params"]["build"]["max_pairs"] = 9
    monkeypatch.setenv("GREENLIT_SANDBOX", "portable")
    with Path("dvc.yaml").open("a") as stream:
        stream.write("\n")
    found = changes_since(record)
    now = hardware.facts()
    assert found == [
        Change("params", "build.max_pairs", "9", "4"),
        Change("code", "not committed", "nothing", "dvc.yaml"),
        Change("packages", "torch", "'1.0'", repr(now["packages"]["torch"])),
        Change("hardware", "processor", "'abacus'", repr(now["processor"])),
        Change("settings", "GREENLIT_SANDBOX", "not set", "'portable'"),
    ]
    workspace.run(ran, "git", "-c", "user.name=t", "-c", "user.email=t@t", "commit", "-qam", "more")
    (code,) = [change for change in changes_since(record) if change.area == "code"]
    assert code.then == commit[:12]
    assert code.now.endswith("(1 files of code differ)")


def test_outs_in_the_workspace_are_compared_with_the_record(ran: Path) -> None:
    record = read_json(record_of(ran))
    found = list(compare_with(record, Path()))
    assert {one.state for one in found if not one.out.endswith("timings.jsonl")} == {"identical"}
    assert [one.where for one in found if one.state == "not compared"] == [
        "measured times"
    ] * 2  # of annotate and train
    for noted in (out for outs in record["stages"].values() for out in outs.values()):
        noted.pop("files", None)  # a folder whose listing DVC's cache no longer had
    assert "differs" not in {one.state for one in compare_with(record, Path())}


def test_check_names_the_first_difference_and_runs_nothing(ran: Path) -> None:
    name = record_of(ran).stem
    assert "identical: 40 outs of 11 stages" in workspace.greenlit(ran, "reproduce", name, "--check").stdout
    pairs = Path("assets/rl/starter/pairs.jsonl")
    rows = [json.loads(line) for line in pairs.read_text().splitlines()]
    rows[1]["chosen_idx"] = 99
    pairs.write_text("".join(json.dumps(row, separators=(",", ":"), ensure_ascii=False) + "\n" for row in rows))
    Path("results/tiny/dpo/merged/model.safetensors").unlink()
    told = workspace.greenlit(ran, "reproduce", "tiny", "--check", code=1).stdout
    assert re.search(
        r"differs: 2 of 40 outs, first in stage build: \S+pairs.jsonl: record 2: chosen_idx: \d+ -> 99", told
    )
    assert "model.safetensors: missing now" in told
    assert "nothing that is recorded has changed since; `greenlit reproduce tiny-" in told
    assert not Path(".work/reproduce").exists()


def test_a_run_of_which_nothing_came_through_cannot_be_compared(project: Path) -> None:
    with pytest.raises(StageFailedError), record_run(load_params(), whole=False):
        raise StageFailedError(2)
    told = workspace.greenlit(project, "reproduce", "tiny", code=2).stderr
    assert "no stage came through in that run (failed): nothing to compare" in told


# --- again from nothing -----------------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.usefixtures("warm")
def test_the_tiny_preset_gives_the_same_again(ran: Path) -> None:
    params = Path("params.yaml")
    params.write_text(params.read_text().replace("seed: 0", "seed: 5"))  # what counts is what was recorded
    before = sha256_tree(Path("assets")), sha256_tree(Path("results")), Path("mlflow.db").read_bytes()
    done = workspace.greenlit(ran, "reproduce", "tiny")
    assert re.search(r"params\s+seed\s+0\s+5", done.stdout)
    assert "identical: 40 outs of 11 stages" in done.stdout
    assert "with the recorded params and the code of the recorded commit" in done.stderr
    assert set(re.findall(r"Running stage '(.*?)'", done.stderr)) == set(read_json(record_of(ran))["stages"])
    assert (sha256_tree(Path("assets")), sha256_tree(Path("results")), Path("mlflow.db").read_bytes()) == before
    assert not list(Path(".work/reproduce").glob("*/")), "nothing is left to look at"


@pytest.fixture
def first_stages(ran: Path) -> Path:
    """A record that ends with `prepare`, so that repeating it takes seconds."""
    record = read_json(record_of(ran))
    stages = {name: outs for name, outs in record["stages"].items() if name in {"fetch", "prepare"}}
    return change_record(record_of(ran), stages=stages)


@pytest.mark.slow
def test_code_that_differs_is_told_with_the_first_stage_it_changed(ran: Path, first_stages: Path) -> None:
    change_record(first_stages, git__dirty=["src/greenlit/types.py"])  # then the recorded commit is not what ran
    source = ran / "tasks/fetch.py"
    source.write_text(source.read_text().replace('{"dataset": params.name,', '{"dataset": params.name, "more": 1,'))
    done = workspace.greenlit(ran, "reproduce", "tiny", code=1)
    assert "the code as it is here now, because the run was made with changes that were not committed" in done.stderr
    assert "first in stage fetch: assets/raw/starter: source.json: more: nothing -> 1" in done.stdout
    assert "differs: 1 of 6 outs" in done.stdout
    assert "what has changed since stands above" in done.stdout
    kept = ran / ".work/reproduce" / first_stages.stem / "assets/raw/starter/source.json"
    assert read_json(kept)["more"] == 1


@pytest.mark.slow
def test_a_stopped_repetition_goes_on(ran: Path, first_stages: Path) -> None:
    command = [sys.executable, "-m", "greenlit.cli", "reproduce", "tiny"]
    process = subprocess.Popen(
        command, cwd=ran, env=workspace.environment(ran), stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    lines = []
    for line in process.stderr:
        lines.append(line)
        if line.startswith("Running stage 'prepare'"):
            break
    process.send_signal(signal.SIGTERM)
    rest = process.stderr.read()
    assert process.wait() == 143, "".join(lines) + rest
    assert "goes on from there" in rest
    copy = ran / ".work/reproduce" / first_stages.stem
    assert (copy / "assets/raw/starter").exists()
    done = workspace.greenlit(ran, "reproduce", "tiny")
    assert "going on in" in done.stderr
    assert re.findall(r"Running stage '(.*?)'", done.stderr) == ["prepare"]
    assert "identical: 6 outs of 2 stages" in done.stdout


@pytest.mark.slow
def test_a_stage_that_fails_in_the_copy_ends_the_command_with_its_exit_code(ran: Path, first_stages: Path) -> None:
    change_record(first_stages, params__dataset__name="startr")
    done = workspace.greenlit(ran, "reproduce", "tiny", code=2)
    assert "error: params.yaml: dataset.name: no dataset 'startr'" in done.stderr
    assert "a stage failed in the copy; its own message stands above" in done.stderr


def test_outs_are_read_from_the_cache_that_the_configuration_names(ran: Path, tmp_path: Path) -> None:
    shutil.move(ran / ".dvc/cache", tmp_path / "elsewhere")
    assert "files" not in outs_of(ran, ["base"])["base"]["assets/models/base"]
    (ran / ".dvc/config.local").write_text(f"[cache]\n    dir = {tmp_path}/elsewhere\n")
    assert "files" in outs_of(ran, ["base"])["base"]["assets/models/base"]
