"""The starter model: a tokenizer that takes any text, and a model that a seed determines."""

import hashlib
import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from greenlit import starter_model
from greenlit.config import StarterModelParams
from greenlit.problems.starter import corpus
from greenlit.starter_model import EOS, PAD, build_starter, learning_rate_share, train_tokenizer

SMALL = StarterModelParams(
    hidden=32, layers=1, heads=1, intermediate=64, vocabulary=512, context=256, rows=200, steps=12, batch_size=8
)
SOME_TEXT = 'def sum_even(xs):\n    """Größe ≥ 3 🙂"""\n\treturn sum(x for x in xs)\r\n'


@pytest.fixture(scope="module")
def tokenizer():
    return train_tokenizer(list(corpus(0, 1000)), StarterModelParams(vocabulary=1024))


@pytest.fixture(scope="module")
def built(tmp_path_factory) -> tuple[Path, dict, list]:
    steps: list[tuple[int, int, float]] = []
    out = tmp_path_factory.mktemp("starter") / "base"
    return out, build_starter(SMALL, 0, out, lambda *step: steps.append(step)), steps


@settings(deadline=None, max_examples=200)
@given(st.text())
def test_any_text_goes_through_the_tokenizer(tokenizer, text):
    assert tokenizer.decode(tokenizer(text)["input_ids"]) == text


def test_our_own_kind_of_text_goes_through_the_tokenizer(tokenizer):
    assert tokenizer.decode(tokenizer(SOME_TEXT)["input_ids"]) == SOME_TEXT


def test_prompt_and_completion_meet_at_a_token_boundary(tokenizer):
    for row in corpus(7, 200):
        apart = tokenizer(row.prompt)["input_ids"] + tokenizer(row.completion)["input_ids"]
        assert tokenizer(row.prompt + row.completion)["input_ids"] == apart


def test_rows_are_few_tokens(tokenizer):
    """Measured on average 21 prompt and 16 completion tokens; generation and training cost what this says."""
    rows = list(corpus(7, 200))
    assert sum(len(tokenizer(row.prompt)["input_ids"]) for row in rows) / len(rows) < 26
    assert max(len(tokenizer(row.prompt)["input_ids"]) for row in rows) < 48
    assert sum(len(tokenizer(row.completion)["input_ids"]) for row in rows) / len(rows) < 20
    assert max(len(tokenizer(row.completion)["input_ids"]) for row in rows) < 44


def test_a_name_has_the_same_tokens_in_the_prompt_and_in_the_program(tokenizer):
    called = tokenizer("assert sum_squares_even_nums([1])")["input_ids"]
    defined = tokenizer("def sum_squares_even_nums(nums):")["input_ids"]
    name = tokenizer("sum_squares_even_nums")["input_ids"]
    assert called[1 : 1 + len(name)] == name == defined[1 : 1 + len(name)]


def test_special_tokens_differ_and_nothing_is_put_in_front(tokenizer):
    assert tokenizer.eos_token == EOS
    assert tokenizer.pad_token == PAD
    assert tokenizer.eos_token_id != tokenizer.pad_token_id
    assert tokenizer.bos_token is None
    assert not {tokenizer.eos_token_id, tokenizer.pad_token_id} & set(tokenizer(SOME_TEXT)["input_ids"])


def test_auto_classes_load_it_and_agree_on_the_special_tokens(built):
    from transformers import AutoModelForCausalLM, AutoTokenizer

    out, facts, _ = built
    model, tokenizer = AutoModelForCausalLM.from_pretrained(out), AutoTokenizer.from_pretrained(out)
    assert tokenizer.decode(tokenizer(SOME_TEXT)["input_ids"]) == SOME_TEXT
    assert model.config.vocab_size == len(tokenizer) == facts["vocabulary"]
    assert (model.config.eos_token_id, model.config.pad_token_id) == (tokenizer.eos_token_id, tokenizer.pad_token_id)
    assert model.generation_config.eos_token_id == tokenizer.eos_token_id
    assert model.get_input_embeddings().weight is model.get_output_embeddings().weight
    assert model.config.max_position_embeddings == SMALL.context
    assert sum(weight.numel() for weight in model.parameters()) == facts["parameters"]


