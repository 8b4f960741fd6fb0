"""What a job may cost: an estimate, and a ceiling that SageMaker's own time limit keeps.

ceiling  = instances * price * max_runtime       spot is never billed above on-demand, and waiting is not billed
estimate = instances * price * what the last job of the stage was billed for, or `expected_minutes`
"""

import json
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any

import yaml

from greenlit.errors import ConfigError
from greenlit.launch.settings import SageMaker
from greenlit.stage.workspace import WORK

LEDGER = WORK / "launch" / "jobs.jsonl"
"""Jobs that ended, a line each: what they were and what they were billed for."""


@dataclass(frozen=True)
class Cost:
    """In USD, before taxes; storage and transfer are not in it."""

    usd_per_hour: float | None
    """Of one instance; None: nobody knows."""
    where_from: str
    ceiling: float | None
    estimate: float | None
    estimated_from: str


def cost_of(settings: SageMaker, stage: str, ledger: Path = LEDGER) -> Cost:
    """Of one job of a stage, e.g. `train@dpo`."""
    listed = price_list()
    price = settings.usd_per_hour or listed["usd_per_hour"].get(settings.instance_type)
    where_from = (
        "settings.yaml" if settings.usd_per_hour else f"prices of {listed['region']}, {listed['date']}: check them"
    )
    if price is None:
        return Cost(None, f"{settings.instance_type} is not in the price list", None, None, "no price")
    minutes, estimated_from = _expected(settings, stage, ledger)
    hourly = price * settings.instance_count
    estimate = None if minutes is None else hourly * minutes / 60
    return Cost(price, where_from, hourly * settings.max_runtime_minutes / 60, estimate, estimated_from)


def require_affordable(cost: Cost, settings: SageMaker) -> None:
    """A job may not be able to cost more than `max_cost_usd`.

    Raises:
        ConfigError: it may, or nobody knows what it may cost.
    """
    most = settings.max_cost_usd
    if most is None:
        return
    if cost.ceiling is None:
        raise ConfigError(
            f"settings.yaml: sagemaker.max_cost_usd: {most:g}, and {cost.where_from}",
            hint="usd_per_hour: what it costs, from AWS's price page; or max_cost_usd: null",
        )
    if cost.ceiling > most:
        raise ConfigError(
            f"settings.yaml: sagemaker.max_cost_usd: {most:.2f}, and the job may come to {cost.ceiling:.2f} USD "
            f"({settings.instance_count} x {settings.instance_type} at {cost.usd_per_hour:g} USD/h for "
            f"{settings.max_runtime_minutes} minutes)",
            hint="lower max_runtime_minutes (a training goes on from its checkpoint), take a smaller instance, or "
            "raise max_cost_usd",
        )


def price_list() -> dict[str, Any]:
    """prices.yaml beside this file."""
    found: dict[str, Any] = yaml.safe_load(files("greenlit.launch").joinpath("prices.yaml").read_text("utf-8"))
    return found


def note_job(stage: str, job: str, instance_type: str, billable_s: int | None, ledger: Path = LEDGER) -> None:
    """Keep what a job was billed for, for the next estimate."""
    ledger.parent.mkdir(parents=True, exist_ok=True)
    row = {"stage": stage, "job": job, "instance_type": instance_type, "billable_s": billable_s}
    with ledger.open("a", encoding="utf-8") as stream:
        stream.write(json.dumps(row) + "\n")


def _expected(settings: SageMaker, stage: str, ledger: Path) -> tuple[float | None, str]:
    if settings.expected_minutes is not None:
        return settings.expected_minutes, "expected_minutes"
    rows = [json.loads(line) for line in ledger.read_text("utf-8").splitlines()] if ledger.exists() else []
    fitting = [
        row for row in rows if row["stage"] == stage and row["instance_type"] == settings.instance_type
        and row["billable_s"] is not None
    ]  # fmt: skip
    if not fitting:
        return None, "no job of this stage on this instance yet; expected_minutes gives one"
    return fitting[-1]["billable_s"] / 60, f"the last job, {fitting[-1]['job']}"
