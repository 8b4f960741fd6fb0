"""`greenlit reproduce RUN`: what has changed since a recorded run, and does it give the same again?"""

import difflib
import shutil
import sys
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from greenlit.errors import ConfigError
from greenlit.runs.differences import Change, Compared, changes_since, compare_with
from greenlit.runs.fresh_copy import Copy, make_copy, run_again
from greenlit.runs.records import RUNS, read_record
from greenlit.stage.entry import only_one
from greenlit.stage.progress import progress


def find_record(run: str) -> Path:
    """The record that a path, a record's name, or an experiment's name (its newest one) means.

    Raises:
        ConfigError: there is none.
    """
    for path in (Path(run), RUNS / run, RUNS / f"{run}.json"):
        if path.is_file():
            return path
    records = {path: read_record(path) for path in sorted(RUNS.glob("*.json"))}
    of_experiment = [path for path, record in records.items() if record["experiment"] == run]
    if of_experiment:
        return max(of_experiment, key=lambda path: (records[path]["started"], path.stat().st_mtime))
    experiments = sorted({record["experiment"] for record in records.values()})
    close = difflib.get_close_matches(run, [*experiments, *(path.stem for path in records)], n=1)
    hint = "`greenlit run` first"
    if experiments:
        hint = f"did you mean {close[0]}?" if close else f"an experiment ({', '.join(experiments)}), or a record's name"
    raise ConfigError(f"no run {run!r} in {RUNS}/", hint=hint)


def reproduce(run: str, check: bool) -> bool:
    """Tell what has changed since a run, run it again in a copy, and tell what came out otherwise; True: nothing did.

    Args:
        run: see `find_record`.
        check: run nothing, and compare what lies in the workspace now.

    Raises:
        ConfigError: no such run, or nothing came through in it.
        StageFailedError: a stage failed in the copy.
    """
    file = find_record(run)
    record = read_record(file)
    if not record["stages"]:
        raise ConfigError(
            f"{file}: no stage came through in that run ({record['state']}): nothing to compare",
            hint="name another run, or finish it with `greenlit run`, which leaves a new record",
        )
    changes = changes_since(record)
    console = Console(width=None if sys.stdout.isatty() else 160)
    _show_changes(console, file, changes)
    if check:
        found = _compared(record, Path())
        _show(console, found)
        return _judged(console, found, changes, f"`greenlit reproduce {file.stem}` runs it again from nothing")
    with only_one(f"reproduce {file.stem}"):
        copy = make_copy(record, file)
        _say_what_comes(copy, record)
        run_again(copy, list(record["stages"]))
        found = _compared(record, copy.folder)
        copy.finished()
    _show(console, found)
    same = _judged(console, found, changes, f"{copy.folder}/ holds what came out now")
    if same:
        shutil.rmtree(copy.folder)
    return same


def _compared(record: dict[str, Any], folder: Path) -> list[Compared]:
    total = sum(len(outs) for outs in record["stages"].values())
    found = []
    with progress("compare", total, "outs") as bar:
        for one in compare_with(record, folder):
            found.append(one)
            bar.advance()
    return found


def _say_what_comes(copy: Copy, record: dict[str, Any]) -> None:
    how = "going on in" if copy.goes_on else "running it again from nothing in"
    print(f"{how} {copy.folder}/, with the recorded params and {copy.code}", file=sys.stderr)
    print(f"{len(record['stages'])} stages; stopped, the same command goes on from there", file=sys.stderr)


def _show_changes(console: Console, file: Path, changes: list[Change]) -> None:
    if not changes:
        console.print(
            f"since {file}: same params, code, packages, hardware and settings", soft_wrap=True, highlight=False
        )
        return
    table = Table("area", "what", "then", "now", title=f"changed since {file}", box=None, pad_edge=False)
    for change in changes:
        table.add_row(change.area, change.what, change.then, change.now)
    console.print(table)


def _show(console: Console, found: list[Compared]) -> None:
    table = Table("stage", "out", "", box=None, pad_edge=False)
    colours = {"identical": "green", "differs": "red", "not compared": "dim"}
    for one in found:
        said = f"{one.state}: {one.where}" if one.where else one.state
        table.add_row(one.stage, one.out, f"[{colours[one.state]}]{escape(said)}[/]")
    console.print(table)


def _judged(console: Console, found: list[Compared], changes: list[Change], next_step: str) -> bool:
    """Say in a sentence how it went; True when nothing differs."""
    differing = [one for one in found if one.state == "differs"]
    identical = sum(one.state == "identical" for one in found)
    if not differing:
        console.print(f"identical: {identical} outs of {len({one.stage for one in found})} stages", highlight=False)
        return True
    first = differing[0]
    console.print(
        f"differs: {len(differing)} of {identical + len(differing)} outs, first in stage {first.stage}: "
        f"{first.out}: {first.where}",
        soft_wrap=True,
        highlight=False,
        markup=False,
    )
    why = "what has changed since stands above" if changes else "nothing that is recorded has changed since"
    console.print(f"{why}; {next_step}", soft_wrap=True, highlight=False)
    return False
