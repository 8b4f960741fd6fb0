"""TensorBoard: event files in `.work/tensorboard/<execution>/<stage>-<run>/`, which DVC neither caches nor deletes.

`tensorboard --logdir .work/tensorboard` shows them.
"""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from greenlit.stage.workspace import WORK
from greenlit.trackers.reporter import Reporter
from greenlit.tracking.spool import Header
from greenlit.tracking.values import Point, numbers

FOLDER = WORK / "tensorboard"
_ID_SHOWN = 6


class TensorBoardReporter(Reporter):
    """One run in TensorBoard: its curves; figures are points at step 0."""

    def __init__(self, header: Header, known: dict[str, str]) -> None:
        name = f"{header.name}-{header.id[:_ID_SHOWN]}"
        self._folder: Path = FOLDER / (header.group or header.experiment) / name
        self._writer: Any = None

    def metrics(self, points: Sequence[Point]) -> None:
        """Written and flushed: they show at once."""
        shown = [(point, values) for point in points if (values := numbers(point.values))]
        if not shown:
            return
        from tensorboard.compat.proto.event_pb2 import Event
        from tensorboard.compat.proto.summary_pb2 import Summary

        writer = self._open()
        for point, values in shown:
            scalars = [Summary.Value(tag=tag, simple_value=value) for tag, value in values.items()]
            writer.add_event(Event(step=point.step, wall_time=point.time, summary=Summary(value=scalars)))
        writer.flush()

    def figures(self, values: Mapping[str, Any], time: float) -> None:
        """As points at step 0."""
        self.metrics([Point(0, time, values)])

    def close(self) -> None:
        """Close the event file; going on later begins another beside it."""
        if self._writer is not None:
            self._writer.close()

    def _open(self) -> Any:
        """The event file, made with the first point: a run without any shows nothing."""
        if self._writer is None:
            os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
            from tensorboard.summary.writer.event_file_writer import EventFileWriter

            self._folder.mkdir(parents=True, exist_ok=True)
            self._writer = EventFileWriter(str(self._folder))
        return self._writer
