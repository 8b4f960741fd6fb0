"""Executions: the runs that stages' runs lie below.

A stage belongs to the execution that `execution` opened (GREENLIT_RUN names it), else to the experiment's open one with
the same settings, else to a new one. So what goes on after an interruption goes on under the same parent.
"""

import hashlib
import json
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager

from greenlit.config import Params
from greenlit.tracking.beside import deliver
from greenlit.tracking.origin import origin_tags
from greenlit.tracking.spool import SPOOL, Entry, Header, State, entries, exclusive, new_id

EXECUTION = "GREENLIT_RUN"
"""Environment variable: id of the execution whose stages run."""


def _key(params: Params) -> str:
    """Hash of the settings that decide results."""
    settings = params.model_dump(mode="json", by_alias=True, exclude={"tracking"})
    return hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()[:16]


def execution_of(params: Params) -> Header:
    """The execution that a stage started now belongs to."""
    named = os.environ.get(EXECUTION, "")
    if named and (SPOOL / named / "run.json").exists():
        return Entry(SPOOL / named).header
    return _open_execution(params).header


def _open_execution(params: Params) -> Entry:
    """The experiment's open execution with these settings, or a new one; others of the experiment are closed."""
    key, found = _key(params), None
    with exclusive("executions"):
        for entry in _open_executions(params.experiment):
            if entry.header.key == key:
                found = entry
                continue
            if entry.state() is None:
                entry.append("end", state="stopped")
            entry.close()
        if found is None:
            return _new_execution(params, key)
        found.address(list(params.tracking.report_to))
        if found.state() is not None:
            found.go_on()
        return found


def _open_executions(experiment: str) -> list[Entry]:
    return [
        entry
        for entry in entries()
        if (header := entry.header).stage is None and header.experiment == experiment and entry.may_go_on()
    ]


def _new_execution(params: Params, key: str) -> Entry:
    now = time.time()
    return Entry.create(
        Header(
            id=new_id(),
            experiment=params.experiment,
            name=f"{params.experiment}_{time.strftime('%Y-%m-%d_%H-%M-%S', time.localtime(now))}",
            report_to=list(params.tracking.report_to),
            started=now,
            params={
                "experiment": params.experiment,
                "seed": params.seed,
                "dataset": params.dataset.name,
                "base": params.base.model,
                "methods": ", ".join(params.methods),
            },
            tags=origin_tags(),
            key=key,
        )
    )


@contextmanager
def execution(params: Params) -> Iterator[None]:
    """Run stages inside as one execution: their runs have one parent, and what they told is delivered at the end.

    An execution that failed or was stopped goes on, under the same parent, when it is tried again with the same
    settings. Where nothing had to run, nothing is told to anybody.
    """
    if not params.tracking.report_to:
        yield
        return
    parent = _open_execution(params)
    os.environ[EXECUTION] = parent.folder.name
    state: State = "failed"
    try:
        yield
        state = "finished"
    except (SystemExit, KeyboardInterrupt) as end:
        code = end.code if isinstance(end, SystemExit) else 130
        state = "finished" if code in {0, None} else "stopped" if code in {130, 143} else "failed"
        raise
    finally:
        del os.environ[EXECUTION]
        parent.append("end", state=state)
        if not parent.was_used():
            parent.remove()
        elif state == "finished":
            parent.close()
        deliver()


def reached_end(params: Params, method: str) -> None:
    """The last stage of a method is done: under a bare `dvc repro`, the execution ends with the last method's.

    What was told so far is delivered there; `execution` does both by itself.
    """
    if EXECUTION in os.environ or not params.tracking.report_to:
        return
    with exclusive("executions"):
        for entry in _open_executions(params.experiment):
            if entry.header.key != _key(params):
                continue
            entry.append("reached", method=method)
            if set(params.methods) <= {event.get("method") for event, _ in entry.events()}:
                entry.append("end", state="finished")
                entry.close()
    deliver()
