"""Problems in q, in three layouts, by rows written here in the shape of the real ones. No q is at hand: none is run."""

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from greenlit.config import AnnotateParams, DatasetParams, Limits
from greenlit.errors import ConfigError, DataError
from greenlit.execution.judges import Judge
from greenlit.execution.languages.q import literal
from greenlit.execution.q_text import Unclosed, parts, quoted, words
from greenlit.execution.split import unsplittable
from greenlit.grade.sources import read_dataset
from greenlit.jsonl import read_json_lines
from greenlit.problems.adapters import adapter_for
from greenlit.problems.q import load_q
from greenlit.problems.q_tests import printed_test, shown_test
from greenlit.problems.records import Dropped
from greenlit.types import Problem

CASES = [
    {
        "test_case_number": 1, "q_test_code": "result:solve[(1;2);3];\nshow result;\n", "q_expected_output": "4 5\n",
        "python_test_code": "print(solve(nums = [1, 2], k = 3))", "python_expected_output": "[4, 5]\n",
        "correct_answer": "[4, 5]",
    },
    {
        "test_case_number": 2, "q_test_code": "show solve[enlist 0;1];\nexit 0;", "q_expected_output": ",1",
        "python_test_code": "print(solve(nums = [0], k = 1))", "python_expected_output": "[1]", "correct_answer": "[1]",
    },
]  # fmt: skip
ROW: dict[str, Any] = {
    "problem_id": "add-all", "problem_name": "7_add-all", "leetcode_id": 7, "difficulty": "Easy", "tags": ["Array"],
    "problem_description": "Add k to each.", "python_solution": "def solve(nums, k):\n    return [n + k for n in nums]",
    "q_solution": "solve:{[nums;k] nums+k}", "test_cases": CASES, "metadata": {},
}  # fmt: skip
NATIVE = {
    "task_id": "HumanEval/0",
    "q_solution": "twice: {2*x}\n",
    "q_test": "candidate: twice;\n\ncheck:{[candidate]\n  .qython.assert[candidate[1] = 2];\n  }",
}


def one(row: dict[str, Any], variant: str = "description_to_q", **more: Any) -> Problem | Dropped:
    (made,) = load_q([row], variant, **more)
    return made


def test_a_row_asks_for_q() -> None:
    problem = one(ROW)
    assert (problem.task_id, problem.language, problem.entry_point) == ("q/add-all", "q", "solve")
    assert problem.prompt == "Add k to each.\n\nWrite a q function `solve` that solves it."
    assert [test.code for test in problem.tests] == [
        '(.Q.s solve[(1;2);3]) ~ "4 5"',
        '(.Q.s solve[enlist 0;1]) ~ ",1"',
    ]
    assert (problem.reference, problem.difficulty, problem.tags) == (["solve:{[nums;k] nums+k}\n"], "Easy", ["Array"])
    assert unsplittable(problem) == []


def test_a_row_asks_for_a_translation_either_way() -> None:
    to_q, to_python = one(ROW, "python_to_q"), one(ROW, "q_to_python")
    assert to_q.prompt.startswith("Translate this Python program to q, with a function `solve`:\n```python\ndef solve(")
    assert (to_q.language, to_q.tests) == ("q", one(ROW).tests)
    assert to_python.prompt.startswith("Translate this q program to Python, with a function `solve`:\n```q\nsolve:{")
    assert (to_python.language, to_python.entry_point) == ("python", "solve")
    assert [test.code for test in to_python.tests] == [
        "assert solve(nums=[1, 2], k=3) == [4, 5]",
        "assert solve(nums=[0], k=1) == [1]",
    ]
    with Judge(AnnotateParams(allow_portable=True), 1) as judge:  # the one variant whose programs run here
        assert judge.judge(to_python, to_python.reference[0]).passed_all
        assert judge.judge(to_python, "def solve(nums, k): return nums").passed_all is False


