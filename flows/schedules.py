"""When each flow starts by itself: a variable per flow, in the environment or in the untracked `.env`.

GREENLIT_SCHEDULE_REFRESH="0 4 * * 1"     a cron line, in this machine's time zone (or that of TZ)
GREENLIT_SCHEDULE_OFFLINE=3600            every so many seconds
GREENLIT_SCHEDULE_SWEEP="RRULE:FREQ=MONTHLY;BYDAY=1SA"
GREENLIT_SCHEDULE_REFRESH=off
"""

import os
from datetime import timedelta
from pathlib import Path

from dotenv import dotenv_values
from prefect.schedules import Cron, Interval, RRule, Schedule
from tzlocal import get_localzone_name

from flows.settings import setting
from greenlit.errors import ConfigError

PREFIX = "GREENLIT_SCHEDULE_"
DEFAULTS = {"refresh": "0 4 * * 1"}
"""Mondays at four. The other flows start when somebody starts them."""
SLUG = "settings"
"""Marks our schedules in Prefect: those that people make on its pages are left alone."""
_OFF = "off"


def schedule_of(flow: str) -> Schedule | None:
    """The schedule that the settings, or else the defaults, give a flow.

    Raises:
        ConfigError: the variable holds none of the forms above.
    """
    variable = f"{PREFIX}{flow.upper()}"
    text = (setting(variable) or DEFAULTS.get(flow, "off")).strip()
    if text.lower() == _OFF:
        return None
    timezone = get_localzone_name()
    try:
        if text.isdigit() and int(text):
            return Interval(timedelta(seconds=int(text)), timezone=timezone, slug=SLUG)
        if text.upper().startswith(("RRULE:", "DTSTART")):
            return RRule(text, timezone=timezone, slug=SLUG)
        return Cron(text, timezone=timezone, slug=SLUG)
    except ValueError as fault:
        said = str(fault).splitlines()[0]
        hint = f"e.g. {variable}='0 4 * * 1' for Mondays at four, seconds, RRULE:..., or off"
        raise ConfigError(f"{variable}: no schedule: {text!r} ({said})", hint=hint) from None


def require_known(flows: list[str]) -> None:
    """Refuse a schedule for a flow that there is not: it would silently never start.

    Raises:
        ConfigError: a variable names no flow.
    """
    for variable in {*os.environ, *(dotenv_values(".env") if Path(".env").exists() else ())}:
        name = variable.removeprefix(PREFIX).lower()
        if variable.startswith(PREFIX) and name not in flows:
            raise ConfigError(f"{variable}: there is no flow {name!r}", hint=f"one of {', '.join(flows)}")
