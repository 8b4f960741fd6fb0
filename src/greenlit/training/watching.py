"""Watch an online run step by step, and say when it had better end.

    gap        programs pass what is rewarded and not the hidden tests: the model learns to cheat, or the visible tests
               are too weak. An alarm; ends the run where `gap_stops` says so.
    patience   no measurement on held-out problems was better than the best for so long: ends the run.
    collapse   the reward fell far below where it began: an error with advice, since such a model is of no use.
    KL         the model has left the start model behind by orders of magnitude: the same.

What holds for one noisy step is no finding: each looks at several in a row, and at their spread.
"""

import math
import statistics
import sys
from collections import deque
from collections.abc import Callable, Mapping
from typing import Any

from greenlit.config import OnlineParams
from greenlit.errors import ConfigError

Watch = Callable[[int, Mapping[str, float]], str | None]
"""Called with the metrics of every step and of every measurement (`eval_...`); the reason to end, or None to go on."""
IN_A_ROW = 5
"""Steps that a finding is made from."""
WINDOW = 10
"""Steps whose mean reward is compared with that of the first ones: a collapse lasts."""
ERRORS = 4.0
"""Standard errors that the reward must fall by to have collapsed; each step is looked at, so that 2 would be chance."""
MOST_KL = 10.0
"""Nats per token; a model in use stays far below 1."""


class Watching:
    """Watches one run. A run that goes on is shown its earlier steps again first, and so comes to the same findings.

    Args:
        say: where the alarm goes.
    """

    def __init__(self, params: OnlineParams, say: Callable[[str], None] | None = None) -> None:
        self.params = params
        self.alarm: dict[str, Any] | None = None
        """The step and the figures of the gap alarm."""
        self.best: dict[str, float] | None = None
        """The best measurement on held-out problems so far: its step and reward."""
        self._say = say or (lambda text: print(text, file=sys.stderr, flush=True))
        self._since_best = 0
        self._gaps: deque[Mapping[str, float]] = deque(maxlen=IN_A_ROW)
        self._kls: deque[float] = deque(maxlen=IN_A_ROW)
        self._first: list[Mapping[str, float]] = []
        self._last: deque[Mapping[str, float]] = deque(maxlen=WINDOW)

    def __call__(self, step: int, metrics: Mapping[str, float]) -> str | None:
        """Look at one step or measurement; None goes on.

        Raises:
            ConfigError: the run has diverged.
        """
        if "eval_reward" in metrics:
            return self._measured(step, metrics["eval_reward"])
        if "reward" in metrics:
            self._look_at_reward(step, metrics)
        if "kl" in metrics:
            self._look_at_kl(step, metrics["kl"])
        return self._look_at_gap(step, metrics) if "gap" in metrics else None

    def facts(self) -> dict[str, Any]:
        """What was found, for the run's record."""
        return {"gap_alarm": self.alarm, "best_measurement": self.best}

    def _look_at_gap(self, step: int, metrics: Mapping[str, float]) -> str | None:
        limit = self.params.gap_alarm
        self._gaps.append(metrics)
        if limit is None or self.alarm or len(self._gaps) < IN_A_ROW:
            return None
        gaps = [row["gap"] for row in self._gaps]
        mean = statistics.fmean(gaps)
        if min(gaps) <= limit or mean - 2 * _standard_error(gaps) <= limit:
            return None
        figures = {name: _mean_of(self._gaps, name) for name in ("pass/visible", "pass/hidden")}
        self.alarm = {"step": step, "gap": round(mean, 4), **{k: round(v, 4) for k, v in figures.items()}}
        told = (
            f"hidden-test alarm at step {step}: over {IN_A_ROW} steps {figures['pass/visible']:.1%} of the programs "
            f"pass the tests that are rewarded and {figures['pass/hidden']:.1%} the hidden ones too "
            f"(gap {mean:.3f}, limit {limit:g})"
        )
        self._say(
            f"{told}\nhint: the model learns what the visible tests miss: read logs/completions.jsonl, add or improve "
            f"tests; methods.<m>.gap_stops ends a training here"
        )
        return told if self.params.gap_stops else None

    def _measured(self, step: int, reward: float) -> str | None:
        if self.best is None or reward > self.best["reward"]:
            self.best = {"step": step, "reward": reward}
            self._since_best = 0
            return None
        self._since_best += 1
        if self.params.patience is None or self._since_best < self.params.patience:
            return None
        return (
            f"early stop at step {step}: {self._since_best} measurements without one better than "
            f"{self.best['reward']:.4g} of step {self.best['step']:.0f}"
        )

    def _look_at_reward(self, step: int, metrics: Mapping[str, float]) -> None:
        """Not under a curriculum, whose problems get harder."""
        if len(self._first) < WINDOW:
            self._first.append(metrics)
            return
        self._last.append(metrics)
        if len(self._last) < WINDOW or self.params.curriculum != "none":
            return
        before, now = ([row["reward"] for row in rows] for rows in (self._first, self._last))
        fall = statistics.fmean(before) - statistics.fmean(now)
        spread = _mean_of(self._first, "reward_std")
        if fall > spread / 2 and fall > ERRORS * math.hypot(_standard_error(before), _standard_error(now)):
            raise self._diverged(
                step,
                f"the reward fell from {statistics.fmean(before):.4g} (first {WINDOW} steps) to "
                f"{statistics.fmean(now):.4g} (last {WINDOW})",
            )

    def _look_at_kl(self, step: int, kl: float) -> None:
        self._kls.append(kl)
        if len(self._kls) == IN_A_ROW and min(self._kls) > MOST_KL:
            raise self._diverged(
                step, f"KL to the start model above {MOST_KL:g} nats per token for {IN_A_ROW} steps (now {kl:.4g})"
            )

    def _diverged(self, step: int, what: str) -> ConfigError:
        return ConfigError(
            f"training diverged at step {step}: {what}",
            hint=f"lower learning_rate (now {self.params.learning_rate:g}), raise beta (now {self.params.beta:g}), or "
            "bring rewards to a smaller scale (rewards.scale, rewards.clip)",
        )


def _mean_of(rows: Any, name: str) -> float:
    values = [row[name] for row in rows if name in row]
    return statistics.fmean(values) if values else math.nan


def _standard_error(values: list[float]) -> float:
    return statistics.stdev(values) / math.sqrt(len(values))
