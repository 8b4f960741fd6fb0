"""PPO learns what is rewarded, computes the gradient it should, survives interruptions, and stops when it diverges."""

import math
import os
import random
import signal
from concurrent.futures import Future
from contextlib import nullcontext
from pathlib import Path

import pytest
import torch
from accelerate import Accelerator

from greenlit.config import LoraParams, PpoParams
from greenlit.errors import ConfigError, DataError, MismatchError, WorldError
from greenlit.jsonl import read_json, write_json
from greenlit.merging.lora import is_adapter, merge
from greenlit.models import load_tokenizer, load_weights, weights_sha256
from greenlit.stage.stopping import Stopped, stoppable
from greenlit.stage.workspace import sha256_file
from greenlit.training import checkpoints
from greenlit.training.checkpoints import Checkpoints
from greenlit.training.ppo.batch import Experience, make_batch
from greenlit.training.ppo.learner import Learner
from greenlit.training.ppo.loop import train_ppo
from greenlit.training.ppo.monitors import Sums
from greenlit.training.ppo.policy import make_policy

PPO = PpoParams(
    method="ppo", reads="problems.jsonl", start="base", learning_rate=1e-2, batch_size=8, group_size=2, epochs=4,
    minibatch_size=4, max_new_tokens=4, max_length=64, lora=LoraParams(r=4, alpha=8), beta=0.01, entropy_coef=0.001,
)  # fmt: skip
ROWS = [{"prompt": f"q{i}\n", "task_id": f"t{i}"} for i in range(8)]
BANDIT = PPO.model_copy(
    update={
        "max_new_tokens": 1, "batch_size": 128, "group_size": 128, "minibatch_size": 64, "epochs": 30.0, "beta": 0.0,
        "iterations": 4, "entropy_coef": 0.0, "lora": None, "learning_rate": 3e-3, "schedule": "constant",
    }
)  # fmt: skip


def letters(*, completions, **_) -> list[float]:
    """Share of small letters among the four characters that fit."""
    return [sum("a" <= letter <= "z" for letter in text) / 4 for text in completions]


def train(params: PpoParams, model: Path, folder: Path, log=None, reward=letters, watch=None, rows=ROWS, held_out=()):
    (folder / "work").mkdir(parents=True, exist_ok=True)
    steps: list[tuple[int, dict]] = []
    record = log or (lambda step, metrics: steps.append((step, dict(metrics))))
    watch = watch or (lambda step, metrics: None)
    facts = train_ppo(
        params, list(rows), list(held_out), model, folder / "work", folder / "adapter", 0, record, reward, watch
    )
    return facts, steps


@pytest.fixture(scope="module")
def trained(tiny_model: Path, tmp_path_factory) -> tuple[Path, dict, list]:
    folder = tmp_path_factory.mktemp("ppo")
    facts, steps = train(PPO, tiny_model, folder)
    return folder, facts, steps


def experience_of(lm, prompts, completions, seed: int = 0) -> Experience:
    """Completions with random advantages and returns, as if written by a slightly different policy."""
    batch = make_batch(prompts, completions, pad=0, device="cpu")
    draw = torch.Generator().manual_seed(seed)
    random_B_T = [torch.randn(batch.written_B_T.shape, generator=draw).double() * batch.written_B_T for _ in range(4)]
    with torch.no_grad():
        logits_N_V, _ = make_policy(lm, False)(batch.ids_B_L, batch.mask_B_L, batch.predicts_B_L)
    tokens_N = batch.flat(batch.tokens_B_T)
    logprob_N = logits_N_V.log_softmax(-1).gather(1, tokens_N[:, None])[:, 0]
    return Experience(
        **vars(batch),
        counted_B_T=batch.written_B_T.double(),
        logprob_B_T=batch.spread(logprob_N) + 0.3 * random_B_T[0],
        value_B_T=0.1 * random_B_T[1],
        advantage_B_T=random_B_T[2],
        return_B_T=random_B_T[3],
    )


