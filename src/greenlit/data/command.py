"""The commands behind `greenlit data`: what is asked for on stdout, all else on stderr; each returns the exit code."""

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from greenlit.errors import ConfigError

if TYPE_CHECKING:
    from rich.console import Console

WIDTH = 120
"""Columns where the output is no terminal."""
ALL = "all"


def list_command(as_json: bool) -> int:
    """Every dataset."""
    from greenlit.data import catalogue

    if as_json:
        print(json.dumps(list(catalogue.entries()), indent=2))
    else:
        _console().print(catalogue.table())
    return 0


def show_command(dataset: str, task_id: str | None, path: Path | None, as_json: bool) -> int:
    """One problem."""
    from greenlit.data import showing
    from greenlit.data.sources import opened

    with opened(dataset, path) as source:
        problem = showing.find(source.rows(), task_id, source.place)
    if as_json:
        print(problem.model_dump_json(indent=2))
    else:
        showing.show(_console(), problem)
    return 0


def stats_command(dataset: str, path: Path | None, plot: Path | None, as_json: bool) -> int:
    """Figures of a dataset, and their picture."""
    from greenlit.data import statistics
    from greenlit.data.sources import opened

    with opened(dataset, path) as source:
        found = statistics.count(source.dataset, source.place, source.rows())
        picture = plot or Path("results/data") / f"{source.dataset}.png"
    if not found.splits:
        raise ConfigError(f"{dataset}: no problems in {found.place}")
    statistics.draw(found, picture)
    if as_json:
        print(json.dumps({**found.as_dict(), "plot": str(picture)}, indent=2))
    else:
        _console().print(statistics.table(found))
        print("\n".join(statistics.reasons(found.dropped)) or "no record is dropped")
    print(f"picture: {picture}", file=sys.stderr)
    return 0


def check_command(file: Path, run: bool, workers: int | None, allow_portable: bool, as_json: bool) -> int:
    """Every fault of a file of own problems; 2 where there are some."""
    from greenlit.data.check import check
    from greenlit.execution.api import limits_of
    from greenlit.stage import hardware

    found = check(file, limits_of(None, None, allow_portable), workers or hardware.workers(), run)
    if as_json:
        faults = [fault.as_dict() for fault in found.faults]
        print(json.dumps({"file": str(file), "problems": found.problems, "faults": faults, "notes": found.notes}))
    else:
        for fault in found.faults:
            print(fault.told(str(file)))
        for note in found.notes:
            print(f"note: {note}", file=sys.stderr)
        print(f"{file}: {found.summary()}")
    return 2 if found.faults else 0


def export_command(dataset: str, to: str, out: Path, path: Path | None, split: str | None, chat: bool) -> int:
    """A dataset in another tool's format."""
    from greenlit.data.export import LEARNS, export
    from greenlit.data.formats import FORMATS
    from greenlit.data.sources import opened
    from greenlit.problems.adapters import ADAPTERS
    from greenlit.types import SPLITS

    if to not in FORMATS:
        raise ConfigError(f"--to: no format {to!r}", hint=f"one of {', '.join(FORMATS)}")
    if split not in {None, ALL, *SPLITS}:
        raise ConfigError(f"--split: no split {split!r}", hint=f"one of {', '.join(SPLITS)}, or {ALL}")
    if chat and to != LEARNS:
        raise ConfigError(f"--chat: goes with --to {LEARNS}", hint="the other formats hold no chats")
    with opened(dataset, path) as source:
        if to == LEARNS and ADAPTERS[source.dataset].evaluation_only:
            raise ConfigError(f"{dataset}: for evaluation only: nothing may learn from it", hint="another --to")
        wanted = split or ("train" if to == LEARNS else "test")
        found = export(source.rows(), to, out, None if wanted == ALL else wanted, chat)
    for reason, number in found.left_out.most_common():
        print(f"left out: {number} {reason}", file=sys.stderr)
    if found.without_completion:
        number = found.without_completion
        print(f"warning: {number} rows without completion: for GRPO and RLOO, not for SFT", file=sys.stderr)
    others = f" ({found.other_splits} of other splits)" if found.other_splits else ""
    print(f"{found.written} problems of split {wanted} as {to}{others}", file=sys.stderr)
    print(out)
    return 0


def _console() -> "Console":
    from rich.console import Console

    return Console(width=None if sys.stdout.isatty() else WIDTH)
