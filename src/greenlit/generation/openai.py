"""The openai backend: any OpenAI-compatible endpoint (a vLLM server, TGI, llama.cpp, OpenAI), asked by many requests at
once.

    GREENLIT_ENDPOINT_URL, GREENLIT_ENDPOINT_API_KEY    else    OPENAI_BASE_URL, OPENAI_API_KEY
    GREENLIT_ENDPOINT_CONCURRENCY   requests at once (16)
    GREENLIT_ENDPOINT_TIMEOUT_S     longest wait for one whole answer, in seconds (600)
    GREENLIT_ENDPOINT_ATTEMPTS      requests for one answer, where the endpoint is busy or fails (12)

Where it runs is not what it computes: these change no result, and so are no params. Dropped connections, silence, 429
(with Retry-After, which all requests heed), 5xx and answers that are no answers are tried again. What cannot heal ends
the sampling at once: a key or a model that is refused, a prompt that does not fit.
"""

import asyncio
import contextlib
import os
import time
from collections import deque
from collections.abc import AsyncIterator, Generator, Iterator
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from greenlit.config import SamplingParams
from greenlit.endpoints.address import OPENAI, base_url
from greenlit.endpoints.faults import Faults
from greenlit.endpoints.trying import Fault, refusal, wait_s
from greenlit.errors import ConfigError, DataError, GreenlitError, WorldError
from greenlit.generation.backend import More, no_more
from greenlit.generation.budget import Budget
from greenlit.generation.request import Completion, Request
from greenlit.generation.runs import Run, runs_of
from greenlit.generation.wire import Answer, Dialect, body_of, most_tokens, path_of, read_answer
from greenlit.jsonl import one_line
from greenlit.models import source_of

if TYPE_CHECKING:
    import httpx

URLS = (("GREENLIT_ENDPOINT_URL", "GREENLIT_ENDPOINT_API_KEY"), OPENAI)
LARGEST_ANSWER = 64 << 20
"""Bytes of an answer that is read."""
MOST_SAMPLES = 32
"""Samples that one request asks for."""
BYTES_PER_TOKEN = 4
"""Of a completion whose server tells no count."""
_TOO_LONG = ("context length", "context_length", "maximum context", "max_model_len", "too long", "context size")

_REPHRASED = Fault("refused, and now asked in another form")


@dataclass(frozen=True)
class Access:
    """How the endpoint is reached."""

    url: str
    key: str | None
    concurrency: int = 16
    timeout_s: float = 600.0
    attempts: int = 12


def access() -> Access:
    """From the environment.

    Raises:
        ConfigError: no address, or a setting that is no number.
    """
    found = base_url(URLS)
    if found is None:
        raise ConfigError(
            "GREENLIT_ENDPOINT_URL: is not set, and so the backend openai has no address",
            hint="any OpenAI-compatible endpoint, e.g. http://localhost:8000/v1",
        )
    return Access(
        *found,
        concurrency=int(_setting("GREENLIT_ENDPOINT_CONCURRENCY", 16)),
        timeout_s=_setting("GREENLIT_ENDPOINT_TIMEOUT_S", 600),
        attempts=int(_setting("GREENLIT_ENDPOINT_ATTEMPTS", 12)),
    )


def _setting(name: str, default: float) -> float:
    said = os.environ.get(name, "").strip() or str(default)
    try:
        value = float(said)
    except ValueError:
        value = 0.0
    if not 0 < value < 1e6 or not (name.endswith("_S") or value == int(value)):
        raise ConfigError(f"{name}: must be a number above 0 (found {said!r})")
    return value


def served_name(model: Path, params: SamplingParams) -> str:
    """What the endpoint calls the model: `openai.model`, else the directory or hub id that the weights come from, which
    is how a vLLM server names a model that it was started with."""
    return params.openai.model or source_of(model)


