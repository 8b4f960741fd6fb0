"""Rows held out of training, settings every method honours, and what is logged of a run."""

import json
import shutil
from pathlib import Path

import pytest
from test_training import DPO, PAIRS, PROGRAMS, SFT, train

from greenlit.errors import DataError
from greenlit.models import weights_sha256
from greenlit.training import checkpoints
from greenlit.training.callbacks import TrainingLog
from greenlit.training.checkpoints import Checkpoints
from greenlit.training.holdout import hold_out, problem_of
from greenlit.training.trainer import steps_in

ROWS = [{"prompt": f"q{i // 3}", "completion": str(i)} for i in range(30)]
MEASURED = {"eval_rows": 2, "eval_steps": 2}


def test_whole_problems_are_held_out_and_the_rest_is_trained_on() -> None:
    kept, held = hold_out(ROWS, 7, seed=0)
    assert len(held) == 9  # three problems of three rows
    assert sorted(kept + held, key=ROWS.index) == ROWS
    assert not {problem_of(row) for row in kept} & {problem_of(row) for row in held}
    assert kept == [row for row in ROWS if row in kept]


def test_the_order_of_the_rows_decides_nothing_and_the_seed_does() -> None:
    _, held = hold_out(ROWS, 6, seed=0)
    _, again = hold_out(ROWS[::-1], 6, seed=0)
    assert sorted(again, key=ROWS.index) == held
    assert len({json.dumps(hold_out(ROWS, 6, seed)[1]) for seed in range(20)}) > 5
    assert hold_out(ROWS, 0, 0) == (ROWS, [])


def test_holding_out_everything_is_an_error_with_numbers() -> None:
    with pytest.raises(DataError, match=r"eval_rows = 28: nothing is left to train on \(found 30 rows of 10 problems"):
        hold_out(ROWS, 28, 0)


@pytest.mark.parametrize(
    ("kind", "rows", "accuracy"), [("dpo", PAIRS, "rewards/accuracies"), ("sft", PROGRAMS, "mean_token_accuracy")]
)
def test_held_out_rows_are_measured_before_during_and_after(tiny_model, tmp_path, kind, rows, accuracy) -> None:
    params = {"dpo": DPO, "sft": SFT}[kind].model_copy(update=MEASURED)
    facts, logged = train(kind, params, tiny_model, tmp_path / "m")
    measured = [(step, metrics) for step, metrics in logged if "eval_loss" in metrics]
    steps = steps_in(6, params)
    assert [step for step, _ in measured] == sorted({0, 2, 4, steps})
    assert facts["rows"] == 6
    evaluated = facts["eval"]
    assert (evaluated["rows"], evaluated["problems"]) == (2, 2)
    assert evaluated["before"]["loss"] == measured[0][1]["eval_loss"]
    assert evaluated["after"]["loss"] == measured[-1][1]["eval_loss"] < evaluated["before"]["loss"]
    assert accuracy in evaluated["after"]
    assert not {key for _, metrics in measured for key in metrics if "runtime" in key or "per_second" in key}


def test_a_measured_run_that_goes_on_ends_the_same(tiny_model, tmp_path, monkeypatch) -> None:
    monkeypatch.setenv(checkpoints.SAVE_EVERY, "0")
    params = DPO.model_copy(update=MEASURED)

    def die(step, metrics):
        if step == 5 and "loss" in metrics:
            raise KeyboardInterrupt

    facts, steps = train("dpo", params, tiny_model, tmp_path / "whole")
    with pytest.raises(KeyboardInterrupt):
        train("dpo", params, tiny_model, tmp_path / "r", die)
    again, logged = train("dpo", params, tiny_model, tmp_path / "r")
    assert (again, logged) == (facts, steps)
    assert weights_sha256(tmp_path / "r" / "adapter") == weights_sha256(tmp_path / "whole" / "adapter")


@pytest.mark.parametrize("kind", ["dpo", "sft"])
def test_a_run_ends_after_max_steps_whatever_epochs_says(tiny_model, tmp_path, kind) -> None:
    params = {"dpo": DPO, "sft": SFT}[kind].model_copy(update={"max_steps": 4, "epochs": 1})
    facts, logged = train(kind, params, tiny_model, tmp_path / "m")
    assert (facts["steps"], [step for step, _ in logged]) == (4, [1, 2, 3, 4])
    assert steps_in(8, params) == 4


def test_a_checkpoint_is_written_every_save_steps(tiny_model, tmp_path) -> None:
    params = SFT.model_copy(update={"save_steps": 2, "keep_checkpoints": 5})
    train("sft", params, tiny_model, tmp_path / "m")
    kept = [path.name for path in Checkpoints(tmp_path / "m/work", 5).kept()]
    assert kept == ["checkpoint-2", "checkpoint-4", "checkpoint-6"]


