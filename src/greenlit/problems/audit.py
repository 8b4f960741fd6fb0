"""What became of a dataset's problems: kept with which grade, dropped or quarantined with which reason.

Nothing in here is a measured time, so that audit.json repeats byte for byte.
"""

import json
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

from greenlit.problems.contamination import Leak
from greenlit.problems.oracle import Case, count_tests
from greenlit.scratch import scratch
from greenlit.types import SPLITS, Record, Split

if TYPE_CHECKING:
    from rich.table import Table

GRADES = ("A", "B", "C")


class Quarantined(Record):
    """A row of quarantine.jsonl: a problem that is not fit to learn from."""

    task_id: str
    split: str
    reason: str
    detail: str


class Entries(dict[str, Any]):
    """A JSON object that `json.dump` with an indent writes entry by entry, each fetched when its turn comes."""

    def __init__(self, count: int, rows: Callable[[], Iterator[tuple[str, Any]]]) -> None:
        super().__init__()
        self._count, self._rows = count, rows

    def __len__(self) -> int:
        return self._count

    def items(self) -> Any:
        return self._rows()


class Audit:
    """What was kept and what was not, and why; the problems' names are on disk, only counts are in memory."""

    def __init__(self) -> None:
        self._file = scratch(
            "dropped (task_id TEXT PRIMARY KEY, reason TEXT, detail TEXT) WITHOUT ROWID",
            "leaks (task_id TEXT PRIMARY KEY, row TEXT) WITHOUT ROWID",
            "quarantined (place INTEGER PRIMARY KEY, task_id TEXT, split TEXT, reason TEXT, detail TEXT)",
            "kept (place INTEGER PRIMARY KEY, task_id TEXT, row TEXT)",
        )
        self._kept: Counter[tuple[str, str]] = Counter()
        self._counts: Counter[Any] = Counter()
        self._marks: Counter[str] = Counter()
        self._leaks: Counter[tuple[str, str]] = Counter()
        self.checked: dict[str, Any] = {}
        """What leaks were looked for, and where; see contamination.EvaluationSide.facts."""

    def drop(self, task_id: str, reason: str, detail: str = "") -> None:
        """Note that a problem is left out before the oracle audit, and why."""
        self._file.execute("INSERT OR REPLACE INTO dropped VALUES (?, ?, ?)", (task_id, reason, detail))

    def leak(self, task_id: str, split: Split, leak: Leak) -> None:
        """Note that a problem is left out of its split because it is measured on."""
        self.drop(task_id, leak.reason, leak.detail)
        self._leaks["removed_from", split] += 1
        self._leaks["by_check", leak.check] += 1
        self._leaks["by_evaluation", leak.of] += 1
        row = json.dumps({"split": split, **leak.row()}, ensure_ascii=False)
        self._file.execute("INSERT OR REPLACE INTO leaks VALUES (?, ?)", (task_id, row))

    def add(self, case: Case) -> None:
        """Note what the oracle audit found."""
        task_id = case.problem.task_id
        if case.reason:
            row = (task_id, case.split, case.reason, case.detail)
            self._file.execute("INSERT INTO quarantined VALUES (NULL, ?, ?, ?, ?)", row)
            self._counts["quarantined", case.split] += 1
            return
        self._kept[case.split, case.grade or ""] += 1
        self._marks.update(case.marks)
        self._counts.update({_known(case): 1, "killed": case.killed, "survived": len(case.survived)})
        row_text = json.dumps(_row(case), ensure_ascii=False)
        self._file.execute("INSERT INTO kept VALUES (NULL, ?, ?)", (task_id, row_text))

    def quarantined(self) -> Iterator[Quarantined]:
        """The problems that did not qualify, in the order of the audit."""
        rows = self._file.execute("SELECT task_id, split, reason, detail FROM quarantined ORDER BY place")
        names = ("task_id", "split", "reason", "detail")
        return (Quarantined(**dict(zip(names, row, strict=True))) for row in rows)

    def document(self) -> dict[str, Any]:
        """For audit.json; see `Entries`."""
        grades = {split: {grade: self._kept[split, grade] for grade in GRADES} for split in SPLITS}
        return {
            "kept": {split: sum(grades[split].values()) for split in SPLITS},
            "grades": grades,
            "quarantined_by_split": {split: self._counts["quarantined", split] for split in SPLITS},
            "marks": dict(sorted(self._marks.items())),
            "reference_passes": self._counts["reference_passes"],
            "no_reference": self._counts["no_reference"],
            "no_tests": self._counts["no_tests"],
            "mutants": {"killed": self._counts["killed"], "survived": self._counts["survived"]},
            "leaks": {
                **self.checked,
                **{
                    key: {name: count for (said, name), count in sorted(self._leaks.items()) if said == key}
                    for key in ("removed_from", "by_check", "by_evaluation")
                },
                "found": self._entries("SELECT task_id, row FROM leaks ORDER BY task_id", json.loads),
            },
            "dropped_by_reason": self._by_reason("dropped"),
            "quarantined_by_reason": self._by_reason("quarantined"),
            "dropped": self._entries("SELECT task_id, reason, detail FROM dropped ORDER BY task_id", _joined),
            "quarantined": self._entries("SELECT task_id, reason, detail FROM quarantined ORDER BY place", _joined),
            "problems": self._entries("SELECT task_id, row FROM kept ORDER BY place", json.loads),
        }

    def as_dict(self) -> dict[str, Any]:
        """As `document`, all of it in memory."""
        found: dict[str, Any] = json.loads(json.dumps(self.document(), indent=0))
        return found

    def _by_reason(self, table: str) -> dict[str, int]:
        return dict(self._file.execute(f"SELECT reason, COUNT(*) FROM {table} GROUP BY reason ORDER BY reason"))

    def _entries(self, query: str, value: Callable[..., Any]) -> Entries:
        (count,) = self._file.execute(f"SELECT COUNT(*) FROM ({query})").fetchone()
        return Entries(count, lambda: ((name, value(*rest)) for name, *rest in self._file.execute(query)))


def audit_figures(found: Mapping[str, Any]) -> dict[str, Any]:
    """The numbers of audit.json, without the problems' names."""
    return {
        **{key: found[key] for key in ("kept", "grades", "quarantined_by_split", "marks", "mutants")},
        "dropped": sum(found["dropped_by_reason"].values()),
        "reference_passes": found["reference_passes"],
    }


def _known(case: Case) -> str:
    """What there was to check a kept problem with."""
    if case.reference is not None:
        return "reference_passes"
    return "no_reference" if case.problem.tests else "no_tests"


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


def leak_lines(found: Mapping[str, Any]) -> list[str]:
    """What leaks were looked for and found: `leaks: none, against test (200), ...`, and where nobody looked."""
    leaks = found["leaks"]
    removed = ", ".join(f"{count} from {split}" for split, count in leaks["removed_from"].items()) or "none"
    against = ", ".join(f"{of} ({size['problems']})" for of, size in leaks["against"].items()) or "nothing"
    absent = "; ".join(leaks["not_checked"])
    return [f"leaks removed: {removed}; checked against {against}", *([f"not checked: {absent}"] if absent else [])]


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
