"""Which modules of a model get a LoRA adapter, whatever its architecture calls them.

llama, qwen, starcoder2     q_proj k_proj v_proj o_proj, gate_proj up_proj down_proj (starcoder2: c_fc c_proj)
gpt2, DialoGPT              c_attn c_proj c_fc: Conv1D, whose weights are stored transposed
codegen                     qkv_proj out_proj fc_in fc_out
gpt_bigcode (StarCoder)     c_attn c_proj c_fc
"""

from collections.abc import Sequence
from typing import Any

from greenlit.errors import ConfigError

ALL, ATTENTION = "all-linear", "attention"


def target_modules(model: Any, wanted: str | Sequence[str]) -> str | list[str]:
    """What peft's `target_modules` has to be for this model.

    Args:
        wanted: `all-linear`, `attention` (the linear modules of the attention blocks), or names, each of which must
            be there: peft would silently train without one that is not.

    Raises:
        ConfigError: the model has no module of a name; says which it has.
    """
    if wanted == ALL:
        return ALL
    paths = linear_modules(model)
    if wanted == ATTENTION:
        names = sorted({".".join(path.split(".")[-2:]) for path in paths if _in_attention(model, path)})
        if not names:
            raise ConfigError(f"lora.target_modules: no attention blocks in {_kind(model)}", hint=_these(paths))
        return names
    names = [wanted] if isinstance(wanted, str) else list(wanted)
    missing = [name for name in names if not any(f".{path}".endswith(f".{name}") for path in paths)]
    if missing:
        raise ConfigError(
            f"lora.target_modules: no linear module is called {', '.join(missing)} in {_kind(model)}",
            hint=_these(paths),
        )
    return names


def linear_modules(model: Any) -> list[str]:
    """Paths of the linear modules but for the head."""
    return [path for path, module in model.named_modules() if _is_linear(module) and not _is_head(model, path, module)]


def is_transposed(model: Any) -> bool:
    """Are the model's linear modules GPT-2's Conv1D, which store their weights as (in, out)?"""
    from transformers.pytorch_utils import Conv1D

    return {isinstance(model.get_submodule(path), Conv1D) for path in linear_modules(model)} == {True}


def _is_linear(module: Any) -> bool:
    import torch
    from transformers.pytorch_utils import Conv1D

    return isinstance(module, torch.nn.Linear | Conv1D)


def _is_head(model: Any, path: str, module: Any) -> bool:
    return path == "score" or module is model.get_output_embeddings()


def _in_attention(model: Any, path: str) -> bool:
    return "attention" in type(model.get_submodule(path.rpartition(".")[0])).__name__.lower()


def _kind(model: Any) -> str:
    return f"a model of type {model.config.model_type}"


def _these(paths: Sequence[str]) -> str:
    names = sorted({path.rpartition(".")[2] for path in paths})
    return f"it has {', '.join(names)}; or `{ALL}`, or `{ATTENTION}`"
