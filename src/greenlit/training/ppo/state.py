"""A run's state on disk: `checkpoint-<step>` holds all that the next step depends on.

adapter or weights, tokenizer   as transformers and peft read them
value_head.safetensors          where there is one
optimizer.pt, scheduler.pt      as torch saves them
rng_state_<process>.pt          random numbers of torch, numpy and Python
trainer_state.json              step, place in the order of problems, KL coefficient, counts, the log so far
"""

import random
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from greenlit.errors import MismatchError
from greenlit.jsonl import read_json, write_json
from greenlit.training.checkpoints import Checkpoints
from greenlit.training.ppo.learner import Learner
from greenlit.training.ppo.policy import save_value_head, save_weights

_STATE = "trainer_state.json"


@dataclass
class Progress:
    """How far a run is."""

    beta: float
    """KL coefficient of the next step."""
    processes: int
    step: int = 0
    problems: int = 0
    """Place in the order of problems."""
    completions: int = 0
    """Sampled to learn from."""
    unrewarded: int = 0
    """Of these, left out because they have no reward."""
    unrewarded_steps: int = 0
    """Steps up to now, one after the other, in which none had."""
    ended: str | None = None
    """Why the training ended early."""
    log_history: list[dict[str, float]] = field(default_factory=list)


def save_state(checkpoints: Checkpoints, progress: Progress, learner: Learner, tokenizer: Any) -> None:
    """Write a checkpoint; every process calls this, and only that of the main process counts it."""
    import torch

    machine, folder = learner.machine, checkpoints.folder / f"checkpoint-{progress.step}"
    folder.mkdir(exist_ok=True)
    torch.save(_random_numbers(), folder / f"rng_state_{machine.process_index}.pt")
    if machine.is_main_process:
        save_weights(learner.policy, tokenizer, folder)
        save_value_head(learner.policy, folder)
        torch.save(learner.optimizer.state_dict(), folder / "optimizer.pt")
        torch.save(learner.scheduler.state_dict(), folder / "scheduler.pt")
        write_json(folder / _STATE, {"progress": asdict(progress), "optimizer_steps": learner.updates})
    machine.wait_for_everyone()
    if machine.is_main_process:
        checkpoints.saved(progress.step)


def load_state(folder: Path, learner: Learner) -> Progress:
    """How far the run of a checkpoint is; optimizer, schedule and random numbers become what they were.

    The weights come with `policy.load_policy`.

    Raises:
        MismatchError: it was written by another number of processes.
    """
    import torch

    machine = learner.machine
    stored = read_json(folder / _STATE)
    progress = Progress(**stored["progress"])
    if progress.processes != machine.num_processes:
        raise MismatchError(
            f"{folder}: written by {progress.processes} processes, and this run has {machine.num_processes}",
            hint=f"go on with {progress.processes} (accelerate launch --num_processes), or remove the folder",
        )
    # by kind: accelerate calls the processor cpu:0, which torch.load does not know
    optimizer = torch.load(folder / "optimizer.pt", map_location=machine.device.type, weights_only=True)
    learner.optimizer.load_state_dict(optimizer)
    learner.scheduler.load_state_dict(torch.load(folder / "scheduler.pt", weights_only=True))
    learner.updates = stored["optimizer_steps"]
    _set_random_numbers(torch.load(folder / f"rng_state_{machine.process_index}.pt", weights_only=True))
    return progress


def _random_numbers() -> dict[str, Any]:
    import numpy as np
    import torch

    kind, keys, place, has_gauss, gauss = np.random.get_state()
    return {
        "python": random.getstate(),
        "numpy": (kind, [int(key) for key in keys], place, has_gauss, gauss),
        "torch": torch.get_rng_state(),
        "cuda": torch.cuda.get_rng_state_all() if torch.cuda.is_available() else [],
    }


def _set_random_numbers(state: dict[str, Any]) -> None:
    import numpy as np
    import torch

    random.setstate(state["python"])
    kind, keys, place, has_gauss, gauss = state["numpy"]
    np.random.set_state((kind, np.array(keys, dtype=np.uint32), place, has_gauss, gauss))
    torch.set_rng_state(state["torch"])
    if state["cuda"]:
        torch.cuda.set_rng_state_all(state["cuda"])
