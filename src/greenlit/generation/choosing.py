"""Which backend generates, and on what: `auto` decides by what this machine has."""

import os
import sys
from collections.abc import Mapping
from importlib.util import find_spec

from greenlit.config import SamplingParams
from greenlit.config.machine import VLLM_CPU, has_cuda


def picked(params: SamplingParams) -> SamplingParams:
    """The settings with a backend in the place of `auto`; what is picked, and why, is told on stderr."""
    if params.backend != "auto":
        return params
    backend, why = _best()
    print(f"backend auto: {backend} ({why})", file=sys.stderr)
    return params.model_copy(update={"backend": backend})


def _best(environment: Mapping[str, str] = os.environ) -> tuple[str, str]:
    installed = find_spec("vllm") is not None
    if has_cuda() and installed:
        return "vllm", "it is installed, and there is a CUDA GPU"
    if installed and environment.get(VLLM_CPU) == "1":
        return "vllm", f"it is installed, and {VLLM_CPU} is set"
    if not has_cuda():
        return "transformers", "no CUDA GPU here, which vLLM needs"
    return "transformers", "vllm is not installed: pip install -r requirements-gpu.txt -c requirements.lock"
