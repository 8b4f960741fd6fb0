"""A reward learned from pairs: what it prefers, on the tokens of training, and what length alone would achieve."""

import json
import math
import os
import signal
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import faults
import numpy as np
import pytest

from greenlit.config import LoraParams, RewardModelParams, RewardsParams
from greenlit.errors import ConfigError, DataError, MismatchError
from greenlit.jsonl import read_json, write_json
from greenlit.models import load_tokenizer, weights_sha256
from greenlit.problems.prompts import prompt_ids
from greenlit.rewards.learned import FACTS, LearnedReward, raw_scores, sequence_ids
from greenlit.rewards.model import model as model_reward
from greenlit.rewards.rating import rate
from greenlit.rewards.sample import Sample
from greenlit.stage.stopping import Stopped, stoppable
from greenlit.training import checkpoints, reward_model
from greenlit.training.reward_accuracy import accuracy, baseline_of, measured
from greenlit.training.reward_model import train_reward_model, trl_arguments
from greenlit.training.rows import preference_rows
from greenlit.types import AssertTest, Problem

PARAMS = RewardModelParams(
    reads="pairs.jsonl", start="base", learning_rate=1e-2, batch_size=8, epochs=4, max_length=64, eval_steps=4,
    eval_rows=8, lora=LoraParams(r=4, alpha=8),
)  # fmt: skip
PAIRS = [
    {"prompt": f"q{i % 16}\n", "chosen": "a" * (1 + i % 3) + "b<eos>", "rejected": "a" * (1 + i % 2) + "z<eos>"}
    for i in range(48)
]
"""The chosen end with b, the rejected with z; lengths tell nothing."""


def train(folder: Path, model: Path, params: RewardModelParams = PARAMS, rows: Any = None, log: Any = None) -> Any:
    (folder / "work").mkdir(parents=True, exist_ok=True)
    (folder / "model").mkdir(exist_ok=True)
    steps: list[tuple[int, dict[str, float]]] = []
    record = log or (lambda step, metrics: steps.append((step, dict(metrics))))
    facts = train_reward_model(params, rows or PAIRS, model, folder / "work", folder / "model", 0, record)
    return facts, steps


@pytest.fixture(scope="module")
def learned(tiny_model: Path, tmp_path_factory) -> tuple[Path, dict, list]:
    folder = tmp_path_factory.mktemp("reward")
    facts, steps = train(folder, tiny_model)
    return folder, facts, steps


def test_it_prefers_what_the_pairs_prefer_on_problems_it_has_not_seen(learned) -> None:
    _, facts, steps = learned
    assert facts["held_out"] == {"rows": 9, "problems": 3}
    assert facts["rows"] == 39
    assert facts["accuracy"] == {"value": 1.0, "low": pytest.approx(1 - (1 - 0.05 ** (1 / 3))), "high": 1.0, "n": 3}
    assert facts["length_baseline"]["accuracy"]["value"] < 0.9
    assert facts["difference"]["value"] == pytest.approx(1.0 - facts["length_baseline"]["accuracy"]["value"])
    assert facts["difference"]["n"] == 3
    losses = [metrics["loss"] for _, metrics in steps if "loss" in metrics]
    assert losses[-1] < losses[0]
    assert [step for step, metrics in steps if "eval_accuracy" in metrics] == [0, 4, 8, 12, 16, 20]


def test_scores_are_those_of_a_program_in_units_of_a_standard_deviation(learned) -> None:
    folder, facts, _ = learned
    reward = LearnedReward(folder / "model")
    scores = reward.scores(["q1\n", "q1\n"], ["aab", "aaz"])
    assert scores[0] > 0 > scores[1]
    saved = read_json(folder / "model" / FACTS)
    assert saved == {"max_length": 64, **facts["scale"]}
    raw = raw_scores(reward._model, [sequence_ids(reward._tokenizer, "q1\n", "aab")])[0]
    assert scores[0] == pytest.approx((raw - saved["mean"]) / saved["std"], rel=1e-5)


