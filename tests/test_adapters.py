"""APPS, TACO, LeetCodeDataset, HumanEval: what a row becomes, and why some rows become nothing."""

import json
from collections import Counter
from pathlib import Path

import pytest

from greenlit.config import AnnotateParams, DatasetParams, Limits
from greenlit.errors import ConfigError, DataError
from greenlit.execution.judges import Judge
from greenlit.jsonl import read_json_lines
from greenlit.problems.adapters import adapter_for
from greenlit.problems.apps import load_apps
from greenlit.problems.contest import checker_of
from greenlit.problems.humaneval import load_humaneval
from greenlit.problems.leetcode import load_leetcode
from greenlit.problems.prompts import extract
from greenlit.problems.records import Dropped
from greenlit.problems.taco import load_taco
from greenlit.types import Problem

STDIO = json.dumps({"inputs": ["3\n", ["1", "2"]], "outputs": ["6\n", ["2"]]})
APPS = {
    "problem_id": 7,
    "question": "Double the number.",
    "solutions": json.dumps(["print(2 * int(input()))\r\n"]),
    "input_output": STDIO,
    "difficulty": "interview",
    "url": "https://codeforces.com/problemset/problem/1/A",
    "starter_code": "",
}
CALL = json.dumps({"fn_name": "twice", "inputs": [[1], [2]], "outputs": [[2], [4]]})
TACO = {
    "id": 0,
    "question": "Double the number.",
    "solutions": ["print(2 * int(input()))"],
    "starter_code": "",
    "input_output": STDIO,
    "difficulty": "EASY",
    "source": "codeforces",
    "tags": "['Math']",
    "time_limit": "2.0 seconds",
    "memory_limit": "256.0 megabytes",
}
LEETCODE = {
    "task_id": "twice",
    "prompt": "from typing import *\ndef helper(x): return x\n",
    "completion": "class Solution:\n    def twice(self, nums: List[int]) -> List[int]:\n        return nums + nums\n",
    "entry_point": "Solution().twice",
    "test": "def check(candidate):\n    assert candidate(nums = [1]) == [1, 1]\n    assert candidate(nums=[]) != inf\n",
    "problem_description": "Repeat the list.",
    "starter_code": "class Solution:\n    def twice(self, nums: List[int]) -> List[int]:\n        ",
    "difficulty": "Easy",
    "tags": ["Array"],
}
HUMANEVAL = {
    "task_id": "HumanEval/0",
    "prompt": 'from math import pi\n\n\ndef half(x):\n    return x / 2\n\n\ndef area(r):\n    """Area."""\n',
    "canonical_solution": "    return pi * r * r\n",
    "test": "METADATA = {}\n\n\ndef check(candidate):\n    assert candidate(0) == 0\n    assert candidate(1) > 3\n",
    "entry_point": "area",
}


def one(load, row: dict, **changed) -> Problem | Dropped:
    (made,) = load([{**row, **changed}])
    return made


def test_a_row_of_apps_with_standard_input() -> None:
    problem = one(load_apps, APPS)
    assert (problem.task_id, problem.entry_point, problem.source) == ("apps/7", None, "apps/codeforces.com")
    assert problem.prompt.startswith("Double the number.\n\nRead the input from standard input")
    assert problem.reference == ["print(2 * int(input()))\n"]
    assert [(test.input, test.output) for test in problem.tests] == [("3\n", "6\n"), ("1\n2\n", "2\n")]


@pytest.mark.parametrize(("url", "output"), [("https://www.codewars.com/kata/1", 2), ("https://leetcode.com/p", [2])])
def test_the_source_decides_whether_an_answer_is_wrapped(url: str, output: object) -> None:
    problem = one(load_apps, APPS, input_output=CALL, url=url)
    assert (problem.entry_point, problem.tests[0].input, problem.tests[0].output) == ("twice", [1], output)
    taco = one(load_taco, TACO, input_output=CALL, source="codewars" if "codewars" in url else "leetcode")
    assert taco.tests == problem.tests


