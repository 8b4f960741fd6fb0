"""Proximal policy optimisation (https://arxiv.org/abs/1707.06347) on the completions' rewards.

A step: sample `batch_size` completions, ask for their rewards and, meanwhile, for what policy, value function and
start model say of every token; advantages (advantages.py); `iterations` passes over the completions in minibatches
(losses.py). TRL has no PPO since 1.12, so loop and checkpoints are our own, on accelerate; what is around them is that
of the other methods: rewards, logs, checkpoint rules, signals. With several processes each has its own completions.
"""

import math
import shutil
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from greenlit.config import PpoParams
from greenlit.errors import ConfigError
from greenlit.stage.progress import progress
from greenlit.stage.stopping import postponed
from greenlit.training.callbacks import Log
from greenlit.training.checkpoints import Checkpoints, say_resumed
from greenlit.training.ppo.learner import Learner
from greenlit.training.ppo.policy import load_policy, reference_of, save_weights
from greenlit.training.ppo.problems import Order, Prompt, by_ease, check_prompts, read_prompts, steps_of
from greenlit.training.ppo.scoring import Reward, Scoring
from greenlit.training.ppo.state import Progress, load_state, save_state
from greenlit.training.ppo.step import Stepper
from greenlit.training.trainer import Row

Watch = Callable[[int, Mapping[str, float]], str | None]
"""Shown the metrics of every step and measurement, those before the checkpoint of a run that goes on too; says why the
training is to end, or None."""
BEST, START_REWARDS = "best", "start_rewards.json"
"""In the work folder: the weights that measured best, and what the start model earns on each problem."""


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
        held_out: the same, to measure on: one completion each, before the first step, every `eval_steps` and at the
            end; such metrics are logged apart, as `eval_...`.

    A run that goes on logs the steps before its checkpoint once more, from the checkpoint's own record. With
    `patience`, what is saved in the end are the weights that measured best.

    Returns:
        facts: problems used and left out, steps, optimizer steps, completions and those without a reward, mean loss,
        why the training ended early; `eval` where problems are held out.

    Raises:
        ConfigError: the training diverged.
        DataError: no prompt fits.
        WorldError: the reward function could not say anything for several steps on end.
        Stopped: a signal came; a checkpoint was written.
    """
    machine = _machine(seed)
    checkpoints = Checkpoints(work, params.keep_checkpoints)
    if newest := _newest(checkpoints, machine):
        say_resumed(newest)
    policy, tokenizer = load_policy(params, start, newest)
    longest = min(params.max_length, _context(policy.lm)) - params.max_new_tokens
    prompts, unseen = (read_prompts(some, tokenizer, longest) for some in (rows, held_out))
    check_prompts(prompts, rows, params, longest)
    steps = steps_of(len(prompts), params, machine.num_processes)
    learner = Learner(params, policy.to(machine.device), reference_of(policy, start, params), machine, steps)
    state = load_state(newest, learner) if newest else Progress(beta=params.beta, processes=machine.num_processes)
    stepper = Stepper(params, seed, learner, Scoring(reward, tokenizer), tokenizer)
    run = _Run(params, steps, state, stepper, learner, tokenizer, checkpoints, log, watch)
    with postponed() as stopping:
        if params.curriculum == "easy_first":
            prompts = by_ease(prompts, work / START_REWARDS, stepper.mean_rewards, machine, seed)
        order = Order(len(prompts), seed, shuffled=params.curriculum == "none")
        run.go(lambda: [prompts[at] for at in order.at(state.problems, stepper.problems)], unseen, stopping)
    run.save_result(adapter)
    left_out = len(rows) + len(held_out) - len(prompts) - len(unseen)
    return {"problems": len(prompts), "left_out_too_long": left_out} | _facts(state, learner, len(unseen))


@dataclass
class _Run:
    """The steps of a run, and what is written between them."""

    params: PpoParams
    steps: int
    state: Progress
    stepper: Stepper
    learner: Learner
    tokenizer: Any
    checkpoints: Checkpoints
    log: Log
    watch: Watch

    def go(
        self, next_prompts: Callable[[], Sequence[Prompt]], unseen: Sequence[Prompt], stopping: Callable[[], bool]
    ) -> None:
        """All steps that are left, or up to a signal or a reason to end."""
        state, stop = self.state, False
        with progress("train ppo", self.steps, "steps") as bar:
            for row in state.log_history:  # of a run that goes on
                self._tell(row)
            bar.advance(state.step)
            if unseen and not state.log_history:
                self._measure(unseen)
            while state.step < self.steps and not state.ended and not stop:
                self._note(self.stepper.step(state, next_prompts()))
                if unseen and (self._asked(self.params.eval_steps) or state.ended):
                    self._measure(unseen)
                due, stop = self._anywhere([self.checkpoints.due(), stopping()])
                if due or stop or state.ended or self._asked(self.params.save_steps):
                    save_state(self.checkpoints, state, self.learner, self.tokenizer)
                bar.advance()

    def save_result(self, adapter: Path) -> None:
        """The adapter, or all weights: the last ones, or with `patience` the best ones."""
        best = self.checkpoints.folder / BEST
        if self.learner.machine.is_main_process:
            if self.params.patience is not None and best.exists():
                shutil.copytree(best, adapter, dirs_exist_ok=True)
            else:
                save_weights(self.learner.policy, self.tokenizer, adapter)
        self.learner.machine.wait_for_everyone()

    def _asked(self, every: int | None) -> bool:
        """Is it time, every so many steps and at the end?"""
        step = self.state.step
        return step == self.steps or (every is not None and step % every == 0)

    def _measure(self, unseen: Sequence[Prompt]) -> None:
        past = [row["eval_reward"] for row in self.state.log_history if "eval_reward" in row]
        metrics = self.stepper.measure(unseen)
        best = metrics.get("eval_reward", -math.inf) > max(past, default=-math.inf)
        if self.params.patience is not None and best and self.learner.machine.is_main_process:
            part = self.checkpoints.folder / f".{BEST}.part"
            save_weights(self.learner.policy, self.tokenizer, part)
            shutil.rmtree(self.checkpoints.folder / BEST, ignore_errors=True)
            part.replace(self.checkpoints.folder / BEST)
        self._note(metrics)

    def _note(self, metrics: Mapping[str, float]) -> None:
        row = {"step": self.state.step, **metrics}
        self.state.log_history.append(row)
        self.state.ended = self._tell(row) or self.state.ended

    def _tell(self, row: Mapping[str, float]) -> str | None:
        """The main process tells log and watch; every process hears whether to end."""
        from accelerate.utils import broadcast_object_list

        machine = self.learner.machine
        answer: list[str | None] = [None]
        if machine.is_main_process:
            metrics = {name: row[name] for name in row if name != "step"}
            self.log(int(row["step"]), metrics)
            answer = [self.watch(int(row["step"]), metrics)]
        return broadcast_object_list(answer)[0] if machine.num_processes > 1 else answer[0]

    def _anywhere(self, said: list[bool]) -> list[bool]:
        """Which of these one of the processes says."""
        import torch

        machine = self.learner.machine
        counts = machine.reduce(torch.tensor(said, device=machine.device).float(), "sum")
        return [count > 0 for count in counts.tolist()]


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


def _facts(state: Progress, learner: Learner, held_out: int) -> dict[str, Any]:
    losses = [row["loss"] for row in state.log_history if "loss" in row]
    measured = [row for row in state.log_history if any(name.startswith("eval_") for name in row)]
    facts = {
        "steps": state.step,
        "optimizer_steps": learner.updates,
        "completions": state.completions,
        "unrewarded": state.unrewarded,
        "ended_early": state.ended,
        "train_loss": math.fsum(losses) / len(losses) if losses else None,
    }
    if not measured:
        return facts
    before, after = (
        {name.removeprefix("eval_"): row[name] for name in row if name != "step"} for row in (measured[0], measured[-1])
    )
    return facts | {"eval": {"problems": held_out, "before": before, "after": after}}
