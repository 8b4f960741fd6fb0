"""Settings of the training methods: what fits together, and what a method does not have, in words."""

import copy
import math
import re
from pathlib import Path
from typing import Any

import pytest
from test_training import DPO, PAIRS, SFT, train

from greenlit.config import parse_params, parse_reward_model, read_yaml
from greenlit.config.misplaced import ELSEWHERE, KINDS, why_not
from greenlit.config.training import DPO_LOSSES
from greenlit.errors import ConfigError
from greenlit.models import load_tokenizer, load_weights
from greenlit.training import dpo

GOOD = read_yaml(Path(__file__).parent.parent / "params.yaml")
COMMON = {"reads": "rows.jsonl", "start": "base", "learning_rate": 1e-3}


def parsed(method: str, **settings: Any) -> Any:
    content = copy.deepcopy(GOOD)
    content["methods"] = {"m": {"method": method, **COMMON, **settings}}
    return parse_params(content, "params.yaml").methods["m"]


def fault(method: str, **settings: Any) -> str:
    with pytest.raises(ConfigError) as error:
        parsed(method, **settings)
    return str(error.value)


@pytest.mark.parametrize(
    ("method", "key", "reason", "having"),
    [
        ("sft", "beta", "sft has no `beta`: it has no reference model to stay near", "dpo, grpo, rloo and ppo have it"),
        ("dpo", "temperature", "dpo has no `temperature`: it learns from the rows of a file", "grpo, rloo and ppo"),
        ("sft", "group_size", "sft has no `group_size`: it learns from the rows of a file", "grpo, rloo and ppo"),
        ("grpo", "gamma", "grpo has no `gamma`: it has no value function: the other completions", "ppo has it"),
        ("rloo", "kl_target", "rloo has no `kl_target`: the weight of its KL divergence stays", "ppo has it"),
        ("sft", "loss_type", "sft has no `loss_type`: it has one loss", "dpo and grpo have it"),
        ("grpo", "label_smoothing", "grpo has no `label_smoothing`: it learns from no preference pairs", "dpo has it"),
        ("sft", "center", "sft has no `center`: it trains no reward", "reward_model has it"),
        ("sft", "kl_coef", "sft has no `beta`, which is `kl_coef` elsewhere: it has no reference", "dpo, grpo, rloo"),
    ],
)
def test_a_setting_that_a_method_has_no_use_for_is_refused_with_the_reason(method, key, reason, having) -> None:
    text = fault(method, **{key: 1.0})
    assert text.startswith(f"params.yaml: methods.m.{key}: {reason}")
    assert f"\n  hint: {having}" in text


@pytest.mark.parametrize(
    ("method", "key", "here"),
    [
        ("dpo", "kl_coef", "beta"), ("sft", "lr", "learning_rate"), ("dpo", "bf16", "dtype: bfloat16"),
        ("sft", "max_seq_length", "max_length"), ("sft", "lora_r", "lora: {r: ...}"),
        ("grpo", "reward_scale", "rewards: {scale: ...} at the top level"), ("ppo", "gae_lambda", "lam"),
    ],
)  # fmt: skip
def test_what_others_call_a_setting_leads_to_ours(method, key, here) -> None:
    assert fault(method, **{key: 1}) == f"params.yaml: methods.m.{key}: unknown key\n  hint: here it is {here}"


def test_no_name_of_others_is_a_setting_of_ours_and_each_leads_somewhere() -> None:
    settings = {key for kind in KINDS.values() for key in kind.model_fields}
    assert not settings & ELSEWHERE.keys()
    for key in ELSEWHERE:
        for kind in KINDS:
            assert why_not(key, kind)


def test_every_setting_that_only_some_methods_have_is_explained_to_the_others() -> None:
    for key in {key for kind in KINDS.values() for key in kind.model_fields} - {"method"}:
        for name, kind in KINDS.items():
            if key not in kind.model_fields:
                message, hint = why_not(key, name)
                assert message.startswith(f"{name} has no `{key}`: ")
                assert hint.endswith(" it")


def test_a_slip_of_the_pen_is_matched_with_the_methods_own_settings() -> None:
    assert "did you mean label_smoothing?" in fault("dpo", label_smooth=0.1)
    assert "known keys: reads, start, lora" in fault("sft", zzz=1)
    assert "beta" not in fault("sft", zzz=1)
    assert "known keys: r, alpha, dropout, target_modules" in fault("dpo", lora={"zzz": 3})


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({"loss_type": "sigmod"}, "loss_type: must be of sigmoid, hinge, "),
        ({"loss_type": "sigmod"}, "(found 'sigmod'); did you mean sigmoid?"),
        ({"loss_type": []}, "loss_type: must name a loss (found an empty list)"),
        ({"loss_type": ["ipo", "ipo"]}, "loss_type: names a loss twice (found ipo, ipo)"),
        ({"loss_type": 3}, "loss_type: must be text or a list of texts (found 3)"),
        ({"loss_type": "exo_pair"}, "exo_pair needs label_smoothing > 0"),
        ({"loss_type": "robust", "label_smoothing": 0.5}, "label_smoothing: must be < 0.5 (found 0.5)"),
        ({"label_smoothing": 0.1}, "label_smoothing is a part of aot, aot_unpaired, exo_pair, robust only"),
        ({"loss_weights": [1.0, 2.0]}, "loss_weights must be one per loss of loss_type (found 2 for 1)"),
        ({"loss_type": ["ipo", "sft"], "loss_weights": [1.0, 0.0]}, "loss_weights must be > 0 (found 0)"),
        ({"loss_type": ["ipo", "sft"], "sft_weight": 1.0}, "sft stands in loss_type and as sft_weight: 1"),
        ({"eval_steps": 5}, "eval_steps needs eval_rows > 0"),
        ({"quantize": "4bit", "lora": None}, "quantize needs lora"),
        ({"lora": {"target_modules": ["q_proj", "lm_head"]}}, "lora.target_modules: must be without lm_head"),
        ({"lora": {"target_modules": 3}}, "lora.target_modules: must be text or a list of texts (found 3)"),
    ],
)
def test_what_does_not_fit_together_is_refused_before_anything_runs(settings, expected) -> None:
    text = fault("dpo", **settings)
    assert expected in text
    assert text.count("params.yaml: ") == 1


