"""PPO's arithmetic against numbers worked out by hand and against its definitions, term by term."""

import math
import random

import pytest
import torch
from accelerate import Accelerator

from greenlit.config import PpoParams
from greenlit.errors import DataError
from greenlit.models import load_model
from greenlit.training.ppo.advantages import gae, next_beta, token_rewards
from greenlit.training.ppo.batch import make_batch
from greenlit.training.ppo.losses import policy_losses, token_entropies, token_logprobs, value_losses
from greenlit.training.ppo.monitors import Sums, explained_variance, mean_and_variance
from greenlit.training.ppo.policy import make_policy
from greenlit.training.ppo.problems import Order, steps_of
from greenlit.training.ppo.sampling import sample, uniform_numbers

PPO = PpoParams(
    method="ppo", reads="problems.jsonl", start="base", learning_rate=1e-2, batch_size=8, group_size=2,
    minibatch_size=4, max_new_tokens=6, max_length=64, lora=None,
)  # fmt: skip


def numbers(*rows: list[float]) -> torch.Tensor:
    return torch.tensor(rows, dtype=torch.float64)


def test_advantages_are_those_worked_out_by_hand() -> None:
    """gamma .5, lam .5, so that each delta counts a quarter of the one before.

    first   deltas 0 + .5*2 - 1 = 0, 0 + .5*4 - 2 = 0, 8 - 4 = 4     advantages .25, 1, 4
    second  deltas 1 + .5*3 - 2 = .5, 2 - 3 = -1                     advantages .25, -1, and no third token
    """
    written = torch.tensor([[True, True, True], [True, True, False]])
    rewards = numbers([0, 0, 8], [1, 2, 99])
    values = numbers([1, 2, 4], [2, 3, 99])
    advantages, returns = gae(rewards, values, written, gamma=0.5, lam=0.5)
    assert advantages.tolist() == [[0.25, 1.0, 4.0], [0.25, -1.0, 0.0]]
    assert returns.tolist() == [[1.25, 3.0, 8.0], [2.25, 2.0, 0.0]]


@pytest.mark.parametrize(("gamma", "lam"), [(1.0, 0.95), (0.9, 1.0), (0.97, 0.0), (1.0, 1.0)])
def test_advantages_are_the_sum_that_defines_them(gamma: float, lam: float) -> None:
    draw = random.Random(3)
    lengths = [5, 1, 3, 5, 2]
    rewards = [[draw.gauss(0, 1) for _ in range(5)] for _ in lengths]
    values = [[draw.gauss(0, 1) for _ in range(5)] for _ in lengths]
    written = torch.arange(5)[None, :] < torch.tensor(lengths)[:, None]
    advantages, returns = gae(numbers(*rewards), numbers(*values), written, gamma, lam)
    for row, length in enumerate(lengths):
        value = [*values[row][:length], 0.0]
        delta = [rewards[row][t] + gamma * value[t + 1] - value[t] for t in range(length)]
        for t in range(length):
            expected = sum((gamma * lam) ** (later - t) * delta[later] for later in range(t, length))
            assert float(advantages[row, t]) == pytest.approx(expected, abs=1e-12)
            assert float(returns[row, t]) == pytest.approx(expected + value[t], abs=1e-12)
        assert advantages[row, length:].eq(0).all()


def test_without_values_and_with_lambda_1_the_advantage_is_the_return() -> None:
    written = torch.tensor([[True, True, True], [True, False, False]])
    rewards = numbers([1, 2, 3], [5, 0, 0])
    advantages, returns = gae(rewards, torch.zeros(2, 3, dtype=torch.float64), written, gamma=0.5, lam=1.0)
    assert advantages.tolist() == [[1 + 1 + 0.75, 2 + 1.5, 3.0], [5.0, 0.0, 0.0]]
    assert torch.equal(advantages, returns)


def test_the_score_sits_on_the_last_token_and_the_penalty_on_each() -> None:
    written = torch.tensor([[True, True, True], [True, False, False]])
    rewards = token_rewards(torch.tensor([1.0, 2.0]), numbers([1, -2, 3], [4, 99, 99]), written, beta=0.5)
    assert rewards.tolist() == [[-0.5, 1.0, -0.5], [0.0, 0.0, 0.0]]


def test_the_kl_coefficient_follows_its_target_in_bounded_steps() -> None:
    assert next_beta(0.2, kl=6.6, target=6.0) == pytest.approx(0.2 * 1.01)
    assert next_beta(0.2, kl=5.4, target=6.0) == pytest.approx(0.2 * 0.99)
    assert next_beta(0.2, kl=600.0, target=6.0) == pytest.approx(0.2 * 1.02)
    assert next_beta(0.2, kl=-3.0, target=6.0) == pytest.approx(0.2 * 0.98)


