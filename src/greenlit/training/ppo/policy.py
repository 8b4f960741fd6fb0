"""The model in training: a causal language model with a value head, and the start model as its reference.

The value head is a linear layer on the last hidden state, initialised at zero, that shares the trunk with the policy.
Only the hidden states from which a completion's tokens are predicted go through the two heads.

Shapes: _B completion, _L token of prompt and completion, padded on the right, _N completion tokens, one completion
after the other, _V vocabulary, _H hidden state.
"""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

from greenlit.config import PpoParams
from greenlit.models import load_tokenizer, load_weights
from greenlit.training.arguments import lora_config
from greenlit.training.trainer import order_module_names

if TYPE_CHECKING:
    from torch import Tensor

VALUE_HEAD = "value_head.safetensors"


def make_policy(lm: Any, with_values: bool) -> Any:
    """A torch module: (ids_B_L, mask_B_L, predicts_B_L) -> (logits_N_V, value_N); no values without a value head.

    `predicts_B_L` is True where a completion's token comes next.
    """
    import torch

    class Policy(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.lm = lm
            self.value_head = torch.nn.Linear(_head(lm).in_features, 1) if with_values else None
            if self.value_head is not None:
                torch.nn.init.zeros_(self.value_head.weight)
                torch.nn.init.zeros_(self.value_head.bias)

        def forward(
            self, ids_B_L: "Tensor", mask_B_L: "Tensor", predicts_B_L: "Tensor"
        ) -> tuple["Tensor", "Tensor | None"]:
            with _only_these(_head(self.lm), predicts_B_L) as seen:
                logits_N_V = self.lm(input_ids=ids_B_L, attention_mask=mask_B_L, use_cache=False).logits
            if self.value_head is None:
                return logits_N_V, None
            with torch.autocast(ids_B_L.device.type, enabled=False):
                return logits_N_V, self.value_head(seen[0].to(self.value_head.weight.dtype))[:, 0]

    return Policy()


def _head(lm: Any) -> Any:
    return lm.get_output_embeddings()


@contextmanager
def _only_these(head: Any, predicts_B_L: "Tensor") -> Iterator[list["Tensor"]]:
    """Within, the language model's head gets the (N, H) hidden states of these places, and so does the list.

    What a model does to its logits besides (a scale, a soft cap) stays in place.
    """
    seen: list[Tensor] = []

    def select(_: Any, arguments: tuple["Tensor"]) -> tuple["Tensor"]:
        hidden_N_H = arguments[0][predicts_B_L]
        seen.append(hidden_N_H)
        return (hidden_N_H,)

    handle = head.register_forward_pre_hook(select)
    try:
        yield seen
    finally:
        handle.remove()


def load_policy(params: PpoParams, start: Path, checkpoint: Path | None) -> tuple[Any, Any]:
    """The policy, and its tokenizer; with a checkpoint, as that has it.

    Dropout of the start model is off: with it, the ratio would not be 1 before the first update. That of LoRA is as
    its settings say.
    """
    adapter = lora_config(params)
    lm = load_weights(checkpoint if checkpoint and adapter is None else start, "float32")
    without_dropout(lm)
    if params.gradient_checkpointing:
        lm.gradient_checkpointing_enable({"use_reentrant": False})
    if adapter is not None:
        from peft import get_peft_model

        lm = get_peft_model(lm, adapter)
        order_module_names(lm)
    policy = make_policy(lm, params.value_coef > 0)
    if checkpoint:
        _restore(policy, checkpoint, adapter is not None)
    return policy, load_tokenizer(start)


def without_dropout(lm: Any) -> None:
    """Turn every dropout layer off, also in training mode."""
    import torch

    for module in lm.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.0


def _restore(policy: Any, checkpoint: Path, has_adapter: bool) -> None:
    from safetensors.torch import load_file

    if has_adapter:
        from peft import set_peft_model_state_dict

        set_peft_model_state_dict(policy.lm, load_file(checkpoint / "adapter_model.safetensors"))
    if policy.value_head is not None:
        policy.value_head.load_state_dict(load_file(checkpoint / VALUE_HEAD))


def save_weights(policy: Any, tokenizer: Any, folder: Path) -> None:
    """The adapter, or all weights, with the tokenizer, as transformers and peft read them."""
    policy.lm.save_pretrained(str(folder))
    tokenizer.save_pretrained(str(folder))
    (folder / "README.md").unlink(missing_ok=True)


def save_value_head(policy: Any, folder: Path) -> None:
    """The value head, where there is one."""
    from safetensors.torch import save_file

    if policy.value_head is not None:
        save_file(policy.value_head.state_dict(), folder / VALUE_HEAD)


def reference_of(policy: Any, start: Path, params: PpoParams) -> Callable[[], AbstractContextManager[Any]]:
    """What gives the start model, within a context: the adapter switched off, or else a frozen copy."""
    if params.lora is not None:

        @contextmanager
        def switched_off() -> Iterator[Any]:
            with policy.lm.disable_adapter():
                yield policy

        return switched_off
    frozen = make_policy(load_weights(start, "float32"), with_values=False).requires_grad_(False).eval()
    frozen.to(next(policy.parameters()).device)
    return lambda: nullcontext(frozen)
