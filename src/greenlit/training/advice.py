"""What to do when a training breaks: a loss that is no number or runs away, memory that does not suffice."""

import math
import re
import statistics
from collections import deque
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from greenlit.config import OnlineParams, TrainingParams
from greenlit.errors import ConfigError, GreenlitError, WorldError
from greenlit.stage.faults import first_line, is_no_memory
from greenlit.training.checkpoints import Checkpoints

RUNAWAY_STEPS = 20
"""Steps in a row with a loss far above its start after which a training has run away."""
DEAD_STEPS = 3
"""The same with no gradient at all."""
_START_STEPS = 3
_NAMES = {"loss": "the loss", "grad_norm": "the gradient", "eval_loss": "the loss on held-out rows"}
_USUAL_ADAPTER, _USUAL_FULL = 1e-3, 1e-4
"""Learning rates that are rather high."""
_GIB = 1 << 30


class Watch:
    """Called with every step's metrics; ends a training whose numbers broke.

    Loss and gradient must be numbers. With `loss_tells`, which does not hold for online methods, whose losses hover
    around 0 and whose gradient may be 0, the loss must also

    - not stay above three times its start (median of the first three steps) plus one for RUNAWAY_STEPS steps in a row,
      nor ever exceed a hundred times that;
    - not stand still above its start, with a gradient of exactly 0, for DEAD_STEPS steps in a row: weights so large
      that nothing comes through a norm.
    """

    def __init__(self, method: str, params: TrainingParams, loss_tells: bool = True) -> None:
        self._method, self._params, self._loss_tells = method, params, loss_tells
        self._starts: list[float] = []
        self._last: deque[tuple[int, float]] = deque(maxlen=3)
        self._dead = 0
        self.sound = 0
        """The last step whose loss was as it should be: the weights before it were."""

    def __call__(self, step: int, metrics: Mapping[str, float]) -> None:
        """Look at one step, or at one measurement.

        Raises:
            ConfigError: the training broke; says what the numbers were and what to change.
        """
        for key in _NAMES:
            if not math.isfinite(metrics.get(key, 0.0)):
                raise self._broken(f"{_NAMES[key]} is {metrics[key]} at step {step}")
        if "loss" not in metrics:
            return
        loss = metrics["loss"]
        if len(self._starts) < _START_STEPS:
            self._starts.append(loss)
        if self._loss_tells and (fault := self._fault(step, loss, metrics.get("grad_norm"))):
            raise self._broken(fault)
        self._last.append((step, loss))

    def _fault(self, step: int, loss: float, gradient: float | None) -> str | None:
        most = 3 * abs(statistics.median(self._starts)) + 1
        self._dead = self._dead + 1 if gradient == 0 and loss >= self._starts[0] else 0
        if loss <= most and not self._dead:
            self.sound = step
        if self._dead >= DEAD_STEPS:
            return f"no gradient is left since step {step - DEAD_STEPS + 1}, and the loss stands at {loss:.4g}"
        if loss > 100 * most or (loss > most and step - self.sound >= RUNAWAY_STEPS):
            return f"the loss has run away: {loss:.4g} at step {step}"
        return None

    @contextmanager
    def forgetting(self, checkpoints: Checkpoints) -> Iterator[None]:
        """Around the training: where it broke, the checkpoints since the last sound step are broken too, and go."""
        try:
            yield
        except ConfigError:
            checkpoints.forget_from(max(1, self.sound))
            raise

    def require_sound(self, model: Any) -> None:
        """No weight may be nan or infinite after the last step.

        Raises:
            ConfigError: one is.
        """
        for name, weights in model.named_parameters():
            if weights.requires_grad and not bool(weights.isfinite().all()):
                raise self._broken(f"weights are no numbers after the last step ({name})")

    def _broken(self, what: str) -> ConfigError:
        before = ", ".join(f"{loss:.4g} at step {step}" for step, loss in self._last)
        began = f"; it began at {self._starts[0]:.4g}" if self._starts and self._last and self._last[0][0] > 1 else ""
        history = f"; before: {before}{began}" if before else ""
        return ConfigError(
            f"{self._method}: {what}{history}; with {_settings(self._params)}", hint=_cooler(self._params)
        )


def _settings(params: TrainingParams) -> str:
    names = ("learning_rate", "warmup_ratio", "max_grad_norm", "beta", "sft_weight", "entropy_coef", "dtype")
    return ", ".join(f"{name} {_shown(getattr(params, name))}" for name in names if hasattr(params, name))


def _shown(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)


