"""The benchmarks still run: small, without a network, figures not asserted."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import workspace

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT / "benchmarks"))
import methods_tables  # noqa: E402
import placebo  # noqa: E402

SECTIONS = {"assert", "stdio", "loops"}


def test_the_executor_benchmark_runs_and_its_executors_agree(tmp_path: Path) -> None:
    command = [sys.executable, str(ROOT / "benchmarks" / "executor.py"), "--candidates", "24", "--rounds", "1"]
    command += ["--executors", "greenlit,subprocess", "--workers", "1", "--json", str(tmp_path / "out.json")]
    path = os.pathsep.join([str(ROOT / "src"), str(ROOT)])
    done = subprocess.run(
        command, cwd=tmp_path, env={**os.environ, "PYTHONPATH": path}, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr
    report = json.loads((tmp_path / "out.json").read_text())
    assert set(report) == SECTIONS
    for section, costs in report.items():
        ours, *others = [cost["passed"] for cost in costs if cost["share"] == "all"]
        assert None not in ours.values()
        for theirs in others:
            assert theirs == {job: ours[job] for job in theirs}, section
        assert all(cost["cpu_s"] > 0 and cost["wall_s"] > 0 for cost in costs)
    assert "CPU ms marginal" in done.stdout
    loops = next(cost["passed"] for cost in report["loops"])
    assert False in loops.values()


def run(script: str, folder: Path, *arguments: str) -> subprocess.CompletedProcess:
    """A benchmark there, as its docstring says."""
    path = os.pathsep.join([str(folder / "src"), str(folder), str(workspace.WARM)])
    done = subprocess.run(
        [sys.executable, str(folder / "benchmarks" / script), *arguments],
        cwd=folder, env={**os.environ, "PYTHONPATH": path}, capture_output=True, text=True, timeout=1200,
    )  # fmt: skip
    assert done.returncode == 0, f"{done.stdout[-2000:]}\n{done.stderr[-4000:]}"
    return done


def smaller(methods: Path) -> None:
    """Batches of 32 completions where the preset has 256."""
    text = methods.read_text()
    assert "batch_size: 256" in text
    methods.write_text(text.replace("batch_size: 256", "batch_size: 32"))


@pytest.mark.slow
@pytest.mark.usefixtures("warm")
def test_the_training_benchmark_trains_both_sides_alike(tiny: Path, tmp_path: Path) -> None:
    folder = workspace.make_workspace(tmp_path / "project", "tiny")
    shutil.copytree(tiny / ".dvc/cache", folder / ".work/training-benchmark-cache")
    smaller(folder / "presets/methods.yaml")
    options = ["--preset", "tiny", "--rounds", "1", "--steps", "3", "--json", "out.json"]
    done = run("training.py", folder, *options)
    runs = json.loads((folder / "out.json").read_text())["runs"]
    assert [(one["method"], one["side"]) for one in runs] == [
        (method, side) for method in ("dpo", "grpo") for side in ("bare", "ours")
    ]
    for one in runs:
        assert len(one["steps_s"]) == 2
        assert min(one["steps_s"]) > 0
        assert one["process_s"] > one["cpu_s"] > 0
        assert (one["rewards"] is not None) == (one["method"] == "grpo" and one["side"] == "ours")
    assert done.stdout.count("promised <= 1.05") == 4
    assert "share of rewards" in done.stdout


@pytest.mark.slow
@pytest.mark.usefixtures("warm")
def test_the_generation_benchmark_compares_ways_that_write_the_same(tiny: Path, tmp_path: Path) -> None:
    folder = workspace.make_workspace(tmp_path / "project", "tiny")
    shutil.copytree(tiny / ".dvc/cache", folder / ".work/generation-benchmark-cache")
    ways = ["one by one", "batched", "ours", "ours, 2 processes"]
    options = ["--preset", "tiny", "--problems", "10", "--n", "4", "--rounds", "1", "--json", "out.json"]
    done = run("generation.py", folder, *options, "--only", ";".join(ways))
    runs = json.loads((folder / "out.json").read_text())["runs"]
    assert [one["way"] for one in runs] == ways
    assert all(one["tokens"] > 0 and one["cpu_s"] > 0 and one["wall_s"] > 0 for one in runs)
    assert runs[2]["tokens"] == runs[3]["tokens"], "the same samples"
    assert done.stdout.count("greedy alike 10/10") == 4
    assert "times batched, promised >= 1.3" in done.stdout


@pytest.mark.slow
@pytest.mark.usefixtures("warm")
def test_the_methods_benchmark_goes_on_and_its_placebo_teaches_from_shuffled_verdicts(
    tiny: Path, tmp_path: Path
) -> None:
    folder = workspace.make_workspace(tmp_path / "project", "tiny")
    workspace.start_from(folder / "presets/tiny.yaml", tiny)
    options = ["--preset", "tiny", "--seeds", "3", "--json", "out.json", "--set", "methods.dpo.max_steps=2"]
    run("methods.py", folder, *options)
    (row,) = json.loads((folder / "out.json").read_text())["rows"]
    assert (row["name"], row["seed"], row["samples"]) == ("dpo", 3, 40 * 8)
    assert row["settings"]["max_steps"] == 2
    assert row["cpu_s"] > 0
    assert row["candidates_cpu_s"] > 0
    assert row["test"]["gain"]["n"] == row["validation"]["gain"]["n"] == 10
    again = run("methods.py", folder, *options)
    assert "Running stage" not in again.stdout + again.stderr
    assert json.loads((folder / "out.json").read_text())["rows"] == [row]
    assert f"{row['test']['gain']['value']:+.3f}" in again.stdout
    done = run("methods.py", folder, *options, "--placebo", "shuffled")
    assert "Running stage 'base'" not in done.stderr, "the base of the real run"
    (placebo,) = json.loads((folder / "out.json").read_text())["rows"]
    assert placebo["test"]["before"] == row["test"]["before"]
    pairs = [folder / f".work/methods/tiny-3{ending}/assets/rl/starter/pairs.jsonl" for ending in ("", "-shuffled")]
    assert pairs[0].read_bytes() != pairs[1].read_bytes()


def test_placebo_rewards_are_dealt_out_within_a_problem_and_repeat() -> None:
    names = ["a"] * 6 + ["b"] * 6
    texts = [f"program {place}" for place in range(12)]
    passed = [True, True, False, False, False, None] + [True] * 6
    dealt = placebo.shuffled(names, texts, passed)
    assert dealt == placebo.shuffled(names, texts, passed)
    assert sorted(dealt[:6], key=str) == [0.0, 0.0, 0.0, 1.0, 1.0, None]
    assert dealt[6:] == [1.0] * 6
    orders = {
        tuple(placebo.shuffled(["a"] * 6, [f"{at} {text}" for text in texts[:6]], passed[:6])) for at in range(20)
    }
    assert len(orders) > 5
    assert placebo.constant(texts) == [1.0] * 12
    all_dealt = placebo.batch(texts, passed)
    assert all_dealt == placebo.batch(texts, passed)
    assert all_dealt[5] is None
    assert sum(filter(None, all_dealt)) == 8.0
    assert all_dealt[6:] != [1.0] * 6, "what is told of a problem's own pass rate is dealt out too"


def test_what_methods_promise_is_judged_on_all_seeds() -> None:
    assert methods_tables.promised("grpo", [0.7, 0.6], 2, 2) == ("headroom >= 0.60, all clear", True)
    assert not methods_tables.promised("grpo", [0.7, 0.6], 1, 2)[1], "one interval holds 0"
    assert not methods_tables.promised("grpo", [0.6, 0.5], 2, 2)[1]
    assert not methods_tables.promised("grpo", [0.9], 2, 2)[1], "one could not be measured"
    assert methods_tables.total({"cpu_s": 3.0, "candidates_cpu_s": 2.0}) == 5.0
    assert methods_tables.total({"cpu_s": None, "candidates_cpu_s": 2.0}) is None
