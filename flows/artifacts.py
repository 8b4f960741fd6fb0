"""What a run came to, on its page: the result table with intervals, the report, links to MLflow and to the files."""

from collections.abc import Sequence
from typing import Any

from prefect import get_run_logger
from prefect.artifacts import create_link_artifact, create_markdown_artifact, create_table_artifact

from flows.progress import key_of
from flows.services import url_of
from greenlit.config import Params
from greenlit.errors import GreenlitError
from greenlit.evaluation.compare import metrics_of
from greenlit.evaluation.report import COLUMNS, figure_text, headline, table_rows, table_title
from greenlit.evaluation.tables import shown_split
from greenlit.jsonl import read_json
from greenlit.paths import Paths
from greenlit.trackers.mlflow_store import open_client, tracking_uri


def show_results(params: Params, stages: Sequence[str]) -> str:
    """Make the artifacts of what these stages came to; returns the answer in a sentence.

    A server that does not take an artifact costs a line in the log: the files are there.
    """
    try:
        said = _show(params, set(stages))
        if said:
            _link_mlflow(params)
        return said or f"{len(stages)} stages are up to date"
    except GreenlitError as fault:
        get_run_logger().warning(f"no artifact: {fault}")
    except Exception as fault:  # of Prefect's server or of MLflow's
        get_run_logger().warning(f"no artifact: {type(fault).__name__}: {fault}")
    return f"{len(stages)} stages are up to date"


def _show(params: Params, stages: set[str]) -> str:
    paths = Paths.of(params)
    if "report" in stages and paths.report("summary.json").exists():
        summary = read_json(paths.report("summary.json"))
        split = shown_split(summary)
        show_table("results", params.experiment, COLUMNS, table_rows(summary, split), table_title(summary, split))
        report = paths.report("summary.md")
        create_markdown_artifact(
            report.read_text(encoding="utf-8"), key=key_of(f"report-{params.experiment}"), description=str(report)
        )
        _link_files(params, paths)
        return headline(summary)
    if "baseline" in stages and paths.evaluation(None).exists():
        document = read_json(paths.evaluation(None))
        rows = [
            (split, metric, figure_text(figures[metric]))
            for split, figures in document["splits"].items()
            for metric in metrics_of(document)
        ]
        title = (
            f"{params.experiment}: the base model, [low, high] at {document['settings']['confidence']:.0%} confidence"
        )
        show_table("results", params.experiment, ("split", "metric", "figure"), rows, title)
        return f"{len(stages)} stages are up to date; {rows[0][0]} {rows[0][1]} of the base model: {rows[0][2]}"
    return ""


def show_table(kind: str, name: str, columns: Sequence[str], rows: Sequence[Sequence[Any]], title: str) -> None:
    """A table as an artifact, with the title as its description."""
    table = [dict(zip(columns, row, strict=True)) for row in rows]
    create_table_artifact(table, key=key_of(f"{kind}-{name}"), description=title)


def _link_files(params: Params, paths: Paths) -> None:
    """Links to the report as HTML, where there is one, else to the Markdown file."""
    for ending in ("summary.html", "summary.md"):
        path = paths.report(ending)
        if path.exists():
            key = key_of(f"report-file-{params.experiment}")
            create_link_artifact(path.resolve().as_uri(), link_text=str(path), key=key, description="on this machine")
            return


def _link_mlflow(params: Params) -> None:
    """A link to the newest execution of the experiment, where MLflow's pages have an address."""
    if "mlflow" not in params.tracking.report_to:
        return
    address = tracking_uri()
    pages = address if address.startswith(("http://", "https://")) else url_of("mlflow")  # of `make up`, for this file
    if pages is None:
        get_run_logger().info(f"MLflow: `mlflow ui --backend-store-uri {address}` shows this run")
        return
    client = open_client(address)
    experiment = client.get_experiment_by_name(params.experiment)
    if experiment is None:
        return
    newest = client.search_runs([experiment.experiment_id], order_by=["attributes.start_time DESC"], max_results=50)
    runs = [run for run in newest if "stage" not in run.data.tags]
    place = f"{pages.rstrip('/')}/#/experiments/{experiment.experiment_id}"
    link = f"{place}/runs/{runs[0].info.run_id}" if runs else place
    name = str(runs[0].info.run_name) if runs else params.experiment
    create_link_artifact(link, link_text=f"MLflow: {name}", key=key_of(f"mlflow-{params.experiment}"))