def test_progress_is_told_and_the_loss_falls(built):
    _, facts, steps = built
    assert [(step, total) for step, total, _ in steps] == [(step, SMALL.steps) for step in range(1, SMALL.steps + 1)]
    assert facts["loss"] < steps[0][2] - 0.5


def test_the_loss_counts_completions_only(built):
    """By hand, row by row, from the saved model's logits."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    from greenlit.starter_model import completion_loss, encode

    out, _, _ = built
    model, tokenizer = AutoModelForCausalLM.from_pretrained(out), AutoTokenizer.from_pretrained(out)
    sequences = encode(tokenizer, list(corpus(1, 3)))
    total, count = 0.0, 0
    for ids, prompt in sequences:
        assert ids[-1] == tokenizer.eos_token_id
        logprobs_T_V = model(torch.tensor([ids])).logits[0].log_softmax(-1)
        for at in range(prompt, len(ids)):
            total, count = total - logprobs_T_V[at - 1, ids[at]].item(), count + 1
    assert completion_loss(model, sequences).item() == pytest.approx(total / count, rel=1e-4)


def test_the_same_seed_gives_the_same_bytes_and_another_seed_does_not(built, tmp_path):
    build_starter(SMALL, 0, tmp_path / "again")
    build_starter(SMALL, 1, tmp_path / "other")
    first, again, other = (_digests(folder) for folder in (built[0], tmp_path / "again", tmp_path / "other"))
    assert first == again
    assert first["model.safetensors"] != other["model.safetensors"]
    assert {"model.safetensors", "config.json", "tokenizer.json", "tokenizer_config.json"} <= set(first)
    assert "/tmp" not in json.dumps([path.read_text() for path in built[0].glob("*.json")])


def _digests(folder: Path) -> dict[str, str]:
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in sorted(folder.iterdir())}


def test_a_build_replaces_what_is_there_and_leaves_no_parts(tmp_path):
    out = tmp_path / "base"
    out.mkdir()
    (out / "stale.txt").write_text("old")
    build_starter(SMALL, 0, out)
    assert [path.name for path in tmp_path.iterdir()] == ["base"]
    assert not (out / "stale.txt").exists()


def test_a_build_that_fails_leaves_what_was_there(tmp_path):
    out = tmp_path / "base"
    out.mkdir()
    (out / "kept.txt").write_text("old")

    def stop(step: int, total: int, loss: float) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        build_starter(SMALL, 0, out, stop)
    assert [path.name for path in out.iterdir()] == ["kept.txt"]


def test_an_interrupted_build_goes_on_to_the_same_bytes(tmp_path, built, monkeypatch):
    whole, facts, _ = built
    monkeypatch.setattr(starter_model, "SAVE_EVERY_S", 0.0)
    work = tmp_path / "work"
    work.mkdir()
    steps: list[int] = []

    def stop(step: int, total: int, loss: float) -> None:
        steps.append(step)
        if len(steps) == 5:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        build_starter(SMALL, 0, tmp_path / "base", stop, work)
    again = build_starter(SMALL, 0, tmp_path / "base", lambda step, total, loss: steps.append(step), work)
    assert steps[:7] == [1, 2, 3, 4, 5, 5, 6]  # the fifth was not saved yet
    assert again == facts
    assert _digests(tmp_path / "base") == _digests(whole)


@pytest.mark.parametrize(
    ("step", "share"), [(0, 0.2), (4, 1.0), (5, 1.0), (29, 1.0), (30, 1.0), (65, 0.5), (99, 1 / 70)]
)
def test_the_learning_rate_warms_up_holds_and_decays_to_zero(step, share):
    assert learning_rate_share(step, 100) == pytest.approx(share)
