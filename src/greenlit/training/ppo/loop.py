"""Proximal policy optimisation (https://arxiv.org/abs/1707.06347) on the completions' rewards.

A step: sample `batch_size` completions, ask for their rewards and, meanwhile, for what policy, value function and
start model say of every token; advantages (advantages.py); `iterations` passes over the completions in minibatches
(losses.py). TRL has no PPO since 1.12, so loop and checkpoints are our own, on accelerate; what is around them is that
of the other methods: rewards, logs, checkpoint rules, signals. With several processes each has its own completions.
"""

import math
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from greenlit.config import PpoParams
from greenlit.errors import ConfigError
from greenlit.stage.progress import progress
from greenlit.stage.stopping import postponed
from greenlit.training.callbacks import Log
from greenlit.training.checkpoints import Checkpoints
from greenlit.training.ppo.learner import Learner
from greenlit.training.ppo.policy import load_policy, reference_of, save_weights
from greenlit.training.ppo.problems import Order, check_prompts, read_prompts, steps_of
from greenlit.training.ppo.scoring import Reward, Scoring
from greenlit.training.ppo.state import Progress, load_state, save_state
from greenlit.training.ppo.step import Stepper
from greenlit.training.trainer import Row

Watch = Callable[[int, Mapping[str, float]], str | None]
"""Asked after every step with its metrics, also those before a checkpoint that is gone on from: a reason to end the
training, or None."""


def train_ppo(
    params: PpoParams,
    rows: list[Row],
    held_out: list[Row],
    start: Path,
    work: Path,
    adapter: Path,
    seed: int,
    log: Log,
    reward: Reward,
    watch: Watch,
) -> dict[str, Any]:
    """Train on problems, from the last checkpoint in `work` if there is one, and save to `adapter`.

    Args:
        rows: {"prompt": text or messages, "task_id", ...}; every column goes to the reward function.
        held_out: problems to measure on, one completion each, every `eval_steps` and at the end.

    A run that goes on logs the steps before its checkpoint once more, from the checkpoint's own record.

    Returns:
        facts: rows used and left out, steps, optimizer steps, completions and those without a reward, mean loss, why
        the training ended early.

    Raises:
        ConfigError: the training diverged.
        DataError: no prompt fits.
        WorldError: the reward function could not say anything for several steps on end.
        Stopped: a signal came; a checkpoint was written.
    """
    machine = _machine(seed)
    checkpoints = Checkpoints(work, params.keep_checkpoints)
    newest = _newest(checkpoints, machine)
    policy, tokenizer = load_policy(params, start, newest)
    longest = min(params.max_length, _context(policy.lm)) - params.max_new_tokens
    prompts, unseen = (read_prompts(some, tokenizer, longest) for some in (rows, held_out))
    check_prompts(prompts, rows, params, longest)
    steps = steps_of(len(prompts), params, machine.num_processes)
    learner = Learner(params, policy.to(machine.device), reference_of(policy, start, params), machine, steps)
    state = load_state(newest, learner) if newest else Progress(beta=params.beta, processes=machine.num_processes)
    order = Order(len(prompts), seed, shuffled=params.curriculum == "none")
    with progress("train ppo", steps, "steps") as bar, postponed() as stopping, Scoring(reward, tokenizer) as scoring:
        stepper = Stepper(params, seed, learner, scoring, tokenizer)

        def told(row: Mapping[str, float]) -> str | None:
            bar.advance()
            return _tell(machine, log, watch, row)

        for row in state.log_history:
            told(row)
        stop = False
        while state.step < steps and not state.ended and not stop:
            metrics = stepper.step(state, [prompts[at] for at in order.at(state.problems, stepper.problems)])
            if unseen and _asked(params.eval_steps, state.step, steps):
                metrics |= stepper.evaluate(unseen)
            state.log_history.append({"step": state.step, **metrics})
            state.ended = told(state.log_history[-1])
            due, stop = _anywhere(machine, [checkpoints.due(), stopping()])
            if due or stop or state.ended or _asked(params.save_steps, state.step, steps):
                save_state(checkpoints, state, learner, tokenizer)
    if machine.is_main_process:
        save_weights(policy, tokenizer, adapter)
    machine.wait_for_everyone()
    return _facts(state, learner, len(prompts), len(rows))


def _machine(seed: int) -> Any:
    """accelerate's Accelerator, and the random numbers of everything that has none of its own."""
    from accelerate import Accelerator, DistributedType
    from accelerate.state import AcceleratorState
    from accelerate.utils import set_seed

    AcceleratorState._reset_state()  # an earlier training in this process may have had another precision
    machine = Accelerator(mixed_precision="no")  # `dtype` says it: Learner.precision
    if machine.distributed_type not in {DistributedType.NO, DistributedType.MULTI_CPU, DistributedType.MULTI_GPU}:
        raise ConfigError(
            f"ppo: runs on one process or under data parallelism (found {machine.distributed_type.value})",
            hint="accelerate launch without FSDP and DeepSpeed; or train with grpo or rloo, which know them",
        )
    set_seed(seed)
    return machine


def _newest(checkpoints: Checkpoints, machine: Any) -> Path | None:
    """The checkpoint to go on from, the same on every process."""
    from accelerate.utils import broadcast_object_list

    found = [checkpoints.newest() if machine.is_main_process else None]
    return broadcast_object_list(found)[0] if machine.num_processes > 1 else found[0]


def _context(lm: Any) -> int:
    """The longest sequence that the model can read, in tokens."""
    return int(getattr(lm.config, "max_position_embeddings", None) or sys.maxsize)


def _asked(every: int | None, step: int, last: int) -> bool:
    """Is it time, every so many steps and at the end?"""
    return step == last or (every is not None and step % every == 0)


def _tell(machine: Any, log: Log, watch: Watch, row: Mapping[str, float]) -> str | None:
    """The main process tells log and watch of a step; every process hears whether to end."""
    from accelerate.utils import broadcast_object_list

    answer: list[str | None] = [None]
    if machine.is_main_process:
        metrics = {name: row[name] for name in row if name != "step"}
        log(int(row["step"]), metrics)
        answer = [watch(int(row["step"]), metrics)]
    return broadcast_object_list(answer)[0] if machine.num_processes > 1 else answer[0]


def _anywhere(machine: Any, said: list[bool]) -> list[bool]:
    """Which of these one of the processes says."""
    import torch

    return [count > 0 for count in machine.reduce(torch.tensor(said, device=machine.device).float(), "sum").tolist()]


def _facts(state: Progress, learner: Learner, kept: int, rows: int) -> dict[str, Any]:
    losses = [row["loss"] for row in state.log_history if "loss" in row]
    return {
        "rows": kept,
        "left_out_too_long": rows - kept,
        "steps": state.step,
        "optimizer_steps": learner.updates,
        "completions": state.completions,
        "unrewarded": state.unrewarded,
        "ended_early": state.ended,
        "train_loss": math.fsum(losses) / len(losses) if losses else None,
    }
