"""One DVC stage as one Prefect task run, called as the stage is.

Its output streams into the run log and its progress into an artifact; a stage that had nothing to do ends in state
Cached; it is tried again only where it said "try again" itself; cancelled or out of time, it has some seconds for its
checkpoint, and nothing of it is left running.
"""

import re
import sys
import tempfile
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from prefect import get_run_logger, runtime, task
from prefect.client.schemas.objects import TaskRun
from prefect.results import ResultRecord
from prefect.states import Completed, Failed, State

from flows.graph import shown
from flows.processes import TimeLimitError, run_kept
from flows.progress import ProgressArtifact
from greenlit.repro import StageFailedError, repro_command, repro_environment, set_torn_lock_aside
from greenlit.stage.entry import EXIT_CODE_FILE
from greenlit.stage.secrets import redacted

LAST_LINES = 40
TRY_AGAIN = 75
GRACE_S = 20.0
_HELD = re.compile(
    r"(?:is busy, it is being blocked by:?.*?\(PID (\d+)\)|is at work here already \(process (\d+)\))", re.S
)
_SIGNAL = re.compile(r"exited with -(\d+)")


def _never(_: Any, run: TaskRun, state: State) -> bool:
    return False


ONCE: dict[str, Any] = {"cache_policy": None, "retries": 1, "retry_condition_fn": _never}
"""Of a task that is not tried again: without a condition that says so, Prefect would log an empty trace."""


class StageFailed(StageFailedError):
    """A stage ended with an error; the message says which, and has its own words."""

    def __init__(self, code: int, message: str) -> None:
        super().__init__(code)
        self.message = message

    def __str__(self) -> str:
        return self.message


class StageLocked(StageFailed):
    """Another run holds the stage."""


@dataclass(frozen=True)
class How:
    """How stages are run; no result depends on it."""

    grace_s: float = GRACE_S
    """What a stage has for its checkpoint between SIGTERM and SIGKILL."""
    timeout_s: float | None = None
    """Longest time of one stage."""
    retries: Mapping[str, int] = field(default_factory=dict)
    """Tries more, by stage or by `train` for all of its methods."""
    retry_delay_s: float = 10.0
    environment: Mapping[str, str] = field(default_factory=dict)
    """Of the stages, besides ours."""

    def tries(self, stage: str) -> int:
        """How often a stage may be run."""
        names = (stage, shown(stage), stage.partition("@")[0])
        return 1 + next((self.retries[name] for name in names if name in self.retries), 0)


def run_stage(stage: str, how: How, force: bool = False) -> State:
    """Bring one stage up to date, as a task run.

    Raises:
        StageFailed: its command failed, or its time was up.
    """

    def again(_: Any, run: TaskRun, state: State) -> bool:
        return getattr(fault_of(state), "code", None) == TRY_AGAIN and run.run_count < how.tries(stage)

    options = {**ONCE, "retries": how.tries(stage), "retry_condition_fn": again}
    return required(reproduce.with_options(**options, retry_delay_seconds=how.retry_delay_s)(stage, how, force))


def required(state: State) -> State:
    """The state of a task run of ours, if it is a good one.

    Raises:
        StageFailed: it is not.
    """
    if state.is_completed():
        return state
    fault = fault_of(state)
    raise fault if isinstance(fault, StageFailed) else StageFailed(1, state.message or state.name)


def fault_of(state: State) -> Any:
    """What a failed state is about; Prefect wraps it, in a record or in another state."""
    found: Any = state
    while isinstance(found, State | ResultRecord):
        found = found.data if isinstance(found, State) else found.result
    return found


def _run_name() -> str:
    return shown(runtime.task_run.parameters["stage"])


@task(task_run_name=_run_name, **ONCE)
def reproduce(stage: str, how: How, force: bool = False) -> State:
    """Bring one stage up to date; what it needs is taken as it lies there."""
    command = repro_command([*(["--force"] if force else []), "--single-item", stage])
    ended = followed(f"stage {shown(stage)}", command, repro_environment(), Path(), how)
    if ended.is_failed() and set_torn_lock_aside(Path()):
        ended = followed(f"stage {shown(stage)}", command, repro_environment(), Path(), how)
    return ended


def pull(stages: Sequence[str], how: How) -> None:
    """Fetch what these stages came to from DVC's remote, where one is set.

    Raises:
        StageFailed: the remote does not answer.
    """
    import dvc.config

    if not dvc.config.Config.from_cwd().get("core", {}).get("remote"):
        get_run_logger().info("DVC has no default remote: nothing to pull")
        return
    required(pull_from_remote(list(stages), how))


@task(task_run_name="pull", **ONCE)
def pull_from_remote(stages: list[str], how: How) -> State:
    """`dvc pull`; what the remote does not have is made here."""
    command = [sys.executable, "-m", "dvc", "pull", "--allow-missing", *stages]
    return followed("dvc pull", command, repro_environment(), Path(), how)


def followed(name: str, command: Sequence[str], environment: Mapping[str, str], cwd: Path, how: How) -> State:
    """Stream a process into the run log until it is done; the state says whether DVC ran any stage in it."""
    logger = get_run_logger()
    last: deque[str] = deque(maxlen=LAST_LINES)
    progress = ProgressArtifact(name)
    ran = False

    def on_line(line: str) -> None:
        nonlocal ran
        line = redacted(line)
        last.append(line)
        ran |= line.startswith("Running stage")
        logger.info(line)
        progress.line(line)

    with tempfile.TemporaryDirectory() as folder:
        left = Path(folder) / "exit_code"
        environment = {**environment, **how.environment, EXIT_CODE_FILE: str(left)}
        try:
            code = run_kept(command, environment, cwd, how.grace_s, how.timeout_s, on_line)
        except TimeLimitError:
            message = f"{name} took longer than {how.timeout_s:g} s and was ended; its checkpoints are kept"
            logger.error(message)
            return Failed(name="TimedOut", message=message, data=StageFailed(TRY_AGAIN, message))
        if code and left.exists():
            code = int(left.read_text())
    progress.end()
    if code:
        return _failed(name, code, list(last))
    return Completed(name="Completed" if ran else "Cached", message=f"{name}: {'ran' if ran else 'nothing to do'}")


def _failed(name: str, code: int, last: list[str]) -> State:
    text = "\n".join(last)
    held = _HELD.search(text)
    killed = _SIGNAL.search(text)
    if held:
        holder = next(filter(None, held.groups()))
        message = f"{name}: another run holds it (process {holder})\nhint: wait for it, or end it"
        fault: StageFailed = StageLocked(TRY_AGAIN, message)
    elif killed and code in {1, 255}:
        message = f"{name} was killed by signal {killed[1]}, by hand or for lack of memory; what was done is kept"
        fault = StageFailed(TRY_AGAIN, message)
    else:
        message = f"{name} failed (exit code {code}): {_own_words(last)}"
        fault = StageFailed(code, message)
    get_run_logger().error(message)
    return Failed(message=message, data=fault)


def _own_words(last: list[str]) -> str:
    """What the stage itself said was wrong; without that, its last lines."""
    starts = [number for number, line in enumerate(last) if line.startswith("error: ")]
    if not starts:
        return "\n".join(last[-5:]) or "it said nothing"
    words = [last[starts[-1]].removeprefix("error: ")]
    for line in last[starts[-1] + 1 :]:
        if line.startswith(("ERROR: ", "Running stage")):
            break
        words.append(line)
        if line.startswith("hint: "):
            break
    return "\n".join(words).strip()
