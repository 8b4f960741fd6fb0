"""Merge an adapter into its start model, and prove that the merged model computes the same.

The merged directory is read back from disk and must give the logits of start + adapter on real prompts, token by
token, within TOLERANCE; tokenizer and chat template come along unchanged. Merging is done in fp32.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from greenlit.errors import DataError, MismatchError
from greenlit.models import is_adapter, load_tokenizer, load_weights, with_adapter
from greenlit.problems.prompts import prompt_ids

__all__ = ["is_adapter", "merge"]

TOLERANCE = 1e-3
"""Largest allowed difference of a logit, for weights kept in fp32."""
TOLERANCE_HALF = 0.25
"""The same for weights kept in 16 bits, whose rounding alone moves a logit by about a tenth."""


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
    return (with_adapter(model, start, trained) if is_adapter(trained) else model).eval(), stored


def _logits(model: Any, tokenizer: Any, prompt: str | list[dict[str, str]]) -> Any:
    import torch

    with torch.inference_mode():
        return model(input_ids=torch.tensor([prompt_ids(tokenizer, prompt)])).logits[0]


def _distance(left: Any, right: Any) -> float:
    return float((left - right).abs().max()) if left.shape == right.shape else float("inf")
