"""Keys and values of a batch that is being written, in memory that is taken once.

transformers' own cache copies all of itself at every token. Ours writes into place; a prompt is read once and its keys
and values are then dealt to all its completions; rows that have ended are let go.

Layers with a sliding window keep all their positions too: transformers' mask hides what lies outside the window.

Shapes: _B rows, _H heads, _T positions, _D head dimension.
"""

from functools import cache
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import Tensor


def keys_and_values(layers: int) -> Any:
    """The cache of one batch, a transformers `Cache`: filled by its prompts, then dealt out by `deal`."""
    kind, layer = _classes()
    return kind(layers=[layer() for _ in range(layers)])


def deal(filled: Any, rows: "Tensor", capacity: int) -> None:
    """Go on with these rows, in this order (one may come many times), and room for `capacity` positions."""
    for layer in filled.layers:
        layer.take(rows, capacity)


@cache
def _classes() -> tuple[type, type]:
    from transformers.cache_utils import Cache, CacheLayerMixin

    class Layer(CacheLayerMixin):
        """One layer's keys and values; `update` returns views of what is filled."""

        def __init__(self) -> None:
            super().__init__()
            self.filled = 0

        def lazy_initialization(self, key_states: "Tensor", value_states: "Tensor") -> None:
            self.keys, self.values = key_states, value_states
            self.filled = key_states.shape[-2]
            self.is_initialized = True

        def update(self, key_states: "Tensor", value_states: "Tensor", *_: Any, **__: Any) -> tuple["Tensor", "Tensor"]:
            """Add positions: the prompts', then one for each row."""
            if not self.is_initialized:
                self.lazy_initialization(key_states, value_states)
                return key_states, value_states
            start, self.filled = self.filled, self.filled + key_states.shape[-2]
            self.keys[:, :, start : self.filled] = key_states
            self.values[:, :, start : self.filled] = value_states
            return self.keys[:, :, : self.filled], self.values[:, :, : self.filled]

        def take(self, rows: "Tensor", capacity: int) -> None:
            self.keys = self._taken(self.keys, rows, capacity)
            self.values = self._taken(self.values, rows, capacity)

        def _taken(self, part_B_H_T_D: "Tensor", rows: "Tensor", capacity: int) -> "Tensor":
            _, heads, _, size = part_B_H_T_D.shape
            taken = part_B_H_T_D.new_empty((len(rows), heads, capacity, size))
            taken[:, :, : self.filled] = part_B_H_T_D[:, :, : self.filled].index_select(0, rows)
            return taken

        def get_mask_sizes(self, query_length: int) -> tuple[int, int]:
            return self.filled + query_length, 0

        def get_seq_length(self) -> int:
            return self.filled

        def get_max_length(self) -> int:
            return -1

    return Cache, Layer
