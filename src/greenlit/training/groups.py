"""Groups of completions of one problem, as tensors: which of them teach anything, and batches without the others.

A group whose completions all earn the same has advantage 0 everywhere. Left in the batch it teaches nothing and still
counts in the loss's mean, which makes steps smaller the better the model gets; DAPO (https://arxiv.org/abs/2503.14476)
samples other problems in its place.

Shapes: _B completions of a process's batch, _G groups of `size` neighbours in it.
"""

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch

Batch = dict[str, Any]
"""TRL's batch: tensors with _B rows (`prompt_*` padded on the left, the others on the right), and scalars."""


def varied(rewards_B: Sequence[float], size: int) -> list[bool]:
    """Of each group: did two of its completions earn differently? NaN, where nothing was found out, does not count."""
    groups = (rewards_B[start : start + size] for start in range(0, len(rewards_B), size))
    known = ([reward for reward in group if not math.isnan(reward)] for group in groups)
    return [len(group) > 1 and max(group) - min(group) > 1e-6 for group in known]


def rows_of(groups: Sequence[int], size: int) -> list[int]:
    """The rows of these groups."""
    return [group * size + place for group in groups for place in range(size)]


def rows_to_keep(varied_G: Sequence[bool], size: int, chunks: int, least: int = 0) -> list[int]:
    """Rows of the varied groups, and as many others as make equal chunks, at least one row each, and `least` rows."""
    good = rows_of([group for group, is_varied in enumerate(varied_G) if is_varied], size)
    others = rows_of([group for group, is_varied in enumerate(varied_G) if not is_varied], size)
    wanted = max(chunks, least, math.ceil(len(good) / chunks) * chunks)
    return good + others[: wanted - len(good)]


def picked(batch: Mapping[str, Any], rows: Sequence[int]) -> Batch:
    """These rows of a batch."""
    import torch

    return {
        key: value[torch.as_tensor(rows, device=value.device)]
        if isinstance(value, torch.Tensor) and value.ndim
        else value
        for key, value in batch.items()
    }


def joined(first: Mapping[str, Any], second: Mapping[str, Any], pad_id: int) -> Batch:
    """The rows of both batches, padded to the same widths; scalars are the first one's."""
    import torch

    out: Batch = {}
    for key, value in first.items():
        if not isinstance(value, torch.Tensor) or not value.ndim:
            out[key] = value
            continue
        other = second[key]
        if value.ndim == 2:
            width = max(value.shape[1], other.shape[1])
            value, other = (_widened(one, width, key, pad_id) for one in (value, other))
        out[key] = torch.cat([value, other])
    return out


def _widened(rows: "torch.Tensor", width: int, key: str, pad_id: int) -> "torch.Tensor":
    import torch

    missing = width - rows.shape[1]
    sides = (missing, 0) if key.startswith("prompt") else (0, missing)
    return torch.nn.functional.pad(rows, sides, value=pad_id if key.endswith("_ids") else 0)
