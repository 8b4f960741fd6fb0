"""Which faults of an endpoint heal, and how long to wait before it is asked again.

Busy (429, with Retry-After), failing (5xx) and silent endpoints are tried again, later and later; a refusal (401, 404,
...) is not.
"""

import email.utils
import json
import random
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

FIRST_WAIT_S = 0.5
LONGEST_WAIT_S = 60.0
"""Longest wait before a question is put again, also where the endpoint asks for a longer one."""
AGAIN = frozenset({408, 409, 425, 429, 500, 502, 503, 504, 529})
"""Statuses after which the same request may succeed."""


@dataclass(frozen=True)
class Fault:
    """A request without an answer."""

    kind: str
    detail: str = ""
    again: bool = True
    """The same request may succeed later."""
    wait_s: float | None = None
    """How long the endpoint asks to wait."""
    status: int | None = None


def refusal(status: int, headers: Mapping[str, str], answer: bytes) -> Fault:
    """What an answer with a status other than 200 means."""
    told = message_of(answer)
    again = status in AGAIN and "insufficient_quota" not in answer[:4096].decode("utf-8", "replace")
    return Fault(f"HTTP {status}", told, again, retry_after(headers), status)


def wait_s(fault: Fault, attempt: int) -> float:
    """As long as the endpoint asks for; else 0.5, 1, 2, ... seconds, half of it by chance, so that not all come at
    once."""
    if fault.wait_s is not None:
        return min(fault.wait_s, LONGEST_WAIT_S)
    return min(FIRST_WAIT_S * 2**attempt, LONGEST_WAIT_S) * random.uniform(0.5, 1.0)


def retry_after(headers: Mapping[str, str]) -> float | None:
    """Seconds, from a number of them, or a date against the answer's own; None where neither is said."""
    said = headers.get("retry-after", "")
    try:
        return max(0.0, float(said))
    except ValueError:
        pass
    try:
        then, now = (email.utils.parsedate_to_datetime(date) for date in (said, headers.get("date", "")))
        return max(0.0, (then - now).total_seconds())
    except (ValueError, TypeError):
        return None


def message_of(answer: bytes) -> str:
    """What an error says, in the form of OpenAI's or any other."""
    try:
        error: Any = json.loads(answer)
        error = error.get("error", error)
        return str(error["message"] if isinstance(error, dict) and "message" in error else error)
    except (ValueError, AttributeError, RecursionError):
        return answer[:200].decode("utf-8", "replace")
