"""Prefect flows: compose, schedule, retry, show. They name stages and never touch data."""

import os

_SETTINGS = {
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    "DO_NOT_TRACK": "1",
    "PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS": "120",  # 20 s are too few on a busy machine
}
for _variable, _value in _SETTINGS.items():
    os.environ.setdefault(_variable, _value)  # before Prefect is imported
