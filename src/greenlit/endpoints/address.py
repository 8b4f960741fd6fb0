"""Where an endpoint is, and its key: from the environment, never from params.yaml."""

import os
from collections.abc import Mapping, Sequence
from urllib.parse import urlsplit

from greenlit.errors import ConfigError

OPENAI = ("OPENAI_BASE_URL", "OPENAI_API_KEY")
"""The variables that OpenAI's own clients read."""
_PATHS = ("/chat/completions", "/completions")


def base_url(
    places: Sequence[tuple[str, str]], environment: Mapping[str, str] = os.environ
) -> tuple[str, str | None] | None:
    """The address below which `/chat/completions` lies, and the key; None where none is set.

    The key of one address is never sent to another.

    Args:
        places: pairs of variables, of an address and of its key; the first address that is set counts.

    Raises:
        ConfigError: it is no http address.
    """
    for place, key in places:
        url = environment.get(place, "").strip().rstrip("/")
        if not url:
            continue
        if urlsplit(url).scheme not in {"http", "https"} or not _has_host(url):
            raise ConfigError(f"{place}: must be an http(s) address", hint="e.g. http://localhost:8000/v1")
        for path in _PATHS:
            url = url.removesuffix(path)
        if not urlsplit(url).path.rstrip("/"):
            url = f"{url.rstrip('/')}/v1"
        return url, environment.get(key) or None
    return None


def _has_host(url: str) -> bool:
    try:
        return bool(urlsplit(url).hostname) and urlsplit(url).port != 0
    except ValueError:  # a port that is none
        return False
