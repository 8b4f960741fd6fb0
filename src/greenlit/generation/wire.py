"""What is sent to an OpenAI-compatible endpoint for a run of samples, and what comes back.

    POST /completions        {"prompt": text, "n", "seed", ...}  ->  {"choices": [{"index", "text", "finish_reason"}]}
    POST /chat/completions   {"messages": [...], ...}            ->  {"choices": [{"message": {"content"}, ...}]}

https://platform.openai.com/docs/api-reference/chat/create; `top_k` and `min_p` are vLLM's, and are sent only where they
are set. Nothing here asks or waits.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from greenlit.config import SamplingParams
from greenlit.generation.runs import Run

ENDED = frozenset({"stop", "eos", "eos_token", "stop_sequence", "stop_str"})
"""`finish_reason` of a completion that the model ended itself; `eos_token` and `stop_sequence` are TGI's."""


@dataclass
class Dialect:
    """What this server takes, as far as its refusals have shown."""

    several: bool = True
    """`n` above 1."""
    logprobs: bool = True
    """Log-probabilities."""
    limit: str = "max_tokens"
    """Newer models of OpenAI's take `max_completion_tokens` only, and say so."""

    def adapt(self, refused: str, body: Mapping[str, Any]) -> bool:
        """Learn from what a refusal (400, 422) of a request says; True where another form of it may be taken.

        Only what changes no sample is given up: a server without `seed`, `top_k` or `min_p` is refused itself.
        """
        told = refused.lower()
        if "max_completion_tokens" in told and "max_tokens" in body:
            self.limit = "max_completion_tokens"
        elif "logprobs" in told and "logprobs" in body:
            self.logprobs = False
        elif body["n"] > 1 and _names_n(told):
            self.several = False
        else:
            return False
        return True


def _names_n(told: str) -> bool:
    words = told.replace("`", "'").replace('"', "'").replace(",", " ").split()
    return "'n'" in told or "n" in words or "best_of" in told or "n=" in told


@dataclass(frozen=True)
class Choice:
    """One completion of an answer."""

    place: int
    """In the run."""
    text: str
    tokens: int | None
    ended: bool
    logprob: float | None
    stopped: bool = False
    """By a stop text, where the server tells that from an end token."""


@dataclass(frozen=True)
class Answer:
    """What a server answers."""

    choices: list[Choice]
    asked: int | None
    """Tokens of the prompt; None where it does not tell."""
    written: int | None
    """Tokens of all choices."""
    model: str | None


def path_of(run: Run) -> str:
    """Where a run is asked for."""
    return "/completions" if isinstance(run.prompt, str) else "/chat/completions"


def body_of(run: Run, model: str, params: SamplingParams, dialect: Dialect) -> dict[str, Any]:
    """The request for a run; for its first sample alone, where the server takes no more."""
    chat = not isinstance(run.prompt, str)
    body: dict[str, Any] = {"model": model, ("messages" if chat else "prompt"): run.prompt}
    body[dialect.limit] = params.max_new_tokens
    if run.greedy:
        body |= {"temperature": 0.0, "n": 1}
    else:
        count = run.count if dialect.several else 1
        body |= {"temperature": params.temperature, "top_p": params.top_p, "n": count, "seed": run.request_seed}
        body |= {key: value for key, value in (("top_k", params.top_k), ("min_p", params.min_p)) if value}
    if params.stop:
        body["stop"] = params.stop
    if dialect.logprobs:
        body["logprobs"] = True if chat else 0
    return body


def most_tokens(run: Run, params: SamplingParams) -> tuple[int, int]:
    """Upper bound on the tokens of the prompt and of the completions: no tokenizer makes more of them than bytes."""
    parts = [run.prompt] if isinstance(run.prompt, str) else [part["content"] for part in run.prompt]
    return sum(len(part.encode("utf-8", "replace")) + 16 for part in parts), run.count * params.max_new_tokens


def read_answer(content: bytes, run: Run) -> Answer | None:
    """The completions in an answer; None for anything that is none."""
    try:
        document = json.loads(content)
        choices = [_choice(one, place) for place, one in enumerate(document["choices"])]
        usage = document.get("usage") or {}
        asked, written = _count(usage.get("prompt_tokens")), _count(usage.get("completion_tokens"))
        model = document.get("model")
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError):
        return None
    by_place = {choice.place: choice for choice in choices if 0 <= choice.place < run.count}
    if not by_place:
        return None
    if written is not None and any(choice.tokens is None for choice in choices):
        by_place = {
            place: replace(choice, tokens=_share(choice, choices, written)) for place, choice in by_place.items()
        }
    return Answer(list(by_place.values()), asked, written, model if isinstance(model, str) else None)


def _share(choice: Choice, choices: list[Choice], written: int) -> int:
    """Of the tokens of all choices, those of one by its length; exact where there is one."""
    sizes = [len(one.text.encode("utf-8", "replace")) + 1 for one in choices]
    return max(1, round(written * (len(choice.text.encode("utf-8", "replace")) + 1) / sum(sizes)))


def _choice(choice: Mapping[str, Any], place: int) -> Choice:
    """One of `choices`, of either form.

    Raises:
        TypeError, LookupError: it is not as it should be.
    """
    reason = choice["finish_reason"]
    if not isinstance(reason, str):  # the server was cut off in the middle of it
        raise TypeError
    text = choice["text"] if "text" in choice else choice["message"]["content"]
    if text is None and "message" in choice:  # nothing was said before the tokens ran out
        text = ""
    if not isinstance(text, str):
        raise TypeError
    logprobs = _token_logprobs(choice.get("logprobs"))
    total = round(float(sum(logprobs)), 3) if logprobs else None
    index = choice.get("index", place)
    stopped = reason == "stop_sequence" or isinstance(choice.get("stop_reason"), str)
    return Choice(index if type(index) is int else place, text, len(logprobs) or None, reason in ENDED, total, stopped)


def _token_logprobs(said: Any) -> list[float]:
    """Log-probabilities of the tokens, in the form of completions or of chats; none where there are not all."""
    if not isinstance(said, dict):
        return []
    if isinstance(said.get("token_logprobs"), list):
        found = said["token_logprobs"]
    elif isinstance(said.get("content"), list):
        found = [part.get("logprob") if isinstance(part, dict) else None for part in said["content"]]
    else:
        return []
    return found if all(type(one) in {float, int} and one == one for one in found) else []


def _count(value: Any) -> int | None:
    return value if type(value) is int and value >= 0 else None
