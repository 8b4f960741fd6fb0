"""One run at a time in a workspace, with a server and without, and an end for runs that ended without a word.

The lock is that of `greenlit run`. What a flow starts holds it too: after kill -9 of a flow the next one waits until
the stage has written its checkpoint.

A run leaves a note in `.work/flow-runs/` while it is at work. Who holds the lock and finds one knows that its run is
dead, whatever the server believes, and tells the server so.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from uuid import UUID

from prefect import get_run_logger
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.filters import (
    FlowRunFilter,
    FlowRunFilterId,
    TaskRunFilter,
    TaskRunFilterState,
    TaskRunFilterStateType,
)
from prefect.client.schemas.objects import StateType
from prefect.exceptions import ObjectNotFound
from prefect.runtime import flow_run
from prefect.settings import PREFECT_API_URL
from prefect.states import Crashed

from greenlit.jsonl import read_json, write_json
from greenlit.stage.entry import WORKSPACE, only_one
from greenlit.stage.faults import GO_ON
from greenlit.stage.workspace import WORK

NOTES = WORK / "flow-runs"
PATIENCE_S = 30.0
"""How long a run waits for what a killed one started to end."""
WHY = f"its process ended without a word: killed, out of memory, or the machine went down; {GO_ON}"
STOPPED = f"it was stopped from outside; {GO_ON}"
_held: list[int] = []


def held() -> tuple[int, ...]:
    """Descriptors of the locks that this process holds, for those that shall hold them with us."""
    return tuple(_held)


@contextmanager
def alone(who: str) -> Iterator[None]:
    """Hold the workspace.

    Raises:
        WorldError: another run holds it; the message names it.
    """
    with only_one(WORKSPACE, who, PATIENCE_S) as descriptor:
        _held.append(descriptor)
        try:
            bury_the_dead()
            with _noted():
                yield
        finally:
            _held.remove(descriptor)


@contextmanager
def _noted() -> Iterator[None]:
    if not flow_run.id:
        yield
        return
    note = NOTES / f"{flow_run.id}.json"
    write_json(note, {"api": PREFECT_API_URL.value(), "pid": os.getpid()})
    try:
        yield
    finally:
        note.unlink(missing_ok=True)


def bury_the_dead() -> None:
    """Mark the runs crashed whose notes were left here, and say why; called by who holds the workspace."""
    notes = [note for note in NOTES.glob("*.json") if note.stem != flow_run.id]
    if not notes:
        return
    with get_client(sync_client=True) as client:
        for note in notes:
            found = mark_crashed(client, UUID(note.stem), WHY)
            if found:
                get_run_logger().warning(f"flow run {note.stem} is marked as crashed: {WHY}")
            if found is not None or read_json(note).get("api") == PREFECT_API_URL.value():
                note.unlink()  # the run of another server keeps its note until that server is here again


def mark_crashed(client: SyncPrefectClient, run: UUID, why: str) -> bool | None:
    """Say of a flow run, and of its task runs that still seem to run, that they crashed, and why.

    Returns:
        False if it had ended in order, None if the server does not know it.
    """
    try:
        state = client.read_flow_run(run).state
    except ObjectNotFound:
        return None
    if state is not None and state.is_final() and not state.is_crashed():
        return False
    message = why if state is None or not state.message or not state.is_crashed() else f"{state.message}: {why}"
    if state is None or why not in (state.message or ""):
        client.set_flow_run_state(run, Crashed(message=message), force=True)
    running = TaskRunFilterState(type=TaskRunFilterStateType(any_=[StateType.RUNNING, StateType.PENDING]), name=None)
    of_run = FlowRunFilter(id=FlowRunFilterId(any_=[run]))
    for task in client.read_task_runs(flow_run_filter=of_run, task_run_filter=TaskRunFilter(state=running)):
        client.set_task_run_state(task.id, Crashed(message=why), force=True)
    return True
