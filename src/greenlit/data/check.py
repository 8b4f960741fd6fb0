"""Check a file of own problems: every fault with its line and a fix, before a model is taught the wrong thing.

What `prepare` would refuse, drop or put into quarantine is a fault here. References and wrong programs run in the
sandbox, in the audit that `prepare` makes; `run=False` leaves that out.
"""

import itertools
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from greenlit.config import AnnotateParams, PrepareParams
from greenlit.data.executed import Numbered, cannot_run, run_faults
from greenlit.data.faults import Fault
from greenlit.data.meaning import meaning
from greenlit.data.reading import read_records
from greenlit.data.shape import shaped
from greenlit.errors import DataError
from greenlit.execution.judges import Judge
from greenlit.jsonl import shortened
from greenlit.problems.own import split_of
from greenlit.problems.own_rows import plain_row
from greenlit.program_metrics import ast_hash
from greenlit.types import SPLITS, Problem

BATCH = 256
"""Problems that are run together, and so are in memory at once."""
_STILL_RUNS = {
    "unknown key", "repeated key", "no statement", "all tests shown", "all tests hidden", "repeated test",
    "repeated statement", "repeated reference",
}  # fmt: skip
"""Faults that don't keep a problem from being run, so that its others are found as well."""


@dataclass
class Found:
    """What a check found."""

    problems: int = 0
    """Records, whole ones or not."""
    faults: list[Fault] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    """What is no fault and still good to know."""

    def summary(self) -> str:
        """One line."""
        kinds = len({fault.kind for fault in self.faults})
        told = f"{len(self.faults)} faults of {kinds} kinds" if self.faults else "no faults"
        return f"{self.problems} problems, {told}"


@dataclass
class _Seen:
    """What earlier lines hold, as far as later ones must not repeat it."""

    task_ids: dict[str, int] = field(default_factory=dict)
    statements: dict[str, int] = field(default_factory=dict)
    programs: dict[str, int] = field(default_factory=dict)
    splits: Counter[str] = field(default_factory=Counter)


def check(path: Path, params: AnnotateParams, workers: int = 1, run: bool = True) -> Found:
    """Every fault of the file, by line.

    Raises:
        ConfigError: no such file, or no sandbox that is allowed.
        SandboxError: the sandbox does not judge rightly on this machine.
    """
    found, seen, unchecked = Found(), _Seen(), Counter[str]()
    sound = _sound(path, found, seen, unchecked)
    if run:
        _run(sound, found, params, workers)
    else:
        unchecked["not run, as asked"] += sum(1 for _ in sound)
    if not found.problems and not found.faults:
        found.faults.append(Fault(0, "", "empty file", "no problems in it", "one JSON object per line"))
    found.faults.extend(_of_splits(seen.splits))
    found.faults.sort(key=lambda fault: (fault.line or 1 << 60, fault.field))  # of the whole file: last
    found.notes.extend(f"{count} problems: {reason}" for reason, count in unchecked.items())
    return found


def _sound(path: Path, found: Found, seen: _Seen, unchecked: Counter[str]) -> Iterator[Numbered]:
    """The problems without a fault so far, to be run."""
    for line, record in read_records(path, found.faults.append):
        found.problems += 1
        plain, faults = _plain(line, record)
        problem, more = shaped(line, plain) if plain else (None, [])
        faults += more
        task_id = problem.task_id if problem else (plain or record).get("task_id")
        faults += _repeated_id(line, task_id, seen)
        if problem is not None:
            faults += [*meaning(line, problem), *_repeats(line, problem, seen)]
            seen.splits[problem.split or split_of(problem.task_id)] += 1
        found.faults.extend(faults)
        if problem is None or any(fault.kind not in _STILL_RUNS for fault in faults):
            continue
        if not problem.reference:
            unchecked["no reference, so nobody has shown that their tests can be passed"] += 1
        reason = cannot_run(problem)
        if reason:
            unchecked[f"not run: {reason}"] += 1
        else:
            yield Numbered(line, problem)


def _plain(line: int, record: dict[str, Any]) -> tuple[dict[str, Any] | None, list[Fault]]:
    """A record as `Problem` has it: as it is, or rewritten from the simple shape with test_cases."""
    try:
        return plain_row(record, "", Counter()), []
    except DataError as error:
        field, _, message = str(error.args[0]).removeprefix(": ").partition(": ")
        fix = error.hint or 'e.g. "test_cases": [{"input": "find_max([1, 5, 3])", "output": "5"}]'
        return None, [Fault(line, field, "broken test case", message, fix)]


def _run(sound: Iterable[Numbered], found: Found, params: AnnotateParams, workers: int) -> None:
    rows = iter(sound)
    first = list(itertools.islice(rows, BATCH))
    if not first:
        return
    with Judge(params, workers) as judge:
        while first:
            found.faults.extend(run_faults(first, PrepareParams(), judge))
            first = list(itertools.islice(rows, BATCH))


def _repeated_id(line: int, task_id: Any, seen: _Seen) -> list[Fault]:
    """Also of a record that is broken otherwise."""
    before = seen.task_ids.setdefault(task_id, line) if isinstance(task_id, str) else line
    if before == line:
        return []
    message = f"{shortened(task_id)} stands on line {before} already"
    return [Fault(line, "task_id", "repeated task_id", message, "each problem needs a task_id of its own")]


def _repeats(line: int, problem: Problem, seen: _Seen) -> Iterator[Fault]:
    """What stands on an earlier line already."""
    text = " ".join(problem.prompt.lower().split())
    if text:
        before = seen.statements.setdefault(f"{text}\0{problem.starter_code}", line)
        if before != line:
            message = f"the same statement as on line {before}"
            yield Fault(line, "prompt", "repeated statement", message, "delete one of them, or say what differs")
    for place, code in enumerate(problem.reference[:1]):
        before = seen.programs.setdefault(f"{problem.language}\0{ast_hash(code)}", line)
        if before != line:
            message = f"the same program as on line {before}, up to its names"
            fix = "one problem asked twice leaks from train into test: delete one of them"
            yield Fault(line, f"reference.{place}", "repeated reference", message, fix)


def _of_splits(splits: Counter[str]) -> Iterator[Fault]:
    empty = [split for split in SPLITS if not splits[split]]
    if splits and empty:
        counts = ", ".join(f"{split} {splits[split]}" for split in SPLITS)
        message = f"no problems for {' and '.join(empty)} ({counts}); the pipeline needs some in each"
        yield Fault(0, "split", "empty split", message, 'give some problems a "split", or add more of them')
