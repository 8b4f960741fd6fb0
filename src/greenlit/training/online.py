"""What online methods learn from: problems as prompts, some of them held out, in an order that repeats.

A row is {"prompt": text or messages, "task_id"}; its completions are sampled while the model trains, and earn a reward.
One batch of `batch_size` * `accumulate` completions (per process) is sampled, judged and learned from `iterations`
times; then the next one, from the model as it is by then.
"""

import math
import random
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

from greenlit.config import AnnotateParams, OnlineParams, RewardsParams
from greenlit.errors import DataError
from greenlit.jsonl import read_json
from greenlit.models import load_tokenizer
from greenlit.problems.files import read_problems
from greenlit.problems.prompts import has_chat_template, prompt_ids, render
from greenlit.rewards.online import OnlineReward
from greenlit.training.callbacks import Log
from greenlit.training.holdout import Row, hold_out
from greenlit.training.watching import Watching
from greenlit.types import Problem


def problem_rows(problems: Iterable[Problem], chat: bool) -> list[Row]:
    """The prompts of problems as `generate` asks them.

    Args:
        chat: the tokenizer has a chat template.
    """
    return [{"prompt": render(problem, chat), "task_id": problem.task_id} for problem in problems]


def fitting(rows: Sequence[Row], params: OnlineParams, tokenizer: Any) -> tuple[list[Row], int]:
    """Rows whose prompt leaves room for max_new_tokens within max_length, and how many do not.

    Raises:
        DataError: none does.
    """
    longest = params.max_length - params.max_new_tokens
    kept = [row for row in rows if len(prompt_ids(tokenizer, row["prompt"])) <= longest]
    if not kept:
        raise DataError(
            f"nothing to learn from: {len(rows)} problems, all with prompts of more than {longest} tokens "
            f"(max_length {params.max_length} less max_new_tokens {params.max_new_tokens})",
            hint="raise max_length, or lower max_new_tokens",
        )
    return kept, len(rows) - len(kept)


def problems_per_batch(params: OnlineParams, processes: int = 1) -> int:
    """Problems that one batch of completions is sampled for, over all processes."""
    return params.batch_size * params.accumulate * processes // params.group_size


def optimizer_steps(problems: int, params: OnlineParams, processes: int = 1) -> int:
    """Optimizer steps of a run: `max_steps`, else what it takes to see every problem `epochs` times."""
    if params.max_steps is not None:
        return params.max_steps
    batches = math.ceil(problems * params.epochs / problems_per_batch(params, processes))
    return batches * params.iterations


def problem_order(problems: int, draws: int, seed: int, shuffled: bool) -> list[int]:
    """Which problem is asked at each of `draws` places: pass after pass over all, each in an order of its own.

    Args:
        shuffled: else every pass has the order of the rows (a curriculum).
    """
    order: list[int] = []
    while len(order) < draws:
        one_pass = list(range(problems))
        if shuffled:
            random.Random(f"pass {seed} {len(order)}").shuffle(one_pass)
        order += one_pass
    return order[:draws]


def order_of_run(problems: int, params: OnlineParams, steps: int, seed: int, processes: int = 1) -> list[int]:
    """Places of the problems that a run of so many optimizer steps asks, batch by batch."""
    batches = math.ceil(steps / params.iterations)
    draws = batches * problems_per_batch(params, processes)
    return problem_order(problems, draws, seed, shuffled=params.curriculum == "none")


def easiest_first(rows: Sequence[Row], rewards: Sequence[float], seed: int) -> list[Row]:
    """Rows by falling reward of the start model; those of which nothing is known (NaN) come last, equals by chance."""
    chance = random.Random(f"curriculum {seed}")
    keys = [(math.isnan(reward), 0.0 if math.isnan(reward) else -reward, chance.random()) for reward in rewards]
    return [row for _, row in sorted(zip(keys, rows, strict=True), key=lambda pair: pair[0])]


def groups_at_once(rows: int, params: OnlineParams) -> int:
    """Problems measured together: at most a training batch, and a divisor of all, so that each weighs the same."""
    most = params.batch_size // params.group_size or 1
    return max((count for count in range(1, most + 1) if rows % count == 0), default=1)


def reads_besides(rewards: RewardsParams) -> list[Path]:
    """What a run's result depends on besides its problems and its start: files and folders of rewards in use."""
    used = [rewards.model] if "model" in rewards.weights else []
    if "custom" in rewards.weights and rewards.custom:
        used.append(rewards.custom.partition(":")[0])
    return [Path(path) for path in used]


def train_online(
    train: Callable[..., dict[str, Any]],
    params: OnlineParams,
    limits: AnnotateParams,
    rewards: RewardsParams,
    start: Path,
    work: Path,
    adapter: Path,
    seed: int,
    log: Log,
) -> dict[str, Any]:
    """Train on the problems of `reads`, some held out, under a reward that stays open and a watch over the run.

    Args:
        train: one of the online methods.
        limits: on programs that run.

    Returns:
        what the method says of the run, and what the watch found.
    """
    problems = read_problems(Path(params.reads))
    tokenizer = load_tokenizer(start)
    chat = has_chat_template(tokenizer)
    learned, measured = hold_out(problem_rows(problems.values(), chat), params.eval_rows, seed)
    watch = Watching(params)
    with OnlineReward(
        problems, limits, rewards, chat=chat, max_new_tokens=params.max_new_tokens, eos_ids=end_tokens(start, tokenizer)
    ) as reward:
        reward.submit([], [], [])  # opens the judge while the trainer loads
        facts = train(params, learned, measured, start, work, adapter, seed, log, reward, watch)
    return facts | watch.facts()


def end_tokens(start: Path, tokenizer: Any) -> set[int]:
    """The tokens that end a completion: the tokenizer's, and those that the model's generation_config.json names."""
    file = start / "generation_config.json"
    named = read_json(file).get("eos_token_id") if file.exists() else None
    return {tokenizer.eos_token_id, *(named if isinstance(named, list) else [named])} - {None}