def test_a_score_depends_neither_on_the_batch_nor_on_the_order(learned) -> None:
    prompts = [pair["prompt"] for pair in PAIRS]
    completions = [pair["chosen"] for pair in PAIRS]
    one = LearnedReward(learned[0] / "model", batch_size=1).scores(prompts, completions)
    many = LearnedReward(learned[0] / "model", batch_size=64).scores(prompts[::-1], completions[::-1])[::-1]
    assert one == pytest.approx(many, abs=1e-4)


def test_what_is_longer_than_in_training_has_no_score(learned) -> None:
    reward = LearnedReward(learned[0] / "model")
    longest = 64 - len("q1\n") - 1
    scores = reward.scores(["q1\n"] * 3, ["a" * (longest + 1), "aab", "a" * longest])
    assert [score is None for score in scores] == [True, False, False]
    assert reward.scores([], []) == []


def test_the_tokens_are_the_prompts_the_completions_and_one_end(tiny_model, tiny_chat_model) -> None:
    tokenizer = load_tokenizer(tiny_model)
    end = tokenizer.eos_token_id
    expected = [*prompt_ids(tokenizer, "q\n"), *tokenizer("ab", add_special_tokens=False)["input_ids"], end]
    assert sequence_ids(tokenizer, "q\n", "ab") == sequence_ids(tokenizer, "q\n", "ab<eos>") == expected
    chat = load_tokenizer(tiny_chat_model)
    prompt = [{"role": "user", "content": "q"}]
    said = [{"role": "assistant", "content": "ab"}]
    assert sequence_ids(chat, prompt, said) == sequence_ids(chat, prompt, "ab")
    assert chat.decode(sequence_ids(chat, prompt, said)) == "<user>q<assistant>ab<eos>"


def test_training_sees_the_tokens_that_scoring_sees(tiny_model, tmp_path, monkeypatch) -> None:
    from trl import RewardTrainer

    seen = []
    real = RewardTrainer.compute_loss

    def looking(trainer, model, inputs, *rest, **more):
        seen.append({key: inputs[key].tolist() for key in ("input_ids", "attention_mask")})
        return real(trainer, model, inputs, *rest, **more)

    monkeypatch.setattr(RewardTrainer, "compute_loss", looking)
    train(tmp_path, tiny_model, PARAMS.model_copy(update={"max_steps": 2, "eval_steps": None}))
    tokenizer = load_tokenizer(tiny_model)
    expected = {tuple(sequence_ids(tokenizer, row["prompt"], row[s])) for row in PAIRS for s in ("chosen", "rejected")}
    rows = [row for batch in seen for row in zip(batch["input_ids"], batch["attention_mask"], strict=True)]
    assert len(rows) > 30
    assert {tuple(np.array(ids)[np.array(mask) == 1]) for ids, mask in rows} <= expected


@pytest.mark.parametrize("change", [{"lora": None, "learning_rate": 1e-3}, {"center": 0.5}], ids=["full", "centred"])
def test_all_weights_can_be_trained_and_rewards_kept_around_zero(tiny_model, tmp_path, change) -> None:
    facts, _ = train(tmp_path, tiny_model, PARAMS.model_copy(update=change))
    assert facts["accuracy"]["value"] > 0.9
    assert not list((tmp_path / "model").glob("adapter*"))
    if "center" in change:
        assert abs(facts["scale"]["mean"]) < 0.2


def test_our_settings_become_trls(tmp_path) -> None:
    arguments = trl_arguments(PARAMS.model_copy(update={"center": 0.01}), tmp_path, 7, False)
    assert (arguments["center_rewards_coefficient"], arguments["max_length"], arguments["seed"]) == (0.01, 64, 7)
    assert trl_arguments(PARAMS, tmp_path, 7, False)["center_rewards_coefficient"] is None


