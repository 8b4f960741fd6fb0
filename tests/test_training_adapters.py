"""Adapters find their modules in every architecture, train, and merge into a model that computes the same."""

import shutil
import warnings
from pathlib import Path
from typing import Any

import pytest
from test_training import DPO, PROMPTS, SFT, train

from greenlit.config import LoraParams
from greenlit.errors import ConfigError
from greenlit.merging.lora import merge
from greenlit.models import load_weights, weights_sha256
from greenlit.training.arguments import lora_config
from greenlit.training.targets import is_transposed, linear_modules, target_modules
from greenlit.training.trainer import quantization

NARROW = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2}
GPT = {"n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": 128}
LAYOUTS: dict[str, tuple[str, dict[str, Any], set[str], set[str]]] = {
    "llama": (
        "LlamaConfig", NARROW,
        {"q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"},
        {"self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj", "self_attn.o_proj"},
    ),
    "qwen2": (
        "Qwen2Config", {**NARROW, "num_key_value_heads": 1},
        {"q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"},
        {"self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj", "self_attn.o_proj"},
    ),
    "qwen3": (
        "Qwen3Config", {**NARROW, "num_key_value_heads": 1, "head_dim": 16},
        {"q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"},
        {"self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj", "self_attn.o_proj"},
    ),
    "gpt2": ("GPT2Config", GPT, {"c_attn", "c_proj", "c_fc"}, {"attn.c_attn", "attn.c_proj"}),
    "codegen": (
        "CodeGenConfig", {**GPT, "rotary_dim": 4},
        {"qkv_proj", "out_proj", "fc_in", "fc_out"}, {"attn.qkv_proj", "attn.out_proj"},
    ),
    "gpt_bigcode": ("GPTBigCodeConfig", GPT, {"c_attn", "c_proj", "c_fc"}, {"attn.c_attn", "attn.c_proj"}),
    "starcoder2": (
        "Starcoder2Config", {**NARROW, "num_key_value_heads": 1},
        {"q_proj", "k_proj", "v_proj", "o_proj", "c_fc", "c_proj"},
        {"self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj", "self_attn.o_proj"},
    ),
}  # fmt: skip
"""Configuration of a model with random weights, its linear modules, and those of its attention blocks."""


@pytest.fixture(scope="module", params=LAYOUTS)
def layout(request, tiny_model, tmp_path_factory) -> tuple[str, Path]:
    import torch
    import transformers

    folder = tmp_path_factory.mktemp(request.param)
    for name in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copy(tiny_model / name, folder / name)
    name, sizes, _, _ = LAYOUTS[request.param]
    torch.manual_seed(0)
    config = getattr(transformers, name)(vocab_size=258, pad_token_id=0, eos_token_id=1, bos_token_id=1, **sizes)
    model = transformers.AutoModelForCausalLM.from_config(config)
    bias = model.get_output_embeddings().bias
    if bias is not None:  # codegen's, which TRL's own log-probabilities must not forget
        torch.nn.init.normal_(bias)
    model.save_pretrained(folder)
    return request.param, folder


def test_an_adapter_trains_on_all_linear_modules_and_merges_without_loss(layout, tmp_path) -> None:
    from safetensors.torch import load_file

    name, model = layout
    with warnings.catch_warnings():
        warnings.filterwarnings("error", message=".*fan_in_fan_out")
        _, steps = train("sft", SFT, model, tmp_path / "m")
    assert steps[-1][1]["loss"] < steps[0][1]["loss"]
    weights = load_file(tmp_path / "m/adapter/adapter_model.safetensors")
    learnt = {key.split(".")[-3] for key, tensor in weights.items() if "lora_B" in key and tensor.abs().max() > 0}
    assert learnt == LAYOUTS[name][2]
    assert sum("lora_B" in key for key in weights) == len(linear_modules(load_weights(model, "float32")))
    merged = merge(model, tmp_path / "m/adapter", tmp_path / "merged", PROMPTS)
    assert merged["largest_logit_difference"] < 1e-3


