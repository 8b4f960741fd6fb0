"""Progress on stderr: a bar with ETA on a terminal, throttled `PROGRESS` lines elsewhere (logs, Prefect, CI)."""

import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

LINE_EVERY_S = 2.0


class Progress:
    """Counts what is done; `advance` redraws. Made by `progress`."""

    def __init__(self, label: str, total: int, unit: str) -> None:
        self.label, self.total, self.unit = label, total, unit
        self.done = 0
        self._rates: dict[str, float] = {}
        self._rated = 0  # of what is done, what came with counts
        self._started = time.monotonic()
        self._last_line = self._started
        self._told = 0
        self._tells = os.environ.get("RANK", "0") == "0"  # of several processes the first one
        self._bar: Any = None
        self._task: Any = None

    def advance(self, count: int = 1, **counts: float) -> None:
        """Say that `count` more are done; keyword counts are summed up and become rates, `tokens=40` also tokens/s.

        Where some come with counts, those that come without were there before, and tell nothing about the time left.
        """
        self.done += count
        self._rated += count if counts else 0
        for name, value in counts.items():
            self._rates[name] = self._rates.get(name, 0.0) + value
        if self._bar is not None:
            self._bar.update(self._task, completed=self.done, rates=self._rate_text())
            return
        now = time.monotonic()
        if now - self._last_line >= LINE_EVERY_S and self._tells:
            self._last_line = now
            self._print_line(now)

    def grow(self, count: int) -> None:
        """Say that there is more to do than was thought."""
        self.total += count
        if self._bar is not None:
            self._bar.update(self._task, total=self.total)

    @contextmanager
    def part(self, label: str, total: int, unit: str) -> Iterator["Progress"]:
        """A count of its own for what is done in between; on a terminal in a line below this one."""
        inner = Progress(label, total, unit)
        if self._bar is None:
            yield inner
            inner.finish()
            return
        inner._bar, inner._task = self._bar, self._bar.add_task(label, total=total, unit=unit, rates="")
        yield inner
        self._bar.remove_task(inner._task)

    def finish(self) -> None:
        """Say how it ended, unless that was said already or it took no time worth telling."""
        now = time.monotonic()
        if self._tells and self._bar is None and self.done != self._told and now - self._started >= LINE_EVERY_S:
            self._print_line(now)

    def _rate_text(self) -> str:
        seconds = max(time.monotonic() - self._started, 1e-9)
        return "  ".join(f"{value:,.0f} {name}  {value / seconds:,.0f} {name}/s" for name, value in self._rates.items())

    def _print_line(self, now: float) -> None:
        self._told = self.done
        elapsed = now - self._started
        came = self._rated or self.done
        left = elapsed / came * (self.total - self.done) if came else float("nan")
        rates = self._rate_text()
        tail = f"  {rates}" if rates else ""
        eta = f"  eta {left:.0f} s" if self.done < self.total else f"  in {elapsed:.0f} s"
        print(f"PROGRESS {self.label} {self.done}/{self.total} {self.unit}{tail}{eta}", file=sys.stderr, flush=True)


@contextmanager
def progress(label: str, total: int, unit: str = "") -> Iterator[Progress]:
    """Show how far a stage is.

    Args:
        label: the stage's name.
        unit: what is counted, plural.
    """
    state = Progress(label, total, unit)
    if not (sys.stderr.isatty() and state._tells):
        yield state
        state.finish()
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
    from rich.progress import Progress as Bar

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[unit]}"),
        TimeRemainingColumn(),
        TextColumn("{task.fields[rates]}"),
    )
    with Bar(*columns, console=Console(stderr=True)) as bar:
        state._bar = bar
        state._task = bar.add_task(label, total=total, unit=unit, rates="")
        yield state
