"""What this machine has: cores, threads, versions. None of it is a tracked parameter; all of it goes into manifests."""

import os
import platform
import sys
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from greenlit.errors import ConfigError

_THREAD_VARIABLES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")
_PACKAGES = ("greenlit", "torch", "transformers", "trl", "peft", "datasets", "tokenizers", "numpy", "mlflow")


def cores() -> int:
    """CPU cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def workers() -> int:
    """Worker processes: GREENLIT_WORKERS, else one per core. Changes the speed, never the result.

    Raises:
        ConfigError: GREENLIT_WORKERS is no positive integer.
    """
    said = os.environ.get("GREENLIT_WORKERS")
    if said is None:
        return cores()
    if not said.isdecimal() or int(said) < 1:
        raise ConfigError(f"GREENLIT_WORKERS: must be an integer >= 1 (found {said!r})")
    return int(said)


def limit_threads(threads: int) -> None:
    """Set the threads per process of numerical libraries; call it before torch or numpy loads.

    One thread per process is the robust default for small models: OpenMP's spinning barriers cost a factor of five
    and more as soon as anything else runs on the cores (measured in docs/lab-book.md).
    """
    for variable in _THREAD_VARIABLES:
        os.environ[variable] = str(threads)
    os.environ["TOKENIZERS_PARALLELISM"] = "false"
    torch = sys.modules.get("torch")
    if torch is not None:
        torch.set_num_threads(threads)


def quiet_libraries() -> None:
    """Telemetry off, hub progress bars off; a token from .env becomes part of the environment.

    `HF_HUB_OFFLINE` is the user's to set: hub models are downloaded once, then read from the cache.

    scikit-learn counts as not installed from here on: transformers would import it, with scipy.stats and pandas behind
    it, for assisted generation, which no stage uses. That is 0.7 s of the 3.9 s that a stage with a model starts in.
    """
    sys.modules.setdefault("sklearn", None)  # type: ignore[arg-type]
    from dotenv import load_dotenv

    load_dotenv(".env")
    for variable in ("HF_HUB_DISABLE_TELEMETRY", "DO_NOT_TRACK", "MLFLOW_DISABLE_TELEMETRY"):
        os.environ.setdefault(variable, "1" if variable != "MLFLOW_DISABLE_TELEMETRY" else "true")
    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    os.environ.setdefault("TRANSFORMERS_NO_ADVISORY_WARNINGS", "1")
    if "HUGGING_FACE_HUB_TOKEN" in os.environ:
        os.environ.setdefault("HF_TOKEN", os.environ["HUGGING_FACE_HUB_TOKEN"])


def facts() -> dict[str, Any]:
    """Versions and hardware, for manifests; imports nothing heavy."""
    packages = {}
    for name in _PACKAGES:
        try:
            packages[name] = version(name)
        except PackageNotFoundError:
            packages[name] = None
    return {
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.machine()}",
        "cores": cores(),
        "packages": packages,
    }