def test_preferences_are_learnt_in_every_architecture(layout, tmp_path) -> None:
    _, model = layout
    _, steps = train("dpo", DPO.model_copy(update={"sft_weight": 0.0}), model, tmp_path / "m")
    assert steps[0][1]["loss"] == pytest.approx(0.693147, rel=1e-4)
    assert steps[-1][1]["rewards/margins"] > 0


def test_the_attention_blocks_are_found_by_what_they_are(layout, tmp_path) -> None:
    name, folder = layout
    model = load_weights(folder, "float32")
    assert set(target_modules(model, "attention")) == LAYOUTS[name][3]
    params = SFT.model_copy(update={"lora": LoraParams(r=2, alpha=4, target_modules="attention"), "max_steps": 1})
    train("sft", params, folder, tmp_path / "m")
    adapted = (tmp_path / "m/adapter/adapter_config.json").read_text()
    assert all(f'"{module}"' in adapted for module in LAYOUTS[name][3])


def test_names_are_looked_for_before_anything_is_trained(layout) -> None:
    name, folder = layout
    model = load_weights(folder, "float32")
    own = sorted(LAYOUTS[name][2])
    assert target_modules(model, own) == own
    assert target_modules(model, "all-linear") == "all-linear"
    with pytest.raises(ConfigError) as error:
        target_modules(model, [own[0], "query", "attn.nothing"])
    assert str(error.value) == (
        f"lora.target_modules: no linear module is called query, attn.nothing in a model of type {name}\n"
        f"hint: it has {', '.join(own)}; or `all-linear`, or `attention`"
    )


def test_transposed_weights_are_known_as_such(layout) -> None:
    name, folder = layout
    model = load_weights(folder, "float32")
    assert is_transposed(model) == (name == "gpt2")
    assert lora_config(SFT, model).fan_in_fan_out == (name == "gpt2")


def test_the_earlier_projects_codegen_default_is_told_what_it_is_called(layout) -> None:
    name, folder = layout
    if name != "codegen":
        return
    params = SFT.model_copy(update={"lora": LoraParams(target_modules=["q_proj", "v_proj"])})
    with pytest.raises(ConfigError, match=r"no linear module is called q_proj, v_proj in a model of type codegen"):
        lora_config(params, load_weights(folder, "float32"))


def test_an_adapters_dropout_is_honoured_where_trl_turns_dropout_off(tiny_model, tmp_path) -> None:
    """DPOTrainer sets every dropout of the model to 0, the adapter's among them."""
    params = DPO.model_copy(update={"max_steps": 3})
    dropped = params.model_copy(update={"lora": LoraParams(r=4, alpha=8, dropout=0.5)})
    for name, one in {"plain": params, "dropped": dropped, "again": dropped}.items():
        train("dpo", one, tiny_model, tmp_path / name)
    hashes = {name: weights_sha256(tmp_path / name / "adapter") for name in ("plain", "dropped", "again")}
    assert hashes["dropped"] == hashes["again"] != hashes["plain"]


def test_four_bits_are_refused_without_a_gpu(tiny_model, tmp_path, monkeypatch) -> None:
    import importlib.util

    import torch

    params = SFT.model_copy(update={"quantize": "4bit"})
    if not torch.cuda.is_available():
        with pytest.raises(ConfigError, match=r"quantize: 4bit needs an NVIDIA GPU \(found none\)"):
            train("sft", params, tiny_model, tmp_path / "m")
        assert not (tmp_path / "m/adapter").exists()
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ConfigError, match="quantize: 4bit needs bitsandbytes, which is not installed"):
        quantization(params)
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: object())
    config = quantization(params.model_copy(update={"dtype": "bfloat16"}))["quantization_config"]
    assert (config.load_in_4bit, config.bnb_4bit_quant_type, config.bnb_4bit_use_double_quant) == (True, "nf4", True)
    assert config.bnb_4bit_compute_dtype == torch.bfloat16
    assert quantization(SFT) == {}
