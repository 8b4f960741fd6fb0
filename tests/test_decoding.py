"""The loop of the transformers backend writes what `generate` writes, faster, for whatever model it fits."""

from collections.abc import Iterator, Sequence
from random import Random
from typing import Any

import numpy as np
import pytest
import torch
import transformers

from greenlit.generation import decoding, fitting
from greenlit.generation.decoding import Model, Written, write
from greenlit.generation.own_generate import write_by_generate
from greenlit.generation.sampling import Sampler, candidate_stream

END, PAD, VOCABULARY = 1, 0, 120
TOKENS = {"vocab_size": VOCABULARY, "pad_token_id": PAD, "eos_token_id": END, "bos_token_id": None}
SIZES = {
    "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4,
    "num_key_value_heads": 2, "max_position_embeddings": 128,
}  # fmt: skip
GPT2_SIZES = {"n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": 128}
WINDOW = {"sliding_window": 6}
CONFIGS: dict[str, tuple[str, dict[str, Any]]] = {
    "llama": ("LlamaConfig", SIZES),
    "qwen2": ("Qwen2Config", SIZES),
    "qwen3": ("Qwen3Config", {**SIZES, "head_dim": 16}),
    "gpt2": ("GPT2Config", GPT2_SIZES),
    "codegen": ("CodeGenConfig", {**GPT2_SIZES, "rotary_dim": 4}),
    "gpt_bigcode": ("GPTBigCodeConfig", GPT2_SIZES),
    "starcoder2, windows": ("Starcoder2Config", {**SIZES, **WINDOW}),
    "gemma2, windows in turns": ("Gemma2Config", {**SIZES, **WINDOW, "head_dim": 16}),
    "bloom": ("BloomConfig", {"hidden_size": 32, "n_layer": 2, "n_head": 4}),
    "mamba": ("MambaConfig", {"hidden_size": 32, "num_hidden_layers": 2}),
}
OTHERS = ("bloom", "mamba")


def random_model(name: str) -> Any:
    """With weights large enough that it does not always write the same."""
    kind, settings = CONFIGS[name]
    torch.manual_seed(0)
    lm = transformers.AutoModelForCausalLM.from_config(getattr(transformers, kind)(**TOKENS, **settings)).eval()
    for weights in lm.parameters():
        if weights.dim() > 1:
            weights.data.mul_(3)
    return lm


def prompts(count: int, longest: int = 24) -> list[list[int]]:
    chance = Random(0)
    return [[chance.randrange(2, VOCABULARY) for _ in range(chance.randrange(2, longest))] for _ in range(count)]


def model_of(lm: Any) -> Model:
    return Model(lm, 2, frozenset({END}), PAD)


def collected(writing: Iterator[list[Written]], count: int) -> list[Written]:
    rows = sorted((one for some in writing for one in some), key=lambda one: one.place)
    assert [one.place for one in rows] == list(range(count))
    return rows


def one_by_one(lm: Any, asked: Sequence[list[int]], max_new_tokens: int) -> list[list[int]]:
    """What transformers itself writes, greedy."""
    settings = transformers.GenerationConfig(
        max_new_tokens=max_new_tokens, do_sample=False, eos_token_id=END, pad_token_id=PAD
    )
    written = []
    for ids in asked:
        inputs = torch.tensor([ids])
        with torch.inference_mode():
            output = lm.generate(inputs, attention_mask=torch.ones_like(inputs), generation_config=settings)
        written.append(output[0, len(ids) :].tolist())
    return written


@pytest.mark.parametrize("name", ["llama", "qwen2", "gpt2"])
def test_greedy_is_what_generate_writes_one_by_one_for_200_prompts(name: str) -> None:
    lm, asked = random_model(name), prompts(200)
    assert fitting.why_not(lm) is None
    expected = one_by_one(lm, asked, 14)
    assert len({tuple(row) for row in expected}) > 100
    assert any(row[-1] == END for row in expected)
    found = collected(write(model_of(lm), asked, range(200), Sampler([None] * 200, 1.0), 14), 200)
    assert [one.tokens for one in found] == expected


@pytest.mark.parametrize("name", CONFIGS)
def test_the_loop_and_the_models_own_generate_write_the_same(name: str) -> None:
    lm, asked = random_model(name), prompts(12)
    why_not = fitting.why_not(lm)
    assert (why_not is not None) == (name in OTHERS), why_not
    by_loop = write if why_not is None else write_by_generate

    def sampled(by: Any, places: Sequence[int]) -> list[Written]:
        sampler = Sampler([None if p % 6 == 0 else candidate_stream(0, "t", p) for p in places], 0.9, 50, 0.95, 0.01)
        return collected(
            by(model_of(lm), [asked[place] for place in places], range(len(places)), sampler, 20), len(places)
        )

    found, expected = sampled(by_loop, range(12)), sampled(write_by_generate, range(12))
    assert [one.tokens for one in found] == [one.tokens for one in expected]
    assert [one.logprob for one in found] == pytest.approx([one.logprob for one in expected], abs=1e-4)
    assert [one.tokens for one in found if one.place % 6 == 0] == one_by_one(lm, asked[::6], 20)
    few = sampled(by_loop, range(7, 12))
    assert [one.tokens for one in few] == [one.tokens for one in found[7:]], "who shares the batch does not matter"


