"""Settings of this machine, from the environment or the untracked `.env`: they change no result.

`.env` is read here and not put into the environment: stages that run programs of models must not get its secrets.
"""

import os
from pathlib import Path

from greenlit.errors import ConfigError

GRACE, TIMEOUT, RETRIES, RETRY_DELAY = (
    "GREENLIT_GRACE_S",
    "GREENLIT_STAGE_TIMEOUT_S",
    "GREENLIT_RETRIES",
    "GREENLIT_RETRY_DELAY_S",
)
DEFAULT_RETRIES = {"scrape": 2, "fetch": 2, "generate": 2}
"""These fail innocently: a web site, the hub, an endpoint. What trains or judges has no reason to."""


def setting(name: str) -> str | None:
    """The value of a variable of the environment, else of `.env`; None where it has none."""
    from dotenv import dotenv_values

    return os.environ.get(name) or (dotenv_values(".env").get(name) if Path(".env").exists() else None)


def seconds(name: str, default: float | None) -> float | None:
    """A setting in seconds.

    Raises:
        ConfigError: it is no number, or below 0.
    """
    text = setting(name)
    if text is None:
        return default
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 <= value < float("inf"):
        raise ConfigError(f"{name}: must be a number of seconds (found {text!r})")
    return value


def retries() -> dict[str, int]:
    """How often a stage that said "try again" is tried again, e.g. GREENLIT_RETRIES=generate=3,evaluate=1.

    Raises:
        ConfigError: not of that form.
    """
    text = setting(RETRIES)
    if text is None:
        return DEFAULT_RETRIES
    found = {}
    for word in filter(None, (part.strip() for part in text.split(","))):
        stage, _, count = word.partition("=")
        if not count.strip().isdigit():
            raise ConfigError(f"{RETRIES}: must be like generate=3,evaluate=1 (found {word!r})")
        found[stage.strip()] = int(count)
    return found
