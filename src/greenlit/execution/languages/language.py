"""What a language is to the judge."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from greenlit.execution.findings import Limits
from greenlit.execution.plan import Plan
from greenlit.execution.verdicts import Judging

if TYPE_CHECKING:
    from greenlit.types import Problem


@dataclass(frozen=True)
class Language:
    """An entry of the registry."""

    isolation: str
    """What its programs run in, at a jailed level; one sentence."""
    kinds: tuple[str, ...]
    """Kinds of tests that can be judged."""
    missing: Callable[[], str]
    """Why its programs cannot run here; empty when they can."""
    plan: Callable[["Problem"], Plan]
    """A problem's tests → what the program's process is asked, and what the answers are compared with."""
    judging: Callable[[Plan, str, Limits], Judging]
    """A program against a plan: yields what is to be run, is sent what happened, returns the findings."""