def test_what_does_not_fit_is_told() -> None:
    assert fitting.why_not(random_model("mamba")) == "it keeps its past in a way of its own"
    assert fitting.why_not(random_model("bloom")) == "it prepares the inputs of a step in a way of its own"
    lm = random_model("llama")
    lm.config._attn_implementation = "flash_attention_2"
    assert fitting.why_not(lm) == "its attention is flash_attention_2"


def test_a_prompt_is_read_once_and_ended_rows_leave(monkeypatch) -> None:
    lm, shapes = random_model("llama"), []
    forward = lm.forward

    def noted(*arguments: Any, **named: Any) -> Any:
        shapes.append(tuple(named["input_ids"].shape))
        return forward(*arguments, **named)

    # the signature is looked at by fitting alone
    monkeypatch.setattr(lm, "forward", noted)
    asked = [[5, 6, 7], [8, 9]]
    sampler = Sampler([candidate_stream(0, str(place // 40), place) for place in range(80)], 1.5)
    rows = collected(write(model_of(lm), asked, [place // 40 for place in range(80)], sampler, 40), 80)
    assert shapes[0] == (2, 3), "two prompts, not eighty"
    assert shapes[1] == (80, 1)
    assert shapes[-1][0] < 80
    open_at = [sum(len(one.tokens) > step for one in rows) for step in range(len(shapes))]
    for step, (batch, _) in enumerate(shapes[1:], start=1):
        assert open_at[step] <= batch <= open_at[step] / decoding._COMPACT_BELOW + 1


ALWAYS = [  # temperature, top_k, top_p; six tokens of three candidates
    ((1.0, 0, 1.0), [[14, 33, 26, 49, 24, 60], [46, 3, 51, 16, 57, 31], [38, 35, 47, 32, 3, 60]]),
    ((0.7, 5, 1.0), [[14, 29, 32, 13, 33, 17], [58, 4, 55, 2, 43, 17], [52, 4, 57, 35, 48, 16]]),
    ((1.3, 0, 0.8), [[51, 63, 26, 49, 24, 60], [46, 4, 51, 16, 57, 18], [38, 35, 47, 32, 3, 60]]),
]


def test_samples_are_what_they_always_were() -> None:
    """Tokens as sampled by the first version of the repeatable sampling: whoever has candidates can make them again."""
    for settings, rows in ALWAYS:
        sampler = Sampler([candidate_stream(7, f"t/{row}", row) for row in range(3)], *settings)
        for step, tokens in enumerate(zip(*rows, strict=True)):
            logits = torch.sin(torch.arange(64, dtype=torch.float32) * (step + 1))[None].repeat(3, 1) * 2
            chosen, _ = sampler.choose(logits, np.arange(3), np.ones(3, dtype=bool))
            assert chosen.tolist() == list(tokens)


@pytest.mark.parametrize("inverse", [False, True])
def test_both_ways_to_sample_follow_the_distribution(inverse: bool) -> None:
    from scipy.stats import chisquare

    logits = torch.tensor([2.0, 1.0, 0.5, 0.0, -1.0, -2.0])
    count = 6000
    sampler = Sampler([candidate_stream(1, "t", row) for row in range(count)], 0.8, min_p=0.03, inverse=inverse)
    chosen, logprob = sampler.choose(logits.expand(count, -1), np.arange(count), np.ones(count, dtype=bool))
    shares = (logits / 0.8).softmax(-1).numpy().astype(float)
    shares[shares < 0.03 * shares.max()] = 0
    assert (shares == 0).sum() == 2
    kept = shares > 0
    counts = np.bincount(chosen, minlength=6)
    assert counts[~kept].sum() == 0
    assert chisquare(counts[kept], count * shares[kept] / shares.sum()).pvalue > 1e-3
    assert logprob == pytest.approx(logits.log_softmax(-1).numpy()[chosen], abs=1e-5)


def test_a_row_that_has_ended_draws_no_more() -> None:
    streams = [candidate_stream(0, "t", row) for row in range(2)]
    Sampler(streams, 1.0).choose(torch.zeros(2, 8), np.arange(2), np.array([True, False]))
    assert streams[0].random() != candidate_stream(0, "t", 0).random()
    assert streams[1].random() == candidate_stream(0, "t", 1).random()
