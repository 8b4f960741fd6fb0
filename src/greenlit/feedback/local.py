"""A judge that runs here: a transformers model directory, or a pointer to one (see `greenlit.models`)."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from greenlit.config import JudgeParams
from greenlit.endpoints.faults import Faults
from greenlit.feedback.budget import Budget
from greenlit.feedback.endpoint import Reply
from greenlit.feedback.rubrics import Messages, mark_of
from greenlit.generation.sampling import GumbelMax, candidate_stream
from greenlit.models import load_model, load_tokenizer, resolve
from greenlit.problems.prompts import has_chat_template, prompt_ids


class LocalModel:
    """Asks questions in batches. The model is loaded with the first one, and stays.

    An answer depends on the question alone: sampled ones (temperature > 0) draw from a stream that is keyed by it.
    """

    def __init__(self, params: JudgeParams, budget: Budget, faults: Faults) -> None:
        self.params, self.budget, self.faults = params, budget, faults
        self.weights = resolve(Path(params.model))
        self._loaded: tuple[Any, Any] | None = None

    def close(self) -> None:
        """Let the model go."""
        self._loaded = None

    def ask(self, asked: Sequence[Messages]) -> list[Reply | None]:
        """An answer to each question, in their order; None where it does not fit into the model's context."""
        if not asked:
            return []
        model, tokenizer = self._model()
        prompts = [messages if has_chat_template(tokenizer) else _as_text(messages) for messages in asked]
        ids = [prompt_ids(tokenizer, prompt) for prompt in prompts]
        context = getattr(model.config, "max_position_embeddings", None)
        fitting = [place for place in range(len(ids)) if self._may_ask(len(ids[place]), context)]
        fitting.sort(key=lambda place: -len(ids[place]))
        replies: list[Reply | None] = [None] * len(asked)
        for start in range(0, len(fitting), self.params.batch_size):
            batch = fitting[start : start + self.params.batch_size]
            texts = self._generate(model, tokenizer, [ids[place] for place in batch], [str(asked[p]) for p in batch])
            for place, text in zip(batch, texts, strict=True):
                replies[place] = Reply(text, self.params.model)
        return replies

    def _model(self) -> tuple[Any, Any]:
        if self._loaded is None:
            self._loaded = load_model(self.weights, self.params.dtype), load_tokenizer(self.weights)
        return self._loaded

    def _may_ask(self, length: int, context: int | None) -> bool:
        most = length + self.params.max_new_tokens
        if context is not None and most > context:
            self.faults.tell("a question does not fit into its context", f"{most} of {context} tokens")
            return False
        if not self.budget.reserve(most):
            told = f"judge.max_calls {self.params.max_calls}, judge.max_tokens {self.params.max_tokens}"
            self.faults.tell("its budget is used up", told)
            return False
        return True

    def _generate(self, model: Any, tokenizer: Any, ids: list[list[int]], keys: list[str]) -> list[str]:
        """Answers to one batch."""
        import torch
        from transformers import GenerationConfig, LogitsProcessorList

        ends = model.generation_config.eos_token_id
        named = ends if isinstance(ends, list) else [ends]
        end_tokens = frozenset(token for token in [*named, tokenizer.eos_token_id] if token is not None)
        greedy = self.params.temperature == 0
        streams = [None if greedy else candidate_stream(0, mark_of(key), 0) for key in keys]
        sampler = GumbelMax(streams, self.params.temperature or 1.0, 0, 1.0, end_tokens)
        inputs = tokenizer.pad({"input_ids": ids}, return_tensors="pt").to(model.device)
        settings = GenerationConfig(
            max_new_tokens=self.params.max_new_tokens,
            do_sample=False,
            eos_token_id=sorted(end_tokens),
            pad_token_id=tokenizer.pad_token_id,
        )
        with torch.inference_mode():
            output = model.generate(
                **inputs, generation_config=settings, logits_processor=LogitsProcessorList([sampler])
            )
        written = output[:, inputs["input_ids"].shape[1] :]
        return list(tokenizer.batch_decode(written, skip_special_tokens=True, clean_up_tokenization_spaces=False))


def _as_text(messages: Messages) -> str:
    """For a model without a chat template, which goes on from text."""
    return "\n\n".join(f"{message['role']}:\n{message['content']}" for message in messages) + "\n\nassistant:\n"
