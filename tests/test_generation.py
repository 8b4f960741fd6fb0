"""Sampling repeats whatever the batch, the order or the processes; what is finished is never sampled again."""

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from greenlit.config import GenerateParams
from greenlit.errors import ConfigError, DataError
from greenlit.generation import sample as sample_module
from greenlit.generation.sample import sample
from greenlit.generation.sampling import GumbelMax, candidate_stream, keep_likeliest
from greenlit.problems.strategies import STRATEGIES
from greenlit.types import AssertTest, Candidate, Problem

PROBLEMS = [
    Problem(
        task_id=f"t/{i}", prompt="Do it " * (1 + i % 3), entry_point="f", tests=[AssertTest(code="assert f() == 1")]
    )
    for i in range(7)
]
PARAMS = GenerateParams(n=3, max_new_tokens=12, batch_size=8)


def run(model: Path, work: Path, problems=PROBLEMS, params=PARAMS, workers=1, seed=0, greedy=True) -> list[Candidate]:
    work.mkdir(exist_ok=True)
    rows = sample(model, problems, params, seed=seed, greedy=greedy, work=work, workers=workers, label="test")
    return list(rows)


@pytest.fixture(scope="module")
def reference(tiny_model: Path, tmp_path_factory) -> list[Candidate]:
    return run(tiny_model, tmp_path_factory.mktemp("work") / "w")


def test_rows_come_problem_by_problem_greedy_first(reference: list[Candidate]) -> None:
    assert [(row.task_id, row.candidate_idx) for row in reference] == [
        (problem.task_id, index) for problem in PROBLEMS for index in (-1, 0, 1, 2)
    ]
    assert {row.decoding for row in reference if row.candidate_idx < 0} == {"greedy"}
    assert all(row.tokens <= 12 for row in reference)
    assert all(row.logprob < 0 for row in reference)


@pytest.mark.parametrize("variant", ["batch", "order", "processes", "one problem"])
def test_what_is_sampled_depends_on_seed_task_and_index_only(variant, tiny_model, tmp_path, reference) -> None:
    expected = {(row.task_id, row.candidate_idx): (row.text, row.tokens, row.finish_reason) for row in reference}
    changes = {
        "batch": {"params": PARAMS.model_copy(update={"batch_size": 3})},
        "order": {"problems": PROBLEMS[::-1]},
        "processes": {"workers": 2},
        "one problem": {"problems": PROBLEMS[4:5]},
    }[variant]
    rows = run(tiny_model, tmp_path / "w", **changes)
    assert rows
    assert all(expected[row.task_id, row.candidate_idx] == (row.text, row.tokens, row.finish_reason) for row in rows)


def test_more_samples_begin_with_the_same_ones(tiny_model, tmp_path, reference) -> None:
    more = run(tiny_model, tmp_path / "w", params=PARAMS.model_copy(update={"n": 5}))
    texts = {(row.task_id, row.candidate_idx): row.text for row in more}
    assert all(texts[row.task_id, row.candidate_idx] == row.text for row in reference)


def test_another_seed_samples_something_else_and_greedy_stays(tiny_model, tmp_path, reference) -> None:
    other = run(tiny_model, tmp_path / "w", seed=1)
    same = [a.text == b.text for a, b in zip(reference, other, strict=True)]
    greedy = [row.candidate_idx < 0 for row in reference]
    assert all(s for s, g in zip(same, greedy, strict=True) if g)
    assert not any(s for s, g in zip(same, greedy, strict=True) if not g)


def test_an_interrupted_run_goes_on_and_ends_the_same(tiny_model, tmp_path, reference, monkeypatch) -> None:
    asked: list[str] = []
    real = sample_module.BACKENDS["transformers"]

    def two_batches_then_die(*arguments):
        for number, batch in enumerate(real(*arguments)):
            if number == 2:
                raise KeyboardInterrupt
            yield batch

    monkeypatch.setattr(sample_module, "BACKENDS", {"transformers": two_batches_then_die})
    with pytest.raises(KeyboardInterrupt):
        run(tiny_model, tmp_path / "w")
    with (tmp_path / "w" / "candidates.jsonl").open("a") as stream:
        stream.write('{"task_id": "t/6", "torn')

    def noted(*arguments):
        for batch in real(*arguments):
            asked.extend(one.task_id for one in batch)
            yield batch

    monkeypatch.setattr(sample_module, "BACKENDS", {"transformers": noted})
    assert run(tiny_model, tmp_path / "w") == reference
    assert len(asked) == len(reference) - 2 * PARAMS.batch_size
    assert run(tiny_model, tmp_path / "w") == reference
    assert len(asked) == len(reference) - 2 * PARAMS.batch_size  # nothing was left to do


def test_a_batch_that_is_half_there_is_sampled_again_as_it_was_and_only_the_rest_is_kept(
    tiny_model, tmp_path, reference
) -> None:
    """Log-probabilities show in their last digits who shared a batch; files must not show where a run was killed."""
    run(tiny_model, tmp_path / "w")
    file = tmp_path / "w" / "candidates.jsonl"
    lines = file.read_bytes().splitlines(keepends=True)
    file.write_bytes(b"".join(lines[:11]) + lines[11][:40])
    assert run(tiny_model, tmp_path / "w") == reference
    assert file.read_bytes() == b"".join(lines)