def test_settings_of_a_reward_model_are_checked_as_those_of_methods() -> None:
    assert parse_reward_model({**COMMON, "center": 0.01, "eval_steps": 5}, "--set").eval_rows is None
    with pytest.raises(ConfigError) as error:
        parse_reward_model({**COMMON, "learning_rate": -1, "beta": 1, "lora": {"rank": 3}}, "--set")
    assert str(error.value).splitlines() == [
        "--set: lora.rank: unknown key",
        "  hint: known keys: r, alpha, dropout, target_modules",
        "--set: learning_rate: must be > 0 (found -1)",
        "--set: beta: reward_model has no `beta`: it has no reference model to stay near",
        "  hint: dpo, grpo, rloo and ppo have it",
    ]


def test_losses_and_weights_become_trls(tmp_path: Path) -> None:
    several = parsed("dpo", loss_type=["sigmoid", "bco_pair"], loss_weights=[0.8, 0.2], sft_weight=1.5)
    arguments = dpo.trl_arguments(several, tmp_path, 0, False)
    assert arguments["loss_type"] == ["sigmoid", "bco_pair", "sft"]
    assert arguments["loss_weights"] == [0.8, 0.2, 1.5]
    assert parsed("dpo", loss_type=["ipo", "sft"]).losses == {"ipo": 1.0, "sft": 1.0}
    robust = parsed("dpo", loss_type="robust", label_smoothing=0.1)
    assert dpo.trl_arguments(robust, tmp_path, 0, False)["label_smoothing"] == 0.1


def test_all_losses_of_trl_are_known_by_name() -> None:
    from trl import DPOConfig

    told = DPOConfig.__dataclass_fields__["loss_type"].metadata["help"]
    assert set(re.findall(r"`'(\w+)'`", told)) == set(DPO_LOSSES)


LN2, BETA, SMOOTHING = math.log(2), 0.25, 0.1
AT_THE_START = {
    "sigmoid": LN2,
    "hinge": 1.0,
    "ipo": (1 / (2 * BETA)) ** 2,
    "exo_pair": 0.5 * (math.log(0.5 / (1 - SMOOTHING)) + math.log(0.5 / SMOOTHING)),
    "nca_pair": 2 * LN2,
    "robust": LN2,
    "bco_pair": 2 * LN2,
    "sppo_hard": 2 * (0.5 / BETA) ** 2,
    "aot": LN2,
    "aot_unpaired": LN2,
    "apo_zero": 1.0,
    "apo_down": 1.0,
    "discopop": 0.5 * LN2 + 0.5,
    "sigmoid_norm": LN2,
}
"""Each loss where the model still is its reference, so that every log ratio is 0; from the formulas of the papers."""


@pytest.mark.parametrize("loss", [*AT_THE_START, "sft"])
def test_every_loss_begins_where_its_formula_says(tiny_model, tmp_path, loss) -> None:
    smoothing = SMOOTHING if loss in {"exo_pair", "robust", "aot", "aot_unpaired"} else 0.0
    change = {"loss_type": loss, "sft_weight": 0.0, "beta": BETA, "label_smoothing": smoothing, "max_steps": 1}
    _, steps = train("dpo", DPO.model_copy(update=change), tiny_model, tmp_path / "m")
    if loss == "sft":
        assert steps[0][1]["loss"] == pytest.approx(mean_loss_of_chosen(tiny_model), rel=0.01)
    else:
        assert steps[0][1]["loss"] == pytest.approx(AT_THE_START[loss], rel=1e-5)


def mean_loss_of_chosen(model: Path) -> float:
    """-log p per token of the chosen completions, straight from the model."""
    import torch

    weights, tokenizer = load_weights(model, "float32"), load_tokenizer(model)
    losses = []
    for pair in PAIRS:
        prompt, chosen = (
            tokenizer(text, return_tensors="pt")["input_ids"] for text in (pair["prompt"], pair["chosen"])
        )
        ids = torch.cat([prompt, chosen], 1)
        labels = ids.clone()
        labels[:, : prompt.shape[1]] = -100
        losses.append(float(weights(input_ids=ids, labels=labels).loss))
    return sum(losses) / len(losses)


def test_several_losses_add_up_by_weight(tiny_model, tmp_path) -> None:
    change = {
        "loss_type": ["hinge", "ipo"],
        "loss_weights": [0.5, 2.0],
        "sft_weight": 0.0,
        "beta": BETA,
        "max_steps": 1,
    }
    _, steps = train("dpo", DPO.model_copy(update=change), tiny_model, tmp_path / "m")
    assert steps[0][1]["loss"] == pytest.approx(0.5 * 1.0 + 2.0 * 4.0, rel=1e-5)


def test_sft_has_no_settings_of_dpo() -> None:
    assert not {"beta", "loss_type", "label_smoothing"} & set(type(SFT).model_fields)