PROMPTS = [[5, 6, 7, 8], [9], [20, 21, 22], [30, 31]]
COMPLETIONS = [[30, 31, 1], [40, 41, 42, 1], [50], [60, 61]]


def one_step(params: PpoParams, model: Path, experience_from=experience_of) -> tuple[dict, torch.nn.Module, Experience]:
    """Gradient, by name, of one optimizer step of plain gradient descent with rate 1; the policy before, in float64."""
    lm = load_weights(model, "float32").double()
    torch.manual_seed(1)
    policy = make_policy(lm, params.value_coef > 0).double()
    for weight in policy.value_head.parameters() if policy.value_head else ():
        torch.nn.init.normal_(weight, std=0.3)  # at zero, no gradient would reach the trunk
    experience = experience_from(lm, PROMPTS, COMPLETIONS)
    machine = Accelerator(cpu=True)
    learner = Learner(params, policy, lambda: nullcontext(policy), machine, steps=1)
    learner.optimizer = torch.optim.SGD([w for w in policy.parameters() if w.requires_grad], lr=1.0)
    learner.scheduler = torch.optim.lr_scheduler.ConstantLR(learner.optimizer, factor=1.0)
    before = {name: weight.detach().clone() for name, weight in policy.named_parameters()}
    learner.update(experience, random.Random(0), Sums(machine))
    gradient = {name: before[name] - weight.detach() for name, weight in policy.named_parameters()}
    policy.load_state_dict(before, strict=False)
    return gradient, policy, experience


ONE_STEP = PPO.model_copy(
    update={
        "lora": None, "batch_size": 4, "minibatch_size": 4, "iterations": 1, "max_grad_norm": 1e9, "temperature": 0.8,
        "value_coef": 0.5, "entropy_coef": 0.1,
    }
)  # fmt: skip


def reference_loss(policy, experience: Experience, params: PpoParams) -> torch.Tensor:
    """The PPO loss, one token after the other, each from the whole model's logits for its own text."""
    losses = []
    for row, (prompt, completion) in enumerate(zip(PROMPTS, COMPLETIONS, strict=True)):
        output = policy.lm(input_ids=torch.tensor([prompt + completion]), output_hidden_states=True)
        for t, token in enumerate(completion):
            at = len(prompt) - 1 + t
            probabilities = (output.logits[0, at] / params.temperature).softmax(-1)
            ratio = probabilities[token] / experience.logprob_B_T[row, t].exp()
            advantage = experience.advantage_B_T[row, t]
            bounded = min(max(ratio, 1 - params.clip_range), 1 + params.clip_range)
            loss = -min(ratio * advantage, bounded * advantage)
            if params.value_coef:
                value = policy.value_head(output.hidden_states[-1][0, at])[0]
                old, target = experience.value_B_T[row, t], experience.return_B_T[row, t]
                near = old + min(max(value - old, -params.value_clip), params.value_clip)
                loss = loss + params.value_coef * max((value - target) ** 2, (near - target) ** 2) / 2
            loss = loss + params.entropy_coef * (probabilities * probabilities.log()).sum()
            losses.append(loss)
    return sum(losses) / len(losses)


def check_gradient(gradient: dict, policy, loss: torch.Tensor) -> None:
    policy.zero_grad()
    loss.backward()
    for name, weight in policy.named_parameters():
        assert weight.grad.abs().max() > 0, name
        torch.testing.assert_close(gradient[name], weight.grad, rtol=1e-5, atol=1e-7, msg=lambda text, n=name: n + text)


def test_the_loss_has_the_gradient_of_an_independent_reference(tiny_model) -> None:
    gradient, policy, experience = one_step(ONE_STEP, tiny_model)
    check_gradient(gradient, policy, reference_loss(policy, experience, ONE_STEP))


