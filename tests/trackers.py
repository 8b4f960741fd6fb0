"""What arrived in the trackers, read back without the code that brought it there."""

import struct
import sys
from pathlib import Path
from typing import Any

PARENT = "mlflow.parentRunId"


class Mlflow:
    """The runs of a store, by name."""

    def __init__(self, uri: str) -> None:
        from mlflow import MlflowClient

        self.client = MlflowClient(uri)

    def runs(self, experiment: str) -> list[Any]:
        """All runs of an experiment."""
        found = self.client.get_experiment_by_name(experiment)
        return self.client.search_runs([found.experiment_id], max_results=1000) if found else []

    def run(self, experiment: str, name: str) -> Any:
        """The one run of that name."""
        (run,) = [run for run in self.runs(experiment) if run.info.run_name == name]
        return run

    def parent(self, run: Any) -> Any:
        """The run above it."""
        return self.client.get_run(run.data.tags[PARENT])

    def curve(self, run: Any, metric: str) -> list[tuple[int, float]]:
        """(step, value) in the order of the steps."""
        history = self.client.get_metric_history(run.info.run_id, metric)
        return sorted((point.step, point.value) for point in history)

    def files(self, run: Any) -> list[str]:
        """Paths of the artifacts at the top."""
        return sorted(item.path for item in self.client.list_artifacts(run.info.run_id))


def tensorboard_curves(folder: Path) -> dict[str, list[tuple[int, float]]]:
    """Tag -> (step, value) of a run's event files."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    read = EventAccumulator(str(folder))
    read.Reload()
    return {tag: [(point.step, point.value) for point in read.Scalars(tag)] for tag in read.Tags()["scalars"]}


def wandb_records(file: Path) -> list[Any]:
    """The records of a `run-*.wandb` file: protobuf messages in LevelDB's log format."""
    hidden = sys.modules.get("wandb", True) is None  # a stage that ran in this process does without it
    if hidden:
        del sys.modules["wandb"]
    from wandb.proto.wandb_internal_pb2 import Record

    if hidden:
        sys.modules["wandb"] = None  # type: ignore[assignment]

    data, position, parts, records = file.read_bytes(), 7, b"", []
    while position + 7 <= len(data):
        left = 32768 - position % 32768
        if left < 7:
            position += left
            continue
        _, length, kind = struct.unpack("<IHB", data[position : position + 7])
        parts += data[position + 7 : position + 7 + length]
        position += 7 + length
        if kind in {1, 4}:  # full, or the last part
            records.append(Record.FromString(parts))
            parts = b""
    return records
