"""Online methods: prompts as generate asks them, runs that resume to the same, groups without variance, alarms."""

import math
import os
import signal
from pathlib import Path

import pytest

from greenlit.config import GrpoParams, LoraParams, RlooParams
from greenlit.jsonl import read_json_lines
from greenlit.models import load_tokenizer, weights_sha256
from greenlit.problems.prompts import prompt_ids
from greenlit.stage.stopping import Stopped, stoppable
from greenlit.training import checkpoints
from greenlit.training.checkpoints import Checkpoints
from greenlit.training.grpo import train_grpo
from greenlit.training.rloo import train_rloo

COMMON = {
    "reads": "problems.jsonl", "start": "base", "learning_rate": 3e-2, "batch_size": 16, "group_size": 4,
    "max_steps": 6, "max_new_tokens": 8, "max_length": 64, "lora": None,
    "schedule": "constant",
}  # fmt: skip
GRPO = GrpoParams(method="grpo", **COMMON)
RLOO = RlooParams(method="rloo", **COMMON)
ROWS = [{"prompt": f"q{i}\n", "task_id": f"t{i}"} for i in range(10)]
TRAIN = {"grpo": (GRPO, train_grpo), "rloo": (RLOO, train_rloo)}


class Toy:
    """A reward without a sandbox: the share of letters in a text, of a random model about one in four."""

    __name__ = "reward"

    def __init__(self, value=None) -> None:
        self.value = value or (lambda text: sum(char.isalpha() for char in text) / max(1, len(text)))
        self.last: list[dict] = []
        self.calls: list[list[str]] = []

    def __call__(self, prompts, completions, completion_ids=None, task_id=None, **columns):
        completions = [text if isinstance(text, str) else text[-1]["content"] for text in completions]
        values = [self.value(text) for text in completions]
        self.last = [
            {"task_id": name, "text": text, "reward": value}
            for name, text, value in zip(task_id, completions, values, strict=True)
        ]
        self.calls.append(list(task_id))
        return values

    def measured(self) -> dict[str, float]:
        return {"rewards/toy/mean": 1.0}


def train(kind: str, model: Path, folder: Path, change=None, log=None, reward=None, held_out=(), watch=None):
    params, function = TRAIN[kind]
    params = type(params).model_validate({**params.model_dump(), **(change or {})})
    (folder / "work").mkdir(parents=True, exist_ok=True)
    steps: list[tuple[int, dict]] = []
    record = log or (lambda step, metrics: steps.append((step, dict(metrics))))
    facts = function(
        params, ROWS, list(held_out), model, folder / "work", folder / "adapter", 0, record, reward or Toy(),
        watch or (lambda step, metrics: None),
    )  # fmt: skip
    return facts, steps


@pytest.mark.parametrize("kind", TRAIN)
def test_what_is_rewarded_is_learnt(tiny_model, tmp_path, kind) -> None:
    facts, steps = train(kind, tiny_model, tmp_path, {"batch_size": 32, "max_steps": 12})
    rewards = [row["reward"] for _, row in steps]
    assert rewards[0] < 0.4
    assert rewards[-1] > 0.7
    assert (facts["problems"], facts["steps"], facts["completions"], facts["ended_early"]) == (10, 12, 12 * 32, None)
    assert set(steps[0][1]) >= {
        "loss", "reward", "reward_std", "reward/none", "entropy", "completions/mean_length", "completions/truncated",
        "clip_ratio", "frac_reward_zero_std", "rewards/toy/mean",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("kind", "change"),
    [
        ("grpo", {}),
        ("rloo", {}),
        ("grpo", {"iterations": 2, "accumulate": 2, "batch_size": 8, "beta": 0.1}),
        ("rloo", {"iterations": 2, "accumulate": 2, "batch_size": 8, "beta": 0.1, "lora": LoraParams(r=4, alpha=8)}),
        ("grpo", {"zero_variance": "resample", "eval_steps": 2, "eval_rows": 1}),
    ],
    ids=["grpo", "rloo", "grpo, batches used twice", "rloo, batches used twice, LoRA", "grpo, resampled, measured"],
)
def test_an_interrupted_run_resumes_and_ends_the_same(tiny_model, tmp_path, monkeypatch, kind, change) -> None:
    monkeypatch.setenv(checkpoints.SAVE_EVERY, "0")
    held_out = [{"prompt": "h\n", "task_id": "h"}] if "eval_steps" in change else []

    def die(step, metrics):
        if step == 4:
            raise KeyboardInterrupt

    facts, steps = train(kind, tiny_model, tmp_path / "whole", change, held_out=held_out)
    with pytest.raises(KeyboardInterrupt):
        train(kind, tiny_model, tmp_path / "r", change, die, held_out=held_out)
    work = tmp_path / "r" / "work"
    assert Checkpoints(work, 1).newest().name == f"checkpoint-{2 if 'iterations' in change else 3}"
    again, logged = train(kind, tiny_model, tmp_path / "r", change, held_out=held_out)
    assert (again, logged) == (facts, steps)
    assert weights_sha256(tmp_path / "r/adapter") == weights_sha256(tmp_path / "whole/adapter")
    tables = [list(read_json_lines(tmp_path / name / "work/completions.jsonl")) for name in ("whole", "r")]
    assert tables[0] == tables[1]
    assert [row["step"] for _, row in read_json_lines(work / "timings.jsonl")] == [1, 2, 3, 4, 5, 6]