def test_the_same_seed_gives_the_same_model_also_after_an_interruption(learned, tiny_model, tmp_path, monkeypatch):
    folder, facts, steps = learned
    monkeypatch.setenv(checkpoints.SAVE_EVERY, "0")

    def signalled(step, metrics):
        if step == 3:
            os.kill(os.getpid(), signal.SIGTERM)

    with stoppable(), pytest.raises(Stopped):
        train(tmp_path, tiny_model, log=signalled)
    again, logged = train(tmp_path, tiny_model)
    assert (again, logged) == (facts, steps)
    assert weights_sha256(tmp_path / "model") == weights_sha256(folder / "model")


def test_every_tenth_problem_is_held_out_where_nothing_is_said(tiny_model, tmp_path) -> None:
    facts, _ = train(tmp_path, tiny_model, PARAMS.model_copy(update={"eval_rows": None, "max_steps": 1}))
    assert facts["held_out"] == {"rows": 6, "problems": 2}


@pytest.mark.parametrize("layout", ["GPT2", "Qwen2", "GPTBigCode", "Starcoder2"])
def test_other_architectures_have_a_reward_head_too(tiny_model, tmp_path, layout) -> None:
    start = other_model(tiny_model, tmp_path / "start", layout)
    facts, _ = train(tmp_path, start, PARAMS.model_copy(update={"epochs": 6}))
    assert facts["accuracy"]["value"] > 0.8
    assert LearnedReward(tmp_path / "model").scores(["q1\n"], ["ab"])[0] is not None


def test_an_architecture_without_one_is_told(tiny_model, tmp_path) -> None:
    start = other_model(tiny_model, tmp_path / "start", "CodeGen")
    with pytest.raises(ConfigError, match=r"no reward head \(sequence classification\) for a model of type codegen"):
        train(tmp_path, start)


def other_model(tiny_model: Path, folder: Path, layout: str) -> Path:
    """A model of this architecture with random weights, whose padding is its end-of-sequence token."""
    import shutil

    import torch
    import transformers

    folder.mkdir()
    shutil.copy(tiny_model / "tokenizer.json", folder)
    facts = json.loads((tiny_model / "tokenizer_config.json").read_text())
    facts["pad_token"] = facts["eos_token"]
    facts["tokenizer_class"] = "PreTrainedTokenizerFast"
    (folder / "tokenizer_config.json").write_text(json.dumps(facts))
    small = {"n_embd": 32, "n_layer": 2, "n_head": 2, "n_positions": 128}
    narrow = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2}
    sizes = {"Qwen2": narrow | {"num_key_value_heads": 1}, "Starcoder2": narrow | {"num_key_value_heads": 1}}
    more = {"rotary_dim": 4} if layout == "CodeGen" else {}
    config = getattr(transformers, f"{layout}Config")
    torch.manual_seed(0)
    made = config(vocab_size=258, eos_token_id=1, bos_token_id=1, **sizes.get(layout, small), **more)
    transformers.AutoModelForCausalLM.from_config(made).save_pretrained(folder)
    return folder


def test_padding_never_hides_the_end_of_a_completion(tiny_model, tmp_path) -> None:
    start = other_model(tiny_model, tmp_path / "start", "GPT2")
    train(tmp_path, start, PARAMS.model_copy(update={"max_steps": 2}))
    reward = LearnedReward(tmp_path / "model")
    reward.scores(["q\n"], ["ab"])
    assert reward._tokenizer.pad_token_id == reward._tokenizer.eos_token_id
    assert reward._model.config.pad_token_id != reward._tokenizer.eos_token_id
    with_end = sequence_ids(reward._tokenizer, "q\n", "ab")
    assert raw_scores(reward._model, [with_end]) != pytest.approx(raw_scores(reward._model, [with_end[:-1]]), abs=1e-6)


def test_a_merge_that_loses_something_is_an_error(tiny_model, tmp_path, monkeypatch) -> None:
    from peft.tuners.tuners_utils import BaseTuner

    monkeypatch.setattr(BaseTuner, "merge_and_unload", BaseTuner.unload)
    with pytest.raises(MismatchError, match=r"scores of the merged reward model and of start \+ adapter differ by"):
        train(tmp_path, tiny_model)


