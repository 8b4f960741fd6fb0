"""What people and AI judges say of programs, next to execution: parts of the `build` and `rewards` sections."""

from pydantic import Field

from greenlit.config.section import Section


class HumanParams(Section):
    """The files of human/<dataset>/: how much they count. Without such files nothing changes.

    TRL knows no weights of rows, so a weight is a number of rows: 2.5 means every row twice, and half of the rows,
    drawn by `seed`, once more; 0 leaves them out. A row's own `weight` multiplies it.
    """

    preferences: float = Field(default=1.0, ge=0, le=100)
    """Rows of pairs.jsonl per preference; an execution pair is one row."""
    demonstrations: float = Field(default=1.0, ge=0, le=100)
    """Entries of nbest.jsonl per demonstration; a candidate that passes is one entry."""
    check: bool = True
    """Run demonstrations of known problems against the tests; those that fail are left out and named."""
