"""Runs as the stages see them: open one, tell it figures and files. All of it goes to the spool, no tracker is asked.

A stage's run is the child of the execution's: of the one `execution` opened (GREENLIT_RUN names it), else of the
experiment's newest open one with the same settings, else of a new one. So what goes on after an interruption goes on
under the same parent.
"""

import hashlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext, suppress
from pathlib import Path
from typing import Any

from greenlit.config import Params
from greenlit.tracking.origin import origin_tags
from greenlit.tracking.spool import SPOOL, Entry, Header, State, entries, exclusive, new_id
from greenlit.tracking.values import flatten

EXECUTION = "GREENLIT_RUN"
"""Environment variable: id of the execution whose stages run."""
_RUN_NOTE = "tracking_run"
_LAST_NEWS_S = 5
_DELIVERY_S = 300
_ERROR_LENGTH = 300


class Run:
    """An open run; without a spool entry (`tracking.report_to` is empty) nobody listens."""

    def __init__(self, entry: Entry | None) -> None:
        self._entry = entry
        self._last_step = entry.last_step() if entry else -1

    def headers(self) -> tuple[Header | None, Header | None]:
        """Who it is and who its parent is, for those who write to a tracker themselves."""
        if self._entry is None:
            return None, None
        header = self._entry.header
        return header, Entry(SPOOL / header.parent).header if header.parent else None

    def log(self, step: int, metrics: Mapping[str, float]) -> None:
        """Metrics of one step; steps that were told before an interruption are not told again."""
        if self._entry and step > self._last_step:
            self._last_step = step
            self._entry.append("metrics", step=step, values=dict(metrics))

    def figures(self, values: Mapping[str, Any]) -> None:
        """What the stage came to: nested numbers; all else is left out."""
        if self._entry:
            self._entry.append("figures", values=flatten(values))

    def headline(self, values: Mapping[str, Any]) -> None:
        """Figures that the whole execution is known by: they go to the parent's run too."""
        self.figures(values)
        parent = self._entry.header.parent if self._entry else None
        if parent and (SPOOL / parent).is_dir():
            Entry(SPOOL / parent).append("figures", values=flatten(values))

    def file(self, path: Path, name: str | None = None) -> None:
        """A small file worth keeping with the run, as it is now; `name` may hold folders."""
        if self._entry:
            self._entry.add_file(path, name or path.name)


@contextmanager
def tracked(
    params: Params,
    stage: str,
    *sections: str,
    method: str | None = None,
    work: Path | None = None,
    live: bool = False,
) -> Iterator[Run]:
    """Open a stage's run: it ends finished, stopped (a signal) or failed, with the fault's first line.

    Args:
        sections: of params.yaml, whose values are the run's parameters beside the seed; `methods` stands for the
            settings of `method`.
        work: the stage's folder of unfinished results; while it is there, the next process goes on with this run.
        live: bring the metrics to the trackers while they come, by a process beside this one.
    """
    if not params.tracking.report_to:
        yield Run(None)
        return
    name = f"{stage}@{method}" if method else stage
    note = work / _RUN_NOTE if work else None
    run_id = _to_go_on_with(note) or new_id()
    with exclusive(run_id):  # while it is held, nobody takes the run for dead
        entry = Entry(SPOOL / run_id)
        if entry.folder.is_dir():
            entry.address(list(params.tracking.report_to))
            entry.go_on()
        else:
            entry = _new_run(params, stage, sections, method, name, run_id, work)
        if note:
            note.write_text(run_id)
        with _delivered_meanwhile(run_id) if live else nullcontext(), _ended(entry):
            yield Run(entry)


def untracked(params: Params, stage: str, method: str) -> Header:
    """A run that stands in the registry's store alone, where no tracker is wanted."""
    settings = params.methods[method].model_dump(mode="json")
    return Header(
        id=new_id(),
        experiment=params.experiment,
        name=f"{stage}@{method}",
        stage=stage,
        report_to=[],
        started=time.time(),
        params=flatten({"seed": params.seed, **settings}),
        tags=origin_tags(),
    )


