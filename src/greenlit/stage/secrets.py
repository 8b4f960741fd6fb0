"""Secrets stay out of what Greenlit writes: values of variables whose names say so become `***`.

Secrets are those of the environment and those of `.env` in the project's folder, which stages that run programs of
others never load.
"""

import os
import re
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import quote

ENV_FILE = Path(".env")
_NAMES = re.compile(r"TOKEN(?!I[SZ])|SECRET|PASSWORD|PASSWD|API_?KEY|ACCESS_KEY|PRIVATE_KEY|CREDENTIAL", re.IGNORECASE)
_SHORTEST = 6
"""A shorter value is no secret worth the name, and would be found in ordinary words."""
_HIDDEN = "***"


def secret_names() -> list[str]:
    """Variables of the environment and of `.env` that hold secrets."""
    return sorted(name for name in {**_env_file(), **os.environ} if is_secret_name(name))


def is_secret_name(name: str) -> bool:
    """Does the name of a variable say that its value is a secret?"""
    return _NAMES.search(name) is not None


def redacted(text: str) -> str:
    """The text without the secrets, plain or as a URL writes them, and without passwords in URLs."""
    return _without(_secrets(), text)


def redacted_values(value: Any) -> Any:
    """The same for every text in nested lists and mappings, the keys among them; other values stay as they are."""
    return _walked(_secrets(), value)


def _secrets() -> list[str]:
    """Values to hide, the longest first."""
    known = [source[name] for source in (os.environ, _env_file()) for name in source if is_secret_name(name)]
    forms = {form for value in known if len(value) >= _SHORTEST for form in (value, quote(value, safe=""))}
    return sorted(forms, key=len, reverse=True)


def _without(secrets: list[str], text: str) -> str:
    for secret in secrets:
        text = text.replace(secret, _HIDDEN)
    return without_password(text)


def _walked(secrets: list[str], value: Any) -> Any:
    if isinstance(value, str):
        return _without(secrets, value)
    if isinstance(value, dict):
        return {_walked(secrets, key): _walked(secrets, item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_walked(secrets, item) for item in value]
    return value


def without_password(text: str) -> str:
    """`postgresql://me:secret@host/db` -> `postgresql://me:***@host/db`."""
    return re.sub(r"(://[^:/@\s]*):[^@/\s]*@", rf"\1:{_HIDDEN}@", text)


def _env_file() -> dict[str, str]:
    """What stands in `.env`, empty where there is none."""
    try:
        state = ENV_FILE.stat()
    except OSError:
        return {}
    return _read_env_file(ENV_FILE.resolve(), state.st_mtime_ns, state.st_size)


@cache
def _read_env_file(path: Path, mtime_ns: int, size: int) -> dict[str, str]:
    """Read once for each state of the file."""
    from dotenv import dotenv_values

    return {name: value for name, value in dotenv_values(path).items() if value}