def test_the_ratio_is_clipped_only_where_that_makes_the_loss_larger() -> None:
    ratio = numbers([1.5, 1.5, 0.5, 0.5, 1.1])[0]
    advantage = numbers([2, -2, 2, -2, 1])[0]
    logprob = ratio.log().requires_grad_()
    losses = policy_losses(logprob, torch.zeros(5, dtype=torch.float64), advantage, 0.2)
    assert losses.tolist() == pytest.approx([-2.4, 3.0, -1.0, 1.6, -1.1])
    losses.sum().backward()
    assert logprob.grad.tolist() == pytest.approx([0.0, 3.0, -1.0, 0.0, -1.1])  # -ratio * advantage, or none


def test_a_value_beyond_its_clip_is_held_to_the_worse_of_the_two() -> None:
    value = numbers([0.1, 0.5, 0.5])[0]
    old, target = torch.zeros(3, dtype=torch.float64), numbers([1, 1, -1])[0]
    assert value_losses(value, old, target, 0.2).tolist() == pytest.approx([0.405, 0.32, 1.125])
    assert value_losses(value, old, target, None).tolist() == pytest.approx([0.405, 0.125, 1.125])


def test_logprobs_and_entropies_are_those_of_the_sampled_distribution() -> None:
    logits = numbers([0.0, math.log(4)], [math.log(9), 0.0])
    assert token_logprobs(logits, torch.tensor([1, 1]), 1.0).exp().tolist() == pytest.approx([0.8, 0.1])
    assert token_logprobs(logits, torch.tensor([1, 1]), 0.5).exp().tolist() == pytest.approx([16 / 17, 1 / 82])
    expected = [-p * math.log(p) - (1 - p) * math.log(1 - p) for p in (16 / 17, 1 / 82)]
    assert token_entropies(logits, 0.5).tolist() == pytest.approx(expected)


def test_figures_of_a_step() -> None:
    machine = Accelerator()
    sums = Sums(machine)
    sums.add("a", torch.tensor([1.0, 2.0]))
    sums.add("a", torch.tensor([6.0]), torch.tensor([2.0]))
    sums.add("b", torch.tensor([7.0]), torch.tensor([0.0]))
    assert sums.means() == {"a": 15 / 4}
    assert mean_and_variance(machine, torch.tensor([1.0, 2.0, 6.0])) == (3.0, 14 / 3)
    assert mean_and_variance(machine, torch.tensor([])) is None
    returns = torch.tensor([0.0, 1.0, 2.0])
    assert explained_variance(machine, returns, returns) == 1.0
    assert explained_variance(machine, torch.ones(3), returns) == 0.0
    assert explained_variance(machine, torch.tensor([1.0, 0.0, 0.0]), returns) == pytest.approx(1 - (14 / 9) / (2 / 3))
    assert explained_variance(machine, returns, torch.ones(3)) is None


def test_every_pass_takes_each_problem_once_in_an_order_of_its_own() -> None:
    order = Order(5, seed=1, shuffled=True)
    first, second = order.at(0, 5), order.at(5, 5)
    assert sorted(first) == sorted(second) == [0, 1, 2, 3, 4]
    assert first != second
    assert Order(5, seed=1, shuffled=True).at(3, 4) == (first + second)[3:7]
    assert Order(5, seed=2, shuffled=True).at(0, 10) != first + second
    assert Order(3, seed=1, shuffled=False).at(2, 4) == [2, 0, 1, 2]


def test_steps_are_passes_over_the_problems_or_max_steps() -> None:
    assert steps_of(10, PPO, processes=1) == 3  # 4 problems a step
    assert steps_of(10, PPO.model_copy(update={"epochs": 2.5}), processes=2) == 4
    for most in (2, 40):  # whatever `epochs` says, fewer or more
        assert steps_of(10, PPO.model_copy(update={"max_steps": most}), processes=1) == most


PROMPTS = [[5, 6, 7, 8, 9, 10], [5], [20, 21, 22]]


def test_samples_are_those_of_the_model_read_from_the_start_for_every_token(tiny_model) -> None:
    """The cache, the padding, the shared prompts and the rows that leave change nothing."""
    lm = load_model(tiny_model, "float32").double()
    params = PPO.model_copy(update={"max_new_tokens": 9, "temperature": 0.7, "top_k": 40})
    uniform = uniform_numbers(0, "test", range(12), 9)
    ends = frozenset(range(0, 258, 3))  # often
    found = sample(lm, PROMPTS, uniform, params, ends, pad=0)
    for place, prompt in enumerate(prompt for prompt in PROMPTS for _ in range(4)):
        written: list[int] = []
        while len(written) < 9 and not (written and written[-1] in ends):
            logits = lm(input_ids=torch.tensor([prompt + written])).logits[0, -1] / 0.7
            logits[logits < logits.topk(40).values[-1]] = -math.inf
            mass, token = float(uniform[place, len(written)]), 0
            for token, probability in enumerate(logits.softmax(-1).tolist()):  # noqa: B007
                mass -= probability
                if mass < 0:
                    break
            written.append(token)
        assert found[place] == written
    assert len({len(written) for written in found}) > 2


