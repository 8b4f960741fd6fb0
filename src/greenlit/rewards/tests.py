"""tests: fraction of a problem's shown and reward tests that pass.

reward = passed / total; None when the sandbox could not say.
"""

from greenlit.types import Annotated


def tests(row: Annotated) -> float | None:
    """Fraction in [0, 1]; 0 for a program that never ran; None for `infra`."""
    if row.passed is None or not row.tests_total:
        return None
    return row.tests_passed / row.tests_total
