"""A fault in a file of own problems: where, what, and how to mend it."""

from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True, order=True)
class Fault:
    """One thing to mend. `kind` is a short name, the same for all faults of its sort."""

    line: int
    """From 1; 0 for the file as a whole."""
    field: str
    """As in an error of the pipeline: `tests.0.code`; empty for the whole record."""
    kind: str
    message: str
    fix: str

    def as_dict(self) -> dict[str, Any]:
        """For programs."""
        return asdict(self)

    def told(self, path: str) -> str:
        """Two lines for people."""
        place = ": ".join(filter(None, (f"{path}:{self.line}" if self.line else path, self.field)))
        return f"{place}: {self.message}\n    fix: {self.fix}"