def test_tags_may_be_a_list_or_a_text() -> None:
    for said, tags in ((["Array"], ["Array"]), ("Array, Math", ["Array", "Math"]), (None, []), (5, [])):
        assert one({**ROW, "tags": said}).tags == tags


def test_splits_are_the_datasets_own_where_the_row_tells() -> None:
    rows = [{**ROW, "problem_id": f"p{i}", "split": "train"} for i in range(60)]
    assert set(Counter(problem.split for problem in load_q(rows))) == {"train", "validation"}
    assert one({**ROW, "split": "test"}).split == "test"
    assert {problem.split for problem in load_q({**ROW, "problem_id": i} for i in range(60))} == {
        "train", "validation", "test",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("code", "output", "test"),
    [
        ("result:solve[58];\nshow result;", "58", '(.Q.s solve[58]) ~ "58"'),
        ("result:solve 58\nshow result", "5", '(.Q.s solve[58]) ~ (enlist "5")'),
        ('result:solve enlist ("a ";"b");\nshow result;', '"a"', '(.Q.s solve[enlist ("a ";"b")]) ~ "\\"a\\""'),
        ("/ a comment\nx:1 2 3; / another\nshow solve[x;neg 1];\n\\\\", "1b", '(.Q.s solve[(1 2 3);neg 1]) ~ "1b"'),
        ("n:1;\nm:n+1;\nshow solve[m;`n]", "3", '(.Q.s solve[((1)+1);`n]) ~ (enlist "3")'),
        ('show solve["x;]";(1;2)]', "", '(.Q.s solve["x;]";(1;2)]) ~ ""'),
        ("show[solve[1]]", "1b", '(.Q.s solve[1]) ~ "1b"'),
        ('show solve["/ no comment"]', "1b", '(.Q.s solve["/ no comment"]) ~ "1b"'),
        ("-1 string solve[1];", "1", None),
        ("show solve[1];show solve[2]", "1", None),
        ("show 5", "5", None),
        ("show solve[1", "1", None),
        ('show solve["x]', "1", None),
        ("f:{x+1};\nshow f[1]", "2", None),
        ("", "", None),
    ],
)
def test_scripts_that_show_one_answer_become_assertions(code: str, output: str, test: str | None) -> None:
    assert shown_test(code, output) == test


@pytest.mark.parametrize(
    ("code", "output", "test"),
    [
        ("print(solve(a = 1))", "True\n", "assert solve(a=1) == True"),
        ("print(solve(a = 1))", "abc", "assert str(solve(a=1)) == 'abc'"),
        ("print(solve(a = 1))", "'abc'", "assert str(solve(a=1)) == \"'abc'\""),
        ("print(solve(a = 1))", "1.50", "assert str(solve(a=1)) == '1.50'"),
        ("print(solve(1), 2)", "1 2", None),
        ("x = 1\nprint(solve(x))", "1", None),
        ("print(", "1", None),
    ],
)
def test_scripts_that_print_one_answer_become_asserts(code: str, output: str, test: str | None) -> None:
    assert printed_test(code, output) == test


@pytest.mark.parametrize(
    ("changed", "reason"),
    [
        ({"problem_description": ""}, "it has no problem_description"),
        ({"problem_description": None}, "it has no problem_description"),
        ({"test_cases": []}, "it has no tests"),
        ({"test_cases": [{**CASES[0], "q_test_code": "-1 string 5"}]}, "its tests cannot be read"),
        ({"test_cases": [CASES[0], {**CASES[0], "q_test_code": "show f[1]"}]}, "its tests do not call one function"),
    ],
)
def test_rows_that_give_no_problem_say_why(changed: dict, reason: str) -> None:
    made = one({**ROW, **changed})
    assert isinstance(made, Dropped)
    assert (made.task_id, made.reason) == ("q/add-all", reason)


def test_tests_that_are_left_out_are_counted() -> None:
    problem = one({**ROW, "test_cases": [*CASES, {**CASES[0], "q_test_code": None}]})
    assert (len(problem.tests), problem.tags) == (2, ["Array", "tests_left_out:1"])


