"""Rewards: plain functions of an annotated candidate; None means we could not find out, never 0.0."""

from collections.abc import Callable, Mapping

from greenlit.rewards.tests import tests
from greenlit.types import Annotated

REWARDS: Mapping[str, Callable[[Annotated], float | None]] = {"tests": tests}
