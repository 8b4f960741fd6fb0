"""Does our loop fit a model? Where it does not, the model's own `generate` is used."""

import inspect
from typing import Any

_ATTENTIONS = ("sdpa", "eager")
_INPUTS = {"input_ids", "attention_mask", "position_ids", "past_key_values", "use_cache", "logits_to_keep"}


def why_not(lm: Any) -> str | None:
    """What about a causal language model the loop cannot deal with; None: it fits.

    The loop brings its own keys and values, and gives each row its positions and its mask. That is all there is to
    most models: layers with full attention or a sliding window, and positions that are rotated, learned or added.
    """
    from transformers import DynamicCache, GenerationMixin
    from transformers.cache_utils import DynamicLayer, DynamicSlidingWindowLayer

    config = lm.config.get_text_config(decoder=True)
    if lm.config.is_encoder_decoder:
        return "it has an encoder"
    if not lm._supports_default_dynamic_cache() or getattr(lm, "_is_stateful", False):
        return "it keeps its past in a way of its own"
    if getattr(config, "num_kv_shared_layers", None):
        return "its layers share keys and values"
    if "chunked_attention" in (getattr(config, "layer_types", None) or []) or _chunked(config):
        return "it attends to chunks"
    kinds = {type(layer) for layer in DynamicCache(config=lm.config).layers}
    if not kinds or not kinds <= {DynamicLayer, DynamicSlidingWindowLayer}:
        return f"it keeps its past in {', '.join(sorted(kind.__name__ for kind in kinds)) or 'no layers'}"
    if lm.config._attn_implementation not in _ATTENTIONS:
        return f"its attention is {lm.config._attn_implementation}"
    if type(lm).prepare_inputs_for_generation is not GenerationMixin.prepare_inputs_for_generation:
        return "it prepares the inputs of a step in a way of its own"
    missing = _INPUTS - set(inspect.signature(lm.forward).parameters)
    if missing:
        return f"its forward takes no {', '.join(sorted(missing))}"
    return None


def layers(lm: Any) -> int:
    """How many layers keep keys and values."""
    from transformers import DynamicCache

    return len(DynamicCache(config=lm.config).layers)


def _chunked(config: Any) -> bool:
    return getattr(config, "attention_chunk_size", None) is not None