@pytest.mark.parametrize("column", ["problem_id", "problem_description", "python_solution", "q_solution", "test_cases"])
def test_a_missing_column_is_named_with_its_row(column: str) -> None:
    with pytest.raises(DataError, match=f"q: row 2: column `{column}` is missing"):
        list(load_q([ROW, {key: value for key, value in ROW.items() if key != column}]))
    with pytest.raises(DataError, match="column `q_solution` is missing"):
        one({"task_id": "HumanEval/0", "q_test": ""})
    with pytest.raises(DataError, match="column `test_cases` must hold objects"):
        one({**ROW, "test_cases": ["x"]})


def as_folders(root: Path) -> Path:
    """As the q project lays out such rows; the second problem as it did before."""
    for split, name in (("train", "1_a"), ("test", "2_b")):
        folder = root / split / name
        folder.mkdir(parents=True)
        (folder / "problem_description.txt").write_text("Add k to each.\n")
        new = name == "1_a"
        (folder / ("python_sol.py" if new else "sol.py")).write_text(ROW["python_solution"])
        (folder / ("q_sol.q" if new else "sol.q")).write_text(ROW["q_solution"])
        for case in CASES:
            number = case["test_case_number"]
            (folder / f"q_test_case_{number}.q").write_text(case["q_test_code"])
            (folder / f"test_case_{number}.py").write_text(case["python_test_code"])
            (folder / f"q_exact_ans_test_case_{number}.txt").write_text(case["q_expected_output"])
            if new:
                (folder / f"python_exact_ans_test_case_{number}.txt").write_text(case["python_expected_output"])
            else:
                (folder / f"test_case_{number}_correct_ans.txt").write_text(case["correct_answer"])
    entry = {"task_id": "add-all", "difficulty": "Easy", "tags": ["Array"]}
    (root / "train" / "1_a" / "entry.json").write_text(json.dumps(entry))
    (root / "train" / ".cache").mkdir()
    (root / "train" / "3_empty").mkdir()
    return root


def fetched(path: Path, raw: Path, variant: str | None = None) -> list[Problem | Dropped]:
    params = DatasetParams(name="q", path=str(path), variant=variant)
    raw.mkdir()
    adapter_for(params).fetch(params, raw)
    return list(adapter_for(params).load(raw, params, Limits(), 0))


