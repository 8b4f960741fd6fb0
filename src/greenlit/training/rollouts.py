"""TRL's GRPO and RLOO trainers with what they lack, in the same places for both.

Rewards are submitted to the judge as soon as completions are there, so that programs run while the trainer computes
log-probabilities; a reward of NaN or infinity counts as not found out (None); groups without variance are left out or
replaced (`zero_variance`); held-out problems are measured without touching the training's random numbers; and what
each part of a step took is measured.

Shapes: _B completions of a process's batch, _G groups in it.
"""

import copy
import itertools
import logging
import math
import random
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from greenlit.config import OnlineParams
from greenlit.training.groups import Batch, joined, picked, rows_of, rows_to_keep, varied

if TYPE_CHECKING:
    from trl import GRPOTrainer as Trainer
else:
    Trainer = object

MOST_DRAWS = 3
"""Times that groups without variance are replaced by other problems' before the rest is left out."""
PIECE = 64
"""Completions that are written together on a CPU, where more at once are no faster."""
Sampled = Callable[[str, Sequence[float]], None]
"""Called with ("train" or "eval") and the advantages of the completions that the reward has just judged."""


def with_rollouts(trainer_class: Any) -> Any:
    """TRL's trainer class, extended by what stands below."""
    logging.getLogger(trainer_class.__module__).addFilter(_is_news)
    return type(f"{trainer_class.__name__}WithRollouts", (Rollouts, trainer_class), {})


