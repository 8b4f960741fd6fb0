"""Secrets stay out of what Greenlit writes: values of variables whose names say so become `***`."""

import os
import re

_NAMES = re.compile(r"TOKEN|SECRET|PASSWORD|PASSWD|API_?KEY|ACCESS_KEY|PRIVATE_KEY|CREDENTIAL", re.IGNORECASE)
_SHORTEST = 6
"""A shorter value is no secret worth the name, and would be found in ordinary words."""


def secret_names() -> list[str]:
    """Variables of the environment that hold secrets."""
    return sorted(name for name in os.environ if _NAMES.search(name))


def redacted(text: str) -> str:
    """The text without the secrets of the environment, and without passwords in URLs."""
    values = {os.environ[name] for name in secret_names()}
    for value in sorted(values, key=len, reverse=True):
        if len(value) >= _SHORTEST:
            text = text.replace(value, "***")
    return without_password(text)


def without_password(text: str) -> str:
    """`postgresql://me:secret@host/db` -> `postgresql://me:***@host/db`."""
    return re.sub(r"(://[^:/@\s]*):[^@/\s]*@", r"\1:***@", text)