def _to_go_on_with(note: Path | None) -> str | None:
    """The run that an earlier process of the same work began; None when there is none, or the spool forgot it."""
    if note is None or not note.exists():
        return None
    run_id = note.read_text().strip()
    return run_id if (SPOOL / run_id / "run.json").exists() else None


def _new_run(
    params: Params,
    stage: str,
    sections: tuple[str, ...],
    method: str | None,
    name: str,
    run_id: str,
    work: Path | None,
) -> Entry:
    settings = params.model_dump(mode="json", by_alias=True, include={"seed", *sections} - {"methods"})
    if "register" in sections:
        settings["register"] = params.registration.model_dump(mode="json")
    if method and "methods" in sections:
        settings |= params.methods[method].model_dump(mode="json")
    parent = _execution_of(params)
    return Entry.create(
        Header(
            id=run_id,
            experiment=params.experiment,
            name=name,
            stage=stage,
            report_to=list(params.tracking.report_to),
            started=time.time(),
            parent=parent.id,
            group=parent.name,
            params=flatten(settings),
            tags={**origin_tags(), **({"method": method} if method else {})},
            work=str(work) if work else None,
        )
    )


@contextmanager
def _ended(entry: Entry) -> Iterator[None]:
    """Tell how the block ended; under a bare `dvc repro` that is also how the execution stands."""
    state: State = "finished"
    error = ""
    try:
        yield
    except Exception as fault:
        state, error = "failed", f"{type(fault).__name__}: {(str(fault).splitlines() or [''])[0]}"[:_ERROR_LENGTH]
        raise
    except BaseException:
        state = "stopped"
        raise
    finally:
        entry.append("end", state=state, error=error)
        parent = entry.header.parent
        if state != "finished" and EXECUTION not in os.environ and parent and (SPOOL / parent).is_dir():
            Entry(SPOOL / parent).append("end", state=state)


def _key(params: Params) -> str:
    """Hash of the settings that decide results."""
    settings = params.model_dump(mode="json", by_alias=True, exclude={"tracking"})
    return hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()[:16]


def _execution_of(params: Params) -> Header:
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


def deliver() -> None:
    """Bring what lies in the spool to the trackers; costs nothing when it is empty.

    Runs in a process of its own: whatever a tracker does, this one goes on.
    """
    if not entries():
        return
    try:
        subprocess.run(_delivery_command(), stdin=subprocess.DEVNULL, timeout=_DELIVERY_S, check=False)
    except subprocess.TimeoutExpired:
        print(f"tracking: not all is delivered after {_DELIVERY_S} s; the rest waits in {SPOOL}", file=sys.stderr)
    except OSError as error:
        print(f"tracking: no process for the delivery ({error}); all waits in {SPOOL}", file=sys.stderr)


@contextmanager
def _delivered_meanwhile(run_id: str) -> Iterator[None]:
    """A process beside ours that brings the news of this run to the trackers as they come.

    It ends after its standard input does, so also when this process dies. For the last news we wait a little; a slow
    tracker gets them while the next stages run.
    """
    command = [*_delivery_command(), "--live", run_id]
    try:  # a session of its own: Ctrl-C is for us, and we tell it
        process = subprocess.Popen(command, stdin=subprocess.PIPE, start_new_session=True)
    except OSError as error:
        print(f"tracking: no process for the delivery ({error}); all waits in {SPOOL}", file=sys.stderr)
        yield
        return
    try:
        yield
    finally:
        assert process.stdin is not None
        process.stdin.close()
        with suppress(subprocess.TimeoutExpired):
            process.wait(_LAST_NEWS_S)


def _delivery_command() -> list[str]:
    return [sys.executable, "-m", "greenlit.tracking.delivery"]
