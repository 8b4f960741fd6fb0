"""A plan to look at, before it costs anything."""

import sys
import tempfile
from dataclasses import asdict
from pathlib import Path
from typing import Any

from greenlit.launch.plan import CHECKPOINTS, Plan
from greenlit.launch.sending import make_source


def size_text(size: int) -> str:
    """Bytes in the unit that reads best."""
    value, unit = float(size), "B"
    for larger in ("KiB", "MiB", "GiB"):
        if value < 1024:
            break
        value, unit = value / 1024, larger
    return f"{value:.0f} {unit}" if unit == "B" else f"{value:.1f} {unit}"


def as_json(plan: Plan) -> dict[str, Any]:
    """All of it, for machines; no request is made for it."""
    settings = plan.settings
    with tempfile.TemporaryDirectory() as folder:
        source = make_source(plan, Path(folder) / "source", None)
        code_bytes = sum(file.stat().st_size for file in source.iterdir())
    return {
        "stage": plan.stage.address,
        "job": f"{plan.job_prefix}-<time>",
        "region": plan.region,
        "image": plan.image,
        "machines": plan.machines,
        "command": plan.command,
        "channels": [
            {"name": channel.name, "from": str(channel.path), "bytes": channel.size} for channel in plan.channels
        ] + [{"name": "code", "from": "src, tasks, custom, params.yaml, dvc.yaml", "bytes": code_bytes}],
        "checkpoints": {"s3": plan.checkpoints, "container": CHECKPOINTS},
        "results": plan.results,
        "outs": [str(out) for out in plan.stage.outs],
        "max_runtime_minutes": settings.max_runtime_minutes,
        "max_wait_minutes": settings.wait_minutes if settings.spot else None,
        "network": "none" if settings.network_isolation else ", ".join(settings.subnets) or "the internet",
        "role": settings.role,
        "environment": plan.environment,
        "hyperparameters": plan.hyperparameters,
        "tags": plan.tags,
        "cost_usd": {**asdict(plan.cost), "most": settings.max_cost_usd},
    }  # fmt: skip


def show(told: dict[str, Any]) -> None:
    """On the terminal."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, show_header=False, pad_edge=False)
    table.add_column(no_wrap=True, style="bold")
    table.add_column(overflow="fold")
    for name, value in _lines(told):
        table.add_row(name, Text(value))
    Console(width=None if sys.stdout.isatty() else 120, highlight=False).print(table)


def _lines(told: dict[str, Any]) -> list[tuple[str, str]]:
    cost, wait = told["cost_usd"], told["max_wait_minutes"]
    limits = f"{told['max_runtime_minutes']} minutes at most" + (f", {wait} with waiting" if wait else "")
    lines = [
        ("job", told["job"]),
        ("image", told["image"]),
        ("machines", f"{told['machines']}, in {told['region']}"),
        ("command", told["command"]),
        *(("channel", f"{one['name']}  {size_text(one['bytes'])}  {one['from']}") for one in told["channels"]),
        ("checkpoints", f"{told['checkpoints']['s3']} as {told['checkpoints']['container']}"),
        ("results", told["results"]),
        ("time", limits),
        ("network", told["network"]),
        ("settings", "  ".join(f"{key}={value}" for key, value in sorted(told["hyperparameters"].items()))),
    ]
    if cost["usd_per_hour"] is None:
        return [*lines, ("cost", cost["where_from"])]
    estimate = "none" if cost["estimate"] is None else f"{cost['estimate']:.2f} USD"
    return [
        *lines,
        ("price", f"{cost['usd_per_hour']:g} USD per hour and instance ({cost['where_from']})"),
        ("estimate", f"{estimate} ({cost['estimated_from']})"),
        ("ceiling", f"{cost['ceiling']:.2f} USD; max_cost_usd: {cost['most']}"),
    ]
