"""A reward learned from preference pairs: https://arxiv.org/abs/2203.02155, section 3.5

    loss = -log sigmoid(r(chosen) - r(rejected)) + center * (r(chosen) + r(rejected))^2

r is a linear head on the start model's last hidden state, at the end-of-sequence token. TRL owns the loop and the
loss; the second term (https://arxiv.org/abs/2312.09244) keeps rewards around 0. An adapter is merged, so that the
result is one model directory, which is read back from disk and must give the scores it gave before.

What it is worth is told by pairs of problems that it has not seen (`reward_accuracy`).
"""

import statistics
from collections.abc import Callable
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

import yaml

from greenlit.config import RewardModelParams
from greenlit.errors import ConfigError, DataError, MismatchError
from greenlit.jsonl import atomic_write, write_json
from greenlit.merging.lora import TOLERANCE, TOLERANCE_HALF
from greenlit.models import load_tokenizer, load_weights, resolve, weights_sha256
from greenlit.rewards.learned import FACTS, LearnedReward, raw_scores, sequence_ids
from greenlit.stage.hardware import made_with
from greenlit.stage.workspace import atomic_folder, sha256_file, work_dir
from greenlit.tracking.runs import Run
from greenlit.training.advice import memory_told
from greenlit.training.arguments import lora_config, trainer_arguments
from greenlit.training.callbacks import Log, TrainingLog
from greenlit.training.holdout import Row, hold_out, problem_of
from greenlit.training.reward_accuracy import accuracy, baseline_of, measured
from greenlit.training.rows import preference_rows
from greenlit.training.trainer import frozen_dtype, quantization, save_adapter, steps_in, trained

KIND = "AutoModelForSequenceClassification"
COMPARED = 8
"""Completions whose scores must survive the merge."""
LOGS = ("training_log.jsonl", "training_log.txt", "eval_log.jsonl", "training.png")


def trl_arguments(params: RewardModelParams, output_dir: Path, seed: int, cuda: bool) -> dict[str, Any]:
    """Arguments of trl.RewardConfig."""
    return trainer_arguments(params, output_dir, seed, cuda) | {"center_rewards_coefficient": params.center or None}


def make_reward_model(
    params: RewardModelParams,
    settings: dict[str, Any],
    seed: int,
    out: Path,
    open_run: Callable[[Path], AbstractContextManager[Run]],
) -> dict[str, Any]:
    """Train a reward model and write `model/`, `metrics.json`, `logs/` and `config.yaml` under `out`.

    An interrupted run goes on from its last checkpoint.

    Args:
        settings: what the result depends on beside what it reads, for the record.
        open_run: opens the tracked run, given the folder of unfinished results.

    Returns:
        the content of metrics.json.

    Raises:
        DataError: the pairs cannot be used, or too few.
        ConfigError: the start model has no such head, or the training broke.
    """
    start, reads = resolve(Path(params.start)), Path(params.reads)
    rows = preference_rows(reads)
    with (
        work_dir("reward_model", settings, [reads, start]) as work,
        open_run(work) as run,
        atomic_folder(out / "model") as model,
        TrainingLog(out / "logs") as log,
    ):

        def log_step(step: int, metrics: Any) -> None:
            log(step, metrics)
            run.log(step, metrics)

        facts = train_reward_model(params, rows, start, work, model, seed, log_step)
        inputs = {"reads": sha256_file(reads), "start": weights_sha256(start)}
        log.draw()
        for unused in TrainingLog.FILES.keys() - set(LOGS):
            (out / "logs" / unused).unlink(missing_ok=True)
        figures = {key: facts[key] for key in ("accuracy", "length_baseline", "difference")}
        write_json(out / "logs/eval_results.json", figures)
        metrics = {"method": "reward_model", **facts, "made_with": made_with(seed)}
        write_json(out / "metrics.json", metrics)
        with atomic_write(out / "config.yaml") as stream:
            yaml.safe_dump({**settings, "inputs_sha256": inputs, "made_with": made_with(seed)}, stream, sort_keys=False)
        run.figures(facts)
        for file in ("config.yaml", "metrics.json", "logs/eval_results.json", *(f"logs/{name}" for name in LOGS)):
            run.file(out / file)
    return metrics


