"""What became of a dataset's problems: kept with which grade, dropped or quarantined with which reason.

Nothing in here is a measured time, so that audit.json repeats byte for byte.
"""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from greenlit.problems.oracle import Case, count_tests
from greenlit.types import SPLITS, Record

if TYPE_CHECKING:
    from rich.table import Table

GRADES = ("A", "B", "C")


class Quarantined(Record):
    """A row of quarantine.jsonl: a problem that is not fit to learn from."""

    task_id: str
    split: str
    reason: str
    detail: str


@dataclass
class Audit:
    """What was kept and what was not, and why."""

    dropped: dict[str, tuple[str, str]] = field(default_factory=dict)
    """Before the oracle audit: task_id → reason, detail."""
    cases: list[Case] = field(default_factory=list)
    """The oracle audit's findings."""

    def drop(self, task_id: str, reason: str, detail: str = "") -> None:
        """Note that a problem is left out, and why."""
        self.dropped[task_id] = (reason, detail)

    def quarantined(self) -> list[Quarantined]:
        """The problems that did not qualify."""
        return [
            Quarantined(task_id=case.problem.task_id, split=case.split, reason=case.reason, detail=case.detail)
            for case in self.cases
            if case.reason
        ]

    def as_dict(self) -> dict[str, Any]:
        """For audit.json."""
        kept = [case for case in self.cases if not case.reason]
        quarantined = self.quarantined()
        return {
            "kept": {split: sum(case.split == split for case in kept) for split in SPLITS},
            "grades": {
                split: {grade: sum((case.split, case.grade) == (split, grade) for case in kept) for grade in GRADES}
                for split in SPLITS
            },
            "quarantined_by_split": {split: sum(row.split == split for row in quarantined) for split in SPLITS},
            "marks": _counted(mark for case in kept for mark in case.marks),
            "reference_passes": sum(case.reference is not None for case in kept),
            "no_reference": sum(case.reference is None and bool(case.problem.tests) for case in kept),
            "no_tests": sum(not case.problem.tests for case in kept),
            "mutants": {
                "killed": sum(case.killed for case in kept),
                "survived": sum(len(case.survived) for case in kept),
            },
            "dropped_by_reason": _counted(reason for reason, _ in self.dropped.values()),
            "quarantined_by_reason": _counted(row.reason for row in quarantined),
            "dropped": {name: _joined(*why) for name, why in sorted(self.dropped.items())},
            "quarantined": {row.task_id: _joined(row.reason, row.detail) for row in quarantined},
            "problems": {case.problem.task_id: _row(case) for case in kept},
        }


def audit_figures(found: Mapping[str, Any]) -> dict[str, Any]:
    """The numbers of audit.json, without the problems' names."""
    return {
        **{key: found[key] for key in ("kept", "grades", "quarantined_by_split", "marks", "mutants")},
        "dropped": sum(found["dropped_by_reason"].values()),
        "reference_passes": found["reference_passes"],
    }


def _counted(names: Iterable[str]) -> dict[str, int]:
    return dict(sorted(Counter(names).items()))


def _joined(reason: str, detail: str) -> str:
    return ": ".join(filter(None, (reason, detail)))


def _row(case: Case) -> dict[str, Any]:
    return {
        "split": case.split,
        "grade": case.grade,
        "marks": case.marks,
        "tests": count_tests(case.problem),
        "mutation_score": case.mutation_score,
        "survived": case.survived,
    }


COLUMNS = ("split", "kept", *GRADES, "quarantined")


def table_rows(found: Mapping[str, Any]) -> list[tuple[str, ...]]:
    """The cells below COLUMNS, a row per split."""
    return [
        (
            split,
            *map(str, (found["kept"][split], *found["grades"][split].values(), found["quarantined_by_split"][split])),
        )
        for split in SPLITS
    ]


def reason_lines(found: Mapping[str, Any]) -> list[str]:
    """How many problems are marked, dropped and quarantined, and why: `4 quarantined: its tests accept ...`."""
    verbs = {"marks": "marked", "dropped_by_reason": "dropped", "quarantined_by_reason": "quarantined"}
    return [f"{count} {verb}: {reason}" for key, verb in verbs.items() for reason, count in found[key].items()]


def terminal_table(found: Mapping[str, Any]) -> "Table":
    """Kept, graded and quarantined problems of each split."""
    from rich import box
    from rich.table import Table

    table = Table(title="oracle audit", box=box.SIMPLE_HEAD)
    for column in COLUMNS:
        table.add_column(column, justify="left" if column == "split" else "right")
    for row in table_rows(found):
        table.add_row(*row)
    return table