def test_minibatches_that_make_one_optimizer_step_count_by_their_tokens(tiny_model) -> None:
    params = ONE_STEP.model_copy(update={"minibatch_size": 1, "accumulate": 4, "gradient_checkpointing": True})
    gradient, policy, experience = one_step(params, tiny_model)
    check_gradient(gradient, policy, reference_loss(policy, experience, ONE_STEP))


def test_without_clip_and_value_function_one_pass_is_reinforce(tiny_model) -> None:
    """The gradient is that of -(sum over tokens of return * log p) / tokens at the policy that wrote them."""
    params = ONE_STEP.model_copy(
        update={"clip_range": 1e9, "value_coef": 0.0, "entropy_coef": 0.0, "whiten": False, "lam": 1.0}
    )
    scores = torch.tensor([1.0, 0.0, -2.0, 0.5]).double()

    def on_policy(lm, prompts, completions) -> Experience:
        from greenlit.training.ppo.advantages import gae, token_rewards

        batch = make_batch(prompts, completions, pad=0, device="cpu")
        with torch.no_grad():
            logits_N_V, _ = make_policy(lm, False)(batch.ids_B_L, batch.mask_B_L, batch.predicts_B_L)
        logprobs_N_V = (logits_N_V / params.temperature).log_softmax(-1)
        nothing_B_T = torch.zeros(batch.written_B_T.shape).double()
        rewards_B_T = token_rewards(scores, nothing_B_T, batch.written_B_T, beta=0.0)
        advantage_B_T, return_B_T = gae(rewards_B_T, nothing_B_T, batch.written_B_T, params.gamma, params.lam)
        return Experience(
            **vars(batch),
            counted_B_T=batch.written_B_T.double(),
            logprob_B_T=batch.spread(logprobs_N_V.gather(1, batch.flat(batch.tokens_B_T)[:, None])[:, 0]),
            value_B_T=nothing_B_T,
            advantage_B_T=advantage_B_T,
            return_B_T=return_B_T,
        )

    gradient, policy, _ = one_step(params, tiny_model, on_policy)
    total = 0.0
    for score, prompt, completion in zip(scores, PROMPTS, COMPLETIONS, strict=True):
        logits = policy.lm(input_ids=torch.tensor([prompt + completion])).logits[0] / params.temperature
        for t, token in enumerate(completion):
            total = total - score * logits[len(prompt) - 1 + t].log_softmax(-1)[token]
    check_gradient(gradient, policy, total / sum(len(completion) for completion in COMPLETIONS))


def test_completions_without_a_reward_change_nothing(tiny_model) -> None:
    def without(places: set[int], advantage: float):
        def change(lm, prompts, completions) -> Experience:
            experience = experience_of(lm, prompts, completions)
            for place in places:
                experience.counted_B_T[place] = 0
                experience.advantage_B_T[place] = advantage
            return experience

        return change

    gradient, _, _ = one_step(ONE_STEP, tiny_model, without({1, 2}, 5.0))
    again, _, _ = one_step(ONE_STEP, tiny_model, without({1, 2}, -300.0))
    assert all(torch.equal(gradient[name], again[name]) for name in gradient)
    none, _, _ = one_step(ONE_STEP, tiny_model, without({0, 1, 2, 3}, 5.0))
    assert all(one.eq(0).all() for one in none.values())


@pytest.mark.parametrize(
    "change", [{}, {"value_coef": 0.0, "iterations": 1, "learning_rate": 1e-2}], ids=["ppo", "no value"]
)
def test_a_bandit_finds_its_best_arm(tiny_model, tmp_path, change) -> None:
    """258 arms, one pull per episode: `x` pays 1, other small letters .5, the rest nothing."""

    def arms(*, completions, **_) -> list[float]:
        return [1.0 if text == "x" else 0.5 * (len(text) == 1 and "a" <= text <= "z") for text in completions]

    _, steps = train(BANDIT.model_copy(update=change), tiny_model, tmp_path, reward=arms, rows=ROWS[:1])
    assert steps[0][1]["reward"] < 0.2
    assert steps[-1][1]["reward"] > 0.97


