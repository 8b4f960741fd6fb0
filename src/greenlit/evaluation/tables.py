"""The report as CSV: what DVC plots, spreadsheets and our own figures read."""

import csv
import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from greenlit import jsonl
from greenlit.evaluation.matches import METRICS
from greenlit.types import Split

SPLITS = ("validation", "test")
BASELINE = "baseline"


def pass_at_k_rows(summary: Mapping[str, Any]) -> list[dict[str, Any]]:
    """One row per method (the baseline first), split and k; k is `greedy` for the greedy program.

    Without tests there is no k, and the figure's name stands there.
    """
    rows: list[dict[str, Any]] = []
    for split in SPLITS:
        if split == "test" and shown_split(summary) != "test":
            continue
        block = split_block(summary, split)
        for method, figures in [(BASELINE, block["baseline"]), *block["after"].items()]:
            rows += [
                {"method": method, "split": split, "k": metric.removeprefix("pass@"), **figure}
                for metric, figure in figures.items()
            ]
    return rows


def shown_split(summary: Mapping[str, Any]) -> Split:
    """The split that a summary answers with: test, or validation where test was not measured."""
    return "validation" if summary["baseline_test"] is None else "test"


def split_block(summary: Mapping[str, Any], split: str) -> Mapping[str, Any]:
    """{"baseline", "after", "delta"} of one split of a summary, whose test figures stand at its top."""
    if split == "test":
        return {"baseline": summary["baseline_test"], "after": summary["after_test"], "delta": summary["delta"]}
    return summary[split]


def problem_rows(
    baseline: Mapping[str, Any], after: Mapping[str, Mapping[str, Any]], split: str
) -> list[dict[str, Any]]:
    """One row per method and problem; a rate or verdict that could not be measured is null."""
    before_rows = baseline["splits"][split]["problems"]
    untested = baseline.get("kind") == "completion"
    rows = []
    for method, document in after.items():
        after_rows = document["splits"][split]["problems"]
        for task_id, before in sorted(before_rows.items()):
            row = after_rows[task_id]
            figures = _matches(before, row) if untested else _passes(before, row)
            rows.append({"task_id": task_id, "method": method, **figures})
    return rows


def _passes(before: Mapping[str, Any], after: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "baseline_pass_rate": _rate(before),
        "after_pass_rate": _rate(after),
        "greedy_before": before["greedy"],
        "greedy_after": after["greedy"],
    }


def _matches(before: Mapping[str, Any], after: Mapping[str, Any]) -> dict[str, Any]:
    sides = {"baseline": before, "after": after}
    return {f"{side}_{name}": row[name] for name in METRICS for side, row in sides.items()}


def _rate(row: Mapping[str, Any]) -> float | None:
    return row["c"] / row["n"] if row["n"] else None


def training_rows(logs: Mapping[str, Iterable[Mapping[str, Any]]]) -> list[dict[str, Any]]:
    """Every method's log rows with the union of their numeric columns; a row without a step keeps its place."""
    rows = [
        {"method": method, **{key: value for key, value in row.items() if _is_number(value)}}
        for method, log in logs.items()
        for row in log
    ]
    columns = sorted({key for row in rows for key in row} - {"method", "step"})
    return [{key: row.get(key) for key in ("method", "step", *columns)} for row in rows]


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def write_csv(path: Path, rows: Sequence[Mapping[str, Any]], columns: Sequence[str]) -> None:
    """Write rows under a header, atomically; null is an empty cell, true is 1."""
    with jsonl.atomic_write(path) as stream:
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow(columns)
        writer.writerows([_cell(row[column]) for column in columns] for row in rows)


def _cell(value: Any) -> Any:
    if value is None:
        return ""
    return int(value) if isinstance(value, bool) else value


def write_tables(
    folder: Path,
    summary: Mapping[str, Any],
    baseline: Mapping[str, Any],
    after: Mapping[str, Mapping[str, Any]],
    logs: Mapping[str, Iterable[Mapping[str, Any]]],
) -> list[Path]:
    """Write `<experiment>_{pass_at_k,by_problem,training}.csv`; return their paths in this order.

    Args:
        baseline, after: evaluation documents, the latter by method.
        logs: rows of results/<experiment>/<method>/logs/training_log.jsonl by method.
    """
    training = training_rows(logs)
    by_problem = problem_rows(baseline, after, shown_split(summary))
    tables = {
        "pass_at_k": (pass_at_k_rows(summary), ("method", "split", "k", "value", "low", "high", "n")),
        "by_problem": (by_problem, tuple(by_problem[0])),
        "training": (training, tuple(training[0]) if training else ("method", "step")),
    }
    paths = []
    for name, (rows, columns) in tables.items():
        path = folder / f"{summary['experiment']}_{name}.csv"
        write_csv(path, rows, columns)
        paths.append(path)
    return paths