def test_a_line_that_was_damaged_is_sampled_again_with_all_behind_it(tiny_model, tmp_path, reference) -> None:
    run(tiny_model, tmp_path / "w")
    file = tmp_path / "w" / "candidates.jsonl"
    lines = file.read_bytes().splitlines(keepends=True)
    lines[5] = b"\0" * (len(lines[5]) - 1) + b"\n"
    file.write_bytes(b"".join(lines))
    assert run(tiny_model, tmp_path / "w") == reference


def test_hints_are_sampled_with_and_recorded_and_the_prompt_of_record_is_without_them(
    tiny_model, tmp_path, reference
) -> None:
    hinted = run(tiny_model, tmp_path / "w", params=PARAMS.model_copy(update={"strategies": ["none", "short"]}))
    told = {-1: None, 0: None, 1: STRATEGIES["short"], 2: None}
    for row, plain in zip(hinted, reference, strict=True):
        assert row.strategy == told[row.candidate_idx]
        assert row.prompt_hash == plain.prompt_hash
        assert (row.logprob == pytest.approx(plain.logprob, abs=2e-3)) == (row.strategy is None)


def test_a_prompt_that_does_not_fit_is_named(tiny_model, tmp_path) -> None:
    long = PROBLEMS[0].model_copy(update={"prompt": "x" * 600})
    with pytest.raises(
        DataError, match=r"t/0: prompt of \d+ tokens \+ max_new_tokens 12 exceed the model's context of 512"
    ):
        run(tiny_model, tmp_path / "w", problems=[long])
    with pytest.raises(ConfigError, match="max_new_tokens: must be below the model's context of 512"):
        run(tiny_model, tmp_path / "w", params=PARAMS.model_copy(update={"max_new_tokens": 512}))


def test_a_folder_without_model_or_tokenizer_is_one_clear_error(tmp_path, tiny_model) -> None:
    with pytest.raises(DataError, match=r"no model here \(no config.json\)"):
        run(tmp_path, tmp_path / "w")
    (tmp_path / "config.json").write_text((tiny_model / "config.json").read_text())
    with pytest.raises(DataError, match="no usable tokenizer"):
        run(tmp_path, tmp_path / "w")


def test_a_model_that_computes_nan_is_told(tmp_path, tiny_model) -> None:
    from transformers import AutoModelForCausalLM

    broken = tmp_path / "broken"
    shutil.copytree(tiny_model, broken)
    model = AutoModelForCausalLM.from_pretrained(broken)
    model.model.norm.weight.data.fill_(float("nan"))
    model.save_pretrained(broken)
    with pytest.raises(DataError, match="t/0: the model computes NaN"):
        run(broken, tmp_path / "w", problems=PROBLEMS[:1])


def draw(logits: torch.Tensor, count: int, temperature=1.0, top_k=0, top_p=1.0) -> np.ndarray:
    streams = [candidate_stream(0, "t", index) for index in range(count)]
    sampler = GumbelMax(streams, temperature, top_k, top_p, frozenset())
    chosen = sampler(torch.zeros(count, 1), logits.expand(count, -1)).argmax(-1).numpy()
    return np.bincount(chosen, minlength=logits.shape[-1]) / count


@pytest.mark.parametrize("temperature", [0.5, 1.0, 2.0])
def test_gumbel_max_samples_from_the_softmax(temperature: float) -> None:
    logits = torch.tensor([2.0, 1.0, 0.0, -1.0])
    expected = (logits / temperature).softmax(-1).numpy()
    found = draw(logits, 20_000, temperature)
    assert np.abs(found - expected).max() < 4 * np.sqrt(0.25 / 20_000)


def test_top_k_and_top_p_leave_out_the_unlikely() -> None:
    logits = torch.log(torch.tensor([[0.5, 0.3, 0.15, 0.05]]))
    assert torch.isinf(keep_likeliest(logits, 2, 1.0)).tolist() == [[False, False, True, True]]
    assert torch.isinf(keep_likeliest(logits, 0, 0.8)).tolist() == [[False, False, True, True]]
    assert torch.isinf(keep_likeliest(logits, 0, 0.81)).tolist() == [[False, False, False, True]]
    assert torch.isinf(keep_likeliest(logits, 0, 0.01)).tolist() == [[False, True, True, True]]
    found = draw(logits[0], 5_000, top_k=2)
    assert found[2:].sum() == 0
    assert abs(found[0] - 0.625) < 0.03


def test_log_probabilities_add_up_until_the_end_token_and_ignore_the_temperature() -> None:
    sampler = GumbelMax([None, None], temperature=0.3, top_k=1, top_p=1.0, end_tokens=frozenset({2}))
    steps = [torch.tensor([[2.0, 1.0, 0.0], [0.0, 0.0, 3.0]]), torch.tensor([[0.0, 1.0, 0.5], [9.0, 0.0, 0.0]])]
    for logits in steps:
        sampler(torch.zeros(2, 1), logits)
    first = steps[0].log_softmax(-1)[0, 0] + steps[1].log_softmax(-1)[0, 1]
    second = steps[0].log_softmax(-1)[1, 2]  # ended: the second step is padding
    assert sampler.logprobs_B.tolist() == pytest.approx([first.item(), second.item()], abs=1e-5)
