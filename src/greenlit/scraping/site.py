"""One question at a time to a GraphQL site, slowly; what its answers mean; and when to leave it alone.

    HTTP 200 with `data`                        the answer; kept on disk before anything else is done
    429, 5xx, no answer in time, cut short      the same again later: each wait twice as long, with jitter, and never
                                                shorter than the site asks for (Retry-After, or "in 60 seconds")
    403, a web page instead of JSON, 3xx, 401   blocked: stop at once
    400, `errors`, other fields than expected   the site's API has changed: stop at once, and say what it said

Whatever ends it, what came before is kept, and the same command goes on there.
"""

import email.utils
import html
import json
import re
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import TracebackType
from typing import TYPE_CHECKING, Any, NoReturn, Self, TypeVar
from urllib.parse import urlsplit

from pydantic import BaseModel, ValidationError

from greenlit.config import LeetcodeParams
from greenlit.errors import ConfigError, GreenlitError, WorldError
from greenlit.jsonl import first_fault, one_line
from greenlit.scraping.responses import Responses, name_of

if TYPE_CHECKING:
    from tenacity import RetryCallState

LARGEST_ANSWER = 16 << 20
"""Bytes of an answer that is read."""
GO_ON = "the same command goes on from there"
Content = TypeVar("Content", bound=BaseModel)


@dataclass(frozen=True)
class Asked:
    """A question in GraphQL."""

    operation: str
    query: str
    variables: Mapping[str, Any]
    label: str

    def __str__(self) -> str:
        told = ", ".join(f"{name}: {json.dumps(value)}" for name, value in self.variables.items())
        return f"{self.operation}({told})"


@dataclass(frozen=True)
class _Answer:
    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def is_page(self) -> bool:
        start = self.body[:300].lstrip().lower()
        return "html" in self.headers.get("content-type", "") or start.startswith((b"<!doctype", b"<html"))


class _AgainError(Exception):
    """Asking again later may help."""

    def __init__(self, said: str, wait_s: float = 0.0) -> None:
        super().__init__(said)
        self.wait_s = wait_s


