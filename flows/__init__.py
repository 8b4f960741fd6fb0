"""Prefect flows: compose, schedule, retry, show. They name stages and never touch data."""

import os

for _variable, _value in (("PREFECT_SERVER_ANALYTICS_ENABLED", "false"), ("DO_NOT_TRACK", "1")):
    os.environ.setdefault(_variable, _value)  # telemetry off, before Prefect is imported