def test_training_earns_more_and_tells_how(trained) -> None:
    _, facts, steps = trained
    assert [step for step, _ in steps] == [1, 2, 3, 4, 5, 6, 7, 8]
    assert steps[-1][1]["reward"] > steps[0][1]["reward"]
    assert facts["train_loss"] == pytest.approx(math.fsum(row["loss"] for _, row in steps) / 8)
    assert {name: fact for name, fact in facts.items() if name != "train_loss"} == {
        "problems": 8, "left_out_too_long": 0, "steps": 8, "optimizer_steps": 32, "completions": 64, "unrewarded": 0,
        "ended_early": None,
    }  # fmt: skip
    first = steps[0][1]
    assert set(first) == {
        "loss", "loss/policy", "loss/value", "advantages/mean", "advantages/std", "clip_ratio", "approx_kl", "kl",
        "kl_completion", "entropy", "explained_variance", "value/mean", "ratio/max", "reward", "reward_std",
        "reward/none", "completions/mean_length", "completions/truncated", "grad_norm", "learning_rate", "beta",
    }  # fmt: skip
    assert (first["value/mean"], first["explained_variance"]) == (0.0, 0.0)
    assert abs(first["kl"]) < 1e-6 < abs(steps[-1][1]["kl"])
    assert first["entropy"] == pytest.approx(math.log(258), rel=0.01)
    assert first["learning_rate"] == pytest.approx(1e-2 * (1 - 3 / 32))


def test_the_adapter_merges(trained, tiny_model, tmp_path) -> None:
    folder, _, _ = trained
    assert is_adapter(folder / "adapter")
    assert merge(tiny_model, folder / "adapter", tmp_path / "merged", ["q1\n"])["kind"] == "adapter"
    assert load_tokenizer(folder / "adapter").get_vocab() == load_tokenizer(tiny_model).get_vocab()


def test_the_same_seed_trains_the_same_adapter(trained, tiny_model, tmp_path) -> None:
    folder, facts, steps = trained
    assert train(PPO, tiny_model, tmp_path) == (facts, steps)
    assert weights_sha256(tmp_path / "adapter") == weights_sha256(folder / "adapter")


@pytest.mark.parametrize(
    "change",
    [
        {},
        {"lora": None, "learning_rate": 1e-3, "value_learning_rate": 1e-2, "schedule": "cosine", "warmup_ratio": 0.2},
        {"lora": LoraParams(r=4, alpha=8, dropout=0.3), "kl": "adaptive", "gradient_checkpointing": True},
        {"value_coef": 0.0, "accumulate": 2, "curriculum": "easy_first", "weight_decay": 0.1},
        {"dtype": "bfloat16", "eval_steps": 2},
    ],
    ids=["lora", "all weights", "dropout, adaptive, checkpointing", "no value, accumulation, curriculum", "bfloat16"],
)
def test_an_interrupted_training_ends_the_same(tiny_model, tmp_path, monkeypatch, change) -> None:
    monkeypatch.setenv(checkpoints.SAVE_EVERY, "0")
    params = PPO.model_copy(update={"max_steps": 5, **change})

    def die(step, metrics):
        if step == 4:
            raise KeyboardInterrupt

    facts, steps = train(params, tiny_model, tmp_path / "whole", held_out=ROWS[:2])
    with pytest.raises(KeyboardInterrupt):
        train(params, tiny_model, tmp_path / "r", die, held_out=ROWS[:2])
    work = tmp_path / "r" / "work"
    assert [path.name for path in Checkpoints(work, 1).kept()] == ["checkpoint-3"]
    (work / "checkpoint-4").mkdir()  # as a kill leaves it
    torch.rand(3)
    random.random()
    asked: list[int] = []
    again, logged = train(
        params, tiny_model, tmp_path / "r", watch=lambda step, metrics: asked.append(step), held_out=ROWS[:2]
    )
    assert (again, logged) == (facts, steps)
    assert asked == [step for step, _ in steps]
    assert weights_sha256(tmp_path / "r" / "adapter") == weights_sha256(tmp_path / "whole" / "adapter")
    once_more = train(params, tiny_model, tmp_path / "r", reward=None, held_out=ROWS[:2])
    assert once_more == (facts, steps)  # a finished one is only saved again


