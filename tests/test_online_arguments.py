"""Settings of the online methods become TRL's, and TRL's figures get the names of our logs."""

import math
from pathlib import Path

import pytest

from greenlit.config import GrpoParams, RlooParams, VllmParams
from greenlit.errors import DataError
from greenlit.training import grpo, rloo
from greenlit.training.online import (
    easiest_first,
    end_tokens,
    fitting,
    groups_at_once,
    optimizer_steps,
    order_of_run,
    problem_order,
)
from greenlit.training.online_arguments import clear_names

COMMON = {
    "reads": "p", "start": "b", "learning_rate": 1e-3, "batch_size": 32, "accumulate": 2, "group_size": 8,
    "iterations": 3, "temperature": 0.7, "top_p": 0.9, "top_k": 5, "max_new_tokens": 48, "max_length": 256,
    "beta": 0.04, "clip_range": 0.3,
}  # fmt: skip
GRPO = GrpoParams(method="grpo", loss_type="dr_grpo", scale_rewards="none", entropy_coef=0.01, **COMMON)
RLOO = RlooParams(method="rloo", normalize_advantages=True, **COMMON)


def test_settings_become_trls(tmp_path) -> None:
    both = {
        "per_device_train_batch_size": 32, "gradient_accumulation_steps": 2, "steps_per_generation": 2,
        "num_generations": 8, "num_iterations": 3, "temperature": 0.7, "top_p": 0.9, "top_k": 5,
        "max_completion_length": 48, "beta": 0.04, "epsilon": 0.3, "max_steps": 7, "num_train_epochs": 1, "seed": 5,
        "shuffle_dataset": False, "use_cpu": True, "bf16": False, "use_vllm": False,
        "mask_truncated_completions": False,
    }  # fmt: skip
    arguments = grpo.trl_arguments(GRPO, tmp_path, seed=5, cuda=False, steps=7)
    others = {"loss_type": "dr_grpo", "scale_rewards": "none", "epsilon_high": 0.3, "entropy_coef": 0.01}
    assert arguments.items() >= (both | others).items()
    assert "max_length" not in arguments
    higher = GRPO.model_copy(update={"clip_range_high": 0.5, "mask_truncated": True})
    arguments = grpo.trl_arguments(higher, tmp_path, 5, False, 7)
    assert (arguments["epsilon"], arguments["epsilon_high"]) == (0.3, 0.5)
    assert arguments["mask_truncated_completions"]
    arguments = rloo.trl_arguments(RLOO, tmp_path, seed=5, cuda=False, steps=7)
    assert arguments.items() >= (both | {"normalize_advantages": True}).items()
    assert "entropy_coef" not in arguments


def test_vllm_settings_are_passed_through(tmp_path, monkeypatch) -> None:
    here = VllmParams(gpu_memory_utilization=0.4, tensor_parallel_size=2, sleep=True)
    for module, params in ((grpo, GRPO), (rloo, RLOO)):
        arguments = module.trl_arguments(params.model_copy(update={"vllm": here}), tmp_path, 0, True, 7)
        assert {key: value for key, value in arguments.items() if "vllm" in key} == {
            "use_vllm": True, "vllm_mode": "colocate", "vllm_gpu_memory_utilization": 0.4,
            "vllm_tensor_parallel_size": 2, "vllm_enable_sleep_mode": True, "vllm_max_model_length": 256,
        }  # fmt: skip
        assert not arguments["use_cpu"]
        there = params.model_copy(update={"vllm": VllmParams(mode="server")})
        monkeypatch.setenv("VLLM_SERVER_BASE_URL", "http://gpu:8000")
        arguments = module.trl_arguments(there, tmp_path, 0, True, 7)
        assert {key: value for key, value in arguments.items() if "vllm" in key} == {
            "use_vllm": True, "vllm_mode": "server", "vllm_server_base_url": "http://gpu:8000",
        }  # fmt: skip
        monkeypatch.delenv("VLLM_SERVER_BASE_URL")
        assert "vllm_server_base_url" not in module.trl_arguments(there, tmp_path, 0, True, 7)


def test_trl_knows_every_one_of_them(tmp_path) -> None:
    from trl import GRPOConfig, RLOOConfig

    vllm = {"vllm": VllmParams()}
    for change in ({}, vllm):
        config = GRPOConfig(**grpo.trl_arguments(GRPO.model_copy(update=change), tmp_path, 0, False, 7))
        assert (config.generation_batch_size, config.steps_per_generation) == (64, 2)
        RLOOConfig(**rloo.trl_arguments(RLOO.model_copy(update=change), tmp_path, 0, False, 7))


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"group_size": 7}, r"group_size must divide batch_size \* accumulate \(found 7 and 64\)"),
        ({"max_new_tokens": 256}, "max_new_tokens must leave room for a prompt within max_length"),
        ({"entropy_coef": 0.1}, "entropy_coef"),
    ],
)
def test_settings_that_cannot_be_are_refused(change, told) -> None:
    with pytest.raises(ValueError, match=told):
        RlooParams.model_validate({**COMMON, "method": "rloo", **change})