class Rollouts(Trainer):
    """Goes before one of TRL's classes; the methods it overrides are TRL's own.

    Args:
        params: of the method.
        problems: all rows to learn from, to draw others from.
        reward: called with prompts, completions, their token ids and task_ids; `measured()` tells figures of that call.
        sampled: told of every batch of completions.
        arguments: TRL's.
    """

    def __init__(
        self,
        params: OnlineParams,
        problems: Sequence[Mapping[str, Any]],
        reward: Any,
        sampled: Sampled,
        **arguments: Any,
    ) -> None:
        self.clock = Clock()
        self._params, self._problems, self.reward, self._sampled = params, problems, reward, sampled
        self._rewards_B: list[float] = []
        self._pending: list[Any] = []
        self._task_ids: list[str] = []
        self._draw = 0
        self._measured = itertools.count()
        super().__init__(reward_funcs=_named(self._earned), **arguments)

    def _earned(self, prompts: Any, completions: Any, completion_ids: Any, **columns: Any) -> list[float | None]:
        pending, self._pending = self._pending, []
        with self.clock.measured("reward_s"):
            if pending:
                found = [value for future in pending for value in future.result()]
            else:
                found = self.reward(prompts, completions, completion_ids, task_id=columns["task_id"])
        values = [None if value is None or not math.isfinite(value) else float(value) for value in found]
        self._rewards_B = [math.nan if value is None else value for value in values]
        unknown = sum(value is None for value in values) / len(values)
        for name, value in {**self.reward.measured(), "reward/none": unknown}.items():
            self._log_metric(name, value)
        return values

    def _generate(self, prompts: list[Any]) -> tuple[Any, ...]:
        """Piece by piece on a CPU, so that programs of one piece run while the next one is written."""
        pieces = []
        places = self._pieces(len(prompts))
        for number, place in enumerate(places, self.accelerator.process_index * len(places)):
            with self._sampling(number), self.clock.measured("generate_s"):
                pieces.append(super()._generate(prompts[place]))
            self._submit(prompts[place], pieces[-1], self._task_ids[place])
        return pieces[0] if len(pieces) == 1 else tuple(map(_chained, zip(*pieces, strict=True)))

    def _pieces(self, rows: int) -> list[slice]:
        """Whole groups; an accelerator and vLLM have better use for a batch as a whole."""
        size = self._params.group_size
        if self.use_vllm or self.accelerator.device.type != "cpu":
            return [slice(0, rows)]
        step = max(1, PIECE // size) * size
        return [slice(start, start + step) for start in range(0, rows, step)]

    @contextmanager
    def _sampling(self, piece: int) -> Iterator[None]:
        """Random numbers of a piece's own: the same in a run that goes on, and on any number of processes that have the
        same pieces. Held-out problems have the same every time."""
        import torch

        step = self.state.global_step if self.model.training else "held out"
        with torch.random.fork_rng(self._devices()):
            torch.manual_seed(random.Random(f"{self.args.seed} {step} {self._draw} {piece}").getrandbits(60))
            yield

    def _devices(self) -> list[Any]:
        """Whose random numbers are kept, beside the CPU's."""
        return [self.accelerator.device] if self.accelerator.device.type == "cuda" else []

    def _submit(self, prompts: list[Any], generated: tuple[Any, ...], task_ids: list[str]) -> None:
        """To the judge, which goes on while log-probabilities are computed, or the next piece is written."""
        if not hasattr(self.reward, "submit"):
            return
        completion_ids, completions = generated[1], generated[3 if len(generated) > 3 else 2]  # GRPO's tuple, RLOO's
        self._pending.append(self.reward.submit(prompts, completions, task_ids, completion_ids))

    def _scored(self, inputs: list[dict[str, Any]], draw: int = 0) -> Batch:
        """TRL's own batch of these problems."""
        self._pending, self._task_ids, self._draw = [], [row["task_id"] for row in inputs], draw
        return super()._generate_and_score_completions(inputs)

    def _generate_and_score_completions(self, inputs: list[dict[str, Any]]) -> Batch:
        mode = "train" if self.model.training else "eval"
        batch = self._scored(inputs, draw=0 if mode == "train" else next(self._measured))
        self._sampled(mode, batch["advantages"].tolist())
        return self._teaching(batch, inputs) if mode == "train" else batch

    def _teaching(self, batch: Batch, inputs: list[dict[str, Any]]) -> Batch:
        """The batch as `zero_variance` wants it."""
        varied_G = varied(self._rewards_B, self._params.group_size)
        figures = {"frac_reward_zero_std": self._share(varied_G.count(False), len(varied_G))}
        if self._params.zero_variance == "resample":
            batch, varied_G, replaced = self._resampled(batch, inputs, varied_G)
            figures["zero_variance/replaced"] = self._share(replaced, len(varied_G))
        if self._params.zero_variance != "keep":
            batch = self._without_idle(batch, varied_G)
            figures["zero_variance/left_out"] = self._share(varied_G.count(False), len(varied_G))
        for name, value in figures.items():
            self._metrics["train"][name] = [value]
        return batch

    def _resampled(
        self, batch: Batch, inputs: list[dict[str, Any]], varied_G: list[bool]
    ) -> tuple[Batch, list[bool], int]:
        """Groups without variance replaced by those of other problems, as far as some are found, and how many."""
        size, varied_G, replaced = self._params.group_size, list(varied_G), 0
        asked = {row["task_id"] for row in inputs}
        figures = {name: list(values) for name, values in self._metrics["train"].items()}
        for draw in range(MOST_DRAWS):
            wanted = self._most(varied_G.count(False))
            others = self._others(asked, wanted, draw)
            if not wanted or self._most(wanted - len(others)):
                break
            asked |= {row["task_id"] for row in others}
            more = self._scored([copy.copy(row) for row in others for _ in range(size)], draw + 1)
            good = [group for group, one in enumerate(varied(self._rewards_B, size)) if one]
            empty = [group for group, one in enumerate(varied_G) if not one][: len(good)]
            batch = _replaced(batch, more, empty, good[: len(empty)], size, self._tokenizer.pad_token_id)
            for group in empty:
                varied_G[group] = True
            replaced += len(empty)
        figures["num_tokens"] = self._metrics["train"]["num_tokens"]
        self._metrics["train"].clear()  # of the first draw alone: the others are no sample of the problems
        self._metrics["train"].update(figures)
        return self._counted(batch, len(batch["advantages"])), varied_G, replaced

    def _without_idle(self, batch: Batch, varied_G: list[bool]) -> Batch:
        """The batch without groups that teach nothing; untouched where none teaches anything."""
        kept = varied_G.count(True) * self._params.group_size
        all_kept = self._sum(kept)
        if not all_kept:
            return batch
        ways = varied_G, self._params.group_size, self.args.steps_per_generation
        rows = rows_to_keep(*ways, least=self._most(len(rows_to_keep(*ways))))  # as many on every process
        batch = picked(batch, rows)
        if "num_items_in_batch" not in batch or self.loss_type != "dapo":  # there the loss is a mean over rows
            batch["advantages"] = batch["advantages"] * (len(rows) * self.accelerator.num_processes / all_kept)
        return self._counted(batch, kept)

    def _counted(self, batch: Batch, rows: int) -> Batch:
        """With the number of tokens in its first rows (of all processes), over which DAPO's loss is a mean."""
        if "num_items_in_batch" in batch:
            tokens = self._sum(int(batch["completion_mask"][:rows].sum()))
            batch["num_items_in_batch"] = batch["num_items_in_batch"].new_tensor(tokens)
        return batch

    def _others(self, asked: set[str], count: int, draw: int) -> list[Mapping[str, Any]]:
        """Problems that were not asked yet, drawn anew at every step; fewer where there are no more."""
        seed = f"others {self.args.seed} {self.state.global_step} {draw} {self.accelerator.process_index}"
        others = [row for row in self._problems if row["task_id"] not in asked]
        return random.Random(seed).sample(others, min(count, len(others)))

    def _sum(self, count: int) -> int:
        """Over all processes."""
        import torch

        return int(self.accelerator.gather(torch.tensor([count], device=self.accelerator.device)).sum())

    def _most(self, count: int) -> int:
        """Of all processes."""
        import torch

        return int(self.accelerator.gather(torch.tensor([count], device=self.accelerator.device)).max())

    def _share(self, count: int, of: int) -> float:
        return self._sum(count) / self._sum(of)

    def evaluate(self, *arguments: Any, **keywords: Any) -> dict[str, float]:
        """TRL's, with its time measured; it leaves the training's random numbers as they are."""
        import torch

        self._measured = itertools.count()
        with torch.random.fork_rng(self._devices()), self.clock.apart("evaluate_s"):
            return super().evaluate(*arguments, **keywords)

    def mean_rewards(self, rows: Sequence[Mapping[str, Any]]) -> list[float]:
        """What the model as it is earns on problems, in their order; NaN where nothing was found out.

        Each process takes every n-th problem, in batches of the training's size.
        """
        from accelerate.utils import gather_object

        size, processes, this = self._params.group_size, self.accelerator.num_processes, self.accelerator.process_index
        at_once = self._params.batch_size // size or 1
        padded = [*rows, *rows[: -len(rows) % processes]]
        mine, means = padded[this::processes], []
        self.model.eval()
        for start in range(0, len(mine), at_once):
            batch = mine[start : start + at_once]
            self._scored([copy.copy(row) for row in batch for _ in range(size)], draw=start)
            means += [_mean_known(self._rewards_B[group * size : (group + 1) * size]) for group in range(len(batch))]
        self._metrics["eval"].clear()
        self.clock.taken()
        found = gather_object(list(zip(range(this, len(padded), processes), means, strict=True)))
        return [mean for _, mean in sorted(found)][: len(rows)]

    def prediction_step(self, model: Any, inputs: Any, *_: Any, **__: Any) -> tuple[Any, None, None]:
        """Held-out problems are there for their rewards; a loss says nothing of them."""
        import torch

        self._prepare_inputs(inputs)
        return torch.zeros((), device=self.accelerator.device), None, None


class Clock:
    """Seconds of a step, by what they were spent on."""

    def __init__(self) -> None:
        self._spent: dict[str, float] = {}

    @contextmanager
    def measured(self, name: str) -> Iterator[None]:
        """Add what the block takes to `name`."""
        start = time.perf_counter()
        try:
            yield
        finally:
            self._spent[name] = self._spent.get(name, 0.0) + time.perf_counter() - start

    @contextmanager
    def apart(self, name: str) -> Iterator[None]:
        """The same for a block whose own parts are no parts of the step."""
        before, self._spent = self._spent, {}
        start = time.perf_counter()
        try:
            yield
        finally:
            self._spent = {**before, name: time.perf_counter() - start}

    def taken(self) -> dict[str, float]:
        """What was spent since the last time it was asked for."""
        spent, self._spent = self._spent, {}
        return spent


def _mean_known(rewards: Sequence[float]) -> float:
    known = [reward for reward in rewards if not math.isnan(reward)]
    return math.fsum(known) / len(known) if known else math.nan


def _chained(parts: tuple[Any, ...]) -> Any:
    """One value of the pieces' tuples: lists one after the other, of anything else the first."""
    return [one for part in parts for one in part] if isinstance(parts[0], list) else parts[0]


def _is_news(record: logging.LogRecord) -> bool:
    """Completions without a reward are counted in the log and told once; TRL tells of them at every batch."""
    return "All reward functions returned None" not in record.getMessage()


def _named(function: Any) -> Any:
    """TRL logs a reward under its function's name, and looks for it on the object."""

    def reward(**keywords: Any) -> list[float | None]:
        return function(**keywords)

    return reward


def _replaced(
    batch: dict[str, Any], more: dict[str, Any], empty: list[int], good: list[int], size: int, pad_id: int
) -> dict[str, Any]:
    """The batch with the groups `empty` replaced by the groups `good` of the other one."""
    if not empty:
        return batch
    kept = len(batch["advantages"])
    places = list(range(kept))
    for target, source in zip(rows_of(empty, size), rows_of(good, size), strict=True):
        places[target] = kept + source
    return picked(joined(batch, more, pad_id), places)
