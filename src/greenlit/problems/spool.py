"""Problems on their way through `prepare`, on disk (see scratch.py), so that their number takes no memory."""

from collections.abc import Iterator
from contextlib import AbstractContextManager

from greenlit.jsonl import to_line
from greenlit.scratch import scratch
from greenlit.types import SPLITS, Problem, Split


class Spool(AbstractContextManager):
    """Problems by split, in the order in which they came. A context manager.

    `rows` may be walked while rows are dropped.
    """

    def __init__(self) -> None:
        self._file = scratch("rows (split INTEGER, place INTEGER, line TEXT, PRIMARY KEY (split, place))")
        self._places = 0
        self._counts: dict[Split, int] = dict.fromkeys(SPLITS, 0)

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def add(self, split: Split, problem: Problem) -> None:
        """Behind the others of its split."""
        self._places += 1
        self._counts[split] += 1
        row = (SPLITS.index(split), self._places, to_line(problem))
        self._file.execute("INSERT INTO rows VALUES (?, ?, ?)", row)

    def drop(self, split: Split, place: int) -> None:
        """Forget one."""
        done = self._file.execute("DELETE FROM rows WHERE split = ? AND place = ?", (SPLITS.index(split), place))
        self._counts[split] -= done.rowcount

    @property
    def counts(self) -> dict[Split, int]:
        """How many there are of each split."""
        return dict(self._counts)

    def lines(self, split: Split) -> Iterator[tuple[int, str]]:
        """(place, the problem as its line of problems.jsonl)."""
        place = 0
        while found := self._file.execute(
            "SELECT place, line FROM rows WHERE split = ? AND place > ? ORDER BY place LIMIT 1",
            (SPLITS.index(split), place),
        ).fetchone():
            place, line = found
            yield place, line

    def rows(self, split: Split) -> Iterator[tuple[int, Problem]]:
        """(place, problem), as later stages will read it."""
        return ((place, Problem.model_validate_json(line)) for place, line in self.lines(split))