def test_an_answer_of_codewars_that_is_no_list_of_one_stays() -> None:
    io = json.dumps({"fn_name": "f", "inputs": [[1], [2]], "outputs": [[1, 2], [3]]})
    problem = one(load_taco, TACO, input_output=io, source="codewars")
    assert [test.output for test in problem.tests] == [[1, 2], [3]]


def test_class_solution_gets_the_imports_its_site_makes() -> None:
    starter = "class Solution:\n    def twice(self, n: int) -> Optional[int]:\n        "
    solution = f"{starter}return 2 * n\n"
    problem = one(load_taco, TACO, input_output=CALL, source="codewars", starter_code=starter, solutions=[solution])
    assert problem.reference[0].startswith(problem.prelude)
    written = extract(f"```python\n{solution}```", problem, chat=True)
    with Judge(AnnotateParams(allow_portable=True)) as judge:
        assert [judge.judge(problem, code).passed_all for code in (problem.reference[0], written)] == [True, True]
        bare = "from __future__ import annotations\ndef twice(n: List[int]): return 2 * n"
        assert judge.judge(problem, extract(f"```python\n{bare}\n```", problem, chat=True)).passed_all
    assert one(load_taco, TACO, input_output=CALL, starter_code="def twice(n):\n\t").prelude == ""


@pytest.mark.parametrize(
    "code",
    ["n = int(input())\nif n == 3:\n    print(6)\n    return\nprint(2)", "n = 0\ndef f():\n    nonlocal n\nprint(2)"],
)
def test_a_solution_that_only_runs_inside_a_function_is_put_into_one(code: str) -> None:
    (reference,) = one(load_apps, APPS, solutions=json.dumps([code])).reference
    compile(reference, "x", "exec")
    assert reference.startswith("def program():\n    n = ")


def test_numbers_as_keys_become_numbers_again() -> None:
    io = json.dumps({"fn_name": "f", "inputs": [[{"1": 2}, {"a": 1, "2": 3}]], "outputs": [1]})
    assert one(load_taco, TACO, input_output=io).tests[0].input == [{1: 2}, {"a": 1, "2": 3}]


@pytest.mark.parametrize(
    ("changed", "reason"),
    [
        ({"source": "geeksforgeeks"}, "its inputs fit no program (geeksforgeeks)"),
        ({"question": "See <image> above."}, "its statement needs a picture"),
        ({"question": "If there are multiple answers, print any of them."}, "several answers may be right"),
        ({"special_judge_case": 1}, "several answers may be right"),
        ({"input_output": ""}, "it has no tests"),
        ({"input_output": '{"inputs": [], "outputs": []}'}, "it has no tests"),
        ({"input_output": '{"inputs": ["1"], "outputs": []}'}, "its tests cannot be read"),
        ({"input_output": '{"fn_name": "f", "inputs": ["1"], "outputs": [1]}'}, "its tests cannot be read"),
        ({"input_output": "{"}, "its tests cannot be read"),
        ({"solutions": "["}, "its solutions cannot be read"),
        ({"time_limit": "soon"}, "its limits cannot be read"),
    ],
)
def test_rows_of_taco_that_give_no_problem_say_why(changed: dict, reason: str) -> None:
    made = one(load_taco, TACO, **changed)
    assert isinstance(made, Dropped)
    assert (made.task_id, made.reason) == ("taco/0", reason)


@pytest.mark.parametrize(
    ("time", "memory", "expected"),
    [
        ("2.0 seconds", "256.0 megabytes", (10.0, 512)),
        ("1.0 - 3.0 seconds", "1024.0 megabytes", (15.0, 1024)),
        ("500 ms", None, (2.5, None)),
        (None, "1 gigabytes", (None, 1024)),
        ("", "131072 KB", (None, 512)),
    ],
)
def test_limits_are_meant_for_cpp(time: str | None, memory: str | None, expected: tuple) -> None:
    problem = one(load_taco, TACO, time_limit=time, memory_limit=memory)
    assert (problem.time_limit_s, problem.memory_limit_mib) == expected


