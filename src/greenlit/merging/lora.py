"""Merge an adapter into its start model, and prove that the merged model computes the same.

The merged directory is read back from disk and must give the logits of start + adapter on real prompts, token by
token, within TOLERANCE; tokenizer and chat template come along unchanged. Merging is done in fp32.
"""

import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from greenlit.errors import DataError, MismatchError
from greenlit.models import load_tokenizer, load_weights
from greenlit.problems.prompts import prompt_ids
from greenlit.stage.faults import as_known, first_line

TOLERANCE = 1e-3
"""Largest allowed difference of a logit, for weights kept in fp32."""
TOLERANCE_HALF = 0.25
"""The same for weights kept in 16 bits, whose rounding alone moves a logit by about a tenth."""


def is_adapter(folder: Path) -> bool:
    """Does the folder hold a LoRA adapter (else: full weights)?"""
    return (folder / "adapter_config.json").exists()


def merge(start: Path, trained: Path, out: Path, prompts: Sequence[str | list[dict[str, str]]]) -> dict[str, Any]:
    """Write start + adapter as one model directory.

    Args:
        start: directory of the model that was trained.
        trained: adapter, or full weights (which pass through).
        prompts: real prompts to compare logits on.

    Returns:
        facts: kind, largest difference of a logit, prompts compared.

    Raises:
        DataError: the adapter does not fit the start model.
        MismatchError: the merged model computes something else.
    """
    import torch

    if not prompts:
        raise DataError("no prompts to compare logits on: a merge is only good when that was seen")
    tokenizer = load_tokenizer(start)
    full, dtype = _merged_weights(start, trained)
    expected = [_logits(full, tokenizer, prompt) for prompt in prompts]
    merged = full.merge_and_unload() if is_adapter(trained) else full
    merged.to(dtype).save_pretrained(str(out), safe_serialization=True)
    tokenizer.padding_side = "left"
    tokenizer.save_pretrained(str(out))

    from transformers import AutoModelForCausalLM

    written = AutoModelForCausalLM.from_pretrained(str(out), dtype=torch.float32)
    again = load_tokenizer(out)
    worst = max(
        _distance(logits, _logits(written, again, prompt)) for logits, prompt in zip(expected, prompts, strict=True)
    )
    tolerance = TOLERANCE if dtype == torch.float32 else TOLERANCE_HALF
    if not worst <= tolerance:
        raise MismatchError(
            f"{out}: logits of the merged model and of start + adapter differ by {worst:.3g} (at most {tolerance})",
            hint="the adapter belongs to another model, or the merge lost precision",
        )
    if again.chat_template != tokenizer.chat_template:
        raise MismatchError(f"{out}: the chat template was lost in the merge")
    kind = "adapter" if is_adapter(trained) else "full"
    return {"kind": kind, "largest_logit_difference": worst, "prompts_compared": len(prompts)}


def _merged_weights(start: Path, trained: Path) -> tuple[Any, Any]:
    """Start + adapter (or the full weights) in fp32, and the dtype that the start model is stored in."""
    import torch
    from transformers import AutoConfig

    model = load_weights(start if is_adapter(trained) else trained, "float32")
    stored = AutoConfig.from_pretrained(str(start)).dtype or torch.float32
    return (_with_adapter(model, start, trained) if is_adapter(trained) else model).eval(), stored


def _with_adapter(model: Any, start: Path, trained: Path) -> Any:
    """The model with its adapter, all of whose weights found their place, and no place without its weights."""
    from peft import PeftModel, get_peft_model_state_dict
    from safetensors import SafetensorError, safe_open

    file = trained / "adapter_model.safetensors"
    try:
        with safe_open(file, "pt") as stream:
            stored = set(stream.keys())
        with warnings.catch_warnings():  # peft warns of weights that are missing; below they are an error
            warnings.simplefilter("ignore")
            adapted = PeftModel.from_pretrained(model, str(trained))
    except (FileNotFoundError, SafetensorError) as error:
        raise DataError(f"{file}: no usable adapter ({first_line(error)})", hint=_AGAIN) from None
    except (RuntimeError, ValueError, KeyError, TypeError) as error:
        if as_known(error) is not None:  # disk, rights, memory: nothing is wrong with the adapter
            raise
        told = " ".join(str(error).split())[:200]
        raise MismatchError(f"{trained}: the adapter does not fit {start} ({told})", hint=_AGAIN) from None
    unlike = stored ^ set(get_peft_model_state_dict(adapted))
    if unlike:
        raise MismatchError(
            f"{trained}: the adapter does not fit {start} ({len(unlike)} of {len(stored)} weights have no counterpart, "
            f"e.g. {min(unlike)})",
            hint=_AGAIN,
        )
    return adapted


_AGAIN = "train again from this model: dvc repro --force train"


def _logits(model: Any, tokenizer: Any, prompt: str | list[dict[str, str]]) -> Any:
    import torch

    with torch.inference_mode():
        return model(input_ids=torch.tensor([prompt_ids(tokenizer, prompt)])).logits[0]


def _distance(left: Any, right: Any) -> float:
    return float((left - right).abs().max()) if left.shape == right.shape else float("inf")
