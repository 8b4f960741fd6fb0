"""A reward model, learned from preference pairs: what it says of a completion.

It reads the tokens that it was trained on: the prompt as generation asks it, the completion, one end-of-sequence token.
A completion that ran out of tokens is read as if it had ended there.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from greenlit.errors import DataError
from greenlit.jsonl import read_json
from greenlit.models import load_tokenizer, load_weights
from greenlit.problems.prompts import prompt_ids

FACTS = "reward.json"
"""Beside the weights: {"max_length", "mean", "std"}."""
Prompt = str | list[dict[str, str]]
Completion = str | list[dict[str, str]]


def sequence_ids(tokenizer: Any, prompt: Prompt, completion: Completion) -> list[int]:
    """Token ids of a prompt, a completion and one end-of-sequence token, in training and ever after."""
    text = completion if isinstance(completion, str) else completion[-1]["content"]
    text = text.removesuffix(tokenizer.eos_token)
    written = tokenizer(text, add_special_tokens=False)["input_ids"]
    return [*prompt_ids(tokenizer, prompt), *written, tokenizer.eos_token_id]


class LearnedReward:
    """A reward model in a folder; its weights are loaded when the first scores are asked for.

    Args:
        folder: `model/` of a result of `reward_models`.
        batch_size: completions scored together; changes the speed, and at most the last digits of a score.

    Raises:
        DataError: the folder holds no reward model.
    """

    def __init__(self, folder: Path, batch_size: int = 32) -> None:
        if not (folder / FACTS).exists():
            raise DataError(
                f"{folder}: no reward model here (no {FACTS})",
                hint="rewards.model must name results/<experiment>/reward_models/<name>/model",
            )
        facts = read_json(folder / FACTS)
        self.folder = folder
        self.max_length, self.mean, self.std = int(facts["max_length"]), float(facts["mean"]), float(facts["std"])
        self._batch_size = batch_size
        self._model: Any = None
        self._tokenizer: Any = None

    def scores(self, prompts: Sequence[Prompt], completions: Sequence[Completion]) -> list[float | None]:
        """The reward of each completion, in their order; NaN where the model computes one.

        Args:
            prompts: texts, or message lists where the base has a chat template.
            completions: texts, or message lists of which the last is the model's.
        """
        self._load()
        pairs = zip(prompts, completions, strict=True)
        ids_B = [sequence_ids(self._tokenizer, prompt, completion) for prompt, completion in pairs]
        fitting = [place for place, ids in enumerate(ids_B) if len(ids) <= self.max_length]
        fitting.sort(key=lambda place: len(ids_B[place]))
        scores_B: list[float | None] = [None] * len(ids_B)
        for start in range(0, len(fitting), self._batch_size):
            places = fitting[start : start + self._batch_size]
            raw_b = raw_scores(self._model, [ids_B[place] for place in places])
            for place, raw in zip(places, raw_b, strict=True):
                scores_B[place] = (raw - self.mean) / self.std
        return scores_B

    def _load(self) -> None:
        import torch

        if self._model is None:
            self._tokenizer = load_tokenizer(self.folder)
            model = load_weights(self.folder, "float32", kind="AutoModelForSequenceClassification")
            self._model = model.to("cuda" if torch.cuda.is_available() else "cpu").eval()


def raw_scores(model: Any, ids_B: Sequence[list[int]]) -> list[float]:
    """r of token sequences, padded on the right."""
    import torch

    longest = max(map(len, ids_B))
    pad = model.config.pad_token_id
    padded = torch.tensor([[*ids, *[pad] * (longest - len(ids))] for ids in ids_B], device=model.device)
    mask = torch.tensor([[1] * len(ids) + [0] * (longest - len(ids)) for ids in ids_B], device=model.device)
    with torch.inference_mode():
        return [float(score) for score in model(input_ids=padded, attention_mask=mask, use_cache=False).logits[:, 0]]
