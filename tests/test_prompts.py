"""One prompt, one extractor: what generation sees is what training sees."""

from pathlib import Path

import pytest
from hypothesis import given, settings
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


def test_the_prompts_of_today_stay_as_they_are() -> None:
    """Models are compared over months: what a Python function is asked with must not change by accident."""
    problem = PROBLEM.model_copy(update={"starter_code": "def inc(x):\n"})
    assert render(problem, chat=False) == '"""Add one.\nassert inc(1) == 2\n"""\ndef inc(x):\n'
    assert render(problem, chat=True)[0]["content"] == (
        "Write a Python program that solves the problem. Answer with one Python code block and nothing else.\n\n"
        "Add one.\nassert inc(1) == 2\n\nStart from:\n```python\ndef inc(x):\n```"
    )


CALLS = [
    CallTest(input=["a", [1, 2]], output={"k": None}, role="shown"),
    CallTest(input=["b", [3]], output={"k": True}),
]
IN_JAVASCRIPT = Problem(task_id="j", language="javascript", prompt="Count */ it.", entry_point="count", tests=CALLS)
IN_Q = Problem(task_id="q", language="q", prompt="Count it.\nFast.", entry_point="cnt", tests=CALLS)


def test_javascript_is_asked_in_its_own_words() -> None:
    shown = 'assert.deepStrictEqual(count("a", [1, 2]), {"k": null});'
    assert render(IN_JAVASCRIPT, chat=False) == f"/*\nCount * / it.\n{shown}\n*/\n"
    problem = IN_JAVASCRIPT.model_copy(update={"starter_code": "function count(x) {\n"})
    assert render(problem, chat=True)[0]["content"] == (
        "Write a JavaScript program that solves the problem. Answer with one JavaScript code block and nothing else."
        f"\n\nCount */ it.\n{shown}\n\nStart from:\n```javascript\nfunction count(x) {{\n```"
    )
    method = IN_JAVASCRIPT.model_copy(update={"entry_point": "Solution.prototype.count"})
    assert "new Solution().count(" in statement(method)


def test_q_is_asked_in_its_own_words() -> None:
    shown = 'cnt[(enlist "a");(1 2)] ~ ((`$(enlist (enlist "k")))!(enlist (::)))'
    assert render(IN_Q, chat=False) == f"/ Count it.\n/ Fast.\n/ {shown}\n"
    content = render(IN_Q, chat=True)[0]["content"]
    assert content.startswith("Write a q program that solves the problem. Answer with one q code block")
    assert content.endswith(f"\n\nCount it.\nFast.\n{shown}")


def test_values_that_q_does_not_have_stay_readable() -> None:
    test = CallTest(input=[2**70], output=1, role="shown")
    assert f"cnt[{2**70}] ~ 1" in statement(IN_Q.model_copy(update={"tests": [test]}))


def test_whole_programs_are_asked_for_input_and_output() -> None:
    tests = [StdioTest(input="1\n", output="2\n", role="shown"), StdioTest(input="5\n", output="6\n")]
    content = render(PROBLEM.model_copy(update={"tests": tests, "entry_point": None}), chat=True)[0]["content"]
    assert "reads standard input and prints to standard output. Answer with one Python code block" in content
    assert "Input:\n1\nOutput:\n2" in content
    assert "5" not in content


def test_a_function_that_nothing_names_is_named() -> None:
    hidden = [AssertTest(code="assert inc(1) == 2")]
    assert statement(PROBLEM.model_copy(update={"tests": hidden})) == "Add one.\nCall the function `inc`."
    assert "Call the" not in statement(PROBLEM.model_copy(update={"tests": hidden, "starter_code": "def inc(x):\n"}))
    assert "Call the" not in statement(PROBLEM.model_copy(update={"tests": hidden, "prompt": "Write `inc`."}))
    method = PROBLEM.model_copy(update={"tests": hidden, "entry_point": "Solution().inc"})
    assert statement(method).endswith("`inc`.")


