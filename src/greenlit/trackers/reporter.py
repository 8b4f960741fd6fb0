"""What a tracker has to do."""

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Protocol

from greenlit.tracking.spool import Header, State
from greenlit.tracking.values import Point


class Reporter(Protocol):
    """One run in one tracker. Any method may raise: what it was given is then brought again by a later delivery."""

    parents: ClassVar[bool] = False
    """Does it show an execution as a run of its own? Otherwise it gets the stages' runs only."""

    @staticmethod
    def target() -> str:
        """Which store this is, without secrets; another one gets every run from its beginning."""
        return ""

    @abstractmethod
    def __init__(self, header: Header, known: dict[str, str]) -> None:
        """Begin the run, or go on with it.

        Args:
            known: what an earlier delivery of this run put there; kept from one to the next.
        """

    @abstractmethod
    def metrics(self, points: Sequence[Point]) -> None:
        """Show metrics by step."""

    @abstractmethod
    def figures(self, values: Mapping[str, Any], time: float) -> None:
        """Show what the run came to; flat, numbers and others."""

    def file(self, path: Path, name: str) -> None:
        """Keep a file; a tracker of curves alone has no place for it."""

    def state(self, state: State | None, time: float, error: str) -> None:
        """The run ended, or (None) goes on after all."""

    def close(self) -> None:
        """Nothing more comes now; a later delivery may open the run again."""
