"""Read human/<dataset>/ and check it against the problems: what a person says of a test problem must not be learnt."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TypeVar

from greenlit.errors import DataError, MismatchError
from greenlit.jsonl import read_numbered_rows, shortened
from greenlit.preferences.records import DEMONSTRATIONS, PREFERENCES, Demonstration, Human, Preference, text_of
from greenlit.problems.files import read_problems
from greenlit.types import Problem

Row = TypeVar("Row", bound=Human)
_WORDS = re.compile(r"\w+|[^\w\s]")
_MEASURED = "which is only measured on"
_HINT = "take the line out: only problems of the train split may be learnt from"
_FEWEST_WORDS = 6
"""A shorter problem statement counts as repeated only where it is the whole prompt: it may be part of many."""


@dataclass(frozen=True)
class Said:
    """What people said of one dataset, each row with its place `file:line`."""

    preferences: list[tuple[str, Preference]] = field(default_factory=list)
    demonstrations: list[tuple[str, Demonstration]] = field(default_factory=list)
    files: dict[str, Path] = field(default_factory=dict)
    """The files there are, by name without ending."""


class Problems:
    """The train split, and the splits that are measured on, which are read when the first row asks for them."""

    def __init__(self, train: Mapping[str, Problem], held_out: Mapping[str, Path]) -> None:
        """
        Args:
            held_out: the file of problems of each split that must not be learnt from.
        """
        self.train = train
        self._files = held_out

    @cached_property
    def _held_out(self) -> dict[str, tuple[str, str]]:
        """task_id -> (split, statement as words)."""
        return {
            problem.task_id: (split, _words(problem.prompt))
            for split, path in self._files.items()
            for problem in read_problems(path).values()
        }

    def check(self, place: str, row: Human) -> None:
        """May this row be learnt from?

        Raises:
            MismatchError: it is of a problem that the train split does not hold.
            DataError: it is of a problem of another split, or repeats its statement.
        """
        if row.task_id is None:
            self._check_prompt(place, text_of(row.prompt))
            return
        named = f"{place}: task_id: {shortened(row.task_id)} is"
        if row.task_id in self._held_out:
            raise DataError(f"{named} a problem of the {self._held_out[row.task_id][0]} split, {_MEASURED}", hint=_HINT)
        if row.task_id not in self.train:
            raise MismatchError(
                f"{named} none of the {len(self.train)} problems of the train split",
                hint="take the line out, or raise prepare.limits; audit.json says what prepare dropped, and why",
            )

    def _check_prompt(self, place: str, prompt: str) -> None:
        said = _words(prompt)
        for task_id, (split, statement) in self._held_out.items():
            long = statement.count(" ") >= _FEWEST_WORDS - 1
            if statement and (statement == said or (long and f" {statement} " in f" {said} ")):
                raise DataError(
                    f"{place}: prompt: repeats {shortened(task_id)} of the {split} split, {_MEASURED}", hint=_HINT
                )


def _words(text: str) -> str:
    """Words and signs in lower case, with one blank between: layout, quotes and fences do not tell two texts apart."""
    return " ".join(word for word in _WORDS.findall(text.lower()) if word not in {"'", '"', "`"})


def read_said(folder: Path, problems: Problems | None) -> Said:
    """The rows of human/<dataset>/; nothing where there is no such folder.

    Args:
        problems: to check them against; None checks their form only.

    Raises:
        DataError: malformed, of a problem that is measured on, or a file that nobody reads.
        MismatchError: of an unknown problem.
    """
    if not folder.exists():
        return Said()
    for path in sorted(folder.iterdir()):
        if path.name not in {PREFERENCES, DEMONSTRATIONS} and not path.name.lower().startswith(("readme", ".")):
            raise DataError(
                f"{path}: nobody reads a file of this name",
                hint=f"{PREFERENCES} and {DEMONSTRATIONS}, see human/README.md",
            )
    files = {Path(name).stem: folder / name for name in (PREFERENCES, DEMONSTRATIONS) if (folder / name).exists()}
    return Said(
        list(_checked(folder / PREFERENCES, Preference, problems)),
        list(_checked(folder / DEMONSTRATIONS, Demonstration, problems)),
        files,
    )


def _checked(path: Path, kind: type[Row], problems: Problems | None) -> Iterator[tuple[str, Row]]:
    if not path.exists():
        return
    for number, row in read_numbered_rows(path, kind):
        place = f"{path}:{number}"
        if problems is not None:
            problems.check(place, row)
        yield place, row
