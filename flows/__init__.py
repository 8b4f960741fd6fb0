"""Prefect flows: compose, schedule, retry, show. They name stages and never touch data."""

import os
from pathlib import Path

from greenlit.stage.entry import end_with_parent

FLOWS = ("pipeline", "offline", "online", "iterate", "refresh", "sweep")
"""Each is the flow of this name in the module of this name here."""

_SETTINGS = {
    "PREFECT_HOME": str(Path(__file__).parents[1] / ".prefect"),
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    "DO_NOT_TRACK": "1",
    "PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS": "120",  # 20 s are too few on a busy machine
}
for _variable, _value in _SETTINGS.items():
    os.environ.setdefault(_variable, _value)  # before Prefect is imported

if "PREFECT__FLOW_RUN_ID" in os.environ:
    end_with_parent()  # killed, what started this run would leave it behind, and its stage with it

from flows.services import url_of  # noqa: E402  (it reads PREFECT_HOME)

if "PREFECT_API_URL" not in os.environ and (_url := url_of("prefect")):
    os.environ["PREFECT_API_URL"] = f"{_url}/api"  # what is started by hand shows in the server of `make up`
