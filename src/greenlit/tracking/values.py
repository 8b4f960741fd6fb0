"""What the trackers share: points of a curve, nested values made flat, and whether a server can be reached."""

import math
import socket
from collections.abc import Mapping
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from greenlit.stage.secrets import without_password

_PATIENCE_S = 3


class Point(NamedTuple):
    """Metrics at one step."""

    step: int
    time: float
    """Seconds since 1970."""
    values: Mapping[str, Any]


def flatten(nested: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """{"a": {"b": 1}} -> {"a.b": 1}."""
    flat: dict[str, Any] = {}
    for key, value in nested.items():
        flat |= flatten(value, f"{prefix}{key}.") if isinstance(value, Mapping) else {f"{prefix}{key}": value}
    return flat


def numbers(nested: Mapping[str, Any]) -> dict[str, float]:
    """The finite numbers among nested values, flat; null, text and NaN are left out."""
    return {
        key: float(value)
        for key, value in flatten(nested).items()
        if isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    }


def unreachable(url: str) -> str | None:
    """Why nobody answers at this address within three seconds; None when somebody does."""
    parts = urlsplit(url)
    try:
        port = parts.port or (443 if parts.scheme == "https" else 80)
        socket.create_connection((parts.hostname or "", port), timeout=_PATIENCE_S).close()
    except (OSError, ValueError) as error:
        return without_password(str(error))
    return None
