"""Figures of what the completions of online training earned, summed up since they were last asked for."""

import math
import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, get_args

from greenlit.rewards.sample import Rated, Sample
from greenlit.types import Verdict

_UNTESTED = ("syntax", "no_code", "untested")
_TESTED = tuple(name for name in get_args(Verdict) if name != "untested")


@dataclass
class _Sum:
    """Mean and standard deviation of a stream, by Welford's recurrence; None is counted apart."""

    known: int = 0
    none: int = 0
    mean: float = 0.0
    squares: float = 0.0

    def add(self, value: float | bool | None) -> None:
        if value is None:
            self.none += 1
            return
        self.known += 1
        step = value - self.mean
        self.mean += step / self.known
        self.squares += step * (value - self.mean)

    @property
    def std(self) -> float:
        return math.sqrt(self.squares / self.known) if self.known else 0.0


class Statistics:
    """Sums over completions."""

    def __init__(self) -> None:
        self.sums: dict[str, _Sum] = {}
        self.verdicts: Counter[str] = Counter()
        self.faults: Counter[str] = Counter()
        self.untested = False
        """The problems have no tests: no share of completions passes, not even none."""
        self.completions = 0
        self.distinct = 0

    def add(self, samples: Sequence[Sample], rated: Sequence[Rated]) -> None:
        """Count a batch."""
        self.completions += len(samples)
        self.distinct += len({(sample.problem.task_id, sample.text) for sample in samples})
        for sample, found in zip(samples, rated, strict=True):
            for name, value in found.rewards.items():
                self._sum(f"rewards/{name}").add(value)
            self.faults.update(found.faults)
            self._sum("reward").add(found.reward)
            self._sum("tokens").add(sample.tokens)
            self._sum("truncated").add(sample.truncated)
            self._add_verdict(sample)

    def _add_verdict(self, sample: Sample) -> None:
        if sample.judgement is None:
            return
        self.verdicts[sample.judgement.verdict] += 1
        self.untested = self.untested or sample.problem.kind == "completion"
        self._sum("pass").add(sample.passed)
        if any(test.role == "hidden" for test in sample.problem.tests):
            both = sample.passed is not None and sample.judgement.passed_all is not None
            self._sum("hidden").add(sample.judgement.passed_all if both else None)
            self._sum("with_hidden").add(sample.passed if both else None)

    def _sum(self, name: str) -> _Sum:
        return self.sums.setdefault(name, _Sum())

    def figures(self) -> dict[str, float]:
        """By name; what nothing is known of is left out, never 0 or NaN.

        `rewards/<name>/mean`, `/std`, `/none` (share that has nothing to say or went wrong), `/fault` (share that went
        wrong, where any did); `reward/mean`, `/std`, `/none` of the one number; `pass/visible`: share that passes what
        is rewarded; `pass/hidden`: of the problems with hidden tests, the share that passes these too; `gap`: what is
        lost between the two, over these problems; `verdict/<verdict>`, `truncated`, `distinct`: shares of the
        completions; `tokens/mean`.
        """
        if not self.completions:
            return {}
        found: dict[str, float] = {"distinct": self.distinct / self.completions}
        for name, total in self.sums.items():
            if name == "reward" or name.startswith("rewards/"):
                found[f"{name}/none"] = total.none / self.completions
                if total.known:
                    found[f"{name}/mean"], found[f"{name}/std"] = total.mean, total.std
        for name, count in self.faults.items():
            found[f"rewards/{name}/fault"] = count / self.completions
        for name in _UNTESTED if self.untested else _TESTED:
            if self.verdicts:
                found[f"verdict/{name}"] = self.verdicts[name] / self.verdicts.total()
        means = {"pass": "pass/visible", "hidden": "pass/hidden", "truncated": "truncated", "tokens": "tokens/mean"}
        for name, key in means.items():
            if name in self.sums and self.sums[name].known:
                found[key] = self.sums[name].mean
        if "pass/hidden" in found:
            found["gap"] = self.sums["with_hidden"].mean - self.sums["hidden"].mean
        return found


def tell_faults(faults: Mapping[str, int], completions: int) -> None:
    """Say on stderr which rewards went wrong, on how many completions."""
    for name, count in faults.items():
        print(
            f"warning: rewards.{name} went wrong on {count} of {completions} completions; where it has a weight above "
            "0, these have no reward (null, not 0)",
            file=sys.stderr,
            flush=True,
        )


def row(sample: Sample, rated: Rated) -> dict[str, Any]:
    """A completion as a row of a table."""
    judgement = sample.judgement
    return {
        "task_id": sample.problem.task_id,
        "text": sample.text,
        "tokens": sample.tokens,
        "truncated": sample.truncated,
        "verdict": judgement.verdict if judgement else None,
        "passed": sample.passed,
        "passed_hidden": judgement.passed_hidden if judgement else None,
        "tests_passed": judgement.tests_passed if judgement else None,
        "tests_total": judgement.tests_total if judgement else None,
        "error": judgement.error if judgement else None,
        **{f"rewards/{name}": value for name, value in rated.rewards.items()},
        "reward": rated.reward,
    }