@pytest.mark.parametrize(
    ("statement", "checker"),
    [
        ("Print the number of ways.", "exact"),
        ("You may print every letter in any case.", "case_insensitive"),
        ("The absolute or relative error must not exceed 10^{-6}.", "float"),
        ("If there are several solutions, you can print any of them.", None),
        ("Print the vertices in any order.", None),
        ("He may choose any two numbers and swap them, in any order.", "exact"),
    ],
)
def test_how_answers_are_compared_follows_from_the_statement(statement: str, checker: str | None) -> None:
    assert checker_of(statement) == checker


def test_marks_of_the_test_split_win_over_words() -> None:
    row = {**TACO, "question": "Print any of them."}
    assert one(load_taco, row, special_judge=False, special_judge_case=0).tests[0].checker == "exact"
    assert one(load_taco, row, special_judge=True, special_judge_case=3).tests[0].checker == "float"


def test_a_row_of_leetcode() -> None:
    problem = one(load_leetcode, LEETCODE)
    assert (problem.task_id, problem.entry_point) == ("leetcode/twice", "Solution().twice")
    assert [test.code for test in problem.tests] == [
        "assert Solution().twice(nums=[1]) == [1, 1]",
        "assert Solution().twice(nums=[]) != float('inf')",
    ]
    assert problem.reference[0].startswith(LEETCODE["prompt"])
    written = extract(LEETCODE["completion"], problem, chat=True)
    with Judge(AnnotateParams(allow_portable=True)) as judge:
        assert judge.judge(problem, written).passed_all


def test_an_answer_of_leetcode_that_a_helper_compares_is_judged_by_the_datasets_helper() -> None:
    prelude = (
        "class ListNode:\n    def __init__(self, val=0, next=None): self.val, self.next = val, next\n"
        "def list_node(values):\n    return ListNode(values[0], list_node(values[1:])) if values else None\n"
        "def is_same_list(p, q):\n    if not p or not q:\n        return p is q\n"
        "    return p.val == q.val and is_same_list(p.next, q.next)\n"
    )
    test = "def check(candidate):\n    assert is_same_list(candidate(head=list_node([1, 2])), list_node([1, 2]))\n"
    right = "class Solution:\n    def same(self, head): return head\n"
    entry = {"entry_point": "Solution().same"}
    problem = one(load_leetcode, LEETCODE, prompt=prelude, test=test, completion=right, **entry)
    wrong = right.replace("return head", "return head.next")
    forged = f"{wrong}def is_same_list(p, q): return True\n"
    with Judge(AnnotateParams(allow_portable=True)) as judge:
        verdicts = [judge.judge(problem, prelude + code).passed_all for code in (right, wrong, forged)]
    assert verdicts == [True, False, False]


def test_a_row_of_leetcode_in_the_old_schema() -> None:
    old = {key: LEETCODE[key] for key in ("task_id", "prompt", "completion", "entry_point", "test")}
    meta = {"question_title": "Repeat it.", "lang_code": LEETCODE["starter_code"].rstrip(), "difficulty": "Easy"}
    problem = one(load_leetcode, {**old, "meta": meta})
    assert (problem.prompt, problem.starter_code) == ("Repeat it.", LEETCODE["starter_code"])
    with pytest.raises(DataError, match="row 1: meta: column `lang_code` is missing"):
        one(load_leetcode, {**old, "meta": {"question_title": "x", "difficulty": "Easy"}})


def test_what_leetcode_says_of_order_and_precision() -> None:
    def judged(text: str) -> Problem | Dropped:
        return one(load_leetcode, LEETCODE, problem_description=text)

    assert judged("Return the answer in any order.").tests[0].checker == "unordered"
    assert judged("Answers within 10-5 of the actual answer are accepted.").tests[0].checker == "float"
    assert judged("If there are multiple solutions, return any of them.").reason == "several answers may be right"
    assert judged("If there are multiple answers, return the one that occurs last.").tests[0].checker == "exact"


def test_splits_of_leetcode_are_its_own_where_the_row_tells() -> None:
    rows = [{**LEETCODE, "task_id": f"t{i}", "split": "train"} for i in range(60)]
    assert set(Counter(problem.split for problem in load_leetcode(rows))) == {"train", "validation"}
    assert one(load_leetcode, LEETCODE, split="test").split == "test"


