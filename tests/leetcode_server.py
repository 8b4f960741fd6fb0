"""A real HTTP server that answers as leetcode.com does, with questions of our own, and with every fault of the web."""

import json
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from typing import Any

import yaml
from http_servers import answering

from greenlit.scraping import sample

ROWS = yaml.safe_load(sample.FILE.read_text(encoding="utf-8"))
BLOCKED = b"<!DOCTYPE html><html><head><title>Just a moment...</title></head><body>checking your browser</body></html>"


def question(place: int = 0, **changes: Any) -> dict[str, Any]:
    """`data.question` about a problem of the sample, in the shape of recorded answers, with changes."""
    return {**sample.answer_about(place + 1, ROWS[place]), **changes}


@dataclass
class Answer:
    """What the server sends instead of what it knows."""

    body: bytes = b""
    status: int = 200
    kind: str = "application/json"
    headers: dict[str, str] = field(default_factory=dict)
    after_s: float = 0.0
    cut: int = 0
    """Bytes at the end that are promised and not sent."""


def throttled(**headers: str) -> Answer:
    """HTTP 429 as Django's REST framework says it."""
    body = json.dumps({"detail": "Request was throttled. Expected available in 60 seconds."}).encode()
    return Answer(body, 429, headers={name.replace("_", "-"): value for name, value in headers.items()})


@dataclass
class Request:
    """What the server was asked."""

    operation: str
    variables: dict[str, Any]
    headers: dict[str, str]
    at: float


class Server:
    """`faults` are sent first, one per request; then `always`, if there is one; then what it knows."""

    def __init__(self, questions: list[dict[str, Any]]) -> None:
        self.questions = {one["titleSlug"]: one for one in questions}
        self.listed = [{key: one[key] for key in ("titleSlug", "difficulty", "isPaidOnly")} for one in questions]
        self.faults: list[Answer] = []
        self.always: Answer | None = None
        self.after_s = 0.0
        self.requests: list[Request] = []
        self.lock = threading.Lock()
        self.url = ""

    def answer(self, request: Request) -> Answer:
        with self.lock:
            self.requests.append(request)
            fault = self.faults.pop(0) if self.faults else self.always
        if fault is not None:
            return fault
        data: dict[str, Any] = {"question": self.questions.get(request.variables.get("titleSlug", ""))}
        if request.operation == "problemsetQuestionList":
            skip, limit = request.variables["skip"], request.variables["limit"]
            page = {"total": len(self.listed), "questions": self.listed[skip : skip + limit]}
            data = {"problemsetQuestionList": page}
        return Answer(json.dumps({"data": data}).encode(), after_s=self.after_s)

    def asked(self) -> Counter[str]:
        """How often each thing was asked for."""
        return Counter(json.dumps(request.variables, sort_keys=True) for request in self.requests)


@contextmanager
def serve(questions: list[dict[str, Any]]) -> Iterator[Server]:
    """The server, while the block runs."""
    state = Server(questions)

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            content = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            request = Request(content["operationName"], content["variables"], dict(self.headers), time.monotonic())
            try:
                self.send(state.answer(request))
            except (BrokenPipeError, ConnectionResetError):  # who asked has given up, or was killed
                self.close_connection = True

        def send(self, answer: Answer) -> None:
            time.sleep(answer.after_s)
            self.send_response_only(answer.status)
            for name, value in {"Date": self.date_time_string(), **answer.headers}.items():
                self.send_header(name, value)
            self.send_header("Content-Type", answer.kind)
            self.send_header("Content-Length", str(len(answer.body)))
            self.end_headers()
            self.wfile.write(answer.body[: len(answer.body) - answer.cut])
            self.close_connection = self.close_connection or bool(answer.cut)

    with answering(Handler) as url:
        state.url = f"{url}/graphql"
        yield state
