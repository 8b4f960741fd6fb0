"""What comes of a source: its problems, what gave none and why, the answers as they came, and where from.

problems.jsonl   `dataset: {name: file, path: .../problems.jsonl}` reads it
skipped.jsonl    task_id, reason, detail
responses.jsonl  for going on elsewhere, and for making the problems anew without asking anybody
source.json      address, counts by reason
"""

import json
from collections import Counter
from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path
from typing import Any

from greenlit.jsonl import atomic_write, to_line, write_json
from greenlit.problems.records import Dropped
from greenlit.scraping.responses import Responses
from greenlit.stage.hardware import facts
from greenlit.stage.workspace import sha256_file
from greenlit.types import Problem

RESPONSES = "responses.jsonl"


def write_folder(
    folder: Path, origin: dict[str, Any], found: Iterable[Problem | Dropped], responses: Responses | None
) -> dict[str, Any]:
    """Write the files, streaming, and return the counts.

    Args:
        origin: where from.
        responses: the answers that `found` is made of, for a source that was asked.
    """
    problems, reasons = 0, Counter[str]()
    with atomic_write(folder / "problems.jsonl") as kept, atomic_write(folder / "skipped.jsonl") as skipped:
        for one in found:
            if isinstance(one, Dropped):
                reasons[one.reason] += 1
                skipped.write(json.dumps(asdict(one), ensure_ascii=False) + "\n")
            else:
                problems += 1
                kept.write(to_line(one))
    if responses is not None:
        with atomic_write(folder / RESPONSES) as stream:
            stream.writelines(responses.rows())
    counts = {"problems": problems, "skipped": dict(sorted(reasons.items()))}
    digest = sha256_file(folder / "problems.jsonl")
    write_json(folder / "source.json", {**origin, **counts, "sha256": digest, "made_with": facts()})
    return counts


def count_lines(source: str, counts: dict[str, Any]) -> list[str]:
    """What was found, for people: `leetcode: 83 problems`, then a line per reason."""
    return [f"{source}: {counts['problems']} problems"] + [
        f"{count} skipped: {reason}" for reason, count in counts["skipped"].items()
    ]