def test_a_signal_waits_for_a_step_that_can_be_gone_on_from(tiny_model, tmp_path) -> None:
    change = {"iterations": 2}
    facts, steps = train("grpo", tiny_model, tmp_path / "whole", change)

    def signalled(step, metrics):
        if step == 2:
            os.kill(os.getpid(), signal.SIGTERM)

    with stoppable(), pytest.raises(Stopped):
        train("grpo", tiny_model, tmp_path / "s", change, signalled)
    assert [path.name for path in Checkpoints(tmp_path / "s/work", 1).kept()] == ["checkpoint-4"]
    assert train("grpo", tiny_model, tmp_path / "s", change) == (facts, steps)
    assert train("grpo", tiny_model, tmp_path / "s", change) == (facts, steps)  # nothing left to train
    assert weights_sha256(tmp_path / "s/adapter") == weights_sha256(tmp_path / "whole/adapter")


@pytest.mark.parametrize("kind", TRAIN)
def test_a_completion_without_a_reward_is_left_out_and_never_counts_as_nothing(tiny_model, tmp_path, kind) -> None:
    def first_unknown(unknown: float | None) -> Toy:
        toy = Toy()

        def values(text: str):
            return unknown if text[:1].isalpha() else 10.0 + len(text.encode()) % 3

        toy.value = values
        return toy

    runs = [
        train(kind, tiny_model, tmp_path / str(value), reward=first_unknown(value))
        for value in (None, math.nan, math.inf)
    ]
    assert runs[0] == runs[1] == runs[2]
    rows = [row for _, row in runs[0][1]]
    assert len(rows) == 6
    assert all(0 < row["reward/none"] < 1 for row in rows)
    assert all(row["reward"] >= 10 for row in rows)  # a zero among them would show


@pytest.mark.parametrize("model", ["tiny_model", "tiny_chat_model"])
@pytest.mark.parametrize("kind", TRAIN)
def test_the_model_is_asked_in_training_as_in_generation(model, kind, tmp_path, request, monkeypatch) -> None:
    from transformers import LlamaForCausalLM

    from greenlit.training.online import problem_rows
    from greenlit.types import AssertTest, Problem

    folder = request.getfixturevalue(model)
    tokenizer = load_tokenizer(folder)
    problem = Problem(task_id="t", prompt="Double x.", tests=[AssertTest(code="assert f(1) == 2", role="shown")])
    rows = problem_rows([problem], model == "tiny_chat_model")
    asked = []
    generate = LlamaForCausalLM.generate

    def seen(self, input_ids=None, attention_mask=None, **keywords):
        asked.extend(row[mask.bool()].tolist() for row, mask in zip(input_ids, attention_mask, strict=True))
        return generate(self, input_ids=input_ids, attention_mask=attention_mask, **keywords)

    monkeypatch.setattr(LlamaForCausalLM, "generate", seen)
    monkeypatch.setattr("test_online.ROWS", rows)
    train(kind, folder, tmp_path, {"max_steps": 1, "max_length": 512, "batch_size": 4})
    assert asked == [prompt_ids(tokenizer, rows[0]["prompt"])] * 4
