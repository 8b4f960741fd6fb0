"""A real HTTP server that speaks OpenAI's chat completions, with a model that is a function of the question."""

import json
import re
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from typing import Any

from http_servers import answering

Messages = list[dict[str, str]]
Model = Callable[[Messages], str]


@dataclass
class Answer:
    """What the server sends; a status other than 200 says what is wrong."""

    body: bytes
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    after_s: float = 0.0
    drip_s: float = 0.0
    """Wait between the bytes of the body."""


@dataclass
class Request:
    """What the server was asked."""

    path: str
    headers: dict[str, str]
    body: dict[str, Any]
    at: float


class Server:
    """`faults` are sent first, one per request; then the model answers."""

    def __init__(self, model: Model) -> None:
        self.model = model
        self.faults: list[Answer] = []
        self.always: Answer | None = None
        self.after_s = 0.0
        self.usage: int | None = 10
        self.requests: list[Request] = []
        self.at_once = self.most_at_once = 0
        self.lock = threading.Lock()
        self.url = ""

    def answer(self, request: Request) -> Answer:
        with self.lock:
            self.requests.append(request)
            fault = self.faults.pop(0) if self.faults else self.always
        if fault is not None:
            return fault
        usage = {"usage": {"total_tokens": self.usage}} if self.usage is not None else {}
        message = {"role": "assistant", "content": self.model(request.body["messages"])}
        content = {"model": "served", "choices": [{"message": message, "finish_reason": "stop"}], **usage}
        return Answer(json.dumps(content).encode(), after_s=self.after_s)


@contextmanager
def serve(model: Model) -> Iterator[Server]:
    """The server, while the block runs."""
    state = Server(model)

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            with state.lock:
                state.at_once += 1
                state.most_at_once = max(state.most_at_once, state.at_once)
            answer = state.answer(Request(self.path, dict(self.headers), body, time.monotonic()))
            time.sleep(answer.after_s)
            with state.lock:  # before it is sent: who has it may ask again at once
                state.at_once -= 1
            try:
                self.send(answer)
            except (BrokenPipeError, ConnectionResetError):  # who asked has given up
                self.close_connection = True

        def send(self, answer: Answer) -> None:
            self.send_response(answer.status)
            for name, value in {"Content-Length": str(len(answer.body)), **answer.headers}.items():
                self.send_header(name, value)
            self.end_headers()
            if not answer.drip_s:
                self.wfile.write(answer.body)
            for byte in answer.body if answer.drip_s else b"":
                self.wfile.write(bytes([byte]))
                self.wfile.flush()
                time.sleep(answer.drip_s)

    with answering(Handler) as state.url:
        yield state


def mark_in(messages: Messages) -> str:
    """The mark that the question asks to be repeated."""
    return re.findall(r'^<(?:first )?program mark="(\w{16})">$', messages[1]["content"], re.MULTILINE)[0]


def programs_in(messages: Messages) -> list[str]:
    """The programs of the question, as their marks bound them."""
    mark = mark_in(messages)
    found = re.findall(
        rf'^<(?:\w+ )?program mark="{mark}">\n(.*?)\n</(?:\w+ )?program mark="{mark}">$',
        messages[1]["content"],
        re.MULTILINE | re.DOTALL,
    )
    return [program + "\n" for program in found]


def scored(messages: Messages, correctness: Any, **others: Any) -> str:
    """An answer in the form asked for, all criteria alike."""
    content = {"mark": mark_in(messages), "reason": "r", "correctness": correctness, "edge_cases": correctness}
    return json.dumps({**content, "clarity": correctness, **others})


def preferred(messages: Messages, better: str) -> str:
    """An answer to a comparison."""
    return json.dumps({"mark": mark_in(messages), "reason": "r", "better": better})


def is_comparison(messages: Messages) -> bool:
    """Is it asked which of two is better?"""
    return "<first program" in messages[1]["content"]


def by_rule(value: Callable[[str], int]) -> Model:
    """A judge that scores programs by a rule, compares by the same, and rewrites `x` into `x + 1`."""

    def model(messages: Messages) -> str:
        if messages[-1]["content"].startswith("Rewrite"):
            return f"```python\n{programs_in(messages)[0].replace('return x', 'return x + 1')}```"
        if messages[0]["content"].startswith("You review"):
            return "It does not add."
        values = [value(program) for program in programs_in(messages)]
        if not is_comparison(messages):
            return scored(messages, values[0])
        return preferred(
            messages, "equal" if values[0] == values[1] else "first" if values[0] > values[1] else "second"
        )

    return model