@pytest.mark.parametrize("kind", ["dpo", "sft"])
@pytest.mark.parametrize("lora", [DPO.lora, None], ids=["adapter", "all weights"])
def test_gradient_checkpointing_changes_no_weight(tiny_model, tmp_path, monkeypatch, kind, lora) -> None:
    from transformers.models.llama.modeling_llama import LlamaMLP

    computed = []
    real = LlamaMLP.forward
    monkeypatch.setattr(LlamaMLP, "forward", lambda mlp, x: computed.append(x.requires_grad) or real(mlp, x))
    params = {"dpo": DPO, "sft": SFT}[kind].model_copy(update={"lora": lora, "max_steps": 2, "learning_rate": 1e-3})
    train(kind, params, tiny_model, tmp_path / "kept")
    once = len(computed)
    train(kind, params.model_copy(update={"gradient_checkpointing": True}), tiny_model, tmp_path / "again")
    assert len(computed) - once == once + 2 * 2  # two layers, once more in each of two steps
    assert weights_sha256(tmp_path / "kept/adapter") == weights_sha256(tmp_path / "again/adapter")


def test_bfloat16_computes_in_half_precision_and_keeps_full_weights(tiny_model, tmp_path) -> None:
    from safetensors.torch import load_file

    half = SFT.model_copy(update={"dtype": "bfloat16", "max_steps": 2})
    _, logged = train("sft", half, tiny_model, tmp_path / "half")
    _, full = train("sft", half.model_copy(update={"dtype": "float32"}), tiny_model, tmp_path / "full")
    assert logged[0][1]["loss"] != full[0][1]["loss"]
    assert logged[0][1]["loss"] == pytest.approx(full[0][1]["loss"], rel=0.02)
    weights = load_file(tmp_path / "half/adapter/adapter_model.safetensors")
    assert {str(tensor.dtype) for tensor in weights.values()} == {"torch.float32"}


def test_frozen_weights_stay_in_the_precision_they_are_stored_in(tiny_model, tmp_path) -> None:
    import torch
    from transformers import AutoModelForCausalLM

    from greenlit.training.trainer import frozen_dtype

    shutil.copytree(tiny_model, tmp_path / "half")
    AutoModelForCausalLM.from_pretrained(tiny_model).to(torch.bfloat16).save_pretrained(tmp_path / "half")
    half = SFT.model_copy(update={"dtype": "bfloat16"})
    assert frozen_dtype(tmp_path / "half", half) == "bfloat16"
    assert frozen_dtype(tiny_model, half) == "float32"
    assert frozen_dtype(tmp_path / "half", SFT) == "float32"
    assert frozen_dtype(tmp_path / "half", half.model_copy(update={"lora": None})) == "float32"
    facts, _ = train("sft", half, tmp_path / "half", tmp_path / "m")
    assert facts["steps"] == 6


def test_logs_of_a_run(tmp_path: Path) -> None:
    with TrainingLog(tmp_path) as log:
        log(0, {"eval_loss": 2.0})
        for step in (1, 2):
            log(step, {"loss": 2.0 / step, "rewards/margins": step / 4, "kl": 0.1, "entropy": 1.0})
        log(2, {"eval_loss": 1.0, "eval_rewards/accuracies": 0.5})
        log.write_rewards("what they mean")
        log.draw()
    assert {path.name for path in tmp_path.iterdir()} == set(TrainingLog.FILES)
    lines = {name: (tmp_path / name).read_text().splitlines() for name in TrainingLog.FILES if name.endswith("l")}
    assert [json.loads(line) for line in lines["eval_log.jsonl"]] == [
        {"step": 0, "eval_loss": 2.0}, {"step": 2, "eval_loss": 1.0, "eval_rewards/accuracies": 0.5},
    ]  # fmt: skip
    assert [json.loads(line) for line in lines["rewards.jsonl"]] == [
        {"step": 1, "margins": 0.25}, {"step": 2, "margins": 0.5},
    ]  # fmt: skip
    assert [json.loads(line)["step"] for line in lines["training_log.jsonl"]] == [1, 2]


def test_the_picture_has_a_panel_per_metric_and_the_same_bytes_again(tmp_path: Path, monkeypatch) -> None:
    from matplotlib.figure import Figure

    from greenlit.training.curves import draw_curves

    drawn = []
    real = Figure.savefig
    monkeypatch.setattr(Figure, "savefig", lambda figure, *a, **k: drawn.append(figure) or real(figure, *a, **k))
    logs = {
        "train": [{"step": s, "loss": 1.0 / s, "epoch": s, "kl": s, "zeta": 1.0} for s in (1, 2, 3)],
        "eval": [{"step": s, "eval_loss": 1.5 / (s + 1)} for s in (0, 3)],
    }
    for name in ("a.png", "b.png"):
        draw_curves(tmp_path / name, logs)
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()
    panels = {axes.get_title(): axes for axes in drawn[0].axes if axes.get_visible()}
    assert list(panels) == ["loss", "kl", "zeta"]
    assert [line.get_xydata().tolist() for line in panels["loss"].get_lines()] == [
        [[1, 1.0], [2, 0.5], [3, 1 / 3]], [[0, 1.5], [3, 0.375]],
    ]  # fmt: skip
    draw_curves(tmp_path / "one.png", {"train": [{"step": 1, "loss": 1.0}], "eval": []})
    assert (tmp_path / "one.png").stat().st_size > 1000
