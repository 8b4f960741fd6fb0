"""Answers of judges on disk, so that none is paid for twice: whole lines `{"key", "text", "model"}`, only ever added.

Shared by all processes: each adds under a lock that it holds for no longer than the writing takes.
"""

import json
import os
import sys
import time
from pathlib import Path

from greenlit.appending import Appending
from greenlit.feedback.endpoint import Reply
from greenlit.stage.workspace import WORK

_PATIENCE_S = 5.0


def default_path() -> Path:
    """`GREENLIT_JUDGE_CACHE`, else `.work/judge/answers.jsonl` below the current folder."""
    return Path(os.environ.get("GREENLIT_JUDGE_CACHE") or WORK / "judge" / "answers.jsonl")


class AnswerCache:
    """The answers known at the start, and those found since."""

    def __init__(self, path: Path | None = None) -> None:
        self.path = path or default_path()
        self._known: dict[str, Reply] = {}
        self._writable = True
        if self.path.exists():
            self._read()

    def _read(self) -> None:
        with self.path.open("rb") as stream:
            for line in stream:
                try:
                    row = json.loads(line)
                    self._known[row["key"]] = Reply(row["text"], row["model"])
                except (ValueError, LookupError, TypeError):  # torn, or a disk that failed: asked again
                    continue

    def find(self, key: str) -> Reply | None:
        """The answer to this question."""
        return self._known.get(key)

    def keep(self, replies: dict[str, Reply]) -> None:
        """Remember answers; a file that cannot be written costs one line, never a training."""
        self._known |= replies
        rows = [{"key": key, "text": reply.text, "model": reply.model} for key, reply in replies.items()]
        if not rows or not self._writable:
            return
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with self._opened() as file:
                file.append([json.dumps(row).encode() + b"\n" for row in rows])
        except OSError as error:
            self._writable = False
            print(f"warning: {self.path}: going on without keeping answers ({error.strerror})", file=sys.stderr)

    def _opened(self) -> Appending:
        until = time.monotonic() + _PATIENCE_S
        while True:
            try:
                return Appending(self.path)
            except BlockingIOError:
                if time.monotonic() > until:
                    raise
                time.sleep(0.01)