def test_a_signal_writes_a_checkpoint_and_the_rest_is_trained_later(trained, tiny_model, tmp_path) -> None:
    folder, facts, steps = trained

    def signalled(step, metrics):
        if step == 3:
            os.kill(os.getpid(), signal.SIGTERM)

    with stoppable(), pytest.raises(Stopped) as stopped:
        train(PPO, tiny_model, tmp_path, signalled)
    assert stopped.value.exit_code == 143
    assert [path.name for path in Checkpoints(tmp_path / "work", 1).kept()] == ["checkpoint-3"]
    assert not (tmp_path / "adapter").exists()
    assert train(PPO, tiny_model, tmp_path) == (facts, steps)
    assert weights_sha256(tmp_path / "adapter") == weights_sha256(folder / "adapter")


def test_a_checkpoint_of_more_processes_is_not_gone_on_from(trained, tiny_model, tmp_path) -> None:
    train(PPO.model_copy(update={"max_steps": 1}), tiny_model, tmp_path)
    file = tmp_path / "work/checkpoint-1/trainer_state.json"
    state = read_json(file)
    state["progress"]["processes"] = 2
    write_json(file, state)
    with pytest.raises(MismatchError, match="written by 2 processes, and this run has 1"):
        train(PPO, tiny_model, tmp_path)


def test_checkpoints_come_every_save_steps_and_as_many_stay_as_asked_for(tiny_model, tmp_path) -> None:
    params = PPO.model_copy(update={"max_steps": 5, "save_steps": 2, "keep_checkpoints": 3})
    train(params, tiny_model, tmp_path)
    kept = [path.name for path in Checkpoints(tmp_path / "work", 3).kept()]
    assert kept == ["checkpoint-2", "checkpoint-4", "checkpoint-5"]


def test_a_training_that_diverges_stops_with_advice(tiny_model, tmp_path) -> None:
    params = PPO.model_copy(update={"learning_rate": 1e9, "lora": None, "max_grad_norm": 1e9})
    with pytest.raises((ConfigError, DataError), match=r"the gradient is (nan|inf)|computes NaN") as error:
        train(params, tiny_model, tmp_path)
    assert "learning_rate" in str(error.value)


def test_a_gradient_that_is_not_finite_leaves_the_weights_alone(tiny_model) -> None:
    def broken(lm, prompts, completions) -> Experience:
        experience = experience_of(lm, prompts, completions)
        experience.advantage_B_T[0, 0] = math.inf
        return experience

    with pytest.raises(ConfigError, match="optimizer step 1: the gradient is nan") as error:
        one_step(ONE_STEP, tiny_model, broken)
    assert "lower learning_rate (found 0.01)" in str(error.value)


def test_completions_whose_reward_is_unknown_are_left_out_and_counted(tiny_model, tmp_path) -> None:
    def partly(*, completions, **_) -> list[float | None]:
        known = letters(completions=completions)
        return [None, math.nan, *(3.0 + score for score in known[2:])]

    facts, steps = train(PPO.model_copy(update={"max_steps": 3}), tiny_model, tmp_path, reward=partly)
    assert facts["unrewarded"] == 6
    assert all(row["reward/none"] == 0.25 and 3 <= row["reward"] <= 4 for _, row in steps)


