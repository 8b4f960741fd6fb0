"""What this machine has: cores, threads, versions. None of it is a tracked parameter; all of it goes into manifests."""

import os
import platform
import shutil
import subprocess
import sys
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from greenlit.errors import ConfigError

_THREAD_VARIABLES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")
_PACKAGES = (
    "greenlit",
    "torch",
    "transformers",
    "trl",
    "peft",
    "accelerate",
    "datasets",
    "tokenizers",
    "safetensors",
    "numpy",
    "scipy",
    "pandas",
    "sympy",
    "radon",
    "rapidfuzz",
    "matplotlib",
    "pydantic",
    "mlflow",
    "vllm",
)
"""Whose versions can change what a stage computes, renders or runs programs with."""


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
    So does wandb, which every trainer of TRL imports: 4 of 12 s of CPU time; stages report to trackers by the spool.
    """
    for unused in ("sklearn", "wandb"):
        sys.modules.setdefault(unused, None)  # type: ignore[arg-type]
    from dotenv import load_dotenv

    load_dotenv(".env")
    for variable in ("HF_HUB_DISABLE_TELEMETRY", "DO_NOT_TRACK", "MLFLOW_DISABLE_TELEMETRY"):
        os.environ.setdefault(variable, "1" if variable != "MLFLOW_DISABLE_TELEMETRY" else "true")
    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    os.environ.setdefault("TRANSFORMERS_NO_ADVISORY_WARNINGS", "1")
    if "HUGGING_FACE_HUB_TOKEN" in os.environ:
        os.environ.setdefault("HF_TOKEN", os.environ["HUGGING_FACE_HUB_TOKEN"])


def made_with(seed: int) -> dict[str, Any]:
    """What every manifest says of how it was made: the seed, and the facts below."""
    return {"seed": seed, **facts()}


def facts() -> dict[str, Any]:
    """Hardware and versions that can change a result; imports nothing heavy.

    The same on every call on the same machine, so that files which hold it repeat byte by byte: no time, no free
    memory, no process id. The git commit is not among them, because an unrelated commit would change such files; it
    stands in the run's record.

    Returns:
        {"python", "system", "processor", "cores" (that this process may use), "memory_gib" (of the machine),
        "gpus": [name], "gpu_driver", "threads" (per process of the numerical libraries; null: their own choice),
        "packages": {name: version, null where it is not installed}}
    """
    import psutil

    names, driver = _gpus()
    threads = os.environ.get(_THREAD_VARIABLES[0], "")
    return {
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.machine()}",
        "processor": _processor(),
        "cores": cores(),
        "memory_gib": round(psutil.virtual_memory().total / 2**30, 1),
        "gpus": list(names),
        "gpu_driver": driver,
        "threads": int(threads) if threads.isdecimal() else None,
        "packages": {name: _version(name) for name in _PACKAGES},
    }


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def gpus() -> tuple[str, ...]:
    """Names of NVIDIA's GPUs in this machine."""
    return _gpus()[0]


@cache
def _processor() -> str:
    """The processor's model name: /proc/cpuinfo on Linux (not there on ARM), sysctl on macOS, else the architecture."""
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        named = [line.partition(":")[2].strip() for line in cpuinfo.read_text().splitlines() if "model name" in line]
        return named[0] if named else platform.machine()
    return _output_of(["sysctl", "-n", "machdep.cpu.brand_string"]) or platform.machine()


@cache
def _gpus() -> tuple[tuple[str, ...], str | None]:
    """Names of NVIDIA's GPUs and their driver's version, as nvidia-smi tells them; none where there is none."""
    listed = _output_of(["nvidia-smi", "--query-gpu=name,driver_version", "--format=csv,noheader"])
    rows = [tuple(part.strip() for part in line.rpartition(",")[::2]) for line in listed.splitlines() if "," in line]
    return tuple(name for name, _ in rows), rows[0][1] if rows else None


def _output_of(command: list[str]) -> str:
    """What a small tool of the system prints; empty where it is missing, fails or hangs."""
    if shutil.which(command[0]) is None:
        return ""
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=20)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""
