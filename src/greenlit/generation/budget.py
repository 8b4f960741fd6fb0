"""What sampling may cost, all runs of one result together; it changes no result and comes from the environment.

    GREENLIT_BUDGET_TOKENS     tokens; of an endpoint those of the prompts too
    GREENLIT_BUDGET_MINUTES    minutes of sampling
    GREENLIT_BUDGET_USD        US dollars; with GREENLIT_PRICE_INPUT and GREENLIT_PRICE_OUTPUT, those of 1,000 tokens

An endpoint's request first reserves the most it can cost, so that requests under way never exceed a budget of tokens or
dollars together. Backends that run here end after the batch that reaches it. What was spent is kept beside the
unfinished results, so that trying again is no way around a budget: a larger one goes on.
"""

import os
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import dataclass
from pathlib import Path

from greenlit.errors import BudgetError, ConfigError
from greenlit.jsonl import read_json, write_json

TOKENS, MINUTES, USD = "GREENLIT_BUDGET_TOKENS", "GREENLIT_BUDGET_MINUTES", "GREENLIT_BUDGET_USD"
INPUT, OUTPUT = "GREENLIT_PRICE_INPUT", "GREENLIT_PRICE_OUTPUT"
KEPT_EVERY_S = 1.0
"""Seconds between two writings of what was spent."""


@dataclass(frozen=True)
class Caps:
    """None: no cap."""

    tokens: int | None = None
    minutes: float | None = None
    usd: float | None = None
    usd_input: float = 0.0
    """Price of 1,000 tokens of prompts."""
    usd_output: float = 0.0
    """Price of 1,000 tokens written."""

    def usd_of(self, asked: int, written: int) -> float:
        """What so many tokens cost."""
        return (asked * self.usd_input + written * self.usd_output) / 1000

    def told(self) -> str:
        """`GREENLIT_BUDGET_TOKENS 1000, GREENLIT_BUDGET_USD 2`."""
        caps = {TOKENS: self.tokens, MINUTES: self.minutes, USD: self.usd}
        return ", ".join(f"{name} {cap:g}" for name, cap in caps.items() if cap is not None)


def caps_of(environment: Mapping[str, str] = os.environ) -> Caps:
    """The caps that the environment sets.

    Raises:
        ConfigError: one of them is no number above 0, or a budget of dollars comes without prices.
    """
    tokens, minutes, usd = (_number(environment, name) for name in (TOKENS, MINUTES, USD))
    prices = [_number(environment, name, zero=True) for name in (INPUT, OUTPUT)]
    if usd is not None and (None in prices or not any(prices)):
        raise ConfigError(
            f"{USD}: needs prices, and {INPUT} and {OUTPUT} give none",
            hint="both in US dollars per 1,000 tokens, e.g. 0.00015 and 0.0006",
        )
    return Caps(None if tokens is None else int(tokens), minutes, usd, prices[0] or 0.0, prices[1] or 0.0)


def _number(environment: Mapping[str, str], name: str, zero: bool = False) -> float | None:
    said = environment.get(name, "").strip()
    if not said:
        return None
    try:
        value = float(said)
    except ValueError:
        value = float("nan")
    if not (0 < value < float("inf") or (zero and value == 0)):
        raise ConfigError(f"{name}: must be a number {'>= 0' if zero else '> 0'} (found {said!r})")
    return value


class Budget:
    """Counts what is spent. From one thread; a context manager, which keeps the count."""

    def __init__(self, caps: Caps, file: Path) -> None:
        """
        Args:
            file: what earlier runs spent.
        """
        self.caps, self._file = caps, file
        before = read_json(file) if file.exists() else {}
        self.asked, self.written = int(before.get("tokens_asked", 0)), int(before.get("tokens_written", 0))
        self.before_s = float(before.get("seconds", 0.0))
        self._reserved = (0, 0)
        self._began = self._kept = time.monotonic()

    def __enter__(self) -> "Budget":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        with suppress(OSError) if error else nullcontext():  # a full disk is told by what it stopped
            self.keep()

    @property
    def seconds(self) -> float:
        """Sampling took so long, earlier runs included."""
        return self.before_s + time.monotonic() - self._began

    @property
    def usd(self) -> float:
        """What was spent, by the prices given."""
        return self.caps.usd_of(self.asked, self.written)

    def reserve(self, asked: int, written: int) -> bool:
        """Take the most that a request can cost, in tokens; False where that is no longer there."""
        asked_most, written_most = self.asked + self._reserved[0] + asked, self.written + self._reserved[1] + written
        caps = self.caps
        if caps.tokens is not None and asked_most + written_most > caps.tokens:
            return False
        if caps.usd is not None and caps.usd_of(asked_most, written_most) > caps.usd:
            return False
        if self._out_of_time():
            return False
        self._reserved = (self._reserved[0] + asked, self._reserved[1] + written)
        return True

    def settle(self, reserved: tuple[int, int], spent: tuple[int, int]) -> None:
        """A request that reserved so much did cost so much: tokens of the prompt, and written ones."""
        self._reserved = (self._reserved[0] - reserved[0], self._reserved[1] - reserved[1])
        self.spend(*spent)

    def spend(self, asked: int, written: int) -> None:
        """Count tokens."""
        self.asked += asked
        self.written += written
        if time.monotonic() - self._kept >= KEPT_EVERY_S:
            self.keep()

    def keep(self) -> None:
        """Write down what was spent."""
        self._kept = time.monotonic()
        spent = {"tokens_asked": self.asked, "tokens_written": self.written, "seconds": round(self.seconds, 3)}
        write_json(self._file, spent)

    @contextmanager
    def paused(self) -> Iterator[None]:
        """What is done inside is no sampling: its minutes are not counted."""
        before = time.monotonic()
        yield
        self._began += time.monotonic() - before

    def require(self) -> None:
        """For a backend that runs here, between two batches.

        Raises:
            BudgetError: tokens or time are used up.
        """
        if self._out_of_time() or (self.caps.tokens is not None and self.asked + self.written >= self.caps.tokens):
            raise self.used_up()

    def used_up(self) -> BudgetError:
        """What to say when the budget ends the sampling."""
        costs = f", {self.usd:.4f} USD" if self.caps.usd is not None else ""
        spent = f"{self.asked + self.written} tokens, {self.seconds / 60:.1f} minutes{costs}"
        return BudgetError(
            f"the budget is used up ({self.caps.told()}; spent: {spent})",
            hint="what was sampled is kept; the same command with a larger budget goes on from there",
        )

    def _out_of_time(self) -> bool:
        return self.caps.minutes is not None and self.seconds >= self.caps.minutes * 60
