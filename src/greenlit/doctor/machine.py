"""Cores, memory, disk, GPUs."""

import os
import shutil
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import psutil

from greenlit.config import AnnotateParams
from greenlit.doctor.lines import Line, output, read_params
from greenlit.errors import ConfigError
from greenlit.stage.hardware import cores, workers

DISK_RED_GIB, DISK_YELLOW_GIB = 1, 5
_GIB = 1 << 30


def machine() -> Iterator[Line]:
    """Cores, workers, threads, memory, disk."""
    yield Line("machine", "cores", "green", str(cores()))
    count = 1
    try:
        count = workers()
        yield Line("machine", "workers", "green", f"{count} (GREENLIT_WORKERS sets another number)")
    except ConfigError as error:
        yield Line("machine", "workers", "red", str(error.args[0]), "unset GREENLIT_WORKERS, or set it to 1 or more")
    threads = os.environ.get("OMP_NUM_THREADS")
    yield Line("machine", "threads", "green", f"OMP_NUM_THREADS={threads}" if threads else "set by each stage")
    yield _memory(count)
    for name, folder in (("disk here", Path.cwd()), ("disk for temporary files", Path(tempfile.gettempdir()))):
        yield _disk(name, folder)


def _memory(count: int) -> Line:
    """Enough for candidates at all workers?"""
    params, _ = read_params()
    most_mib = (params.annotate if params else AnnotateParams()).memory_mib
    memory = psutil.virtual_memory()
    text = f"{memory.available / _GIB:.1f} of {memory.total / _GIB:.1f} GiB free"
    if count * most_mib << 20 <= memory.available:
        return Line("machine", "memory", "green", text)
    fix = f"lower GREENLIT_WORKERS: {count} candidates of up to {most_mib} MiB may run at once"
    return Line("machine", "memory", "yellow", text, fix)


def _disk(name: str, folder: Path) -> Line:
    free = shutil.disk_usage(folder).free / _GIB
    text = f"{free:.1f} GiB free"
    if free >= DISK_YELLOW_GIB:
        return Line("machine", name, "green", text)
    fix = "make room: models, caches and results need several GiB (`dvc gc -w` frees old results)"
    return Line("machine", name, "red" if free < DISK_RED_GIB else "yellow", text, fix)


def gpu() -> Iterator[Line]:
    """The cards, by the driver's own tool, and whether torch sees them."""
    tool = shutil.which("nvidia-smi")
    query = ["--query-gpu=name,memory.total,driver_version", "--format=csv,noheader"]
    cards = output([tool, *query]) if tool else None
    if not cards:
        yield Line("gpu", "cards", "green", "none; everything runs on the CPU")
        return
    for card in cards.splitlines():
        yield Line("gpu", "card", "green", card)
    seen = output([sys.executable, "-c", "import torch; print(torch.cuda.device_count(), torch.version.cuda)"])
    if seen and not seen.startswith("0 "):
        yield Line("gpu", "torch", "green", f"sees {seen.split()[0]}, built for CUDA {seen.split()[-1]}")
    else:
        fix = "install torch for this driver: `make setup` without a CPU-only TORCH_ARGS"
        yield Line("gpu", "torch", "yellow", "sees no card", fix)
