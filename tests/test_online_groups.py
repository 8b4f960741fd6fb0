"""Groups without variance: which they are, batches without them, and the loss that this makes."""

import math
from types import SimpleNamespace

import pytest
import torch
from test_online import Toy, train

from greenlit.jsonl import read_json_lines
from greenlit.training.groups import joined, picked, rows_to_keep, varied
from greenlit.training.rollouts import Rollouts


def test_a_group_varies_where_two_of_its_completions_earn_differently() -> None:
    nan = math.nan
    assert varied([1, 1, 0, 1, nan, 0, nan, nan, 0.5, 0.5], 2) == [False, True, False, False, False]
    assert varied([0.3, 0.1 + 0.2, nan, 0.9], 2) == [False, False]


def test_chunks_stay_equal() -> None:
    assert rows_to_keep([True, False, True], 2, chunks=1) == [0, 1, 4, 5]
    assert rows_to_keep([True, False, True], 2, chunks=3) == [0, 1, 4, 5, 2, 3]
    assert rows_to_keep([False, False], 2, chunks=3) == [0, 1, 2]
    assert rows_to_keep([True, False, False], 2, chunks=1, least=4) == [0, 1, 2, 3]


def batch(rows: int, prompt: int, completion: int, first: int) -> dict:
    ids = torch.arange(first, first + rows)
    return {
        "prompt_ids": ids[:, None].repeat(1, prompt), "prompt_mask": torch.ones(rows, prompt, dtype=torch.long),
        "completion_ids": ids[:, None].repeat(1, completion), "advantages": ids.float(),
        "completion_mask": torch.ones(rows, completion, dtype=torch.long), "num_items_in_batch": torch.tensor(7),
    }  # fmt: skip


def test_batches_of_different_widths_are_joined_and_picked_from() -> None:
    both = joined(batch(2, 3, 2, 10), batch(1, 2, 4, 20), pad_id=9)
    assert both["prompt_ids"].tolist() == [[10, 10, 10], [11, 11, 11], [9, 20, 20]]
    assert both["prompt_mask"].tolist() == [[1, 1, 1], [1, 1, 1], [0, 1, 1]]
    assert both["completion_ids"].tolist() == [[10, 10, 9, 9], [11, 11, 9, 9], [20, 20, 20, 20]]
    assert both["completion_mask"].tolist() == [[1, 1, 0, 0], [1, 1, 0, 0], [1, 1, 1, 1]]
    some = picked(both, [2, 0])
    assert some["advantages"].tolist() == [20.0, 10.0]
    assert some["num_items_in_batch"].item() == 7


class Some(Toy):
    """Varies on the problems t0 ... t4 only."""

    def __call__(self, prompts, completions, completion_ids=None, task_id=None, **columns):
        values = super().__call__(prompts, completions, task_id=task_id)
        return [value if name < "t5" else 0.5 for name, value in zip(task_id, values, strict=True)]


@pytest.mark.parametrize("kind", ["grpo", "rloo"])
def test_idle_groups_are_left_out_or_replaced_and_both_is_reported(tiny_model, tmp_path, kind) -> None:
    shares = {}
    for how in ("keep", "skip", "resample"):
        reward = Some()
        _, steps = train(kind, tiny_model, tmp_path / how, {"zero_variance": how, "max_steps": 2}, reward=reward)
        shares[how] = [
            [row.get(name) for name in ("frac_reward_zero_std", "zero_variance/left_out", "zero_variance/replaced")]
            for _, row in steps
        ]
    for (keep, *_), (skip, left_out, _), (resample, left, replaced) in zip(*shares.values(), strict=True):
        assert keep == skip == left_out == resample  # of the first sample; the same, since nothing was learnt before
        assert left == pytest.approx(resample - replaced)
        break
    assert all(row[1:] == [None, None] for row in shares["keep"])
    assert any(row[2] > 0 for row in shares["resample"])


class Bare(Rollouts):
    """What `_without_idle` needs of a trainer, on one process."""

    def __init__(self, loss_type: str, chunks: int = 1) -> None:
        self._params = SimpleNamespace(group_size=2)
        self.args = SimpleNamespace(steps_per_generation=chunks)
        self.accelerator = SimpleNamespace(num_processes=1, device="cpu", gather=lambda tensor: tensor)
        self.loss_type = loss_type


