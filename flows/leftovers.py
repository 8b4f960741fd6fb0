"""Runs that nobody works on any more, found when the flows of one laptop are served again.

A run whose process is killed reports nothing. While the server or the process that started it live, they mark it
Crashed; when all of them died together, it would say Running for ever. And schedules go on while nothing serves them:
without this, every start that was missed would be made up for, one after the other, before anything else.
"""

from pathlib import Path
from urllib.parse import urlsplit

import psutil
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.filters import (
    FlowRunFilter,
    FlowRunFilterState,
    FlowRunFilterStateName,
    FlowRunFilterStateType,
    TaskRunFilter,
    TaskRunFilterState,
    TaskRunFilterStateType,
)
from prefect.client.schemas.objects import FlowRun, StateType
from prefect.settings import PREFECT_API_URL
from prefect.states import Cancelled, Crashed

from flows import FLOWS
from greenlit.stage.faults import GO_ON

GONE = (
    "The process of this run is gone: it, what had started it and the server ended together, so none of them could "
    f"say so; {GO_ON}."
)
OVER = "The run that this stage belonged to is over."
EXPLAINED = f"It was told to end from outside, as when what had started it was killed; {GO_ON}."
MISSED = "Nothing served this flow when it was due. The next start is on schedule."
_AT_WORK = [StateType.RUNNING, StateType.PENDING, StateType.CANCELLING]
_BROKEN_OFF = [StateType.CRASHED, StateType.CANCELLED, StateType.FAILED]
_LOOPBACK = {"127.0.0.1", "localhost", "::1"}


def settle_leftovers() -> list[str]:
    """Mark what a death has left: runs without a process as Crashed, missed starts as Cancelled; say what was done.

    Nothing is done at a server elsewhere, where runs may have their processes on other machines.
    """
    if urlsplit(PREFECT_API_URL.value() or "").hostname not in _LOOPBACK:
        return []
    with get_client(sync_client=True) as client:
        return [*_mark_crashed(client), *_explain_crashed(client), *_cancel_missed(client)]


def _mark_crashed(client: SyncPrefectClient) -> list[str]:
    wanted = FlowRunFilter(state=FlowRunFilterState(type=FlowRunFilterStateType(any_=_AT_WORK)))
    runs = client.read_flow_runs(flow_run_filter=wanted)
    served, by_hand = _at_work_here()
    marked = []
    for run in runs:
        if not _is_left(run, served, by_hand):
            continue
        client.set_flow_run_state(run.id, Crashed(message=GONE), force=True)
        marked.append(f"run {run.name} had no process any more: marked Crashed")
    _mark_tasks(client)
    return marked


def _explain_crashed(client: SyncPrefectClient) -> list[str]:
    """A run that was told to end says so itself, in words of Prefect's that tell nobody what to do."""
    crashed = FlowRunFilter(state=FlowRunFilterState(type=FlowRunFilterStateType(any_=[StateType.CRASHED])))
    explained = []
    for run in client.read_flow_runs(flow_run_filter=crashed):
        said = (run.state.message if run.state else None) or ""
        if GO_ON in said or not _ours(run):
            continue
        client.set_flow_run_state(run.id, Crashed(message=f"{said} {EXPLAINED}".strip()), force=True)
        explained.append(f"run {run.name} crashed: told to end from outside")
    return explained


def _is_left(run: FlowRun, served: set[str], by_hand: bool) -> bool:
    """Has a run lost its process?"""
    if not _ours(run):
        return False
    if run.deployment_id:
        return str(run.id) not in served
    return not served and not by_hand  # started by hand, or a flow within a flow


def _ours(run: FlowRun) -> bool:
    """Is it no work pool's? Then it ran on this machine."""
    return not run.work_pool_name and not run.work_queue_id


def _at_work_here() -> tuple[set[str], bool]:
    """Ids of the runs whose processes live, and whether a flow that was started by hand runs in this folder."""
    served: set[str] = set()
    by_hand = False
    here = str(Path.cwd())
    for process in psutil.process_iter():
        try:
            command = process.cmdline()
            if "prefect.engine" in command:  # what it started has the variable too, and may outlive it for a while
                served.add(process.environ().get("PREFECT__FLOW_RUN_ID", ""))
            elif process.cwd() == here:
                by_hand |= _is_flow(command)
        except psutil.Error:  # ended meanwhile, or another user's
            continue
    return served, by_hand


def _is_flow(command: list[str]) -> bool:
    """Is this `python -m flows.<flow>`, and none of the commands beside the flows?"""
    return any(command[at : at + 2] == ["-m", f"flows.{name}"] for name in FLOWS for at in range(len(command)))


def _mark_tasks(client: SyncPrefectClient) -> None:
    """The stages of runs that are over are over too."""
    over = FlowRunFilter(state=FlowRunFilterState(type=FlowRunFilterStateType(any_=_BROKEN_OFF)))
    at_work = TaskRunFilter(state=TaskRunFilterState(type=TaskRunFilterStateType(any_=_AT_WORK), name=None))
    for task in client.read_task_runs(flow_run_filter=over, task_run_filter=at_work):
        client.set_task_run_state(task.id, Crashed(message=OVER), force=True)


def _cancel_missed(client: SyncPrefectClient) -> list[str]:
    late = FlowRunFilter(state=FlowRunFilterState(name=FlowRunFilterStateName(any_=["Late"])))
    count = 0
    while missed := [run for run in client.read_flow_runs(flow_run_filter=late) if _is_missed(run)]:
        for run in missed:
            client.set_flow_run_state(run.id, Cancelled(message=MISSED), force=True)
        count += len(missed)
    return [f"{count} scheduled starts were missed: cancelled"] if count else []


def _is_missed(run: FlowRun) -> bool:
    """Was it to start by its schedule, and here? What somebody started by hand still runs."""
    return bool(run.auto_scheduled) and _ours(run)
