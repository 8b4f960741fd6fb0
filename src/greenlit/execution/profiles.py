"""Profiles of the Python interpreter: `plain`, and `science` with numpy, pandas and sympy at hand.

Declared by the problem (`Problem.profile`). In a jail the packages lie read-only in /packages and are loaded once, in
the zygote; at the portable level a candidate's process imports what its text names before the candidate begins: slow,
but on nobody's clock, and under the same memory limit.
"""

import functools
import importlib.util
import sysconfig
from pathlib import Path

SCIENCE = ("numpy", "pandas", "sympy")
_FILES = (
    "numpy", "numpy.libs", "pandas", "pandas.libs", "sympy", "mpmath", "dateutil", "pytz", "tzdata", "six.py",
    "sortedcontainers",
)  # fmt: skip
"""Theirs and those of what they need; not every version has each."""

ONE_THREAD = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
"""Environment of an interpreter that loads them: a second thread would not live through the zygote's fork."""


def folders() -> list[str]:
    """Where this environment keeps its packages."""
    return list(dict.fromkeys((sysconfig.get_path("purelib"), sysconfig.get_path("platlib"))))


def files(profile: str) -> list[Path]:
    """What a jail of this profile needs beside the standard library."""
    if profile != "science":
        return []
    return [place for folder in folders() for name in _FILES if (place := Path(folder, name)).exists()]


@functools.cache
def missing(profile: str) -> str:
    """Why programs of this profile cannot run here; empty when they can."""
    if profile == "plain":
        return ""
    if profile != "science":
        return f"there is no profile {profile!r}"
    absent = [name for name in SCIENCE if importlib.util.find_spec(name) is None]
    return f"profile science: {', '.join(absent)}: not installed (pip install {' '.join(absent)})" if absent else ""
