"""The table of what became of the cheats: by class, with what the level does not stop spelled out."""

from typing import TYPE_CHECKING, Any, get_args

from greenlit.execution.cheats.runner import Outcome, Table

if TYPE_CHECKING:
    from rich.table import Table as RichTable

OUTCOMES: tuple[str, ...] = get_args(Outcome)


def counts(table: Table) -> list[dict[str, Any]]:
    """One row per class: its name, its attacks, and how many had each outcome."""
    return [
        {"class": group, "attacks": len(results)}
        | {outcome: sum(result.outcome == outcome for result in results) for outcome in OUTCOMES}
        for group, results in table.classes()
    ]


def not_stopped(table: Table) -> dict[str, list[str]]:
    """Class -> attacks that got through, did harm or were not run, because only a jail could."""
    found = {
        group: [
            result.cheat.name if result.outcome == "let through" else f"{result.cheat.name} ({result.outcome})"
            for result in results
            if result.outcome not in {"stopped", "unknown"}
        ]
        for group, results in table.classes()
    }
    return {group: names for group, names in found.items() if names}


def as_json(table: Table) -> dict[str, Any]:
    """For machines."""
    return {
        "level": table.level,
        "attacks": len(table.results),
        "run": table.run,
        "outcomes": {outcome: len(table.having(outcome)) for outcome in OUTCOMES},  # type: ignore[arg-type]
        "classes": counts(table),
        "not_stopped": not_stopped(table),
        "right_programs_refused": list(table.refused),
        "seconds": round(table.seconds, 2),
    }


def as_rich(table: Table) -> "RichTable":
    """For people: classes, and of the outcomes those that there were."""
    from rich.table import Table as RichTable

    rows = counts(table)
    shown = [outcome for outcome in OUTCOMES if outcome == "stopped" or table.having(outcome)]  # type: ignore[arg-type]
    drawn = RichTable(title=f"cheats at level {table.level}", title_justify="left", box=None, pad_edge=False)
    for heading in ("class", "attacks", *shown):
        drawn.add_column(heading, justify="left" if heading == "class" else "right")
    for row in rows:
        drawn.add_row(row["class"], str(row["attacks"]), *(str(row[outcome] or "") for outcome in shown))
    totals = (str(len(table.having(outcome))) for outcome in shown)  # type: ignore[arg-type]
    drawn.add_row("all", str(len(table.results)), *totals)
    return drawn
