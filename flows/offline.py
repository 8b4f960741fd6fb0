"""offline: baseline, candidates, pairs, offline methods, report, registration.

python -m flows.offline
"""

from prefect import flow
from prefect.artifacts import create_markdown_artifact

from flows.stages import reproduce, stages_towards
from greenlit.config import load_params
from greenlit.paths import Paths
from greenlit.stage.entry import exit_cleanly
from greenlit.tracking.executions import execution


@flow(name="offline")
def offline(target: str | None = None) -> list[str]:
    """Bring every stage towards `target` (all of them by default) up to date, one task run per stage."""
    params = load_params()
    stages = stages_towards(target)
    with execution(params):
        for stage in stages:
            reproduce(stage)
    report = Paths.of(params).report("summary.md")
    if report.exists():
        create_markdown_artifact(report.read_text(encoding="utf-8"), key="report", description=params.experiment)
    return stages


if __name__ == "__main__":
    exit_cleanly(offline)