def complete(
    model: Path, requests: list[Request], params: SamplingParams, workers: int, more: More = no_more, *, budget: Budget
) -> Generator[list[Completion], None, None]:
    """Yield completions as they come.

    Args:
        workers: has no meaning here; GREENLIT_ENDPOINT_CONCURRENCY does.

    Raises:
        ConfigError: no address; the endpoint refuses the key, the model or a setting.
        DataError: a prompt does not fit into the model's context.
        BudgetError: the budget is used up; what was under way is yielded before.
        WorldError: no answer after many attempts.
    """
    from anyio.from_thread import start_blocking_portal

    runs = list(runs_of(requests, MOST_SAMPLES))
    if not runs:
        return
    with start_blocking_portal() as portal:  # a loop in a thread: ours may run one already, as notebooks do
        asking = portal.call(partial(_Asking, access(), served_name(model, params), params, budget))
        while runs:
            answers = asking.completions(runs)
            while (batch := portal.call(anext, answers, None)) is not None:
                yield batch
            runs = list(runs_of(more(), MOST_SAMPLES))


class _Asking:
    """Many requests at once, of one endpoint."""

    def __init__(self, access: Access, model: str, params: SamplingParams, budget: Budget) -> None:
        self.access, self.model, self.params, self.budget = access, model, params, budget
        self.dialect = Dialect()
        self.faults = Faults(f"endpoint for {model}", "it is asked again")
        self._done: asyncio.Queue[list[Completion] | BaseException] = asyncio.Queue()
        self._under_way = 0
        self._settled = asyncio.Event()
        self._not_before = 0.0
        """On the monotonic clock: when the endpoint said that it may be asked again."""

    async def completions(self, runs: list[Run]) -> AsyncIterator[list[Completion]]:
        """All completions of the runs."""
        import httpx

        left = sum(run.count for run in runs)
        todo = deque(runs)
        headers = {"Authorization": f"Bearer {self.access.key}"} if self.access.key else {}
        most = self.access.concurrency
        limits = httpx.Limits(max_connections=most, max_keepalive_connections=most)
        async with httpx.AsyncClient(timeout=self.access.timeout_s, headers=headers, limits=limits) as client:
            workers = [asyncio.create_task(self._work(client, todo)) for _ in range(min(most, len(runs)))]
            try:
                while left:
                    batch = await self._done.get()
                    if isinstance(batch, BaseException):
                        for others in self._kept():  # what came meanwhile was paid for
                            yield others
                        raise batch
                    left -= len(batch)
                    yield batch
            finally:
                for worker in workers:
                    worker.cancel()
                await asyncio.gather(*workers, return_exceptions=True)

    def _kept(self) -> Iterator[list[Completion]]:
        while not self._done.empty():
            batch = self._done.get_nowait()
            if not isinstance(batch, BaseException):
                yield batch

    async def _work(self, client: "httpx.AsyncClient", todo: deque[Run]) -> None:
        """Take one run after the other, until there is none."""
        try:
            while todo:
                run = todo.popleft()
                answer = await self._answer(client, run)
                found = [self._completion(run, answer, place) for place in range(len(answer.choices))]
                missing = {*range(run.first, run.first + run.count)} - {one.candidate_idx for one in found}
                if missing:  # a server that gives fewer than it was asked for knows no `n`
                    self.dialect.several = False
                    todo.extendleft(reversed(run.rest(missing)))
                await self._done.put(found)
        except asyncio.CancelledError:
            raise
        except BaseException as error:
            await self._done.put(error)

    def _completion(self, run: Run, answer: Answer, number: int) -> Completion:
        choice = answer.choices[number]
        tokens = choice.tokens or max(1, len(choice.text.encode("utf-8", "replace")) // BYTES_PER_TOKEN)
        return Completion(
            task_id=run.task_id,
            candidate_idx=run.first + choice.place,
            text=choice.text,
            tokens=tokens,
            ended=choice.ended,
            logprob=choice.logprob,
            stopped=choice.stopped,
            served_by=answer.model,
        )

    async def _answer(self, client: "httpx.AsyncClient", run: Run) -> Answer:
        """Ask until there is an answer.

        Raises:
            GreenlitError: there will be none.
        """
        attempt = 0
        while True:
            got = await self._paid(client, run)
            if isinstance(got, Answer):
                return got
            if got is _REPHRASED:
                continue
            attempt += 1
            if not got.again:
                raise await self._final(client, run, got)
            if attempt >= self.access.attempts:
                raise WorldError(
                    f"{run.task_id}: no answer from the endpoint after {attempt} attempts ({_told(got)})",
                    hint="what was sampled is kept; the same command goes on from there",
                )
            self.faults.tell(got.kind, got.detail)
            if got.wait_s:  # nobody else is answered before that either
                self._not_before = max(self._not_before, time.monotonic() + wait_s(got, attempt - 1))
            else:
                await asyncio.sleep(wait_s(replace(got, wait_s=None), attempt - 1))

    async def _paid(self, client: "httpx.AsyncClient", run: Run) -> Answer | Fault:
        """One request, when it is time and within the budget."""
        while (pause := self._not_before - time.monotonic()) > 0:
            await asyncio.sleep(pause)
        most = most_tokens(run, self.params)
        while not self.budget.reserve(*most):
            if not self._under_way:
                raise self.budget.used_up()
            self._settled.clear()
            await self._settled.wait()
        spent = most  # an answer that never came may have been paid for
        self._under_way += 1
        try:
            got, spent = await self._request(client, run, most)
            return got
        finally:
            self._under_way -= 1
            self.budget.settle(most, spent)
            self._settled.set()

    async def _request(
        self, client: "httpx.AsyncClient", run: Run, most: tuple[int, int]
    ) -> tuple[Answer | Fault, tuple[int, int]]:
        """One request, and what it cost in tokens."""
        import httpx

        body = body_of(run, self.model, self.params, self.dialect)
        try:
            async with asyncio.timeout(self.access.timeout_s):
                status, headers, content = await self._exchange(client, path_of(run), body)
        except (TimeoutError, httpx.TimeoutException):
            return Fault("no answer in time", f"GREENLIT_ENDPOINT_TIMEOUT_S {self.access.timeout_s:g}"), most
        except httpx.HTTPError as error:
            return Fault("no connection", str(error) or type(error).__name__), (0, 0)
        if status != 200:
            fault = refusal(status, headers, content)
            adapted = status in {400, 422} and self.dialect.adapt(fault.detail, body)
            return _REPHRASED if adapted else fault, (0, 0)
        answer = read_answer(content, run)
        if answer is None:
            return Fault("no completion came back", repr(content[:80])), most
        asked, written = answer.asked, answer.written
        return answer, (most[0] if asked is None else asked, most[1] if written is None else written)

    async def _exchange(
        self, client: "httpx.AsyncClient", path: str, body: dict[str, object]
    ) -> tuple[int, "httpx.Headers", bytes]:
        """Send, and read the whole answer, within the size that is allowed."""
        import httpx

        async with client.stream("POST", self.access.url + path, json=body) as response:
            read = bytearray()
            async for piece in response.aiter_bytes():
                read += piece
                if len(read) > LARGEST_ANSWER:
                    raise httpx.DecodingError("the answer is too large")
            return response.status_code, response.headers, bytes(read)

    async def _final(self, client: "httpx.AsyncClient", run: Run, fault: Fault) -> GreenlitError:
        """What a fault that does not heal is, in our words."""
        told = _told(fault)
        if fault.status in {401, 403}:
            return ConfigError(f"the endpoint refuses the key ({told})", hint="GREENLIT_ENDPOINT_API_KEY")
        if fault.status == 404:
            names = await _served(client, self.access.url)
            hint = f"it serves {', '.join(names)}" if names else "check GREENLIT_ENDPOINT_URL and openai.model"
            return ConfigError(f"the endpoint has no model {self.model!r} ({told})", hint=hint)
        if fault.status in {400, 413, 422} and any(words in fault.detail.lower() for words in _TOO_LONG):
            return DataError(
                f"{run.task_id}: prompt and max_new_tokens {self.params.max_new_tokens} do not fit ({told})",
                hint="lower max_new_tokens, or leave the problem out",
            )
        if fault.status in {402, 429}:
            return WorldError(f"the endpoint's account is used up ({told})", hint="top it up; what was done is kept")
        return ConfigError(f"{run.task_id}: the endpoint refuses the request ({told})")


def _told(fault: Fault) -> str:
    return one_line(f"{fault.kind}: {fault.detail}" if fault.detail else fault.kind)


async def _served(client: "httpx.AsyncClient", url: str) -> list[str]:
    """Names of the models that the endpoint has; none where it does not tell."""
    import httpx

    with contextlib.suppress(httpx.HTTPError, ValueError, LookupError, TypeError):
        listed = (await client.get(f"{url}/models", timeout=10)).json()
        return [one_line(str(one["id"]), 80) for one in listed["data"]][:20]
    return []