@pytest.mark.parametrize("loss_type", ["grpo", "dapo"])
@pytest.mark.parametrize("chunks", [1, 3])
def test_without_idle_groups_the_loss_is_a_mean_over_the_others_only(loss_type, chunks) -> None:
    whole = batch(6, 2, 3, 0)
    whole["advantages"] = torch.tensor([1.0, -1.0, 0.0, 0.0, 2.0, -1.0])
    whole["completion_mask"][1, 2] = 0
    found = Bare(loss_type, chunks)._without_idle(whole, [True, False, True])
    losses_B = -found["advantages"] * (1 + found["completion_ids"][:, 0])  # any loss of a row's own tokens
    if loss_type == "dapo":  # over tokens: 3 + 2 + 3 + 3
        assert found["num_items_in_batch"].item() == 11
        tokens_B = found["completion_mask"].sum(1)
        mean = (losses_B * tokens_B).sum() / found["num_items_in_batch"]
        assert mean.item() == pytest.approx(-(1 * 1 * 3 - 1 * 2 * 2 + 2 * 5 * 3 - 1 * 6 * 3) / 11)
    else:
        parts = losses_B.chunk(chunks)
        mean = sum(part.mean() for part in parts) / chunks
        assert mean.item() == pytest.approx(-(1 * 1 - 1 * 2 + 2 * 5 - 1 * 6) / 4)


def test_a_batch_that_teaches_nothing_is_left_as_it_is() -> None:
    whole = batch(4, 2, 3, 0)
    assert Bare("grpo")._without_idle(whole, [False, False]) is whole


def test_a_curriculum_asks_the_easiest_problems_first(tiny_model, tmp_path) -> None:
    class Known(Toy):
        def __call__(self, prompts, completions, completion_ids=None, task_id=None, **columns):
            super().__call__(prompts, completions, task_id=task_id)
            return [None if name == "t3" else float(name[1:]) for name in task_id]

    reward = Known()
    change = {"curriculum": "easy_first", "max_steps": 3}
    train("grpo", tiny_model, tmp_path, change, reward=reward)
    asked = [name for calls in reward.calls[-3:] for name in calls[::4]]
    assert asked == ["t9", "t8", "t7", "t6", "t5", "t4", "t2", "t1", "t0", "t3", "t9", "t8"]
    before = len(reward.calls)
    train("grpo", tiny_model, tmp_path, change, reward=reward)  # finished: neither measured nor trained again
    assert len(reward.calls) == before


def test_early_stop_keeps_the_best_weights(tiny_model, tmp_path) -> None:
    from greenlit.config import GrpoParams
    from greenlit.models import weights_sha256
    from greenlit.training.watching import Watching

    change = {"patience": 2, "eval_steps": 1, "eval_rows": 1, "max_steps": 9}
    measured = iter([0.1, 0.5, 0.9, 0.3, 0.2, 0.8])

    class Falling(Toy):
        def __call__(self, prompts, completions, completion_ids=None, task_id=None, **columns):
            values = super().__call__(prompts, completions, task_id=task_id)
            return [next(measured)] * len(values) if set(task_id) == {"h"} else values

    watch = Watching(GrpoParams(method="grpo", reads="p", start="s", learning_rate=1.0, patience=2))
    held_out = [{"prompt": "h\n", "task_id": "h"}]
    facts, _ = train("grpo", tiny_model, tmp_path / "a", change, reward=Falling(), held_out=held_out, watch=watch)
    assert facts["ended_early"] == "early stop at step 4: 2 measurements without one better than 0.9 of step 2"
    assert (facts["steps"], facts["eval"]["before"]["reward"], facts["eval"]["problems"]) == (4, pytest.approx(0.1), 1)
    train("grpo", tiny_model, tmp_path / "b", {"max_steps": 2, "schedule": "constant"})
    assert weights_sha256(tmp_path / "a/adapter") == weights_sha256(tmp_path / "b/adapter")
    rows = [row for _, row in read_json_lines(tmp_path / "a/work/completions.jsonl")]
    assert {(row["step"], row["of"]) for row in rows} >= {(0, "eval"), (1, "train"), (1, "eval"), (4, "eval")}
