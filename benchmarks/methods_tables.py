"""The figures of methods.py as tables: one row for each method and seed, then one for each method."""

import math
import statistics
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

PROMISED = {"sft": 0.15, "dpo": 0.25, "dpo, all weights": 0.4, "rloo": 0.5, "grpo": 0.6, "ppo": 0.6}
"""Share of the headroom 1 - pass@1 that each kind of method is to recover, on average over the seeds."""
HEADS = ("method", "seed", "before", "after", "gain", "headroom", "greedy", "CPU s", "+ candidates", "samples")

Row = Mapping[str, Any]


def print_rows(rows: Sequence[Row], split: str, title: str) -> None:
    """A line for each method and seed."""
    print(f"\n{title}: pass@1 on {split}, before and after, with the paired interval over problems")
    lines = [list(HEADS)]
    for row in rows:
        found = row[split]
        lines.append(
            [
                row["name"], str(row["seed"]), number(found["before"]), number(found["after"]), gain(found["gain"]),
                number(found["headroom"], ".2f"), f"{number(found['greedy'][0])} -> {number(found['greedy'][1])}",
                number(row["cpu_s"], ".0f"), number(row["candidates_cpu_s"], ".0f"), number(row["samples"], "d"),
            ]
        )  # fmt: skip
    print_lines(lines)


def print_methods(rows: Sequence[Row], split: str, placebo: bool) -> None:
    """A line for each method: means over its seeds, and whether it keeps what is promised."""
    lines = [["method", "seeds", "gain, mean [lowest-highest]", "headroom", "CPU s", "clear gains", "promised", ""]]
    for name in dict.fromkeys(row["name"] for row in rows):
        own = [row for row in rows if row["name"] == name]
        gains = known(row[split]["gain"]["value"] for row in own)
        shares = known(row[split]["headroom"] for row in own)
        times = known(total(row) for row in own)
        above = sum(row[split]["direction"] > 0 for row in own)
        promise, kept = ("no gain", above == 0) if placebo else promised(own[0]["kind"], shares, above, len(own))
        lines.append(
            [
                name, str(len(own)), f"{mean(gains, '+.3f')} [{min(gains):+.3f} - {max(gains):+.3f}]",
                mean(shares, ".2f"), mean(times, ".0f") if len(times) == len(own) else "not known",
                f"{above} of {len(own)}", promise, "met" if kept else "MISSED",
            ]
        )  # fmt: skip
    print(f"\non {split}, over the seeds:")
    print_lines(lines)


def promised(kind: str, shares: Sequence[float], above: int, seeds: int) -> tuple[str, bool]:
    """What a kind of method promises, in words; and is it kept?"""
    share = PROMISED[kind]
    return f"headroom >= {share:.2f}, all clear", above == seeds and bool(shares) and math.fsum(shares) / seeds >= share


def total(row: Row) -> float | None:
    """CPU seconds of training, and of the candidates where it learns from them; None where one is not known."""
    parts = (row["cpu_s"], row["candidates_cpu_s"])
    return None if None in parts else math.fsum(parts)


def gain(found: Mapping[str, Any]) -> str:
    """`+0.123 [+0.100, +0.150]`."""
    if found["value"] is None:
        return "not measured"
    return f"{found['value']:+.3f} [{found['low']:+.3f}, {found['high']:+.3f}]"


def number(value: float | None, form: str = ".3f") -> str:
    """A figure, or that it is not known."""
    return "not known" if value is None else format(value, form)


def mean(values: Sequence[float], form: str) -> str:
    """The mean of what is known."""
    return format(statistics.fmean(values), form) if values else "not known"


def known(values: Iterable[float | None]) -> list[float]:
    """Those that could be found out."""
    return [value for value in values if value is not None]


def print_lines(lines: Sequence[Sequence[str]]) -> None:
    """Columns of equal width."""
    widths = [max(len(line[column]) for line in lines) for column in range(len(lines[0]))]
    for line in lines:
        print("  ".join(text.ljust(width) for text, width in zip(line, widths, strict=True)).rstrip())
