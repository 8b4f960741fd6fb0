"""A batch of completions by a model's own `generate`: for models that our loop does not fit."""

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from greenlit.generation.decoding import Model, Written
from greenlit.generation.forward import left_padded
from greenlit.generation.sampling import GumbelMax, Sampler
from greenlit.generation.stop_texts import StopTexts

if TYPE_CHECKING:
    from torch import Tensor


def write_by_generate(
    model: Model,
    prompts_P: Sequence[list[int]],
    prompt_of: Sequence[int],
    sampler: Sampler,
    max_new_tokens: int,
    stop_texts: StopTexts | None = None,
) -> Iterator[list[Written]]:
    """As `decoding.write`; all completions end together."""
    import torch
    from transformers import GenerationConfig, LogitsProcessorList, StoppingCriteriaList

    ids_B_T, mask_B_T, _ = left_padded([prompts_P[place] for place in prompt_of], model.pad_token, model.lm.device)
    gumbel = GumbelMax.around(sampler, model.end_tokens)
    settings = GenerationConfig(
        max_new_tokens=max_new_tokens,
        do_sample=False,
        eos_token_id=sorted(model.end_tokens),
        pad_token_id=model.pad_token,
    )
    stops = [_Stops(stop_texts, ids_B_T.shape[1], gumbel)] if stop_texts else []
    with torch.inference_mode():
        output_B_T = model.lm.generate(
            input_ids=ids_B_T,
            attention_mask=mask_B_T,
            generation_config=settings,
            logits_processor=LogitsProcessorList([gumbel]),
            stopping_criteria=StoppingCriteriaList(stops),
        )
    rows = output_B_T[:, ids_B_T.shape[1] :].tolist()
    yield [
        Written(place, row[:length], float(logprob))
        for place, (row, length, logprob) in enumerate(zip(rows, gumbel.lengths_B, gumbel.logprobs_B, strict=True))
    ]


class _Stops:
    """A stopping criterion: rows that have come to a stop text, none of which may lie in the prompt."""

    def __init__(self, texts: StopTexts, prompt: int, gumbel: GumbelMax) -> None:
        self._texts, self._prompt, self._gumbel = texts, prompt, gumbel

    def __call__(self, input_ids: "Tensor", scores: Any, **_: Any) -> "Tensor":
        import torch

        written_B_T = input_ids[:, self._prompt :].cpu().numpy()
        stopped_B = np.array(
            [is_open and self._texts.end(row) for row, is_open in zip(written_B_T, self._gumbel.open_B, strict=True)]
        )
        self._gumbel.close(stopped_B)
        return torch.from_numpy(stopped_B).to(input_ids.device)
