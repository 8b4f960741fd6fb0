"""What stands in a stage's place when it runs as a job: send, start, follow, fetch.

    python -m greenlit.launch train --method dpo

A job of the same key (parameters, inputs, code) that runs already is followed, one that is done is fetched; nothing is
started twice. Ctrl-C, SIGTERM, a cancelled flow and every fault of ours stop the job. The same command goes on from its
checkpoints. A driver that is killed leaves the job running, for the next one to follow.
"""

import os
import re
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from greenlit.config import PARAMS, load_params
from greenlit.errors import ConfigError, GreenlitError, WorldError
from greenlit.launch.access import NoCapacity, OutOfReach, reachable, told
from greenlit.launch.cost import note_job, require_affordable
from greenlit.launch.fetching import bring, fetch
from greenlit.launch.following import Log, follow, say, stop_and_wait, wait_for_end
from greenlit.launch.jobs import Job, Jobs
from greenlit.launch.plan import make_plan
from greenlit.launch.sending import make_source, send_inputs
from greenlit.launch.settings import sagemaker_settings
from greenlit.launch.stages import Stage, find_stage
from greenlit.stage.entry import only_one
from greenlit.stage.launching import ANEW
from greenlit.stage.secrets import redacted
from greenlit.stage.stopping import postponed
from greenlit.stage.workspace import WORK
from greenlit.tracking.executions import execution_of

_EXIT_CODES = re.compile(r",?\s*exit ?code:? (\d+)(?:,?\s*exit ?code:? \d+)*\s*$", re.IGNORECASE)
Sleep = Callable[[float], None]


def drive(stage: Stage, sleep: Sleep = time.sleep) -> Job:
    """Run a stage as a job, until its outs lie here.

    Raises:
        ConfigError: the settings, the rights or the stage itself: the user's to fix.
        WorldError: capacity, the network, a job that ran out of time: try again.
        Stopped: a signal came; the job was stopped.
    """
    settings = sagemaker_settings()
    plan = make_plan(stage, settings)
    require_affordable(plan.cost, settings)
    jobs = Jobs(plan)
    with only_one(f"stage {stage.address}"):
        job = _finished_or_running(jobs)
        if job is None or not job.ended:
            job = _through(jobs, job, sleep)
        with tempfile.TemporaryDirectory(prefix="fetch-", dir=_work()) as folder:
            if job.artifacts is None:
                raise WorldError(f"{job.name}: the job is done, and left no result", hint="look at the console")
            bring(fetch(jobs, job.artifacts, Path(folder)), stage, plan.key, settings.max_result_gib)
    cost = plan.cost.usd_per_hour
    billed = f", {job.billable_s} s billed" if job.billable_s is not None else ""
    usd = f", at most {job.billable_s * cost * settings.instance_count / 3600:.2f} USD" if billed and cost else ""
    say(f"{job.name}: done, its result is here{billed}{usd}")
    return job


def _finished_or_running(jobs: Jobs) -> Job | None:
    """A job of this key to go on with: running, or done and not to be done anew."""
    reachable(jobs.plan.settings)
    job = jobs.newest()
    if job and job.status == "Stopping":
        say(f"{job.name}: is being stopped; waiting for its end")
        job = wait_for_end(jobs, job.name)
    if job is None or (job.ended and (job.status != "Completed" or os.environ.get(ANEW) == "1")):
        return None
    say(f"{job.name}: {'is done: fetching its result' if job.ended else 'runs already: following it'}")
    return job


def _through(jobs: Jobs, job: Job | None, sleep: Sleep) -> Job:
    """Until a job is Completed; further ones where capacity lacks.

    Args:
        job: one that runs already.
    """
    settings = jobs.plan.settings
    wait_s = settings.capacity_wait_s
    for left in range(settings.capacity_retries, -1, -1):
        try:
            job = _one(jobs, job.name if job else None, sleep)
            if not job.lacked_capacity:
                return _require_completed(job)
            why = job.reason
        except NoCapacity as lacking:
            why = str(lacking.args[0])
        if left:
            say(f"no machine: {why}; another try in {wait_s:.0f} s, {left} left")
            sleep(wait_s)
        job, wait_s = None, wait_s * 2
    raise NoCapacity(
        f"sagemaker: no machine after {settings.capacity_retries + 1} tries ({redacted(why)})",
        hint="another instance_type, spot: false, another region, or later",
    )


def _start(jobs: Jobs) -> str:
    """Send what the job needs, and start it."""
    plan = jobs.plan
    params = load_params(PARAMS)
    parent = execution_of(params) if params.tracking.report_to else None
    with told():
        channels = send_inputs(plan, jobs.s3)
    name = None
    try:
        with tempfile.TemporaryDirectory(prefix="send-", dir=_work()) as folder:
            source = make_source(plan, Path(folder), parent)
            with postponed():  # a job of which we do not know the name could not be stopped
                name = jobs.start(source, channels)
        ceiling = f", at most {plan.cost.ceiling:.2f} USD" if plan.cost.ceiling is not None else ""
        say(f"{name}: started on {plan.machines}{ceiling}")
    except BaseException:
        if name:
            stop_and_wait(jobs, name)
        raise
    return name


def _one(jobs: Jobs, name: str | None, sleep: Sleep) -> Job:
    """Follow a job, a new one where none is named; whatever ends us but a lost connection ends the job, too."""
    try:
        name = name or _start(jobs)
        job = follow(jobs, name, Log(jobs, name), sleep)
    except OutOfReach as lost:
        if name is None:
            raise
        hint = "the same command follows it again; `greenlit launch ... --stop` ends it"
        raise OutOfReach(f"{lost.args[0]}; {name} goes on", hint=hint) from None
    except BaseException:
        if name:
            stop_and_wait(jobs, name)
        raise
    note_job(jobs.plan.stage.address, name, jobs.plan.settings.instance_type, job.billable_s)
    return job


def _require_completed(job: Job) -> Job:
    """Raises:
    ConfigError: the stage says that the user's settings or data are to be fixed.
    WorldError: time ran out, or somebody stopped it.
    GreenlitError: a fault of the stage's own.
    """
    if job.status == "Completed":
        return job
    if job.status == "Stopped":
        limits = {"MaxRuntimeExceeded": "max_runtime_minutes", "MaxWaitTimeExceeded": "max_wait_minutes"}
        if limit := limits.get(job.secondary):
            raise WorldError(
                f"{job.name}: ended by sagemaker.{limit}", hint=f"the same command goes on from there; or raise {limit}"
            )
        raise WorldError(f"{job.name}: was stopped", hint="the same command goes on from its checkpoints")
    codes = _EXIT_CODES.search(job.reason)  # the stage's own, then those of what started it
    kinds: dict[int, type[GreenlitError]] = {2: ConfigError, 75: WorldError, 130: WorldError, 143: WorldError}
    kind = kinds.get(int(codes[1]) if codes else 1, GreenlitError)
    reason = redacted(_EXIT_CODES.sub("", job.reason)).strip()
    raise kind(f"{job.name} failed: {reason}", hint="the log's last lines stand above")


def _work() -> Path:
    folder = WORK / "launch"
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def stage_of(arguments: Sequence[str]) -> Stage:
    """The stage of a command line: its name, and --method or --name with an entry of it."""
    name, *rest = arguments
    return find_stage(name, rest[1] if len(rest) == 2 else None)


def main() -> None:
    """In place of a stage."""
    from dotenv import load_dotenv

    load_dotenv(".env")
    drive(stage_of(sys.argv[1:]))
