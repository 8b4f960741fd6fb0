"""The transformers backend: what shares a batch, stop texts, adapters, processes that fail, models of another kind."""

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from greenlit.config import GenerateParams, parse_params, read_yaml
from greenlit.errors import ConfigError, DataError, WorldError
from greenlit.generation.batches import batches
from greenlit.generation.processes import in_processes
from greenlit.generation.request import Completion, Request
from greenlit.generation.stop_texts import StopTexts
from greenlit.generation.transformers import complete
from greenlit.models import load_model, load_tokenizer

PROMPTS = ["def f(x):\n", 'say "hello"\n' * 3, "x\n"]
PARAMS = GenerateParams(n=4, max_new_tokens=16, batch_size=8)


def requests(indices=range(-1, 4)) -> list[Request]:
    return [Request(f"t/{at}", index, prompt, 3) for at, prompt in enumerate(PROMPTS) for index in indices]


def written(model: Path, params: GenerateParams = PARAMS, workers: int = 1, asked=None) -> dict[tuple, Completion]:
    found = [one for some in complete(model, asked or requests(), params, workers) for one in some]
    rows = {(one.task_id, one.candidate_idx): one for one in found}
    assert len(rows) == len(found)
    return rows


@given(
    st.lists(st.tuples(st.integers(1, 30), st.integers(1, 9)), min_size=1, max_size=12),
    st.integers(1, 12),
    st.integers(1, 400),
)
def test_batches_hold_every_request_once_within_their_limits(problems, batch_size: int, batch_tokens: int) -> None:
    params = GenerateParams(max_new_tokens=10, batch_size=batch_size, batch_tokens=batch_tokens)
    asked = [Request(f"{at}", index, "x" * size, 0) for at, (size, n) in enumerate(problems) for index in range(n)]
    made = list(batches(asked, params, lambda prompt: [1] * len(prompt)))
    assert sorted((r.task_id, r.candidate_idx) for b in made for r in b.requests) == sorted(
        (r.task_id, r.candidate_idx) for r in asked
    )
    lengths = []
    for batch in made:
        count, longest = len(batch.requests), len(batch.prompts[0])
        assert count <= batch_size
        assert count == 1 or count * (longest + 10) <= batch_tokens
        assert [len(batch.prompts[place]) for place in batch.prompt_of] == [len(r.prompt) for r in batch.requests]
        assert len(set(batch.prompt_of)) == len(batch.prompts)
        lengths += [len(request.prompt) for request in batch.requests]
    assert lengths == sorted(lengths, reverse=True)


def test_a_problem_is_not_split_where_a_batch_is_nearly_full() -> None:
    asked = [Request(str(at), index, str(at), 0) for at in range(4) for index in range(3)]
    made = list(batches(asked, GenerateParams(batch_size=8, batch_tokens=10_000), lambda _: [1, 2]))
    assert [len(batch.requests) for batch in made] == [6, 6]


def test_a_token_budget_changes_no_sample(tiny_model: Path) -> None:
    many = written(tiny_model)
    few = written(tiny_model, PARAMS.model_copy(update={"batch_tokens": 100}))
    assert {place: (one.text, one.tokens) for place, one in few.items()} == {
        place: (one.text, one.tokens) for place, one in many.items()
    }


def test_half_precision_writes_nearly_as_likely_texts(tiny_model: Path) -> None:
    half, full = written(tiny_model, PARAMS.model_copy(update={"dtype": "bfloat16"})), written(tiny_model)
    assert half.keys() == full.keys()
    same = [at for at, one in half.items() if one.text == full[at].text]
    assert len(same) > len(full) / 2
    assert all(half[at].logprob == pytest.approx(full[at].logprob, abs=0.5) for at in same)
    assert any(half[at].logprob != full[at].logprob for at in same)


def stop_text_in(rows: dict[tuple, Completion]) -> tuple[tuple, str]:
    """A completion, and two letters in the middle of it that are whole characters."""
    for place, one in rows.items():
        for start in range(3, len(one.text) - 3):
            two = one.text[start : start + 2]
            if two.isascii() and two.isalnum():
                return place, two
    raise AssertionError("no such text")


def test_a_stop_text_ends_a_completion_and_is_no_part_of_it(tiny_model: Path) -> None:
    free = written(tiny_model)
    place, stop = stop_text_in(free)
    found = written(tiny_model, PARAMS.model_copy(update={"stop": ["never written", stop]}))
    for at, one in free.items():
        if stop in one.text:
            assert found[at].text == one.text[: one.text.index(stop)]
            assert (found[at].ended, found[at].stopped, found[at].finish_reason) == (True, True, "stop")
            assert found[at].tokens < one.tokens
            assert found[at].logprob > one.logprob
        else:
            assert (found[at].text, found[at].finish_reason) == (one.text, one.finish_reason)
    assert found[place].stopped


def test_a_stop_text_is_not_seen_across_the_end_of_the_prompt(tiny_model: Path) -> None:
    free = written(tiny_model)
    first = next(one for one in free.values() if one.text[0].isascii() and one.text[0].isprintable())
    found = written(tiny_model, PARAMS.model_copy(update={"stop": ["\n" + first.text[0]]}))
    assert found[first.task_id, first.candidate_idx].text == first.text


