"""Every error Greenlit raises on purpose.

    GreenlitError
    ├── ConfigError(ValueError)        params.yaml, a flag or a setting is wrong: yours to fix            exit 2
    ├── DataError(ValueError)          a file's content is not what its format says: yours to fix         exit 2
    │   └── MismatchError              two artifacts that must belong together were made differently      exit 2
    └── WorldError(RuntimeError)       the machine, the network or another process failed: try again     exit 75
        ├── SandboxError               the judge could not run programs at all
        └── BudgetError                a budget that the user set is used up; what is done is kept

A message names the place, what was found and what was expected; `hint` says what to do next.
"""

from typing import ClassVar


class GreenlitError(Exception):
    """Base class: `str(error)` is the message, followed by `hint: ...` when there is one."""

    exit_code: ClassVar[int] = 1

    def __init__(self, message: str, hint: str | None = None) -> None:
        super().__init__(message)
        self.hint = hint

    def __str__(self) -> str:
        message = super().__str__()
        return f"{message}\nhint: {self.hint}" if self.hint else message


class ConfigError(GreenlitError, ValueError):
    """params.yaml, a preset, a flag or an environment setting has a wrong key, type or value."""

    exit_code = 2


class DataError(GreenlitError, ValueError):
    """A record or file breaks its format; the message starts with `file:line: field:` where there is one."""

    exit_code = 2


class MismatchError(DataError):
    """Two artifacts do not belong together, e.g. candidates sampled with another prompt than the pairs."""


class WorldError(GreenlitError, RuntimeError):
    """Nothing the user wrote is wrong: a process died, a server did not answer. Trying again may help."""

    exit_code = 75


class SandboxError(WorldError):
    """The judge cannot run programs on this machine at the level that is allowed."""


class BudgetError(WorldError):
    """What sampling may cost is used up. What is done is kept; a larger budget goes on from there."""