def test_steps_without_any_reward_teach_nothing_and_the_third_on_end_is_an_error(tiny_model, tmp_path) -> None:
    calls: list[int] = []

    def rarely(*, completions, **_) -> list[float | None]:
        calls.append(len(completions))
        return letters(completions=completions) if len(calls) == 3 else [None] * len(completions)

    logged: list[dict] = []
    with pytest.raises(WorldError, match="for 3 steps on end no completion could be scored"):
        train(PPO, tiny_model, tmp_path, log=lambda step, metrics: logged.append(metrics), reward=rarely)
    assert len(calls) == 6
    assert ["loss" in metrics for metrics in logged] == [False, False, True, False, False]
    assert logged[1]["kl"] == 0.0


def test_the_reward_function_is_asked_as_trl_asks_it(tiny_chat_model, tmp_path) -> None:
    asked: list[dict] = []

    class Reward:
        def __call__(self, **columns):
            asked.append(columns)
            return [0.5] * len(columns["completions"])

        def measured(self) -> dict[str, float]:
            return {"rewards/tests/mean": len(asked), "reward/mean": 0.5, "truncated": 0.0}

    rows = [{"prompt": [{"role": "user", "content": f"q{i}"}], "task_id": f"t{i}", "level": i} for i in range(4)]
    params = PPO.model_copy(update={"max_steps": 1})
    _, steps = train(params, tiny_chat_model, tmp_path, reward=Reward(), rows=rows, held_out=rows[:3])
    held_out, step, _ = asked
    assert set(step) == {"prompts", "completions", "completion_ids", "task_id", "level"}
    assert [len(values) for values in step.values()] == [8] * 5
    assert step["task_id"][::2] == step["task_id"][1::2]
    assert sorted(step["task_id"][::2]) == ["t0", "t1", "t2", "t3"]
    assert step["prompts"][0] == [{"role": "user", "content": f"q{step['level'][0]}"}]
    assert [message["role"] for message in step["completions"][0]] == ["assistant"]
    assert all(1 <= len(ids) <= 4 for ids in step["completion_ids"])
    assert held_out["task_id"] == ["t0", "t1", "t2"]
    assert steps[0] == (0, {"eval_rewards/tests/mean": 1, "eval_reward": 0.5, "eval_reward/none": 0.0})
    assert steps[1][1]["rewards/tests/mean"] == 2
    assert not {"reward/mean", "truncated"} & set(steps[1][1])


def test_a_reward_that_judges_meanwhile_is_waited_for(tiny_model, tmp_path) -> None:
    class Later:
        def submit(self, prompts, completions, task_id, completion_ids) -> Future:
            assert len(prompts) == len(task_id) == len(completion_ids)
            future: Future = Future()
            future.set_result(letters(completions=completions))
            return future

    params = PPO.model_copy(update={"max_steps": 2})
    assert train(params, tiny_model, tmp_path / "a", reward=Later()) == train(params, tiny_model, tmp_path / "b")


def test_problems_held_out_are_measured_before_at_times_and_at_the_end(tiny_model, tmp_path) -> None:
    params = PPO.model_copy(update={"max_steps": 5, "eval_steps": 2})
    facts, steps = train(params, tiny_model, tmp_path, held_out=ROWS)
    measured = {step: metrics["eval_reward"] for step, metrics in steps if "eval_reward" in metrics}
    assert list(measured) == [0, 2, 4, 5]
    assert facts["eval"] == {
        "problems": 8,
        "before": {"reward": measured[0], "reward/none": 0.0},
        "after": {"reward": measured[5], "reward/none": 0.0},
    }


def test_with_patience_the_weights_that_measured_best_are_kept(tiny_model, tmp_path) -> None:
    measured = iter([0.1, 0.2, 0.9, 0.4, 0.3])

    def reward(*, completions, **_) -> list[float]:
        if len(completions) == 8:
            return letters(completions=completions)
        return [next(measured)] * len(completions)

    def patient(step: int, metrics) -> str | None:
        return "no better" if metrics.get("eval_reward") == pytest.approx(0.3) else None

    params = PPO.model_copy(update={"eval_steps": 1, "patience": 2, "keep_checkpoints": 9, "save_steps": 1})
    facts, _ = train(params, tiny_model, tmp_path, reward=reward, watch=patient, held_out=ROWS[:3])
    assert (facts["ended_early"], facts["steps"], facts["eval"]["after"]["reward"]) == (
        "no better",
        4,
        pytest.approx(0.3),
    )
    best, last = (weights_sha256_of(tmp_path / f"work/checkpoint-{step}") for step in (2, 4))
    assert weights_sha256_of(tmp_path / "adapter") == best != last


