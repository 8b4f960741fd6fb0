"""Runs as the stages see them: open one, tell it figures and files. All goes to the spool, no tracker is asked."""

import os
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

from greenlit.config import Params
from greenlit.tracking.beside import delivered_meanwhile
from greenlit.tracking.executions import EXECUTION, execution_of
from greenlit.tracking.origin import origin_tags
from greenlit.tracking.spool import SPOOL, Entry, Header, State, exclusive, new_id, place_of
from greenlit.tracking.values import flatten

_RUN_NOTE = "tracking_run"
_ERROR_LENGTH = 300


class Run:
    """An open run; without a spool entry (`tracking.report_to` is empty) nobody listens."""

    def __init__(self, entry: Entry | None) -> None:
        self._entry = entry
        self._last_place = entry.last_place() if entry else -1.0

    def headers(self) -> tuple[Header | None, Header | None]:
        """Who it is and who its parent is, for those who write to a tracker themselves."""
        if self._entry is None:
            return None, None
        header = self._entry.header
        return header, Entry(SPOOL / header.parent).header if header.parent else None

    def log(self, step: int, metrics: Mapping[str, float]) -> None:
        """Metrics of one step, or of a measurement after it; what was told before an interruption is not told again."""
        if self._entry and place_of(step, metrics) > self._last_place:
            self._last_place = place_of(step, metrics)
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
        with delivered_meanwhile(run_id) if live else nullcontext(), _ended(entry):
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
    parent = execution_of(params)
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
