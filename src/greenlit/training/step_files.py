"""JSONL files of a training run whose rows belong to steps, and what is written to them.

They lie in the work folder while the run lasts. A run that goes on from a checkpoint keeps the rows up to its step, so
that no step stands twice.
"""

import json
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from greenlit.appending import Appending
from greenlit.training.checkpoints import Checkpoints

COMPLETIONS, TIMINGS = "completions.jsonl", "timings.jsonl"
"""Some completions of every batch, to read; seconds of every step, by what they were spent on."""

SHOWN = 16
"""Completions of each batch that go into the table."""


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
        self._file.append(
            [(json.dumps(row, ensure_ascii=False) + "\n").encode(errors="backslashreplace") for row in rows]
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.__exit__(kind, error, trace)


class RunFiles:
    """Both files of an online run; a context manager.

    Args:
        writes: this process writes them; of several only the first does.
    """

    def __init__(self, work: Path, writes: bool) -> None:
        newest = Checkpoints(work, 1).newest()
        done = int(newest.name.rpartition("-")[2]) if newest else -1
        self._files = {name: StepFile(work / name, done) for name in (COMPLETIONS, TIMINGS) if writes}
        self.trainer: Any = None
        """Whose run it is."""

    def sampled(self, mode: str, advantages_B: Sequence[float]) -> None:
        """Some completions of the batch that was just judged: what was written, what it earned and taught."""
        step, last = self.trainer.state.global_step + (mode == "train"), self.trainer.reward.last
        shown = list(zip(advantages_B[-len(last) :], last, strict=True))[:SHOWN]  # it may have come in pieces
        self._write(COMPLETIONS, [{"step": step, "of": mode, "advantage": _short(one), **row} for one, row in shown])

    def took(self, step: int, step_s: float) -> None:
        """The seconds of a step."""
        seconds = {**self.trainer.clock.taken(), "step_s": step_s}
        self._write(TIMINGS, [{"step": step, **{name: _short(value) for name, value in seconds.items()}}])

    def _write(self, name: str, rows: list[dict[str, Any]]) -> None:
        if name in self._files:
            self._files[name].write(rows)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for file in self._files.values():
            file.__exit__(kind, error, trace)


def _short(value: float) -> float:
    return float(f"{value:.4g}")
