"""MBPP: every row becomes a problem, and every reference solution passes its own tests."""

import json
from collections import Counter
from pathlib import Path

import pytest

from greenlit.config import AnnotateParams
from greenlit.errors import DataError
from greenlit.execution.judges import Judge
from greenlit.execution.split import unsplittable
from greenlit.problems.mbpp import load_mbpp, read_mbpp_file
from greenlit.types import Problem

FULL = {
    "task_id": 601,
    "text": "Double it. ",
    "code": "def twice(x):\r\n    return 2 * x\r\n",
    "test_list": ["assert twice(1) == 2 ", "assert (twice(2)) == 4"],
    "test_setup_code": "",
    "challenge_test_list": ["assert twice(0) == 0"],
}
SANITIZED = {
    "source_file": "x",
    "task_id": 3,
    "prompt": "Double it.",
    "code": "def twice(x): return 2 * x",
    "test_list": ["assert math.isclose(twice(1.0), 2.0)"],
    "test_imports": ["import math"],
}


def the_problem(row: dict, variant: str = "full") -> Problem:
    (problem,) = load_mbpp([row], variant)
    return problem


def test_a_row_of_full() -> None:
    problem = the_problem(FULL)
    assert problem.task_id == "mbpp/601"
    assert (problem.split, problem.entry_point, problem.prompt) == ("train", "twice", "Double it.")
    assert problem.reference == ["def twice(x):\n    return 2 * x\n"]
    assert [(test.code, test.role) for test in problem.tests] == [
        ("assert twice(1) == 2", "reward"),
        ("assert (twice(2)) == 4", "reward"),
        ("assert twice(0) == 0", "hidden"),
    ]


def test_a_row_of_sanitized() -> None:
    problem = the_problem(SANITIZED, "sanitized")
    assert (problem.split, problem.tags, problem.setup) == (None, ["prompt"], "import math")
    assert unsplittable(problem) == []


EDGES = [(1, None), (10, None), (11, "test"), (510, "test"), (511, "validation"), (600, "validation"), (601, "train")]


@pytest.mark.parametrize(("task_id", "split"), [*EDGES, (974, "train")])
def test_splits_follow_from_the_ids(task_id: int, split: str | None) -> None:
    assert the_problem({**FULL, "task_id": task_id}).split == split


def test_a_class_that_only_the_reference_knows_is_shown_and_brought_along() -> None:
    code = "class Node:\n    def __init__(self, v): self.v = v\ndef value(node): return node.v"
    row = {**FULL, "code": code, "test_list": ["assert value(root) == 1"], "test_setup_code": "root = Node(1)"}
    problem = the_problem({**row, "challenge_test_list": []})
    assert problem.tags == ["needs_class"]
    assert "class Node" in problem.prompt
    assert problem.setup.startswith("class Node")
    assert problem.entry_point == "value"
    with Judge(AnnotateParams(allow_portable=True)) as judge:
        assert judge.judge(problem, "def value(node): return node.v").passed


@pytest.mark.parametrize("column", ["task_id", "text", "code", "test_list", "test_setup_code", "challenge_test_list"])
def test_a_missing_column_is_named_with_its_row(column: str) -> None:
    row = {key: value for key, value in FULL.items() if key != column}
    with pytest.raises(DataError, match=rf"row 2.*column `{column}` is missing"):
        list(load_mbpp([FULL, row], "full"))


def test_faults_of_rows_and_files_are_data_errors(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="must be list"):
        the_problem({**FULL, "test_list": "assert"})
    with pytest.raises(DataError, match="1 to 974"):
        the_problem({**FULL, "task_id": 975})
    with pytest.raises(DataError, match="no variant"):
        the_problem(FULL, "plus")
    with pytest.raises(DataError, match="no such file"):
        read_mbpp_file(tmp_path / "none.jsonl")
    other = tmp_path / "other.jsonl"
    other.write_text('{"question": "?"}\n')
    with pytest.raises(DataError, match="neither column"):
        read_mbpp_file(other)


def test_both_file_forms_are_told_apart(tmp_path: Path) -> None:
    lines, array = tmp_path / "full.jsonl", tmp_path / "sanitized.json"
    lines.write_text(json.dumps(FULL) + "\n")
    array.write_text(json.dumps([SANITIZED]))
    assert read_mbpp_file(lines) == ([FULL], "full")
    assert read_mbpp_file(array) == ([SANITIZED], "sanitized")


@pytest.fixture(params=["mbpp.jsonl", "sanitized-mbpp.json"])
def problems(request: pytest.FixtureRequest, shared_data: Path) -> list[Problem]:
    rows, variant = read_mbpp_file(shared_data / "mbpp" / request.param)
    return list(load_mbpp(rows, variant))


def test_all_rows_load_and_all_tests_split(problems: list[Problem]) -> None:
    full = problems[0].source == "mbpp/full"
    counts = {"train": 374, "test": 500, "validation": 90, None: 10}
    if not full:
        counts = {"train": 120, "test": 257, "validation": 43, None: 7}
    assert Counter(problem.split for problem in problems) == counts
    assert all(problem.entry_point for problem in problems)
    assert [why for problem in problems for why in unsplittable(problem)] == []
    entries = {problem.task_id: problem.entry_point for problem in problems}
    if full:
        wanted = {601: "max_chain_length", 769: "Diff", 912: "lobb_num", 927: "max_height", 126: "sum", 56: "check"}
        assert {number: entries[f"mbpp/{number}"] for number in wanted} == wanted
        assert [problem.task_id for problem in problems if "needs_class" in problem.tags] == ["mbpp/367", "mbpp/927"]
        assert sum(any(test.role == "hidden" for test in problem.tests) for problem in problems) == 11


@pytest.mark.slow
def test_every_reference_passes_its_tests(problems: list[Problem]) -> None:
    # 123 sums divisors up to 10,000 the slow way: several seconds.
    slow = {"mbpp/123"}
    jobs = [
        problem.model_copy(update={"time_limit_s": 60.0 if problem.task_id in slow else 5.0}) for problem in problems
    ]
    with Judge(AnnotateParams(allow_portable=True, timeout_s=30), workers=2) as judge:
        judged = zip(jobs, judge.judge_all((problem, problem.reference[0]) for problem in jobs), strict=True)
        unlike = {problem.task_id: found.error for problem, found in judged if found.passed_all is not True}
    assert unlike == {}