def train_reward_model(
    params: RewardModelParams, rows: list[Row], start: Path, work: Path, model: Path, seed: int, log: Log
) -> dict[str, Any]:
    """Train on pairs {prompt, chosen, rejected} and save the reward model to `model`.

    Returns:
        facts: rows used, held out and left out, steps, losses; accuracy on the pairs held out, beside what length
        alone achieves, and the paired difference.
    """
    import torch
    from trl import RewardConfig

    tokenizer = load_tokenizer(start)
    tokenizer.padding_side = "right"
    kept, left_out = _fitting(rows, tokenizer, params.max_length)
    count = params.eval_rows or max(1, len(kept) // 10)
    learnt, held = hold_out(kept, count, seed)
    arguments = RewardConfig(**trl_arguments(params, work, seed, torch.cuda.is_available()))
    with memory_told("reward_model", params):
        weights = load_with_head(start, params, tokenizer, seed)
        trainer = trained(
            "reward_model", params, weights, tokenizer, (_ids_only(learnt), _ids_only(held)), work, log, _trainer_class,
            arguments, lora=_with_head(lora_config(params, weights)), steps=steps_in(len(learnt), params),
        )  # fmt: skip
        _save(trainer, params, start, tokenizer, held, work / "adapter", model, seed)
    losses = [row["loss"] for row in trainer.state.log_history if "loss" in row]
    facts = {
        "rows": len(learnt),
        "held_out": {"rows": len(held), "problems": len({problem_of(row) for row in held})},
        "left_out_too_long": left_out,
        "steps": trainer.state.global_step,
        "train_loss": statistics.fmean(losses),
    }
    return facts | _worth(model, params, learnt, held, seed)


def _fitting(rows: list[Row], tokenizer: Any, max_length: int) -> tuple[list[Row], int]:
    """Rows with the token ids of both sides, neither longer than max_length, and how many were left out."""
    with_ids = [
        row | {f"{side}_ids": sequence_ids(tokenizer, row["prompt"], row[side]) for side in ("chosen", "rejected")}
        for row in rows
    ]
    kept = [row for row in with_ids if max(len(row["chosen_ids"]), len(row["rejected_ids"])) <= max_length]
    if not kept:
        raise DataError(
            f"nothing to learn from: {len(rows)} pairs, all longer than max_length = {max_length} tokens",
            hint="raise max_length",
        )
    return kept, len(rows) - len(kept)


def _ids_only(rows: list[Row]) -> list[Row]:
    return [{key: row[key] for key in ("chosen_ids", "rejected_ids")} for row in rows]


def load_with_head(start: Path, params: RewardModelParams, tokenizer: Any, seed: int) -> Any:
    """The start model with a linear head of one output, whose weights come from the seed.

    Raises:
        ConfigError: transformers has no such head for this architecture.
    """
    import torch
    from transformers import AutoConfig, AutoModelForSequenceClassification

    config = AutoConfig.from_pretrained(str(start))
    if type(config) not in AutoModelForSequenceClassification._model_mapping:
        raise ConfigError(
            f"{start}: transformers has no reward head (sequence classification) for a model of type "
            f"{config.model_type}",
            hint="start from another model; llama, qwen2, qwen3, gpt2, gpt_bigcode, starcoder2 and more have one",
        )
    torch.manual_seed(seed)
    with _without_report():
        model = load_weights(start, frozen_dtype(start, params), KIND, num_labels=1, **quantization(params))
    model.config.pad_token_id = _padding(tokenizer)
    return model


@contextmanager
def _without_report() -> Any:
    """Without the library's note that the head is new and the language model's own is not used: both are meant."""
    from trl.trainer.reward_trainer import suppress_seqcls_warning

    with suppress_seqcls_warning():
        yield


def _padding(tokenizer: Any) -> int:
    """A token to fill up with that does not end a sequence: the head looks for the last token that is none of it."""
    if tokenizer.pad_token_id != tokenizer.eos_token_id:
        return int(tokenizer.pad_token_id)
    return 0 if tokenizer.eos_token_id != 0 else 1


def _with_head(lora: Any) -> Any:
    if lora is not None:
        lora.task_type = "SEQ_CLS"
        lora.modules_to_save = ["score"]
    return lora


def _trainer_class(model: Any, **arguments: Any) -> Any:
    """TRL's RewardTrainer with our padding."""
    from trl import RewardTrainer
    from trl.trainer.reward_trainer import DataCollatorForPreference

    pad = model.config.pad_token_id
    trainer = RewardTrainer(model=model, data_collator=DataCollatorForPreference(pad_token_id=pad), **arguments)
    trainer.model.config.pad_token_id = pad  # the trainer has put the tokenizer's own there
    return trainer


def _save(
    trainer: Any,
    params: RewardModelParams,
    start: Path,
    tokenizer: Any,
    held: list[Row],
    adapter: Path,
    model: Path,
    seed: int,
) -> None:
    """One model directory, merged in fp32 and read back.

    Raises:
        MismatchError: what was written gives other scores.
    """
    import torch
    from transformers import AutoConfig

    stored = AutoConfig.from_pretrained(str(start)).dtype or torch.float32
    full = trainer.model
    if params.lora is not None:
        from peft import PeftModel

        save_adapter(trainer, adapter)
        plain = params.model_copy(update={"quantize": None, "dtype": "float32"})
        full = PeftModel.from_pretrained(load_with_head(start, plain, tokenizer, seed), str(adapter))
    full = full.eval().to("cpu")
    ids_B = [row[side] for row in held[:COMPARED] for side in ("chosen_ids", "rejected_ids")]
    expected = raw_scores(full, ids_B)
    merged = full.merge_and_unload() if params.lora is not None else full
    merged.to(stored).save_pretrained(str(model), safe_serialization=True)
    tokenizer.save_pretrained(str(model))
    write_json(model / FACTS, {"max_length": params.max_length, "mean": 0.0, "std": 1.0})
    found = raw_scores(load_weights(model, "float32", KIND), ids_B)
    worst = max(abs(left - right) for left, right in zip(expected, found, strict=True))
    tolerance = (TOLERANCE if stored == torch.float32 else TOLERANCE_HALF) * max(1.0, *map(abs, expected))
    if not worst <= tolerance:
        raise MismatchError(
            f"{model}: scores of the merged reward model and of start + adapter differ by {worst:.3g} "
            f"(at most {tolerance:.3g})"
        )


def _worth(model: Path, params: RewardModelParams, learnt: list[Row], held: list[Row], seed: int) -> dict[str, Any]:
    """Figures of the reward model as it lies on the disk, and its scale, which is written beside it."""
    reward = LearnedReward(model, params.batch_size)
    scored = {name: _scores(reward, rows) for name, rows in (("learnt", learnt), ("held", held))}
    flat = [score for pair in scored["held"] for score in pair]
    mean, std = statistics.fmean(flat), statistics.pstdev(flat)
    if not std > 0:
        raise DataError("the reward model says the same of every completion", hint="raise learning_rate or epochs")
    write_json(model / FACTS, {"max_length": params.max_length, "mean": mean, "std": std})
    figures = measured(held, scored["held"], baseline_of(learnt), seed)
    return figures | {"train_accuracy": accuracy(learnt, scored["learnt"]), "scale": {"mean": mean, "std": std}}


def _scores(reward: LearnedReward, rows: list[Row]) -> list[tuple[float, float]]:
    """Scores of both sides of each pair."""
    sides = {}
    for side in ("chosen", "rejected"):
        scores = reward.scores([row["prompt"] for row in rows], [row[side] for row in rows])
        sides[side] = [float("nan") if score is None else score for score in scores]
    return list(zip(sides["chosen"], sides["rejected"], strict=True))
