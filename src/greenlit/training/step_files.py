"""JSONL files of a training run whose rows belong to steps, and what is written to them.

They lie in the work folder while the run lasts. A run that goes on from a checkpoint keeps the rows up to its step, so
that no step stands twice.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from greenlit.appending import Appending

COMPLETIONS, TIMINGS = "completions.jsonl", "timings.jsonl"
"""Some completions of every batch, to read; seconds of every step, by what they were spent on."""


class StepFile:
    """Whole lines, each an object with its `step`.

    Args:
        upto: the last step to keep of what the file holds.
    """

    def __init__(self, path: Path, upto: int) -> None:
        self._file = Appending(path)
        for offset, line in self._file.lines():
            if json.loads(line)["step"] > upto:
                self._file.cut(offset)
                break

    def write(self, rows: list[dict[str, Any]]) -> None:
        """Append rows, all of them or, on a full disk, none."""
        self._file.append([(json.dumps(row, ensure_ascii=False) + "\n").encode() for row in rows])

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.__exit__(kind, error, trace)


def rounded(values: Mapping[str, float], digits: int = 6) -> dict[str, float]:
    """Figures as they are written: so many significant digits."""
    return {key: float(f"{value:.{digits}g}") for key, value in values.items()}
