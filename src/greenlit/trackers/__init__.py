"""Trackers by the name that `tracking.report_to` gives them."""

from greenlit.trackers.mlflow import MlflowReporter
from greenlit.trackers.reporter import Reporter
from greenlit.trackers.tensorboard import TensorBoardReporter
from greenlit.trackers.wandb import WandbReporter

REPORTERS: dict[str, type[Reporter]] = {
    "mlflow": MlflowReporter,
    "wandb": WandbReporter,
    "tensorboard": TensorBoardReporter,
}
