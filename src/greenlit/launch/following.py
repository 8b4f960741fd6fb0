"""Follow a job: its states and its log, line by line, until it has ended.

The state is looked at before the log, so that a job that has ended is read once more after it: the last lines come
later than the last state.
"""

import sys
import time
from collections import deque
from collections.abc import Callable
from typing import Any

from tenacity import Retrying, retry_if_exception_type, stop_after_delay, wait_exponential_jitter

from greenlit.errors import GreenlitError, WorldError
from greenlit.launch.access import OutOfReach, told
from greenlit.launch.jobs import Job, Jobs
from greenlit.stage.secrets import redacted

LOG_GROUP = "/aws/sagemaker/TrainingJobs"
LAST_LINES = 20
_DRAIN_S = 15.0
"""CloudWatch may be that late with a job's last lines."""
_STOPPING_S = 180.0
"""SageMaker gives a container 120 s between its request and the end."""
_PENDING_S = 24 * 3600
"""A job that waits longer for its machine is a matter for a look at the console."""


class Log:
    """The lines of a job, from all its hosts."""

    def __init__(self, jobs: Jobs, name: str) -> None:
        self._jobs, self._name = jobs, name
        self._tokens: dict[str, str] = {}
        self.last: deque[str] = deque(maxlen=LAST_LINES)

    def new_lines(self) -> list[str]:
        """What came since the last call."""
        with told():
            try:
                streams = self._streams()
            except self._jobs.logs.exceptions.ResourceNotFoundException:
                return []  # the group comes with the first job, a stream with its first line
            lines = [line for stream in streams for line in self._read(stream)]
        self.last.extend(lines)
        return lines

    def _streams(self) -> list[str]:
        said = self._jobs.logs.describe_log_streams(logGroupName=LOG_GROUP, logStreamNamePrefix=f"{self._name}/")
        return sorted(stream["logStreamName"] for stream in said["logStreams"])

    def _read(self, stream: str) -> list[str]:
        lines: list[str] = []
        while True:
            place = {"nextToken": self._tokens[stream]} if stream in self._tokens else {"startFromHead": True}
            said: dict[str, Any] = self._jobs.logs.get_log_events(logGroupName=LOG_GROUP, logStreamName=stream, **place)
            lines += [redacted(event["message"].rstrip()) for event in said["events"]]
            ended = said["nextForwardToken"] == self._tokens.get(stream)
            self._tokens[stream] = said["nextForwardToken"]
            if ended or not said["events"]:
                return lines


def follow(jobs: Jobs, name: str, log: Log, sleep: Callable[[float], None] = time.sleep) -> Job:
    """Until the job has ended, however it does; then its last state.

    Raises:
        OutOfReach: AWS does not answer for long; the job goes on.
    """
    settings = jobs.plan.settings
    most_s = 60 * (settings.wait_minutes if settings.spot else settings.max_runtime_minutes) + _PENDING_S
    until = time.monotonic() + most_s
    told_state = ""
    while True:
        job = _patiently(jobs, lambda: jobs.look_at(name))
        if job.secondary != told_state:
            told_state = job.secondary
            say(f"{name}: {job.secondary}{f' ({job.message})' if job.message else ''}")
        for line in _patiently(jobs, log.new_lines):
            print(line, file=sys.stderr, flush=True)
        if job.ended:
            _drain(jobs, log, sleep)
            return job
        if time.monotonic() > until:
            raise WorldError(f"{name}: neither runs nor ends since {most_s / 3600:.0f} h", hint="look at the console")
        sleep(settings.poll_s)


def stop_and_wait(jobs: Jobs, name: str, sleep: Callable[[float], None] = time.sleep) -> None:
    """Stop a job, and see it end: nothing may go on costing."""
    say(f"{name}: stopping the job")
    try:
        jobs.stop(name)
        job = wait_for_end(jobs, name, sleep)
    except GreenlitError as fault:
        say(f"{name}: may still run, and cost: {fault.args[0]}; stop it in the console")
        return
    say(f"{name}: {job.status if job.ended else 'asked to stop, and not ended yet: look at the console'}")


def wait_for_end(jobs: Jobs, name: str, sleep: Callable[[float], None] = time.sleep) -> Job:
    """A job that was asked to stop, when it has, or after the time that SageMaker gives it."""
    until = time.monotonic() + _STOPPING_S
    while not (job := jobs.look_at(name)).ended and time.monotonic() < until:
        sleep(min(1.0, jobs.plan.settings.poll_s))
    return job


def say(text: str) -> None:
    """A line about the job itself."""
    print(f"sagemaker: {redacted(text)}", file=sys.stderr, flush=True)


def _patiently(jobs: Jobs, ask: Callable[[], Any]) -> Any:
    """Ask again, less and less often, while AWS is out of reach."""
    retrying = Retrying(
        retry=retry_if_exception_type(OutOfReach),
        wait=wait_exponential_jitter(multiplier=jobs.plan.settings.poll_s, max=60),
        stop=stop_after_delay(60 * jobs.plan.settings.out_of_reach_minutes),
        reraise=True,
    )
    return retrying(ask)


def _drain(jobs: Jobs, log: Log, sleep: Callable[[float], None]) -> None:
    """The lines that came later than the last state."""
    until = time.monotonic() + _DRAIN_S
    quiet = 0
    while quiet < 2 and time.monotonic() < until:
        lines = _patiently(jobs, log.new_lines)
        for line in lines:
            print(line, file=sys.stderr, flush=True)
        quiet = 0 if lines else quiet + 1
        sleep(min(1.0, jobs.plan.settings.poll_s))
