"""A real HTTP server that speaks OpenAI's completions and chats, with a model that is a function of prompt and seed."""

import hashlib
import json
import random
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from typing import Any

from http_servers import answering

FAULTS = ("drop", "cut", "slow", "busy", "wait", "broken", "garbage", "empty", "half")
WEIGHTS = [1 if fault == "slow" else 8 for fault in FAULTS]
"""Silence is rare: every case of it takes as long as the client waits."""


def written(prompt: str, seed: int | None) -> str:
    """What the model writes; a seed of None is greedy."""
    return hashlib.sha256(f"{prompt}|{seed}".encode()).hexdigest()[:12]


@dataclass
class Server:
    """What it does with requests, and what it was asked."""

    url: str = ""
    fault_share: float = 0.0
    """Of requests that meet one of FAULTS, by chance."""
    slow_s: float = 0.5
    refuse: Callable[[dict[str, Any]], tuple[int, Any] | None] | None = None
    """Status and body of a refusal."""
    most_choices: int | None = None
    """It knows `n`, but gives no more."""
    usage: bool = True
    logprobs: bool = True
    after_s: float = 0.0
    writes: Callable[[str, int | None], str] = written
    ends: Callable[[str], bool] = lambda text: bool(int(text, 16) % 4)
    """Did the model end by itself?"""
    model: str = "served"
    headers: list[dict[str, str]] = field(default_factory=list)
    bodies: list[dict[str, Any]] = field(default_factory=list)
    paths: list[str] = field(default_factory=list)
    at: list[float] = field(default_factory=list)
    at_once: int = 0
    most_at_once: int = 0
    met: dict[str, int] = field(default_factory=dict)
    """Fault -> how often."""
    chance: random.Random = field(default_factory=lambda: random.Random(0))
    lock: threading.Lock = field(default_factory=threading.Lock)

    def answer(self, path: str, body: dict[str, Any]) -> dict[str, Any]:
        chat = path.endswith("/chat/completions")
        prompt = body["messages"][-1]["content"] if chat else body["prompt"]
        count = min(body.get("n", 1), self.most_choices or 10**9)
        choices = []
        for index in range(count):
            text = self.writes(prompt, body["seed"] + index if body["temperature"] else None)
            choice: dict[str, Any] = {"index": index, "finish_reason": "stop" if self.ends(text) else "length"}
            choice |= {"message": {"role": "assistant", "content": text}} if chat else {"text": text}
            if self.logprobs and "logprobs" in body:
                each = [-0.5] * 6
                found = {"content": [{"token": "t", "logprob": one} for one in each]}
                choice["logprobs"] = found if chat else {"token_logprobs": each}
            choices.append(choice)
        usage = {"prompt_tokens": len(prompt), "completion_tokens": 6 * count}
        return {"model": self.model, "choices": choices, **({"usage": usage} if self.usage else {})}


@contextmanager
def serve(**settings: Any) -> Iterator[Server]:
    """The server, while the block runs."""
    state = Server(**settings)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            self.send(200, {"data": [{"id": "served"}, {"id": "other"}]})

        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            with state.lock:
                state.headers.append(dict(self.headers))
                state.bodies.append(body)
                state.paths.append(self.path)
                state.at.append(time.monotonic())
                state.at_once += 1
                state.most_at_once = max(state.most_at_once, state.at_once)
                (fault,) = state.chance.choices(FAULTS, WEIGHTS)
                fault = fault if state.chance.random() < state.fault_share else None
                if fault:
                    state.met[fault] = state.met.get(fault, 0) + 1
            try:
                time.sleep(state.after_s)
                with suppress(BrokenPipeError, ConnectionResetError):
                    self.respond(body, fault)
            finally:
                with state.lock:
                    state.at_once -= 1

        def respond(self, body: dict[str, Any], fault: str | None) -> None:
            refused = state.refuse(body) if state.refuse else None
            if refused is not None:
                self.send(*refused)
            elif fault == "drop":
                self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                self.close_connection = True
                self.connection.close()
            elif fault == "slow":
                time.sleep(state.slow_s)
                self.send(200, state.answer(self.path, body))
            elif fault == "busy":
                self.send(429, {"error": {"message": "slow down"}}, {"Retry-After": "0"})
            elif fault == "wait":
                self.send(429, {"error": {"message": "slow down"}}, {"Retry-After": "0.02"})
            elif fault == "broken":
                self.send(state.chance.choice((500, 502, 503)), b"<html>oops</html>")
            elif fault == "garbage":
                self.send(200, b'{"choices": [{"text": "to')
            elif fault == "empty":
                self.send(200, state.chance.choice((b"", b"[]", b'{"choices": []}', b'{"choices": [{"index": 0}]}')))
            elif fault == "half":
                whole = state.answer(self.path, body)
                self.send(200, {**whole, "choices": [{**one, "finish_reason": None} for one in whole["choices"]]})
            else:
                content = json.dumps(state.answer(self.path, body)).encode()
                if fault == "cut":  # says how long it is, and then is not
                    self.send(200, content[: len(content) // 2], {"Content-Length": str(len(content))})
                    self.close_connection = True
                else:
                    self.send(200, content)

        def send(self, status: int, content: Any, headers: dict[str, str] | None = None) -> None:
            body = content if isinstance(content, bytes) else json.dumps(content).encode()
            self.send_response(status)
            for name, value in {"Content-Length": str(len(body)), **(headers or {})}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body)

    with answering(Handler) as state.url:
        yield state