def test_a_folder_per_problem_reads_like_the_rows(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    first, empty, second = fetched(as_folders(tmp_path / "SFT_Data"), tmp_path / "raw")
    row = one({**ROW, "split": "train"})
    assert first.model_dump(exclude={"split"}) == row.model_dump(exclude={"split"})
    assert (first.split, second.split, second.task_id) == (row.split, "test", "q/2_b")
    assert (second.tests, second.reference) == (first.tests, first.reference)
    assert isinstance(empty, Dropped)
    assert (empty.task_id, empty.reason) == ("q/3_empty", "it has no problem_description")
    to_python = fetched(tmp_path / "SFT_Data", tmp_path / "raw2", "q_to_python")
    assert [made.language for made in to_python if isinstance(made, Problem)] == ["python", "python"]
    graded = read_dataset("q", tmp_path / "SFT_Data")
    assert (graded.find("q/add-all").tests, graded.find("q/3_empty"), len(graded)) == (first.tests, None, 2)
    assert "warning: q: 1 records left out: it has no problem_description" in capsys.readouterr().err
    flat = fetched(tmp_path / "SFT_Data" / "test", tmp_path / "raw3")
    assert [made.task_id for made in flat] == ["q/2_b"]


def test_faults_of_folders_and_settings(tmp_path: Path) -> None:
    (tmp_path / "none").mkdir()
    with pytest.raises(ConfigError, match="no problems in this folder"):
        fetched(tmp_path / "none", tmp_path / "raw")
    root = as_folders(tmp_path / "SFT_Data")
    (root / "train" / "1_a" / "q_sol.q").write_bytes(b"\xff")
    with pytest.raises(DataError, match=r"q_sol\.q: not UTF-8"):
        fetched(root, tmp_path / "raw2")
    with pytest.raises(ConfigError, match="must be one of description_to_q, python_to_q, q_to_python"):
        fetched(root, tmp_path / "raw3", "q")
    with pytest.raises(ConfigError, match="no such file"):
        fetched(tmp_path / "gone.jsonl", tmp_path / "raw4")


def test_native_problems_take_statements_and_helpers_from_beside_them(tmp_path: Path) -> None:
    helped = {**NATIVE, "task_id": "HumanEval/1", "q_test": NATIVE["q_test"].replace("1] = 2", ".qython.ord 1] = 98")}
    (tmp_path / "native.jsonl").write_text("".join(json.dumps(row) + "\n" for row in (NATIVE, helped)))
    first, second = fetched(tmp_path / "native.jsonl", tmp_path / "raw")
    assert (first.task_id, first.entry_point, first.split) == ("q/HumanEval/0", "twice", "test")
    assert (first.prompt, first.tags, first.setup) == ("Write a q function `twice`.", ["no_statement"], "")
    assert second.reason == "its test needs qython.q, which does not lie beside the file"
    (tmp_path / "HumanEval.jsonl").write_text(
        json.dumps({"task_id": "HumanEval/0", "prompt": "def twice(x): ..."}) + "\n"
    )
    (tmp_path / "qython.q").write_text(".qython.ord:{x};\n")
    first, second = fetched(tmp_path / "native.jsonl", tmp_path / "raw2")
    assert (
        first.prompt.endswith("what this Python function should:\n\ndef twice(x): ...") or "def twice" in first.prompt
    )
    assert (first.setup, second.setup) == ("", ".qython.ord:{x};\n")
    assert one({**NATIVE, "q_test": "x"}).reason == "its test names no function"


def test_the_native_problems_of_humaneval_all_load(shared_data: Path, tmp_path: Path) -> None:
    made = fetched(shared_data / "q" / "humaneval_q_native.jsonl", tmp_path / "raw")
    assert len(made) == 162
    assert all(isinstance(problem, Problem) and problem.split == "test" for problem in made)
    assert sum(bool(problem.setup) for problem in made) > 0
    assert len([problem for problem in made if unsplittable(problem)]) == 22
    statements = {
        row["task_id"]: row["prompt"] for _, row in read_json_lines(shared_data / "humaneval" / "HumanEval.jsonl.gz")
    }
    rows = [row for _, row in read_json_lines(shared_data / "q" / "humaneval_q_native.jsonl")]
    told = list(load_q(rows, statements=statements, helpers="x:1"))
    assert all("def " in problem.prompt and problem.tags == [] for problem in told)


q_values = st.recursive(
    st.booleans() | st.integers(-(2**40), 2**40) | st.text(max_size=6) | st.sampled_from(list('"\\;[](){}/')),
    lambda inner: st.lists(inner, max_size=3),
    max_leaves=6,
)


@settings(max_examples=200, deadline=None)
@given(arguments=st.lists(q_values, min_size=1, max_size=3), output=st.text(max_size=20))
def test_any_arguments_come_through_as_they_are_written(arguments: list, output: str) -> None:
    call = f"solve[{';'.join(map(literal, arguments))}]"
    for code in (f"result:{call};\nshow result;", f"show {call}", f"show {call};\nexit 0;\n"):
        assert shown_test(code, output) == f"(.Q.s {call}) ~ {quoted(output)}"


@settings(max_examples=300, deadline=None)
@given(text=st.text(alphabet='ab1"\\;[](){}:/ \n', max_size=30))
def test_any_text_is_taken_apart_or_refused(text: str) -> None:
    assert shown_test(text, "1") is None or ".Q.s" in shown_test(text, "1")
    assert printed_test(text, "1") is None
    try:
        pieces, places = parts(text, ";"), words(text)
    except Unclosed:
        return
    assert ";".join(pieces) == text
    assert all(text[start:end].strip() for start, end in places)