def test_stop_texts_of_several_tokens_and_of_part_of_a_token(tiny_model: Path) -> None:
    tokenizer = load_tokenizer(tiny_model)  # a token is a byte
    import numpy as np

    def ends(texts: list[str], written: str) -> bool:
        return StopTexts(texts, tokenizer).end(np.array(tokenizer(written)["input_ids"]))

    assert ends(["\nassert"], "return 1\nassert")
    assert not ends(["\nassert"], "return 1\nasser")
    assert not ends(["\nassert"], "return 1\nassert f")  # it had ended before
    assert ends(["é"], "caf\u00e9")
    assert ends(["x ", "y"], "if x ")
    assert StopTexts(["b", "cd"], tokenizer).cut("acdb") == ("a", True)
    assert StopTexts(["b"], tokenizer).cut("acd") == ("acd", False)


def test_an_empty_stop_text_is_refused() -> None:
    raw = read_yaml(Path(__file__).parent.parent / "presets" / "tiny.yaml")
    raw["generate"]["stop"] = ["\nclass", ""]
    with pytest.raises(ConfigError, match=r"generate\.stop: an empty text"):
        parse_params(raw, "params.yaml")


def test_problems_come_as_they_end(tiny_model: Path) -> None:
    params = PARAMS.model_copy(update={"batch_size": 64, "max_new_tokens": 400})
    asked = [Request(f"t/{at}", index, PROMPTS[at % 3], 0) for at in range(12) for index in range(2)]
    came = [[one.task_id for one in some] for some in complete(tiny_model, asked, params, 1)]
    assert len(came) > 1, "not all at the end of the batch"
    for some in came:
        assert {some.count(task_id) for task_id in some} == {2}, "a problem's completions come together"


def test_an_adapter_is_sampled_from_without_merging(tiny_model: Path, tmp_path: Path) -> None:
    import torch
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    torch.manual_seed(0)
    adapted = get_peft_model(
        AutoModelForCausalLM.from_pretrained(tiny_model), LoraConfig(r=4, target_modules="all-linear")
    )
    for name, weights in adapted.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(weights, std=0.2)
    adapter, merged = tmp_path / "adapter", tmp_path / "merged"
    adapted.save_pretrained(adapter)
    shutil.copytree(tiny_model, merged)
    adapted.merge_and_unload().save_pretrained(merged)
    found, expected, without = written(adapter), written(merged), written(tiny_model)
    assert {at: one.text for at, one in found.items()} == {at: one.text for at, one in expected.items()}
    assert {at: one.text for at, one in found.items()} != {at: one.text for at, one in without.items()}
    assert any("lora" in name for name, _ in load_model(adapter, "float32").named_modules())
    config = (adapter / "adapter_config.json").read_text()
    (adapter / "adapter_config.json").write_text(config.replace(str(tiny_model), "/no/such/model"))
    with pytest.raises(DataError, match="base_model_name_or_path: must name the directory of its model"):
        written(adapter)
    (adapter / "adapter_config.json").write_text('{"peft_type": "IA3"}')
    with pytest.raises(DataError, match=r"peft_type: must be LORA \(found IA3\)"):
        written(adapter)


def test_a_model_that_the_loop_does_not_fit_is_asked_by_its_own_generate(tiny_model, tmp_path, capsys) -> None:
    import torch
    from transformers import BloomConfig, BloomForCausalLM

    other = tmp_path / "bloom"
    shutil.copytree(tiny_model, other)
    torch.manual_seed(0)
    size = load_model(tiny_model, "float32").config.vocab_size
    BloomForCausalLM(
        BloomConfig(vocab_size=size, hidden_size=32, n_layer=2, n_head=2, pad_token_id=0, eos_token_id=1)
    ).save_pretrained(other)
    rows = written(other)
    told = capsys.readouterr().err
    assert told.count("BloomForCausalLM: by its own `generate`, which is slower: it prepares the inputs") == 1
    alone = written(other, asked=requests()[7:8])
    assert all((rows[at].text, rows[at].tokens) == (one.text, one.tokens) for at, one in alone.items())
    place, stop = stop_text_in(rows)
    stopped = written(other, PARAMS.model_copy(update={"stop": [stop]}))
    assert stopped[place].text == rows[place].text[: rows[place].text.index(stop)]
    assert stopped[place].tokens < rows[place].tokens
    assert stopped[place].finish_reason == "stop"


def counted(upto: int) -> Iterator[tuple[int, int]]:
    """A piece of work: a number may also be a fault."""
    for number in range(abs(upto)):
        yield os.getpid(), number
    if upto == -2:
        raise DataError("found -2", hint="no")
    if upto == -3:
        os._exit(3)


def nothing() -> None:
    pass


def test_processes_send_all_they_make() -> None:
    found = list(in_processes(2, nothing, (), counted, [3, 1, 2, 4, 1]))
    assert sorted(number for _, number in found) == sorted(n for upto in (3, 1, 2, 4, 1) for n in range(upto))
    assert len({pid for pid, _ in found}) == 2
    assert os.getpid() not in {pid for pid, _ in found}


def test_a_process_that_fails_or_dies_is_told_after_what_it_had_made() -> None:
    came = []
    with pytest.raises(DataError, match="found -2") as told:
        came.extend(number for _, number in in_processes(1, nothing, (), counted, [1, -2, 5]))
    assert told.value.hint == "no"
    with pytest.raises(WorldError, match="a generating process died"):
        list(in_processes(2, nothing, (), counted, [-3, 1]))