def _cooler(params: TrainingParams) -> str:
    """What makes a training calmer, most likely first."""
    usual = _USUAL_ADAPTER if params.lora else _USUAL_FULL
    steps = [f"lower learning_rate to {params.learning_rate / 10 if params.learning_rate <= 10 * usual else usual:g}"]
    if params.warmup_ratio == 0:
        steps.append("warm up (warmup_ratio: 0.1)")
    beta = getattr(params, "beta", None)
    if beta is not None:
        more = f"{beta * 2:g}" if beta else "0.05"
        steps.append(f"stay nearer to the start model (beta: {more})")
    if isinstance(params, OnlineParams):
        steps.append("scale rewards down to about 1 (`rewards`)")
    if params.dtype != "float32":
        steps.append("compute in float32")
    return f"{'; then '.join(steps)}. Nothing of this run was saved"


@dataclass(frozen=True)
class Memory:
    """Of the device that ran out, in bytes."""

    place: str
    free: int
    total: int
    ours: int


@contextmanager
def memory_told(method: str, params: TrainingParams) -> Iterator[None]:
    """Around a training: where memory does not suffice, one error with numbers and what to halve.

    Raises:
        ConfigError: the settings need more than the machine has.
        WorldError: others hold what is missing.
    """
    try:
        yield
    except (MemoryError, RuntimeError) as fault:
        if isinstance(fault, GreenlitError) or not is_no_memory(fault):
            raise
        raise out_of_memory(fault, method, params, memory()) from fault


def out_of_memory(fault: BaseException, method: str, params: TrainingParams, memory: Memory) -> GreenlitError:
    """The error that says how much was asked for and there, and what to change."""
    asked = asked_bytes(str(fault))
    wanted = f"asked for {asked / _GIB:.3g} GiB" if asked is not None else first_line(fault)
    sizes = [f"batch_size {params.batch_size}", f"max_length {params.max_length}"]
    if isinstance(params, OnlineParams):
        sizes.append(f"max_new_tokens {params.max_new_tokens}")
    sizes += ["all weights" if params.lora is None else f"LoRA of rank {params.lora.r}", params.dtype]
    message = (
        f"{method}: not enough memory on {memory.place}: {wanted}; {memory.free / _GIB:.3g} of "
        f"{memory.total / _GIB:.3g} GiB are free, {memory.ours / _GIB:.3g} are ours ({', '.join(sizes)})"
    )
    hopeless = memory.ours + (asked or 0) > memory.total
    others = "" if hopeless else f"free {memory.place} of other processes and run it again, or "
    return (ConfigError if hopeless else WorldError)(message, hint=others + _smaller(params))


def _smaller(params: TrainingParams) -> str:
    """What takes less memory, what costs nothing first."""
    if params.batch_size > 1:
        half = params.batch_size // 2
        steps = [f"halve batch_size to {half} and double accumulate to {params.accumulate * 2} (the same steps)"]
    else:
        steps = [f"halve max_length to {max(16, params.max_length // 2)}; longer rows are left out"]
    if not params.gradient_checkpointing:
        steps.append("gradient_checkpointing: true (the same result, slower)")
    if params.lora is None:
        steps.append("train an adapter (lora: {r: 16, alpha: 32})")
    if params.dtype == "float32":
        steps.append("dtype: bfloat16")
    return "; ".join(steps)


_ASKED = re.compile(r"tried to allocate ([\d.]+) ?(bytes|[KMGT]iB)", re.IGNORECASE)
_UNITS = {"bytes": 1, "kib": 1 << 10, "mib": 1 << 20, "gib": 1 << 30, "tib": 1 << 40}


def asked_bytes(text: str) -> int | None:
    """How much was asked for, as torch's messages say it; None when they don't."""
    found = _ASKED.search(text)
    return int(float(found[1]) * _UNITS[found[2].lower()]) if found else None


def memory() -> Memory:
    """Of the GPU we use, else of the machine or of what a limit (`ulimit -v`) leaves us of it."""
    import resource

    import psutil
    import torch

    if torch.cuda.is_available():
        free, total = torch.cuda.mem_get_info()
        return Memory(torch.cuda.get_device_name(), free, total, torch.cuda.memory_reserved())
    here, machine = psutil.Process().memory_info(), psutil.virtual_memory()
    limit, _ = resource.getrlimit(resource.RLIMIT_AS)
    if limit == resource.RLIM_INFINITY or limit > machine.total:
        return Memory("this machine", machine.available, machine.total, here.rss)
    return Memory("this machine, as far as `ulimit -v` lets us", max(0, limit - here.vms), limit, here.vms)