def test_a_folder_without_a_reward_model_is_told(tiny_model) -> None:
    with pytest.raises(DataError, match=r"no reward model here \(no reward.json\)") as error:
        LearnedReward(tiny_model)
    assert "rewards.model must name results/<experiment>/reward_models/<name>/model" in str(error.value)


def test_the_reward_model_scores_samples_with_what_params_name(learned, tiny_model) -> None:
    samples = [SimpleNamespace(prompt="q1\n", text=text, chat=False) for text in ("aab", "aaz", "a" * 80)]
    params = RewardsParams(model=str(learned[0] / "model"))
    scores = model_reward(samples, params)
    assert scores == LearnedReward(learned[0] / "model").scores(["q1\n"] * 3, ["aab", "aaz", "a" * 80])
    assert (scores[0] > scores[1], scores[2]) == (True, None)
    with pytest.raises(DataError, match="no reward model here"):
        model_reward(samples, RewardsParams(model=str(tiny_model)))


def rows(*lengths: tuple[str, int, int]) -> list[dict[str, Any]]:
    return [{"prompt": p, "chosen_ids": [0] * chosen, "rejected_ids": [0] * other} for p, chosen, other in lengths]


def test_accuracy_counts_problems_not_pairs() -> None:
    pairs = rows(("p", 1, 2), ("p", 1, 2), ("p", 1, 2), ("q", 2, 1))
    right = [(1.0, 0.0)] * 3 + [(0.0, 1.0)]
    assert accuracy(pairs, right) == 0.5
    assert accuracy(pairs[:1], [(2.0, 2.0)]) == 0.5
    assert math.isclose(accuracy(pairs, [(1.0, 0.0), (1.0, 1.0), (0.0, 1.0), (1.0, 0.0)]), (0.5 + 1.0) / 2)


def test_the_length_baseline_takes_the_better_of_both_ways_from_the_pairs_learnt() -> None:
    assert baseline_of(rows(("p", 1, 2), ("q", 1, 2), ("r", 2, 1))) == "shorter"
    assert baseline_of(rows(("p", 2, 1), ("q", 2, 1), ("r", 1, 2))) == "longer"
    held = rows(*((f"p{i}", 1, 2) for i in range(30)), *((f"q{i}", 2, 1) for i in range(10)))
    scores = [(1.0, 0.0)] * 35 + [(0.0, 1.0)] * 5
    found = measured(held, scores, "shorter", seed=0)
    assert found["accuracy"]["value"] == 35 / 40
    assert found["length_baseline"] == {"prefers": "shorter", "accuracy": found["length_baseline"]["accuracy"]}
    assert found["length_baseline"]["accuracy"]["value"] == 30 / 40
    assert found["difference"]["value"] == pytest.approx(5 / 40)
    assert 0 < found["difference"]["low"] < 5 / 40 < found["difference"]["high"]
    assert found["difference"]["p"] == pytest.approx(2 * 0.5**5)  # exact: five problems differ, all one way
    longer = measured(held, scores, "longer", seed=0)
    assert longer["length_baseline"]["accuracy"]["value"] == 10 / 40


def test_a_reward_that_only_counts_tokens_is_no_better_than_length() -> None:
    pairs = [(f"p{i}", 1 + i % 3, 2) for i in range(60)]
    held = rows(*pairs)
    found = measured(held, [(-float(chosen), -float(other)) for _, chosen, other in pairs], "shorter", seed=0)
    assert found["difference"]["value"] == 0.0
    assert found["difference"]["low"] < 0 < found["difference"]["high"]


def test_pairs_of_any_origin_are_read_and_faults_name_the_line(tmp_path) -> None:
    file = tmp_path / "mine.jsonl"
    file.write_text('{"prompt": "p", "chosen": "c", "rejected": "r", "rater": "me"}\n')
    assert preference_rows(file) == [{"prompt": "p", "chosen": "c", "rejected": "r"}]
    file.write_text('{"prompt": "p", "chosen": "c", "rejected": "r"}\n{"prompt": "p", "chosen": "c"}\n')
    with pytest.raises(DataError, match=r"mine.jsonl:2: rejected"):
        preference_rows(file)
    file.write_text('{"prompt": "p", "chosen": "same", "rejected": "same"}\n')
    with pytest.raises(DataError, match=r"mine.jsonl:1: chosen and rejected are the same"):
        preference_rows(file)
    file.write_text("")
    with pytest.raises(DataError, match=r"nothing to learn from \(no pairs\)"):
        preference_rows(file)


