"""The trackers, and what waits for them. Secrets are never shown."""

from collections.abc import Iterator

from greenlit.doctor.lines import INSTALL, Line, installed, read_params
from greenlit.stage.secrets import without_password
from greenlit.trackers import delivery, wandb
from greenlit.trackers.mlflow_store import store_fault, tracking_uri
from greenlit.trackers.tensorboard import FOLDER as TENSORBOARD
from greenlit.tracking import spool


def trackers() -> Iterator[Line]:
    """Those that `tracking.report_to` names (MLflow keeps the models too), and what waits. Secrets are never shown."""
    params, _ = read_params()
    chosen = params.tracking.report_to if params else ["mlflow"]
    yield _mlflow()
    if "wandb" in chosen:
        yield _wandb()
    if "tensorboard" in chosen:
        shown = f"tensorboard --logdir {TENSORBOARD}"
        missing = installed("tensorboard") is None
        yield Line(
            "trackers",
            "tensorboard",
            "red" if missing else "green",
            "not installed" if missing else shown,
            INSTALL if missing else None,
        )
    waiting = delivery.undelivered()
    if waiting:
        text = (
            f"{len(waiting)} runs wait in {spool.SPOOL} ({', '.join(waiting[:3])}{', ...' if len(waiting) > 3 else ''})"
        )
        fix = (
            "see that the trackers answer; then `greenlit run` delivers them, or `python -m greenlit.trackers.delivery`"
        )
        yield Line("trackers", "undelivered", "yellow", text, fix)


def _mlflow() -> Line:
    uri = tracking_uri()
    shown = without_password(uri)
    fault = store_fault(uri)
    if not fault:
        return Line("trackers", "mlflow", "green", shown)
    fix = "check MLFLOW_TRACKING_URI; unset it to use mlflow.db in the project"
    return Line("trackers", "mlflow", "red", f"{shown}: {fault}", fix)


def _wandb() -> Line:
    if installed("wandb") is None:
        return Line("trackers", "wandb", "red", "not installed", INSTALL)
    why = wandb.why_offline()
    if why is None:
        return Line("trackers", "wandb", "green", f"online, {without_password(wandb.server())}")
    if why.startswith("WANDB_MODE"):
        return Line("trackers", "wandb", "green", why)
    fix = f"set WANDB_API_KEY (.env will do), or upload later: `wandb sync {wandb.FOLDER}/offline-run-*`"
    return Line("trackers", "wandb", "yellow", f"offline: {why}", fix)