@pytest.mark.parametrize(
    ("problem", "text", "chat", "code"),
    [
        (IN_JAVASCRIPT, "```js\nconst count = (x) => 1\n```", True, "const count = (x) => 1\n"),
        (IN_JAVASCRIPT, "```\ncount(1)\n```\n```javascript\nfunction count(x) {}\n```", True, "function count(x) {}\n"),
        (
            IN_JAVASCRIPT,
            "```javascript\nfunction count(x) {}\n```\n```js\ncount(1);\n```",
            True,
            "function count(x) {}\n",
        ),
        (IN_JAVASCRIPT, "```python\ndef count(x): pass\n```", True, ""),
        (IN_JAVASCRIPT, "function count(x) { return 1 }", True, "function count(x) { return 1 }\n"),
        (IN_JAVASCRIPT, "I would count(x).", True, ""),
        (IN_JAVASCRIPT, "function count(x) {}\n/*\nNext task.\n*/\n", False, "function count(x) {}\n"),
        (IN_Q, "```q\ncnt:{x+y}\n```", True, "cnt:{x+y}\n"),
        (IN_Q, "cnt:{x+y}", True, "cnt:{x+y}\n"),
        (IN_Q, "Use cnt of course", True, ""),
        (IN_Q, "cnt:{x+y}\n```\n", False, "cnt:{x+y}\n"),
    ],
)
def test_programs_in_other_languages_are_taken_out(problem: Problem, text: str, chat: bool, code: str) -> None:
    assert extract(text, problem, chat) == code


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("function inc(x) {}", True),
        ("async function inc (x) {}", True),
        ("class inc extends Base {}", True),
        ("const inc = x => 1", True),
        ("exports.inc = inc", True),
        ("class A {\n  inc(x) { return 1 }\n}", True),
        ("if (inc == 1) inc(2)", False),
        ("incr = 1", False),
        ("my$inc = 1", False),
    ],
)
def test_functions_of_javascript_are_told_from_their_calls(text: str, found: bool) -> None:
    assert defines(text, "inc", "javascript") is found


REASONING = PROBLEM.model_copy(update={"answer_format": "reasoning"})


def test_reasoning_is_asked_of_chat_and_base_models_alike() -> None:
    content = render(REASONING, chat=True)[0]["content"]
    assert "between <reasoning> and </reasoning>. Then answer, between <answer> and </answer>, with one" in content
    assert render(REASONING, chat=False) == f"{content}\n\n"


@pytest.mark.parametrize("chat", [False, True])
@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("<reasoning>hm</reasoning><answer>```python\ndef inc(x): return 1\n```</answer>", "def inc(x): return 1\n"),
        (
            "<reasoning>```python\ndef inc(x): 0\n```</reasoning>\n<answer>\ndef inc(x): return 2\n</answer>",
            "def inc(x): return 2\n",
        ),
        ("<reasoning>a</reasoning>\n```python\ndef inc(x): return 3\n```", "def inc(x): return 3\n"),
        ("<reasoning>a</reasoning><answer>```python\ndef inc(x): return 4", "def inc(x): return 4\n"),
        ("<reasoning>```python\ndef inc(x): return 5\n```", ""),
        ("<reasoning>a</reasoning><answer>no idea</answer>", ""),
        ("```python\ndef inc(x): return 6\n```", "def inc(x): return 6\n"),
    ],
)
def test_of_an_answer_with_reasoning_the_answer_counts(text: str, code: str, chat: bool) -> None:
    assert extract(text, REASONING, chat) == code


def test_a_problem_says_how_it_is_answered_only_where_that_is_unusual() -> None:
    assert "answer_format" not in PROBLEM.model_dump_json()
    assert Problem.model_validate_json(REASONING.model_dump_json()) == REASONING


_SECRETS = st.lists(st.sampled_from(["shown", "reward", "hidden"]), min_size=1, max_size=6)


@settings(deadline=None)
@given(
    roles=_SECRETS,
    language=st.sampled_from(["python", "javascript", "q", "other"]),
    chat=st.booleans(),
    answer=st.sampled_from(["code", "reasoning"]),
    kind=st.sampled_from(["assert", "call", "stdio", "script"]),
)
def test_what_is_not_shown_never_reaches_a_prompt(roles, language: str, chat: bool, answer: str, kind: str) -> None:
    def test(place: int, role: str) -> dict:
        mark = f"mark{place}x{role}"
        content = {
            "assert": {"code": f"assert f('{mark}')"},
            "script": {"code": f"def check(c):\n    assert c('{mark}')"},
            "call": {"input": [mark], "output": mark},
            "stdio": {"input": mark, "output": mark},
        }[kind]
        return {"kind": kind, "role": role, **content}

    tests = [test(place, role) for place, role in enumerate(roles)]
    problem = Problem.model_validate(
        {
            "task_id": "p",
            "prompt": "Do it.",
            "language": language,
            "entry_point": "f",
            "answer_format": answer,
            "reference": ["markOfTheReference"],
            "setup": "markOfTheSetup",
            "tests": tests,
        }
    )
    prompt = render(problem, chat)
    text = prompt if isinstance(prompt, str) else prompt[0]["content"]
    for place, role in enumerate(roles):
        assert (f"mark{place}x{role}" in text) == (role == "shown" and kind != "script")
    assert "markOf" not in text


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
