"""Trackers by the name that `tracking.report_to` gives them."""

from greenlit.tracking.reporters.mlflow import MlflowReporter
from greenlit.tracking.reporters.reporter import Reporter
from greenlit.tracking.reporters.tensorboard import TensorBoardReporter
from greenlit.tracking.reporters.wandb import WandbReporter

REPORTERS: dict[str, type[Reporter]] = {
    "mlflow": MlflowReporter,
    "wandb": WandbReporter,
    "tensorboard": TensorBoardReporter,
}
