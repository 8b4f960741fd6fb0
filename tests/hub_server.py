"""A hub of our own: the few requests that huggingface_hub and datasets make to read a dataset, over HTTP.

It serves files from memory, notes what it was asked and with which token, and refuses what the real one refuses.
"""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from hashlib import sha1
from http.server import BaseHTTPRequestHandler
from pathlib import PurePosixPath
from urllib.parse import unquote, urlsplit

from http_servers import answering

COMMIT = "0123456789abcdef0123456789abcdef01234567"


@dataclass
class Hub:
    """What it serves and what it was asked."""

    datasets: dict[str, dict[str, bytes]]
    """Dataset id -> path -> content."""
    gated: set[str] = field(default_factory=set)
    """Datasets that want the token."""
    token: str = "hf_right"
    asked: list[tuple[str, str]] = field(default_factory=list)
    """(path, token) of each request."""
    address: str = ""


@contextmanager
def serving(hub: Hub) -> Iterator[Hub]:
    """The hub, while it answers."""

    class Handler(_Handler):
        served = hub

    with answering(Handler) as hub.address:
        yield hub


class _Handler(BaseHTTPRequestHandler):
    served: Hub
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        """Also of HEAD: the same answer without its body."""
        path = unquote(urlsplit(self.path).path)
        token = (self.headers.get("Authorization") or "").removeprefix("Bearer ")
        self.served.asked.append((path, token))
        found = next((name for name in self.served.datasets if f"/{name}" in path), None)
        if found is None:
            self.refuse(404, "RepoNotFound")
        elif found in self.served.gated and token != self.served.token:
            self.refuse(403, "GatedRepo")
        else:
            self.answer(found, path.partition(f"/{found}")[2], path.startswith("/api/"))

    do_HEAD = do_POST = do_GET

    def answer(self, name: str, rest: str, api: bool) -> None:
        files = self.served.datasets[name]
        kind, _, where = rest.strip("/").partition("/")
        revision, _, inner = where.partition("/")
        if kind and revision not in {COMMIT, "main"}:
            self.refuse(404, "RevisionNotFound")
        elif api and kind in {"", "revision"}:
            siblings = [{"rfilename": path} for path in files]
            self.send({"id": name, "sha": COMMIT, "private": False, "tags": [], "siblings": siblings, "downloads": 0})
        elif api:
            length = int(self.headers.get("Content-Length") or 0)
            wanted = unquote(self.rfile.read(length).decode())
            below = [path for path in files if kind == "tree" and path.startswith(f"{inner}/" if inner else "")]
            folders = sorted({parent.as_posix() for path in below for parent in PurePosixPath(path).parents[:-1]})
            entries = [{"type": "directory", "path": path, "oid": _hash(b"")} for path in folders if path != inner]
            for path in below or [path for path in files if path in wanted]:
                entries.append({"type": "file", "path": path, "size": len(files[path]), "oid": _hash(files[path])})
            if "recursive=true" not in self.path.lower() and kind == "tree":
                entries = [entry for entry in entries if PurePosixPath(entry["path"]).parent == PurePosixPath(inner)]
            self.send(entries)
        elif kind == "resolve" and inner in files:
            self.send(files[inner])
        else:
            self.refuse(404, "EntryNotFound")

    def send(self, content: object) -> None:
        data = content if isinstance(content, bytes) else json.dumps(content).encode()
        status, start = 200, 0
        span = self.headers.get("Range")
        if span and isinstance(content, bytes):
            first, _, last = span.removeprefix("bytes=").partition("-")
            status, start, whole = 206, int(first), len(data)
            data = data[start : int(last) + 1 if last else None]
        self.send_response(status)
        self.send_header(
            "Content-Type", "application/octet-stream" if isinstance(content, bytes) else "application/json"
        )
        self.send_header("Content-Length", str(len(data)))
        if isinstance(content, bytes):
            self.send_header("ETag", f'"{_hash(content)}"')
            self.send_header("X-Repo-Commit", COMMIT)
            self.send_header("Accept-Ranges", "bytes")
        if status == 206:
            self.send_header("Content-Range", f"bytes {start}-{start + len(data) - 1}/{whole}")
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data)

    def refuse(self, status: int, code: str) -> None:
        body = json.dumps({"error": code}).encode()
        self.send_response(status)
        self.send_header("X-Error-Code", code)
        self.send_header("X-Error-Message", code)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)


def _hash(content: bytes) -> str:
    return sha1(content).hexdigest()