def test_pairs_that_are_too_long_are_left_out_and_counted(tiny_model, tmp_path) -> None:
    long = {"prompt": "q99\n", "chosen": "a" * 80, "rejected": "b"}
    facts, _ = train(tmp_path, tiny_model, PARAMS.model_copy(update={"max_steps": 1}), rows=[*PAIRS, long])
    assert facts["left_out_too_long"] == 1
    with pytest.raises(DataError, match="nothing to learn from: 1 pairs, all longer than max_length = 64"):
        train(tmp_path / "b", tiny_model, rows=[long])


def test_a_model_that_tells_nothing_apart_is_an_error(tiny_model, tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(reward_model, "_scores", lambda reward, rows: [(1.0, 1.0)] * len(rows))
    with pytest.raises(DataError, match="the reward model says the same of every completion"):
        train(tmp_path, tiny_model, PARAMS.model_copy(update={"max_steps": 1}))


@pytest.mark.usefixtures("warm")
def test_the_stage_writes_what_dvc_expects(project: Path) -> None:
    text = (project / "params.yaml").read_text()
    settings = (
        "reads: assets/rl/file/pairs.jsonl, start: assets/models/base, learning_rate: 0.001, lora: {r: 2, alpha: 4}"
    )
    (project / "params.yaml").write_text(f"{text}reward_models:\n  mine: {{{settings}, eval_rows: 1}}\n")
    done = faults.stage(project, "reward_model", "--name", "mine")
    assert done.returncode == 0, done.stderr
    out = project / "results/small/reward_models/mine"
    assert sorted(path.relative_to(out).as_posix() for path in out.glob("*")) == [
        "config.yaml", "logs", "metrics.json", "model",
    ]  # fmt: skip
    assert sorted(path.name for path in (out / "logs").iterdir()) == [
        "eval_log.jsonl", "eval_results.json", "training.png", "training_log.jsonl", "training_log.txt",
    ]  # fmt: skip
    metrics = read_json(out / "metrics.json")
    assert metrics["held_out"] == {"rows": 1, "problems": 1}
    assert read_json(out / "logs/eval_results.json")["accuracy"] == metrics["accuracy"]
    assert LearnedReward(out / "model").scores(["p"], ["x"])[0] is not None
    faults.told(
        faults.stage(project, "reward_model", "--name", "other"), 2,
        "params.yaml: reward_models: no reward model 'other'", "one of mine",
    )  # fmt: skip


def test_scores_that_are_no_numbers_stay_so(learned, tmp_path) -> None:
    """The hybrid reward counts NaN as a fault of the reward, and leaves the sample out."""
    import shutil

    shutil.copytree(learned[0] / "model", tmp_path / "model")
    facts = read_json(tmp_path / "model" / FACTS)
    write_json(tmp_path / "model" / FACTS, facts)
    reward = LearnedReward(tmp_path / "model")
    reward.scores(["q\n"], ["a"])
    for weights in reward._model.parameters():
        weights.data.fill_(float("nan"))
    assert math.isnan(reward.scores(["q\n"], ["a"])[0])


def test_it_is_one_of_the_rewards_of_params_yaml(learned) -> None:
    problem = Problem(task_id="p", prompt="q1\n", entry_point="f", tests=[AssertTest(code="assert f(1) == 2")])
    samples = [Sample(problem, text=text, code=text) for text in ("aaaa", "zz", "a" * 500)]
    params = RewardsParams(weights={"model": 1.0, "syntax": 0.0}, model=str(learned[0] / "model"))
    direct = LearnedReward(learned[0] / "model").scores([samples[0].prompt] * 3, [sample.text for sample in samples])
    assert [found.reward for found in rate(samples, params)] == direct
    assert direct[2] is None
