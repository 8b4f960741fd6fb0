"""One prompt, one extractor: what generation sees is what training sees."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from greenlit.models import load_tokenizer
from greenlit.problems.prompts import defines, extract, prompt_hash, prompt_ids, render, statement
from greenlit.problems.strategies import STRATEGIES, strategy_of
from greenlit.types import AssertTest, CallTest, Problem, StdioTest

PROBLEM = Problem(
    task_id="p",
    prompt="Add one.",
    entry_point="inc",
    tests=[
        AssertTest(code="assert inc(1) == 2", role="shown"),
        AssertTest(code="assert inc(5) == 6"),
        AssertTest(code="assert inc(7) == 8", role="hidden"),
    ],
)


def test_only_shown_tests_are_in_the_prompt() -> None:
    assert render(PROBLEM, chat=False) == '"""Add one.\nassert inc(1) == 2\n"""\n'
    message = render(PROBLEM, chat=True)[0]["content"]
    assert "inc(1)" in message
    assert "inc(5)" not in message
    assert "inc(7)" not in message


def test_call_and_stdio_tests_are_shown_readably() -> None:
    tests = [CallTest(input=[1, "a"], output=[2], role="shown"), StdioTest(input="1\n", output="2\n", role="shown")]
    text = statement(PROBLEM.model_copy(update={"tests": tests}))
    assert text == "Add one.\nassert inc(1, 'a') == [2]\nInput:\n1\nOutput:\n2"


def test_a_docstring_in_the_statement_cannot_end_the_prompt() -> None:
    text = render(PROBLEM.model_copy(update={"prompt": 'Return """x""".'}), chat=False)
    assert text.count('"""') == 2


def test_starter_code_is_continued_by_base_models_and_shown_to_chat_models() -> None:
    problem = PROBLEM.model_copy(update={"starter_code": "def inc(x):\n"})
    assert render(problem, chat=False).endswith('"""\ndef inc(x):\n')
    assert "def inc(x):" in render(problem, chat=True)[0]["content"]
    assert extract("    return x + 1", problem, chat=False) == "def inc(x):\n    return x + 1\n"


@pytest.mark.parametrize(
    ("text", "chat", "code"),
    [
        ("def inc(x):\n    return x + 1", False, "def inc(x):\n    return x + 1\n"),
        ("def inc(x):\n    return x + 1\n\nassert inc(1) == 2\n", False, "def inc(x):\n    return x + 1\n"),
        ('def inc(x):\n    return 2\n"""Next.\n"""\ndef g(): pass', False, "def inc(x):\n    return 2\n"),
        ("Sure:\n```python\ndef inc(x):\n    return 1\n```\nbye", True, "def inc(x):\n    return 1\n"),
        ("```\nx = 1\n```\n```py\ndef inc(x): return 3\n```", True, "def inc(x): return 3\n"),
        ("```python\ndef inc(x): return 1\n```\n```python\ndef inc(x): return 2\n```", True, "def inc(x): return 2\n"),
        ("```bash\npip install x\n```\n```python\ny = 1\n```", True, "y = 1\n"),
        ("```python\ndef inc(x):\n    return 5", True, "def inc(x):\n    return 5\n"),
        ("def inc(x):\r\n    return 1\r\n", True, "def inc(x):\n    return 1\n"),
        ("I am sorry, but", True, ""),
        ("", True, ""),
        ("  \n ", False, ""),
    ],
)
def test_the_program_is_taken_out_of_the_text(text: str, chat: bool, code: str) -> None:
    assert extract(text, PROBLEM, chat) == code


@given(text=st.text(), chat=st.booleans())
def test_extraction_never_fails(text: str, chat: bool) -> None:
    code = extract(text, PROBLEM, chat)
    assert code == "" or code.endswith("\n")


def test_defines_sees_functions_and_classes_also_in_broken_text() -> None:
    assert defines("async def inc(", "inc")
    assert defines("  class inc:", "inc")
    assert not defines("def increment(): pass", "inc")


def test_a_hint_stands_below_the_statement_and_nowhere_else() -> None:
    hint = strategy_of(["none", "recursion", "Think of primes."], 1)
    assert hint == STRATEGIES["recursion"]
    for chat in (False, True):
        plain, hinted = str(render(PROBLEM, chat)), str(render(PROBLEM, chat, hint))
        assert len(hinted) > len(plain)
        assert hinted.replace(hint, "").replace("\\n", "\n").replace("\n", "") == plain.replace("\\n", "\n").replace(
            "\n", ""
        )
    assert render(PROBLEM, False, hint) == f'"""Add one.\nassert inc(1) == 2\n{hint}\n"""\n'


def test_hints_are_dealt_in_turn_and_the_greedy_candidate_has_none() -> None:
    hints = ["none", "sorting", "Think of primes."]
    assert [strategy_of(hints, index) for index in (-1, 0, 1, 2, 4)] == [
        None, None, STRATEGIES["sorting"], "Think of primes.", STRATEGIES["sorting"],
    ]  # fmt: skip
    assert strategy_of([], 3) is None


def test_hashes_tell_prompts_apart() -> None:
    other = PROBLEM.model_copy(update={"prompt": "Add two."})
    hashes = {prompt_hash(render(problem, chat)) for problem in (PROBLEM, other) for chat in (False, True)}
    assert len(hashes) == 4
    assert prompt_hash("a") == prompt_hash("a")


def test_training_and_generation_see_the_same_tokens(tiny_model: Path) -> None:
    """TRL tokenizes prompt + completion; the prompt's part of it must be what generation was given."""
    from trl import DPOConfig, DPOTrainer

    tokens = trl_rows(DPOTrainer, DPOConfig, tiny_model, render(PROBLEM, chat=False), "def inc(x): return 2<eos>")
    tokenizer = load_tokenizer(tiny_model)
    assert tokens["prompt_ids"] == prompt_ids(tokenizer, render(PROBLEM, chat=False))
    written = tokenizer("def inc(x): return 2")["input_ids"]
    assert tokens["chosen_ids"] == [*written, tokenizer.eos_token_id]


def test_training_and_generation_see_the_same_tokens_in_chats(tiny_chat_model: Path) -> None:
    from trl import DPOConfig, DPOTrainer

    prompt = render(PROBLEM, chat=True)
    answer = [{"role": "assistant", "content": "def inc(x): return 2"}]
    tokens = trl_rows(DPOTrainer, DPOConfig, tiny_chat_model, prompt, answer)
    tokenizer = load_tokenizer(tiny_chat_model)
    assert tokens["prompt_ids"] == prompt_ids(tokenizer, prompt)
    assert tokens["chosen_ids"][-1] == tokenizer.eos_token_id
    assert tokenizer.eos_token_id not in tokens["chosen_ids"][:-1]


def trl_rows(trainer_class, config_class, model: Path, prompt, completion) -> dict:
    from datasets import Dataset

    from greenlit.training.trainer import load_start

    weights, tokenizer = load_start(model)
    row = {"prompt": prompt, "chosen": completion, "rejected": completion}
    arguments = config_class(output_dir=str(model / "out"), use_cpu=True, bf16=False, report_to="none")
    trainer = trainer_class(
        model=weights, args=arguments, train_dataset=Dataset.from_list([row]), processing_class=tokenizer
    )
    return trainer.train_dataset[0]