class Site:
    """Asks, or remembers what was answered. A context manager."""

    def __init__(
        self,
        url: str,
        params: LeetcodeParams,
        responses: Responses,
        sleep: Callable[[float], None] = time.sleep,
        tell: Callable[[str], None] = lambda line: None,
    ) -> None:
        import httpx

        parts = urlsplit(url)
        if parts.scheme not in {"http", "https"} or not parts.hostname:
            raise ConfigError(f"{url}: must be an http(s) address", hint="e.g. https://leetcode.com/graphql")
        self.url, self.host, self.params, self.responses = url, parts.netloc, params, responses
        self._sleep, self._tell = sleep, tell
        headers = {"Referer": f"{parts.scheme}://{parts.netloc}", "Content-Type": "application/json"}
        self._client = httpx.Client(timeout=params.timeout_s, headers=headers)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._client.close()

    def ask(self, asked: Asked, kind: type[Content]) -> Content:
        """The `data` of the answer.

        Raises:
            WorldError: the site blocks us, or gave no answer; later it may.
            GreenlitError: it no longer takes such questions, or answers with something else.
        """
        said = {"url": self.url, "query": asked.query, "variables": dict(asked.variables)}
        name = name_of(asked.label, {**said, "edition": self.params.edition})
        content = self.responses.get(name)
        if content is not None:
            return self._data(asked, content, kind)
        body = self._patiently(asked)
        data = self._data(asked, json.loads(body), kind)  # an answer that nothing can be done with is not kept
        self.responses.put(name, body)
        return data

    def _data(self, asked: Asked, content: Any, kind: type[Content]) -> Content:
        if not isinstance(content, dict) or content.get("errors") or "data" not in content:
            raise self._changed(asked, _message_of(content))
        try:
            return kind.model_validate(content["data"], strict=True)
        except ValidationError as error:
            raise self._changed(asked, f"data.{first_fault(error)}") from None

    def _patiently(self, asked: Asked) -> str:
        from tenacity import Retrying, retry_if_exception_type, stop_after_attempt, wait_exponential_jitter

        first, most = self.params.interval_s, self.params.longest_wait_s
        later = wait_exponential_jitter(initial=2 * first, max=most, jitter=first)

        def wait(state: "RetryCallState") -> float:
            fault = state.outcome.exception() if state.outcome else None
            return max(first, later(state), fault.wait_s if isinstance(fault, _AgainError) else 0.0)

        def tell(state: "RetryCallState") -> None:
            fault = state.outcome.exception() if state.outcome else None
            wait_s = state.next_action.sleep if state.next_action else 0.0
            self._tell(f"{self.host}: {fault} to {asked}; asking again in {wait_s:.0f} s")

        self._sleep(first)
        try:
            return Retrying(
                retry=retry_if_exception_type(_AgainError), stop=stop_after_attempt(self.params.attempts), wait=wait,
                sleep=self._sleep, before_sleep=tell, reraise=True,
            )(self._once, asked)  # fmt: skip
        except _AgainError as fault:
            times = f"all of {self.params.attempts} requests" if self.params.attempts > 1 else "the request"
            self._leave(asked, f"{fault} to {times} for", "try again later")

    def _once(self, asked: Asked) -> str:
        import httpx

        content = {"operationName": asked.operation, "query": asked.query, "variables": dict(asked.variables)}
        try:
            answer = self._exchange(json.dumps(content).encode())
        except httpx.TimeoutException:
            raise _AgainError(f"no answer within {self.params.timeout_s:g} s") from None
        except httpx.HTTPError as error:
            raise _AgainError(f"no whole answer ({one_line(str(error)) or type(error).__name__})") from None
        return self._meaning(asked, answer)

    def _exchange(self, content: bytes) -> _Answer:
        """Send, and read the whole answer, within the time and size that are allowed."""
        import httpx

        until = time.monotonic() + self.params.timeout_s
        with self._client.stream("POST", self.url, content=content) as response:
            read = bytearray()
            for piece in response.iter_bytes():
                read += piece
                if time.monotonic() > until:
                    raise httpx.ReadTimeout("the answer takes too long")
                if len(read) > LARGEST_ANSWER:
                    raise httpx.DecodingError("the answer is too large")
            return _Answer(response.status_code, response.headers, bytes(read))

    def _meaning(self, asked: Asked, answer: _Answer) -> str:
        """The body of an answer that says something."""
        status, said = answer.status, _words_of(answer)
        if status == 429:
            wait_s = _asked_wait_s(answer)
            if wait_s > self.params.longest_wait_s:
                self._leave(asked, f"{said} to", f"it asks to be left alone for {wait_s:.0f} s")
            raise _AgainError(said, wait_s)
        if status in {401, 403} or (answer.is_page and (status < 500 or _CHALLENGE.search(answer.body))):
            self._leave(asked, f"blocked: {said} to", "leave the site alone for some hours, and raise interval_s")
        if status >= 500 or status == 408:
            raise _AgainError(said, _asked_wait_s(answer))
        if 300 <= status < 400:
            self._leave(asked, f"{said}, elsewhere ({one_line(answer.headers.get('location', '?'), 100)}), to", "")
        if status != 200:
            raise self._changed(asked, said)
        try:
            text = answer.body.decode("utf-8")
            json.loads(text)
        except (ValueError, RecursionError):
            raise _AgainError(f"HTTP 200 with {len(answer.body)} bytes that are no whole JSON") from None
        return text

    def _leave(self, asked: Asked, what: str, advice: str) -> NoReturn:
        kept = f"{len(self.responses)} answers are kept in {self.responses.folder}, and {GO_ON}"
        raise WorldError(f"{self.host}: {what} {asked}", hint=f"{advice}; {kept}" if advice else kept)

    def _changed(self, asked: Asked, said: str) -> GreenlitError:
        return GreenlitError(
            f"{self.host}: its API is not what it was: asked {asked} with `{' '.join(asked.query.split())}`; "
            f"it said: {one_line(said)}",
            hint=f"a newer Greenlit may know the new one; answers that came before are kept in {self.responses.folder}",
        )


_CHALLENGE = re.compile(rb"just a moment|attention required|captcha|cf-chl|access denied", re.IGNORECASE)
_TITLE = re.compile(r"<title[^>]*>(.*?)</title>", re.IGNORECASE | re.DOTALL)
_IN_SECONDS = re.compile(r"available in (\d{1,6}) seconds?")


def _words_of(answer: _Answer) -> str:
    """Status, and what the body says in short."""
    text = answer.body[:20_000].decode("utf-8", "replace")
    if answer.is_page:
        title = _TITLE.search(text)
        named = f" titled {html.unescape(title[1]).strip()!r}" if title else ""
        return one_line(f"HTTP {answer.status} with a web page{named}")
    try:
        said = _message_of(json.loads(text))
    except (ValueError, RecursionError):
        said = " ".join(text.split())
    return one_line(f"HTTP {answer.status} ({said})" if said else f"HTTP {answer.status}")


def _message_of(content: Any) -> str:
    """What an error says, in GraphQL's form or Django's."""
    if isinstance(content, dict) and isinstance(content.get("errors"), list):
        told = [error.get("message") for error in content["errors"] if isinstance(error, dict)]
        return "; ".join(map(str, told)) or json.dumps(content["errors"])
    if isinstance(content, dict) and "detail" in content:
        return str(content["detail"])
    return json.dumps(content, ensure_ascii=False)


def _asked_wait_s(answer: _Answer) -> float:
    """How long the site asks to wait: Retry-After as a number or a date against the answer's own, or in words."""
    said = answer.headers.get("retry-after", "").strip()
    if re.fullmatch(r"\d{1,9}(\.\d+)?", said):
        return float(said)
    try:
        then, now = (email.utils.parsedate_to_datetime(date) for date in (said, answer.headers.get("date", "")))
        return max(0.0, (then - now).total_seconds())
    except (ValueError, TypeError):
        pass
    words = _IN_SECONDS.search(answer.body[:2000].decode("utf-8", "replace"))
    return float(words[1]) if words else 0.0
