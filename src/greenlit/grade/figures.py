"""From rows to figures, streaming: of each problem only counts are kept.

A sample whose verdict could not be found (`passed` is null) is no failure: it does not count among the samples. pass@k
is told for those k of which every problem that was sampled has as many samples.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from greenlit.errors import ConfigError


@dataclass
class _Counts:
    """Of one problem."""

    sampled: int = 0
    measured: int = 0
    passing: int = 0
    has_greedy: bool = False
    greedy: bool | None = None


class Tally:
    """Counts of all rows so far."""

    def __init__(self) -> None:
        self.rows = self.unmeasured = 0
        self.verdicts: Counter[str] = Counter()
        self.levels: set[str] = set()
        self._problems: dict[str, _Counts] = {}

    def add(self, problem: str, row: Mapping[str, Any], greedy: bool) -> None:
        """Count one row.

        Args:
            problem: task_id of the problem, which need not be spelled as in the row.
        """
        counts = self._problems.setdefault(problem, _Counts())
        passed = row["passed"]
        self.rows += 1
        self.verdicts[row["verdict"]] += 1
        self.levels.add(row["level"])
        self.unmeasured += passed is None
        if greedy:
            counts.has_greedy, counts.greedy = True, passed
            return
        counts.sampled += 1
        if passed is not None:
            counts.measured += 1
            counts.passing += passed

    def figures(self, ks: Sequence[int], problems: int) -> dict[str, Any]:
        """pass@k with intervals, and counts.

        Args:
            problems: how many there are, sampled or not.
        """
        sampled = {task_id: counts for task_id, counts in self._problems.items() if counts.sampled}
        fewest = min((counts.sampled for counts in sampled.values()), default=0)
        table = {
            task_id: {"n": counts.measured, "c": counts.passing, "greedy": counts.greedy}
            for task_id, counts in self._problems.items()
        }
        metrics = [f"pass@{k}" for k in ks if k <= fewest]
        if any(counts.has_greedy for counts in self._problems.values()):
            metrics.append("greedy")
        return {
            "samples": self.rows,
            "problems": problems,
            "problems_without_samples": problems - len(self._problems),
            "fewest_samples_of_a_problem": fewest,
            **{metric: _interval(table, metric) for metric in metrics},
            "ks_left_out": [k for k in ks if k > fewest],
            "verdicts": dict(sorted(self.verdicts.items(), key=lambda item: (-item[1], item[0]))),
            "unmeasured": self.unmeasured,
            "level": "+".join(sorted(self.levels)),
        }


def _interval(table: Mapping[str, Mapping[str, Any]], metric: str) -> dict[str, Any]:
    """As in the reports: the same estimator, confidence and resamples."""
    from greenlit.config import EvaluateParams
    from greenlit.evaluation.compare import interval, values_by_problem

    settings = EvaluateParams()
    values = list(values_by_problem(table, metric).values())
    return interval(values, settings.confidence, settings.resamples, seed=0).as_dict()


def read_ks(text: str) -> list[int]:
    """`1,10,100` as numbers, each once, in order.

    Raises:
        ConfigError: one is no positive integer.
    """
    ks = set()
    for part in text.split(","):
        if not part.strip().isdecimal() or int(part) < 1:
            raise ConfigError(f"--k: must be integers >= 1, e.g. 1,10,100 (found {text!r})")
        ks.add(int(part))
    return sorted(ks)


def table(figures: Mapping[str, Any]) -> str:
    """The figures as lines for people."""
    lines = [
        f"{name:<10}{_figure(value)}" for name, value in figures.items() if name.startswith("pass@") or name == "greedy"
    ]
    if figures["ks_left_out"]:
        names = ", ".join(f"pass@{k}" for k in figures["ks_left_out"])
        lines.append(
            f"{'':<10}{names}: left out, some problem has {figures['fewest_samples_of_a_problem']} samples only"
        )
    counts = "  ".join(f"{verdict} {count:,}" for verdict, count in figures["verdicts"].items())
    lines.append(f"{'verdicts':<10}{counts}")
    lines.append(f"{'level':<10}{figures['level']}")
    lines.append(f"{'programs':<10}{_work(figures)}")
    return "\n".join(lines)


def _figure(value: Mapping[str, Any]) -> str:
    if value["value"] is None:
        return "not known: no problem could be measured"
    return f"{value['value']:.3f}  [{value['low']:.3f}, {value['high']:.3f}]  n = {value['n']} problems"


def _work(figures: Mapping[str, Any]) -> str:
    parts = [f"{figures['samples']:,}"]
    if figures["resumed"]:
        parts.append(f"{figures['resumed']:,} from before the stop")
    if figures["cached"]:
        parts.append(f"{figures['cached']:,} from the verdict cache")
    rate = figures["verdicts_per_s"]
    told = "" if rate is None else f" ({rate:,.0f} verdicts/s)"
    parts.append(f"{figures['judged']:,} judged in {figures['seconds']:.1f} s{told}")
    return ", ".join(parts)