def weights_sha256_of(adapter: Path) -> str:
    return sha256_file(adapter / "adapter_model.safetensors")


def test_a_watch_ends_the_training_in_order(tiny_model, tmp_path) -> None:
    reason = "the reward grows and the hidden tests do not"

    def watch(step: int, metrics) -> str | None:
        return reason if step == 3 and "loss" in metrics else None

    facts, steps = train(PPO, tiny_model, tmp_path, watch=watch, held_out=ROWS[:2])
    assert (facts["ended_early"], facts["steps"]) == (reason, 3)
    assert [(step, "eval_reward" in metrics) for step, metrics in steps] == [
        (0, True), (1, False), (2, False), (3, False), (3, True),
    ]  # fmt: skip
    assert (tmp_path / "adapter/adapter_config.json").exists()
    assert train(PPO, tiny_model, tmp_path, held_out=ROWS[:2]) == (facts, steps)


def test_a_curriculum_begins_with_what_the_start_model_does_best(tiny_model, tmp_path) -> None:
    asked: list[list[str]] = []

    def reward(*, task_id, **_) -> list[float | None]:
        asked.append(task_id)
        return [None if name == "t6" else float(name in {"t3", "t5"}) for name in task_id]

    params = PPO.model_copy(update={"curriculum": "easy_first", "max_steps": 2})
    train(params, tiny_model, tmp_path, reward=reward)
    first, second = asked[1][::2], asked[2][::2]
    assert asked[0] == [row["task_id"] for row in ROWS for _ in range(2)]
    assert set(first[:2]) == {"t3", "t5"}
    assert second[-1] == "t6"
    assert sorted(first + second) == [row["task_id"] for row in ROWS]
    assert read_json(tmp_path / "work/start_rewards.json") == [0, 0, 0, 1, 0, 1, None, 0]


def test_an_adaptive_coefficient_moves_towards_its_target(tiny_model, tmp_path) -> None:
    params = PPO.model_copy(update={"kl": "adaptive", "beta": 0.1, "kl_target": 1e-9, "max_steps": 4})
    _, steps = train(params, tiny_model, tmp_path)
    kls, betas = ([row[name] for _, row in steps] for name in ("kl_completion", "beta"))
    for kl, beta, after in zip(kls, betas, betas[1:], strict=False):
        assert after == pytest.approx(beta * (1.02 if kl > 1e-9 else 0.98))


def test_prompts_that_leave_no_room_are_left_out_and_counted(tiny_model, tmp_path) -> None:
    rows = [*ROWS, {"prompt": "x" * 61, "task_id": "long"}]
    facts, _ = train(PPO.model_copy(update={"max_steps": 1}), tiny_model, tmp_path, rows=rows)
    assert (facts["problems"], facts["left_out_too_long"]) == (8, 1)
    with pytest.raises(DataError, match="the prompts of all 1 problems are longer than 60 tokens"):
        train(PPO, tiny_model, tmp_path, rows=rows[8:])
    with pytest.raises(DataError, match="no problems at all"):
        train(PPO, tiny_model, tmp_path, rows=[])


def test_a_reward_function_that_forgets_some_is_an_error(tiny_model, tmp_path) -> None:
    with pytest.raises(DataError, match="returned 7 rewards for 8 completions"):
        train(PPO, tiny_model, tmp_path, reward=lambda *, completions, **_: [1.0] * (len(completions) - 1))
