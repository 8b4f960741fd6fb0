"""One program at a time, shown as it is written: by a model that runs here, or by an endpoint.

What is written is what the backend of that name samples: the same prompt, seed and random numbers.
"""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Protocol

from greenlit.config import SamplingParams
from greenlit.endpoints.trying import refusal
from greenlit.errors import ConfigError, DataError, WorldError
from greenlit.generation.request import Completion, Prompt
from greenlit.jsonl import one_line
from greenlit.problems.prompts import has_chat_template, prompt_ids, render
from greenlit.types import Problem

Show = Callable[[str], object]


class Writer(Protocol):
    """A model that writes."""

    def prompt(self, problem: Problem) -> Prompt:
        """What it is asked."""

    def write(self, task_id: str, place: int, seed: int, prompt: Prompt, show: Show) -> Completion:
        """One program; -1 is the greedy one."""


def writer_of(model: str, params: SamplingParams) -> Writer:
    """The model, loaded.

    Raises:
        ConfigError: a backend that cannot be watched, no address of an endpoint.
        DataError: no such model.
    """
    if params.backend == "openai":
        return EndpointWriter(model, params)
    if params.backend == "vllm":
        raise ConfigError(
            "--backend vllm: writes many programs at once, and shows none as it comes",
            hint="start its server, and use --backend openai",
        )
    return LocalWriter(Path(model), params)


class LocalWriter:
    """A transformers model in this process."""

    def __init__(self, model: Path, params: SamplingParams) -> None:
        from greenlit.models import is_adapter, load_model, load_tokenizer, resolve

        weights = model if is_adapter(model) else resolve(model)
        self.params = params
        self.tokenizer = load_tokenizer(weights)
        self.model = load_model(weights, params.dtype)
        ends = self.model.generation_config.eos_token_id
        named = [*(ends if isinstance(ends, list) else [ends]), self.tokenizer.eos_token_id]
        self.ends = frozenset(token for token in named if token is not None)

    def prompt(self, problem: Problem) -> Prompt:
        """By the one renderer."""
        return render(problem, has_chat_template(self.tokenizer))

    def write(self, task_id: str, place: int, seed: int, prompt: Prompt, show: Show) -> Completion:
        """One program.

        Raises:
            DataError: the prompt does not fit.
        """
        import torch
        from transformers import GenerationConfig, LogitsProcessorList

        from greenlit.generation.sampling import GumbelMax, candidate_stream

        ids = prompt_ids(self.tokenizer, prompt)
        context = getattr(self.model.config, "max_position_embeddings", None)
        room = self.params.max_new_tokens if context is None else min(self.params.max_new_tokens, context - len(ids))
        if room < 1:
            raise DataError(f"the problem is too long: {len(ids)} tokens, and the model's context holds {context}")
        stream = None if place < 0 else candidate_stream(seed, task_id, place)
        params = self.params
        sampler = GumbelMax([stream], params.temperature, params.top_k, params.top_p, self.ends)
        told = _Told(self.tokenizer, self.ends, show)
        settings = GenerationConfig(
            max_new_tokens=room,
            do_sample=False,
            eos_token_id=sorted(self.ends),
            pad_token_id=self.tokenizer.pad_token_id,
        )
        with torch.inference_mode():
            inputs = torch.tensor([ids], device=self.model.device)
            self.model.generate(
                inputs,
                attention_mask=torch.ones_like(inputs),
                generation_config=settings,
                logits_processor=LogitsProcessorList([sampler]),
                streamer=told,
            )
        logprob = round(float(sampler.logprobs_B[0]), 3)
        return Completion(task_id, place, told.text, told.count, told.ended, logprob)


class _Told:
    """A transformers streamer: shows text as far as it is whole characters."""

    def __init__(self, tokenizer: Any, ends: frozenset[int], show: Show) -> None:
        self._tokenizer, self._ends, self._show = tokenizer, ends, show
        self._tokens: list[int] | None = None
        self._shown = 0
        self.text = ""
        self.count = 0
        self.ended = False

    def put(self, tokens: Any) -> None:
        """The prompt, and then one token after the other."""
        if self._tokens is None:
            self._tokens = []
            return
        for token in tokens.flatten().tolist():
            self.count += 1
            if token in self._ends:
                self.ended = True
            else:
                self._tokens.append(token)
        self.text = self._tokenizer.decode(self._tokens, skip_special_tokens=True, clean_up_tokenization_spaces=False)
        whole = len(self.text.rstrip("\ufffd"))
        if whole > self._shown:
            self._show(self.text[self._shown : whole])
            self._shown = whole

    def end(self) -> None:
        """What is left."""
        self._show(self.text[self._shown :])
        self._shown = len(self.text)


class EndpointWriter:
    """A model behind an OpenAI-compatible endpoint, by server-sent events."""

    def __init__(self, model: str, params: SamplingParams) -> None:
        from greenlit.generation.openai import access
        from greenlit.models import knows_chat

        self.params, self.access = params, access()
        self.name = params.openai.model or model
        chat = params.openai.chat if params.openai.chat is not None else knows_chat(Path(model))
        self.chat = True if chat is None else chat

    def prompt(self, problem: Problem) -> Prompt:
        """By the one renderer."""
        return render(problem, self.chat)

    def write(self, task_id: str, place: int, seed: int, prompt: Prompt, show: Show) -> Completion:
        """One program.

        Raises:
            WorldError: the endpoint fails, is silent or refuses.
        """
        import httpx

        from greenlit.generation.runs import Run
        from greenlit.generation.wire import ENDED, Dialect, body_of, path_of

        run = Run(task_id, prompt, seed, place, 1)
        body = body_of(run, self.name, self.params, Dialect(logprobs=False)) | {"stream": True}
        headers = {"Authorization": f"Bearer {self.access.key}"} if self.access.key else {}
        text, count, reason, served = "", 0, None, None
        try:
            with httpx.stream(
                "POST", self.access.url + path_of(run), json=body, headers=headers, timeout=self.access.timeout_s
            ) as response:
                if response.status_code != 200:
                    fault = refusal(response.status_code, response.headers, response.read())
                    raise WorldError(one_line(f"the endpoint answers {fault.kind}: {fault.detail}"))
                for event in _events(response.iter_lines()):
                    served = event.get("model") or served
                    for choice in event.get("choices") or []:
                        piece = choice.get("text") or (choice.get("delta") or {}).get("content") or ""
                        reason = choice.get("finish_reason") or reason
                        text, count = text + piece, count + bool(piece)
                        show(piece)
        except httpx.HTTPError as error:
            raise WorldError(
                one_line(f"the endpoint gave no whole answer ({str(error) or type(error).__name__})")
            ) from None
        return Completion(task_id, place, text, count, reason in ENDED, None, served_by=served)


def _events(lines: Iterator[str]) -> Iterator[dict[str, Any]]:
    """The JSON of `data: ...` lines, up to `data: [DONE]`; what is no such line is passed over."""
    for line in lines:
        data = line.removeprefix("data:").strip()
        if not line.startswith("data:") or not data:
            continue
        if data == "[DONE]":
            return
        try:
            event = json.loads(data)
        except (ValueError, RecursionError):
            continue
        if isinstance(event, dict):
            yield event