def test_a_completion_depends_on_its_place_and_not_on_who_shares_its_batch(tiny_model) -> None:
    lm = load_model(tiny_model, "float32").double()
    together = sample(lm, PROMPTS, uniform_numbers(0, "step 1", range(6), 6), PPO, frozenset({1}), pad=0)
    alone = sample(lm, PROMPTS[1:2], uniform_numbers(0, "step 1", range(2, 4), 6), PPO, frozenset({1}), pad=0)
    assert alone == together[2:4]
    other = sample(lm, PROMPTS, uniform_numbers(0, "step 2", range(6), 6), PPO, frozenset({1}), pad=0)
    assert all(one != two for one, two in zip(together, other, strict=True))


def test_tokens_are_drawn_with_their_probabilities(tiny_model) -> None:
    lm = load_model(tiny_model, "float32")
    params = PPO.model_copy(update={"max_new_tokens": 1, "top_p": 0.5})
    counts = torch.zeros(258)
    for (token,) in sample(lm, [[5, 6]], uniform_numbers(0, "test", range(4000), 1), params, frozenset({1}), pad=0):
        counts[token] += 1
    probabilities = lm(input_ids=torch.tensor([[5, 6]])).logits[0, -1].softmax(-1).detach()
    order = probabilities.argsort(descending=True)
    nucleus = order[: int((probabilities[order].cumsum(0) < 0.5).sum()) + 1]
    expected = torch.zeros(258).index_copy(0, nucleus, probabilities[nucleus] / probabilities[nucleus].sum())
    assert counts[expected == 0].sum() == 0
    kept = expected > 0
    chi_squared = float(((counts - 4000 * expected)[kept].square() / (4000 * expected[kept])).sum())
    freedom = int(kept.sum()) - 1
    assert chi_squared < freedom + 4 * (2 * freedom) ** 0.5


def test_a_model_that_computes_nan_is_an_error(tiny_model) -> None:
    lm = load_model(tiny_model, "float32")
    lm.model.norm.weight.data.fill_(math.nan)
    with pytest.raises(DataError, match="the model computes NaN"):
        sample(lm, PROMPTS, uniform_numbers(0, "test", range(3), 6), PPO, frozenset({1}), pad=0)


def test_the_policy_reads_completions_where_they_stand(tiny_model) -> None:
    lm = load_model(tiny_model, "float32").double()
    completions = [[30, 31], [40, 41, 42, 1], [50]]
    batch = make_batch(PROMPTS, completions, pad=0, device="cpu")
    policy = make_policy(lm, with_values=True)
    logits, values = policy(batch.ids_B_L, batch.mask_B_L, batch.predicts_B_L)
    place = 0
    for prompt, completion in zip(PROMPTS, completions, strict=True):
        whole = lm(input_ids=torch.tensor([prompt + completion])).logits[0]
        for token in range(len(completion)):
            expected = whole[len(prompt) - 1 + token]
            torch.testing.assert_close(logits[place], expected)
            place += 1
    assert place == len(logits) == len(values)
    assert values.eq(0).all()
    assert torch.equal(batch.flat(batch.tokens_B_T), torch.tensor([30, 31, 40, 41, 42, 1, 50]))
    assert torch.equal(batch.spread(torch.arange(1, 8)), torch.tensor([[1, 2, 0, 0], [3, 4, 5, 6], [7, 0, 0, 0]]))
    some = batch.rows([2, 0])
    assert some.ids_B_L.tolist() == [[20, 21, 22, 50, 0, 0, 0, 0], [5, 6, 7, 8, 9, 10, 30, 31]]
    assert some.tokens_B_T.tolist() == [[50, 0], [30, 31]]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"group_size": 3}, r"group_size must divide"),
        (
            {"minibatch_size": 4, "accumulate": 4},
            r"minibatch_size \* accumulate must divide batch_size \(found 16 and 8",
        ),
        ({"kl": "adaptive"}, r"beta must be > 0"),
        ({"vllm": {"mode": "colocate"}}, r"vllm"),
        ({"zero_variance": "skip"}, r"zero_variance"),
    ],
)
def test_settings_that_ppo_cannot_honour_are_errors(change: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        PpoParams.model_validate({**PPO.model_dump(), **change})