def test_a_row_of_humaneval_takes_the_function_alone_or_whole() -> None:
    problem = one(load_humaneval, HUMANEVAL)
    assert (problem.task_id, problem.split, problem.entry_point) == ("HumanEval/0", "test", "area")
    assert problem.prelude == "from math import pi\n\n\ndef half(x):\n    return x / 2\n\n\n"
    alone = extract("```python\ndef area(r):\n    return 4 * half(2 * half(pi) * r * r)\n```", problem, chat=True)
    continued = extract("    return pi * r * r\n", problem, chat=False)
    with Judge(AnnotateParams(allow_portable=True)) as judge:
        assert [judge.judge(problem, code).passed_all for code in (alone, continued)] == [True, True]
    with pytest.raises(DataError, match=r"row 1 \(HumanEval/0\): column `prompt` defines no volume"):
        one(load_humaneval, HUMANEVAL, entry_point="volume")


@pytest.mark.parametrize(
    ("load", "row", "column"),
    [
        (load_apps, APPS, "url"),
        (load_taco, TACO, "solutions"),
        (load_leetcode, LEETCODE, "test"),
        (load_leetcode, LEETCODE, "starter_code"),
        (load_humaneval, HUMANEVAL, "prompt"),
    ],
)
def test_a_missing_column_is_named_with_its_row(load, row: dict, column: str) -> None:
    lacking = {key: value for key, value in row.items() if key != column}
    with pytest.raises(DataError, match=rf"row 2: column `{column}` is missing"):
        list(load([row, lacking]))
    with pytest.raises(DataError, match=rf"row 1: column `{column}` must be .* \(found int\)"):
        one(load, row, **{column: 5})


def test_local_files_are_fetched_and_loaded(tmp_path: Path) -> None:
    for name, row in (("apps", APPS), ("taco", TACO), ("leetcode", LEETCODE), ("humaneval", HUMANEVAL)):
        file = tmp_path / f"{name}.jsonl"
        file.write_text(json.dumps(row) + "\n")
        params = DatasetParams(name=name, path=str(file))
        raw = tmp_path / f"raw-{name}"
        raw.mkdir()
        adapter = adapter_for(params)
        assert adapter.fetch(params, raw)["path"] == str(file)
        assert len(list(adapter.load(raw, params, Limits(), 0))) == 1
        assert adapter.evaluation_only == (name == "humaneval")
        with pytest.raises(ConfigError, match=f"dataset.variant: {name} has one edition"):
            adapter.fetch(DatasetParams(name=name, variant="x"), raw)


REAL = [
    ("humaneval/HumanEval.jsonl.gz", "humaneval", {}),
    ("apps/apps_train_real5.jsonl", "apps", {}),
    ("taco/taco_verified_layout.jsonl", "taco", {"its statement needs a picture": 1}),
    (
        "taco/taco_test_statement_examples.jsonl",
        "taco",
        {"it has no tests": 110, "several answers may be right": 65, "its statement needs a picture": 40},
    ),
    ("leetcode/LeetCodeDataset-v0.2.0-train.jsonl.gz", "leetcode", {"several answers may be right": 35}),
    ("leetcode/LeetCodeDataset-v0.3.1-test.dev.jsonl.gz", "leetcode", {"several answers may be right": 2}),
]


@pytest.mark.parametrize(("file", "name", "dropped"), REAL, ids=[file for file, _, _ in REAL])
def test_every_real_row_loads_or_says_why(shared_data: Path, file: str, name: str, dropped: dict) -> None:
    load = {"humaneval": load_humaneval, "apps": load_apps, "taco": load_taco, "leetcode": load_leetcode}[name]
    rows = [row for _, row in read_json_lines(shared_data / file)]
    made = list(load(rows))
    assert len(made) == len(rows)
    assert Counter(one.reason for one in made if isinstance(one, Dropped)) == dropped
    assert len({one.task_id for one in made}) == len(made)
