"""What loops that write token by token ask of a model: prompts in, logits of the next token out.

Shapes: _P prompts, _B rows, _T positions, _V vocabulary.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import Tensor


def left_padded(prompts_P: Sequence[list[int]], pad: int, device: Any) -> tuple["Tensor", "Tensor", "Tensor"]:
    """Token ids, attention mask and positions of the prompts."""
    import torch

    width = max(len(ids) for ids in prompts_P)
    ids_P_T = torch.tensor([[pad] * (width - len(ids)) + ids for ids in prompts_P], device=device)
    mask_P_T = torch.tensor([[0] * (width - len(ids)) + [1] * len(ids) for ids in prompts_P], device=device)
    return ids_P_T, mask_P_T, (mask_P_T.cumsum(1) - 1).clamp(min=0)


def next_logits(lm: Any, cache: Any, ids: "Tensor", mask: "Tensor", positions: "Tensor") -> "Tensor":
    """(B, V) logits of the token after the last one."""
    output = lm(
        input_ids=ids,
        attention_mask=mask,
        position_ids=positions,
        past_key_values=cache,
        use_cache=True,
        logits_to_keep=1,
    )
    return output.logits[:, -1]
