"""One DVC stage as one Prefect task run.

The order of the stages is DVC's own graph, written nowhere else. A stage's output streams into the run log; a stage
that had nothing to do ends in state Cached; cancelling ends its whole process tree.
"""

import subprocess
from collections import deque
from collections.abc import Callable
from pathlib import Path

from prefect import get_run_logger, task
from prefect.states import Completed, State

from greenlit.repro import end_repro, repro_command, repro_environment

LAST_LINES = 40


class StageFailed(RuntimeError):
    """A stage ended with an error; the message holds its last lines."""


def stages_towards(target: str | None = None) -> list[str]:
    """Names of the stages that `target` needs, itself included, each after those it needs; None means all."""
    import networkx
    from dvc.repo import Repo

    with Repo() as repo:
        graph = repo.index.graph
        wanted = repo.stage.collect(target) if target else list(graph)
        needed = set(wanted).union(*(networkx.descendants(graph, stage) for stage in wanted))
        # an edge points from a stage to what it needs
        ordered = networkx.lexicographical_topological_sort(graph.reverse(), key=lambda stage: stage.addressing)
        return [stage.addressing for stage in ordered if stage in needed]


@task(task_run_name="{stage}", cache_policy=None, log_prints=False)
def reproduce(stage: str) -> State:
    """Bring one stage up to date.

    Raises:
        StageFailed: its command failed.
    """
    process = start(repro_command(["--single-item", stage]), repro_environment(), Path())
    return followed(f"stage {stage}", process, lambda: end_repro(process.pid, process.poll))


def start(command: list[str], environment: dict[str, str], cwd: Path) -> subprocess.Popen[str]:
    """A process whose output can be read line by line."""
    return subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        bufsize=1,
        env=environment,
        cwd=cwd,
    )


def followed(name: str, process: subprocess.Popen[str], end: Callable[[], None]) -> State:
    """Stream a process into the run log until it is done; the state says whether DVC ran any stage in it.

    Args:
        end: ends the process in order.

    Raises:
        StageFailed: it ended with an error.
    """
    logger = get_run_logger()
    last: deque[str] = deque(maxlen=LAST_LINES)
    ran = False
    try:
        assert process.stdout is not None
        for line in process.stdout:
            last.append(line)
            ran |= line.startswith("Running stage")
            logger.info(line.rstrip())
        code = process.wait()
    except BaseException:
        end()
        raise
    if code:
        raise StageFailed(f"{name} failed:\n{''.join(last)}")
    return Completed(name="Completed" if ran else "Cached", message=f"{name}: {'ran' if ran else 'nothing to do'}")
