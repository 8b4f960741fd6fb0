"""How many problems, how many tests each, how long, how hard: figures by split, a table and a picture."""

import statistics
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from greenlit.pictures import PALETTE, picture
from greenlit.problems.oracle import count_tests
from greenlit.problems.records import Dropped
from greenlit.program_metrics import lines_of_code
from greenlit.types import SPLITS, Problem

if TYPE_CHECKING:
    from rich.table import Table

NO_SPLIT = "no split"
_LEVELS = 12
"""Words of difficulty, languages and kinds that a table lists; the rest is counted together."""


@dataclass
class Counts:
    """Of one split: numbers only, so that it stays small whatever the problems are."""

    problems: int = 0
    tests: list[int] = field(default_factory=list)
    """Of each problem; every assert of a script counts."""
    statement_characters: list[int] = field(default_factory=list)
    reference_lines: list[int] = field(default_factory=list)
    """Of the first reference, without blanks and comments."""
    roles: Counter[str] = field(default_factory=Counter)
    kinds: Counter[str] = field(default_factory=Counter)
    difficulty: Counter[str] = field(default_factory=Counter)
    language: Counter[str] = field(default_factory=Counter)

    def add(self, problem: Problem) -> None:
        """Count one problem."""
        self.problems += 1
        self.tests.append(count_tests(problem))
        self.statement_characters.append(len(problem.prompt))
        if problem.reference:
            self.reference_lines.append(lines_of_code(problem.reference[0].removeprefix(problem.prelude)))
        self.roles.update(test.role for test in problem.tests)
        self.kinds.update(test.kind for test in problem.tests)
        self.difficulty[problem.difficulty or "not said"] += 1
        self.language[problem.language] += 1

    def as_dict(self) -> dict[str, Any]:
        """For programs."""
        return {
            "problems": self.problems,
            "with_reference": len(self.reference_lines),
            "tests": spread(self.tests),
            "statement_characters": spread(self.statement_characters),
            "reference_lines": spread(self.reference_lines),
            **{name: dict(getattr(self, name).most_common()) for name in _COUNTED},
        }


_COUNTED = ("roles", "kinds", "difficulty", "language")


@dataclass
class Statistics:
    """Of a dataset."""

    dataset: str
    place: str
    splits: dict[str, Counts] = field(default_factory=dict)
    dropped: Counter[str] = field(default_factory=Counter)
    """Reason → records that give no problem."""

    def as_dict(self) -> dict[str, Any]:
        """For programs."""
        splits = {name: counts.as_dict() for name, counts in self.splits.items()}
        dropped = dict(self.dropped.most_common())
        return {"dataset": self.dataset, "place": self.place, "splits": splits, "dropped": dropped}


def count(dataset: str, place: str, rows: Iterable[Problem | Dropped]) -> Statistics:
    """Count all problems, streaming."""
    found = Statistics(dataset, place)
    for row in rows:
        if isinstance(row, Dropped):
            found.dropped[row.reason] += 1
        else:
            found.splits.setdefault(row.split or NO_SPLIT, Counts()).add(row)
    order = [*SPLITS, NO_SPLIT]
    found.splits = {name: found.splits[name] for name in order if name in found.splits}
    return found


def spread(values: Sequence[int]) -> dict[str, float] | None:
    """Least, median, mean, most and sum; None of nothing."""
    if not values:
        return None
    return {
        "least": min(values),
        "median": statistics.median(values),
        "mean": round(statistics.fmean(values), 2),
        "most": max(values),
        "sum": sum(values),
    }


def table(found: Statistics) -> "Table":
    """A column per split."""
    from rich import box
    from rich.table import Table
    from rich.text import Text

    drawn = Table(title=Text(f"{found.dataset} ({found.place})"), box=box.SIMPLE_HEAD)
    drawn.add_column("")
    for name in found.splits:
        drawn.add_column(name, justify="right")
    for name, cells in table_rows(found):
        drawn.add_row(Text(name), *map(Text, cells))
    return drawn


def table_rows(found: Statistics) -> list[tuple[str, list[str]]]:
    """Names and cells of the table."""
    splits = list(found.splits.values())
    rows = [
        ("problems", [str(counts.problems) for counts in splits]),
        ("with a reference", [str(len(counts.reference_lines)) for counts in splits]),
        ("tests per problem: least, median, most", [_range(counts.tests) for counts in splits]),
        ("characters of the statement", [_range(counts.statement_characters) for counts in splits]),
        ("lines of the reference", [_range(counts.reference_lines) for counts in splits]),
    ]
    for group in _COUNTED:
        total = sum((getattr(counts, group) for counts in splits), Counter[str]())
        word = {"roles": "tests, role", "kinds": "tests, kind"}.get(group, group)
        for value, _ in total.most_common(_LEVELS):
            rows.append((f"{word} {value}", [str(getattr(counts, group)[value]) for counts in splits]))
    return rows


def _range(values: Sequence[int]) -> str:
    return f"{min(values)}  {statistics.median(values):g}  {max(values)}" if values else "-"


def draw(found: Statistics, path: Path) -> None:
    """Four panels: problems, tests of each, length of statements, difficulty; splits are stacked."""
    names, splits = list(found.splits), list(found.splits.values())
    with picture(path, 10, 6) as figure:
        panels = figure.subplots(2, 2).ravel()
        panels[0].bar(names, [counts.problems for counts in splits], color=PALETTE[: len(names)])
        panels[0].set(title="problems")
        for axes, group, title in (
            (panels[1], "tests", "tests per problem"),
            (panels[2], "statement_characters", "characters of the statement"),
        ):
            axes.hist(
                [getattr(counts, group) for counts in splits], bins=20, stacked=True, label=names,
                color=PALETTE[: len(names)],
            )  # fmt: skip
            axes.set(title=title, ylabel="problems")
            axes.legend()
        _levels(panels[3], names, splits)
        figure.suptitle(found.dataset)


def _levels(axes: Any, names: Sequence[str], splits: Sequence[Counts]) -> None:
    """Difficulty where the dataset tells one, else the lines of the references."""
    total = sum((counts.difficulty for counts in splits), Counter[str]())
    levels = [level for level, _ in total.most_common(_LEVELS)]
    if set(levels) <= {"not said"}:
        lines = [counts.reference_lines for counts in splits]
        axes.hist(lines, bins=20, stacked=True, color=PALETTE[: len(names)], label=names)
        axes.set(title="lines of the reference", ylabel="problems")
        return
    below = [0] * len(levels)
    for name, counts, colour in zip(names, splits, PALETTE, strict=False):
        heights = [counts.difficulty[level] for level in levels]
        axes.bar(levels, heights, bottom=below, label=name, color=colour)
        below = [one + other for one, other in zip(below, heights, strict=True)]
    axes.set(title="difficulty")
    axes.tick_params(axis="x", rotation=30)


def reasons(dropped: Mapping[str, int]) -> list[str]:
    """A line per reason why records give no problem."""
    return [f"{number} records give no problem: {reason}" for reason, number in dropped.items()]
