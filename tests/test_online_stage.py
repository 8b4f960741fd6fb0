"""The train stage with an online method: what it writes, and what makes it train anew."""

from contextlib import nullcontext
from pathlib import Path

import pytest
import yaml
from faults import OWN

from greenlit.config import Params, parse_params
from greenlit.jsonl import read_json, read_json_lines, write_rows
from greenlit.tracking.runs import Run
from greenlit.types import Pair, Problem
from tasks import train

COMMON = {"learning_rate": 0.001, "batch_size": 4, "max_steps": 2, "max_length": 512, "lora": {"r": 2, "alpha": 4}}
ONLINE = COMMON | {"reads": "problems.jsonl", "group_size": 2, "max_new_tokens": 4, "eval_rows": 1}


@pytest.fixture
def folder(tiny_model, tmp_path, monkeypatch) -> Path:
    """A project with problems and pairs to learn from; no candidates, which an online experiment never waits for."""
    monkeypatch.chdir(tmp_path)
    write_rows(Path("problems.jsonl"), [Problem.model_validate(row) for row in OWN])
    pair = {
        "prompt": "q\n",
        "chosen": "a<eos>",
        "rejected": "z<eos>",
        "chosen_idx": 0,
        "rejected_idx": 1,
        "reason": "x",
    }
    write_rows(Path("pairs.jsonl"), [Pair(task_id=f"t{number}", **pair) for number in range(8)])
    (tmp_path / "model").symlink_to(tiny_model)
    return tmp_path


def params(methods: dict, **sections) -> Params:
    content = {
        "experiment": "small", "seed": 0, "dataset": {"name": "file"}, "base": {"model": "model"},
        "annotate": {"allow_portable": True}, "methods": {name: {"start": "model", **m} for name, m in methods.items()},
    }  # fmt: skip
    return parse_params(content | sections, "params.yaml")


def run(settings: Params, name: str) -> Path:
    out = Path("results/small") / name
    train.run(settings, name, out, lambda work: nullcontext(Run(None)))
    return out


def rows(path: Path) -> list[dict]:
    return [row for _, row in read_json_lines(path)]


@pytest.mark.parametrize("kind", ["grpo", "rloo"])
def test_an_online_run_writes_what_an_offline_one_does_and_its_completions(folder, kind) -> None:
    out = run(params({kind: ONLINE | {"method": kind}}), kind)
    metrics = read_json(out / "metrics.json")
    assert (metrics["method"], metrics["problems"], metrics["steps"], metrics["completions"]) == (kind, 4, 2, 8)
    assert metrics["eval"]["problems"] == 1
    assert metrics["eval"]["after"].keys() >= {"reward", "pass/visible"}
    assert metrics["gap_alarm"] is None
    log = rows(out / "logs/training_log.jsonl")
    assert [row["step"] for row in log] == [1, 2]
    assert log[0].keys() >= {"loss", "reward", "entropy", "pass/visible", "rewards/tests/mean", "verdict/syntax"}
    assert [row["step"] for row in rows(out / "logs/eval_log.jsonl")] == [0, 2]
    assert rows(out / "logs/rewards.jsonl")[1].keys() >= {"step", "reward", "tests/mean", "tests/std", "tests/none"}
    table = rows(out / "logs/completions.jsonl")
    assert {(row["step"], row["of"]) for row in table} == {(0, "eval"), (1, "train"), (2, "train"), (2, "eval")}
    assert table[0].keys() >= {"task_id", "text", "verdict", "advantage", "reward", "rewards/tests"}
    seconds = rows(out / "logs/timings.jsonl")
    assert [row["step"] for row in seconds] == [1, 2]
    assert all(0 < row["generate_s"] < row["step_s"] for row in seconds)
    config = yaml.safe_load((out / "config.yaml").read_text())
    assert config["rewards"]["weights"] == {"tests": 1.0}
    assert config["annotate"]["allow_portable"]


def trained() -> dict[str, int]:
    """The work folders of finished trainings, and when their last checkpoint was written."""
    folders = Path(".work/train").glob("*")
    return {folder.name: max(path.stat().st_mtime_ns for path in folder.glob("checkpoint-*")) for folder in folders}


def test_rewards_make_online_methods_train_anew_and_no_others(folder) -> None:
    methods = {
        "dpo": COMMON | {"method": "dpo", "reads": "pairs.jsonl"},
        "grpo": ONLINE | {"method": "grpo", "eval_rows": 0},
    }
    for name in methods:
        before = None
        for weight in (1.0, 2.0):
            out = run(params(methods, rewards={"weights": {"tests": weight}}), name)
            assert before is None or (trained() == before) == (name == "dpo")
            before = trained()
        assert (out / "logs/completions.jsonl").read_bytes().count(b"\n") == (0 if name == "dpo" else 8)
