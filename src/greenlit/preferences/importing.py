"""Check a file of preferences or demonstrations that others made, and add its new rows to human/<dataset>/."""

import sys
from pathlib import Path

from pydantic import ValidationError

from greenlit.errors import DataError
from greenlit.jsonl import first_fault, read_json_lines, read_lines
from greenlit.preferences.adding import HumanFile
from greenlit.preferences.files import Problems, read_said
from greenlit.preferences.records import DEMONSTRATIONS, PREFERENCES, Demonstration, Human, Preference


def import_rows(source: Path, folder: Path, problems: Problems | None) -> dict[Path, tuple[int, int]]:
    """Check the whole file, then add what is not there yet.

    Args:
        folder: human/<dataset>/.
        problems: to check the rows against; None where there are none yet.

    Returns:
        file -> (rows added, rows that were there already)

    Raises:
        DataError: `file:line: what`, of either side; nothing was added.
        MismatchError: a row of an unknown problem.
    """
    new: dict[str, list[Human]] = {PREFERENCES: [], DEMONSTRATIONS: []}
    for place, row in _read(source):
        if problems is not None:
            problems.check(place, row)
        new[PREFERENCES if isinstance(row, Preference) else DEMONSTRATIONS].append(row)
    if not any(new.values()):
        raise DataError(f"{source}: no rows in it (the file is empty)", hint="one JSON object per line")
    there = read_said(folder, problems)
    known = {row.model_dump_json() for _, row in [*there.preferences, *there.demonstrations]}
    found = {}
    for name, rows in new.items():
        fresh = list({row.model_dump_json(): row for row in rows if row.model_dump_json() not in known}.values())
        with HumanFile(folder / name) as file:
            file.add(fresh)
        if rows:
            found[folder / name] = (len(fresh), len(rows) - len(fresh))
    return found


def _read(source: Path) -> list[tuple[str, Human]]:
    rows: list[tuple[str, Human]] = []
    for (number, line), (_, content) in zip(read_lines(source), read_json_lines(source), strict=True):
        place = f"{source}:{number}"
        kinds = [kind for column, kind in (("chosen", Preference), ("completion", Demonstration)) if column in content]
        if len(kinds) != 1:
            raise DataError(
                f"{place}: must be a preference or a demonstration (found the keys {', '.join(content)[:200]})",
                hint="prompt or task_id, and either chosen and rejected, or completion; see human/README.md",
            )
        try:
            rows.append((place, kinds[0].model_validate_json(line)))
        except ValidationError as error:
            raise DataError(f"{place}: {first_fault(error)}") from None
    return rows


def tell(found: dict[Path, tuple[int, int]]) -> None:
    """What an import came to, on stderr."""
    for path, (added, known) in found.items():
        print(f"{path}: {added} added" + (f", {known} were there already" if known else ""), file=sys.stderr)
