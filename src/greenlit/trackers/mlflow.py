"""MLflow: a run per stage below a run per execution; our own parameters, metrics by step, small files.

A run is found again by its tag `greenlit_run`, and MLflow keeps a point that comes twice once: nothing is doubled when
a delivery breaks off and the next one begins a little before.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

from greenlit.trackers.mlflow_store import (
    experiment_id,
    log_metrics,
    log_params,
    mlflow_faults,
    open_client,
    store_key,
    tracking_uri,
    uri_hash,
)
from greenlit.trackers.reporter import Reporter
from greenlit.tracking.spool import Header, State
from greenlit.tracking.values import Point

RUN_TAG = "greenlit_run"
PARENT_TAG = "mlflow.parentRunId"
_STATES: dict[State | None, str] = {
    None: "RUNNING",
    "finished": "FINISHED",
    "failed": "FAILED",
    "stopped": "KILLED",
    "killed": "KILLED",
}


class MlflowReporter(Reporter):
    """One run in MLflow."""

    parents = True

    @staticmethod
    def target() -> str:
        """The store."""
        return uri_hash(tracking_uri())

    def __init__(self, header: Header, known: dict[str, str], uri: str | None = None) -> None:
        self._uri = uri or tracking_uri()
        self._client = open_client(self._uri)
        with mlflow_faults(self._uri):
            if "run_id" not in known:
                known["run_id"] = self._begin(header)
        self.run_id = known["run_id"]
        """MLflow's own."""

    def _begin(self, header: Header) -> str:
        experiment = experiment_id(self._client, header.experiment, self._uri)
        found = self._find(experiment, header.id)
        if found is None:
            parent = self._find(experiment, header.parent) if header.parent else None
            tags = {
                RUN_TAG: header.id,
                "mlflow.source.git.commit": header.tags.get("git_commit", ""),
                **({"stage": header.stage} if header.stage else {}),
                **({PARENT_TAG: parent} if parent else {}),
                **header.tags,
            }
            run = self._client.create_run(
                experiment,
                start_time=round(header.started * 1000),
                run_name=header.name,
                tags={store_key(key): value for key, value in tags.items() if value},
            )
            found = run.info.run_id
        log_params(self._client, found, header.params)
        return found

    def _find(self, experiment: str, run_id: str) -> str | None:
        """MLflow's id of a run that we delivered before."""
        found = self._client.search_runs([experiment], f"tags.{RUN_TAG} = '{run_id}'", max_results=1)
        return found[0].info.run_id if found else None

    def metrics(self, points: Sequence[Point]) -> None:
        """By step, in large requests."""
        with mlflow_faults(self._uri):
            log_metrics(self._client, self.run_id, points)

    def figures(self, values: Mapping[str, Any], time: float) -> None:
        """As metrics of step 0."""
        self.metrics([Point(0, time, values)])

    def file(self, path: Path, name: str) -> None:
        """As an artifact."""
        folder = PurePosixPath(name).parent.as_posix()
        with mlflow_faults(self._uri):
            self._client.log_artifact(self.run_id, str(path), None if folder == "." else folder)

    def folder(self, folder: Path, name: str) -> str:
        """A whole folder as artifacts; returns its URI."""
        with mlflow_faults(self._uri):
            self._client.log_artifacts(self.run_id, str(folder), name)
            return f"{self._client.get_run(self.run_id).info.artifact_uri}/{name}"

    def state(self, state: State | None, time: float, error: str) -> None:
        """As the run's status; the fault's first line as a tag."""
        with mlflow_faults(self._uri):
            if state is None:
                self._client.update_run(self.run_id, status=_STATES[None])
                return
            if error:
                self._client.set_tag(self.run_id, "error", error)
            self._client.set_terminated(self.run_id, _STATES[state], round(time * 1000))