def test_steps_of_a_run() -> None:
    assert optimizer_steps(40, GRPO) == 5 * 3  # 8 problems a batch, each batch used 3 times
    assert optimizer_steps(41, GRPO) == 6 * 3
    assert optimizer_steps(40, GRPO.model_copy(update={"epochs": 2.0})) == 10 * 3
    assert optimizer_steps(40, GRPO, processes=2) == 3 * 3
    assert optimizer_steps(40, GRPO.model_copy(update={"max_steps": 4})) == 4


def test_every_problem_is_asked_once_before_any_is_asked_again() -> None:
    order = problem_order(10, 25, seed=0, shuffled=True)
    assert sorted(order[:10]) == sorted(order[10:20]) == list(range(10))
    assert order[:10] != order[10:20] != list(range(10))
    assert order == problem_order(10, 25, 0, True) != problem_order(10, 25, 1, True)
    assert order[:13] == problem_order(10, 13, 0, True)  # a run that ends earlier asks the same until then
    assert problem_order(3, 7, 0, shuffled=False) == [0, 1, 2, 0, 1, 2, 0]
    assert len(order_of_run(3, GRPO, 4, 0)) == 2 * 8  # more at once than there are: some twice


def test_a_curriculum_begins_with_what_the_start_model_can_do() -> None:
    rows = [{"task_id": name} for name in "abcdef"]
    ordered = [row["task_id"] for row in easiest_first(rows, [0.0, 0.5, math.nan, 1.0, 0.5, 0.5], seed=0)]
    assert ordered[0] == "d"
    assert set(ordered[1:4]) == {"b", "e", "f"}
    assert ordered[4:] == ["a", "c"]
    others = {tuple(row["task_id"] for row in easiest_first(rows, [0.5] * 6, seed)) for seed in range(5)}
    assert len(others) > 1


def test_held_out_problems_weigh_the_same() -> None:
    assert [groups_at_once(rows, GRPO) for rows in (1, 4, 6, 7, 64)] == [1, 4, 3, 1, 4]


def test_problems_without_room_for_an_answer_are_left_out(tiny_model) -> None:
    from greenlit.models import load_tokenizer

    tokenizer = load_tokenizer(tiny_model)
    rows = [{"prompt": "x" * 208}, {"prompt": "x" * 209}]
    assert fitting(rows, GRPO, tokenizer) == (rows[:1], 1)
    with pytest.raises(DataError, match="1 problems, all with prompts of more than 208 tokens"):
        fitting(rows[1:], GRPO, tokenizer)


def test_every_token_that_ends_a_completion_is_known(tiny_model, tmp_path) -> None:
    from greenlit.models import load_tokenizer

    tokenizer = load_tokenizer(tiny_model)
    assert end_tokens(tiny_model, tokenizer) == {1}
    (tmp_path / "generation_config.json").write_text('{"eos_token_id": [1, 7]}')
    assert end_tokens(tmp_path, tokenizer) == {1, 7}
    assert end_tokens(Path("nowhere"), tokenizer) == {1}


def test_names_are_clear_and_each_figure_stands_once() -> None:
    logs = {
        "loss": 0.1, "reward": 0.5, "reward_std": 0.2, "reward/mean": 0.5, "rewards/reward/mean": 0.5,
        "rewards/tests/mean": 0.4, "clip_ratio/region_mean": 0.3, "clip_ratio/low_min": 0.0, "kl": 0.01,
        "completions/mean_length": 9.0, "completions/clipped_ratio": 0.25, "completions/max_terminated_length": 3.0,
        "step_time": 2.0, "num_tokens": 99, "entropy": math.nan, "gap": 0.0, "pass/visible": 0.5, "note": "text",
    }  # fmt: skip
    assert clear_names(logs) == {
        "loss": 0.1, "reward": 0.5, "reward_std": 0.2, "rewards/tests/mean": 0.4, "clip_ratio": 0.3, "kl": 0.01,
        "completions/mean_length": 9.0, "completions/truncated": 0.25, "gap": 0.0, "pass/visible": 0.5,
    }  # fmt: skip
    assert clear_names({"eval_reward": 0.5, "eval_runtime": 3.0, "eval_loss": 0.0, "eval_pass/visible": 0.4}) == {
        "eval_reward": 0.5,
        "eval_pass/visible": 0.4,
    }
