"""A judge behind an OpenAI-compatible endpoint: https://platform.openai.com/docs/api-reference/chat/create

    GREENLIT_JUDGE_URL, GREENLIT_JUDGE_API_KEY       else        OPENAI_BASE_URL, OPENAI_API_KEY

The key of one is never sent to the address of the other. Busy (429, with Retry-After), failing (5xx) and silent
endpoints are tried again, later and later; a refusal (401, 404, ...) is not. Without an answer there is None.
"""

import json
import os
import queue
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, TypeVar

from greenlit.config import JudgeParams
from greenlit.endpoints.address import OPENAI, base_url
from greenlit.endpoints.faults import Faults
from greenlit.endpoints.trying import Fault, refusal, wait_s
from greenlit.errors import ConfigError
from greenlit.feedback.budget import Budget, most_tokens
from greenlit.feedback.rubrics import Messages

if TYPE_CHECKING:
    import httpx

URLS = (("GREENLIT_JUDGE_URL", "GREENLIT_JUDGE_API_KEY"), OPENAI)
LARGEST_ANSWER = 4 << 20
"""Bytes of an answer that is read."""
GIVES_UP_AFTER = 3
"""Questions in a row without an answer, after which each is put once only, until one is answered again."""
Item, Result = TypeVar("Item"), TypeVar("Result")


@dataclass(frozen=True)
class Reply:
    """What the model wrote."""

    text: str
    model: str | None = None
    """The model that the endpoint says it is."""


def address(environment: Mapping[str, str] = os.environ) -> tuple[str, str | None]:
    """Where chat completions are asked for, and the key.

    Raises:
        ConfigError: none is set, or it is no http address.
    """
    found = base_url(URLS, environment)
    if found is not None:
        return f"{found[0]}/chat/completions", found[1]
    raise ConfigError(
        "GREENLIT_JUDGE_URL: is not set, and so the AI judge has no address",
        hint="any OpenAI-compatible endpoint, e.g. http://localhost:8000/v1; or set judge.backend: transformers",
    )


class Endpoint:
    """Asks questions, several at once. A context manager."""

    def __init__(self, params: JudgeParams, budget: Budget, faults: Faults) -> None:
        import httpx

        self.params, self.budget, self.faults = params, budget, faults
        self.url, key = address()
        headers = {"Authorization": f"Bearer {key}"} if key else {}
        self._client = httpx.Client(timeout=params.timeout_s, headers=headers)
        self._closed = threading.Event()
        self._unanswered = 0
        self._limit = "max_tokens"
        """Newer models of OpenAI's take `max_completion_tokens` only, and say so."""

    def close(self) -> None:
        """No more questions; those that wait are given up."""
        self._closed.set()
        self._client.close()

    def ask(self, asked: Sequence[Messages]) -> list[Reply | None]:
        """An answer to each question, in their order; None where there is none."""
        return in_threads(self._answer, asked, self.params.concurrency)

    def _answer(self, asked: Messages) -> Reply | None:
        most = most_tokens(asked, self.params.max_new_tokens)
        attempts = self.params.attempts if self._unanswered < GIVES_UP_AFTER else 1
        fault = Fault("")
        for attempt in range(attempts):
            if self._closed.is_set():
                return None
            if not self.budget.reserve(most):
                told = f"judge.max_calls {self.params.max_calls}, judge.max_tokens {self.params.max_tokens}"
                self.faults.tell("its budget is used up", told)
                return None
            got = self._request(asked, most)
            if isinstance(got, Reply):
                self._unanswered = 0
                return got
            fault = got
            if not fault.again or attempt + 1 == attempts:
                break
            self._closed.wait(wait_s(fault, attempt))
        self._unanswered += 1
        if not self._closed.is_set():  # else it is our own doing
            self.faults.tell(fault.kind, fault.detail)
        return None

    def _request(self, asked: Messages, reserved: int) -> Reply | Fault:
        """One request, paid for."""
        import httpx

        body = {"model": self.params.model, "messages": asked, "temperature": self.params.temperature}
        content = json.dumps({**body, self._limit: self.params.max_new_tokens}).encode()
        try:
            status, headers, answer = self._exchange(content)
        except httpx.TimeoutException:  # it may have been paid for: what was reserved is not given back
            return Fault("no answer in time", f"judge.timeout_s {self.params.timeout_s:g}")
        except (httpx.HTTPError, RuntimeError) as error:  # RuntimeError: closed meanwhile
            self.budget.settle(reserved, 0)
            return Fault("no connection", str(error))
        if status == 200:
            return self._reply(answer, reserved)
        self.budget.settle(reserved, 0)
        fault = refusal(status, headers, answer)
        if status == 400 and "max_completion_tokens" in fault.detail and self._limit == "max_tokens":
            self._limit = "max_completion_tokens"
            return replace(fault, again=True, wait_s=0)
        return fault

    def _exchange(self, content: bytes) -> tuple[int, "httpx.Headers", bytes]:
        """Send, and read the whole answer, within the time and size that are allowed."""
        import httpx

        until = time.monotonic() + self.params.timeout_s
        with self._client.stream(
            "POST", self.url, content=content, headers={"Content-Type": "application/json"}
        ) as response:
            read = bytearray()
            for piece in response.iter_bytes():
                read += piece
                if time.monotonic() > until:
                    raise httpx.ReadTimeout("the answer takes too long")
                if len(read) > LARGEST_ANSWER:
                    raise httpx.DecodingError("the answer is too large")
            return response.status_code, response.headers, bytes(read)

    def _reply(self, answer: bytes, reserved: int) -> Reply | Fault:
        try:
            content = json.loads(answer)
            text = content["choices"][0]["message"]["content"]
            used = (content.get("usage") or {}).get("total_tokens")
            model = content.get("model")
        except (ValueError, LookupError, TypeError, AttributeError, RecursionError):
            text = used = model = None
        # an endpoint that does not tell has taken what was reserved
        self.budget.settle(reserved, used if type(used) is int and used >= 0 else reserved)
        if not isinstance(text, str):
            return Fault("no chat completion came back", repr(answer[:80]))
        return Reply(text, model if isinstance(model, str) else None)


def in_threads(work: Callable[[Item], Result], items: Sequence[Item], threads: int) -> list[Result]:
    """Results in the order of the items.

    The threads are daemons: Ctrl-C does not wait for an answer that may take a minute.
    """
    todo: queue.SimpleQueue[tuple[int, Item]] = queue.SimpleQueue()
    done: queue.SimpleQueue[tuple[int, Result | BaseException]] = queue.SimpleQueue()
    for job in enumerate(items):
        todo.put(job)

    def run() -> None:
        while True:
            try:
                place, item = todo.get_nowait()
            except queue.Empty:
                return
            try:
                done.put((place, work(item)))
            except BaseException as error:
                done.put((place, error))

    for _ in range(min(threads, len(items))):
        threading.Thread(target=run, daemon=True).start()
    results: dict[int, Result] = {}
    for _ in items:
        place, result = done.get()
        if isinstance(result, BaseException):
            raise result
        results[place] = result
    return [results[place] for place in range(len(items))]
