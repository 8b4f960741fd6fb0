"""The progress of a stage as an artifact with its ETA, from the stage's own `PROGRESS` lines."""

import re
import time
from uuid import UUID

from prefect import get_run_logger
from prefect.artifacts import create_progress_artifact, update_progress_artifact

EVERY_S = 1.0
_LINE = re.compile(r"PROGRESS (?P<label>.*?) (?P<done>\d+)/(?P<total>\d+)\b(?P<rest>.*)")


def key_of(name: str) -> str:
    """A name as Prefect wants keys of artifacts: small letters, digits and dashes."""
    return re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")


class ProgressArtifact:
    """Made with the first line that tells progress, updated once a second at most; its faults are not the stage's."""

    def __init__(self, name: str) -> None:
        self._key = key_of(f"progress {name}")
        self._id: UUID | None = None
        self._told_at = float("-inf")
        self._off = False
        self._last = ""

    def line(self, line: str) -> None:
        """Look at a line of the stage's output."""
        found = _LINE.search(line)
        if not found or self._off:
            return
        done, total = int(found["done"]), int(found["total"])
        self._last = f"{found['label']} {done:,} of {total:,}{found['rest']}"
        now = time.monotonic()
        if now - self._told_at >= EVERY_S or done >= total:
            self._told_at = now
            self._tell(100.0 * done / total if total else 100.0, self._last)

    def end(self) -> None:
        """The stage has ended in order."""
        if self._id and not self._off:
            self._tell(100.0, self._last)

    def _tell(self, percent: float, text: str) -> None:
        try:
            if self._id is None:
                self._id = create_progress_artifact(min(percent, 100.0), key=self._key, description=text)
            else:
                update_progress_artifact(self._id, min(percent, 100.0), description=text)
        except Exception as fault:  # the server's faults are many, and none of them is the stage's
            self._off = True
            get_run_logger().warning(f"progress is not shown any more: {type(fault).__name__}")
