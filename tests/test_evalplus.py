"""MBPP+ and HumanEval+ in OriginFmt: what a script of evalplus becomes, by rows written here after its own layout."""

import ast
import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from greenlit.config import AnnotateParams
from greenlit.errors import DataError
from greenlit.execution.judges import Judge
from greenlit.execution.split import unsplittable
from greenlit.grade.sources import read_dataset
from greenlit.jsonl import read_json_lines
from greenlit.problems.evalplus import load_humanevalplus, load_mbppplus
from greenlit.problems.humaneval import load_humaneval
from greenlit.problems.plus_scripts import tests_of as asserts_of
from greenlit.types import AssertTest, Problem, ScriptTest

COMPARISON = """\
import numpy as np
from math import inf

def is_floats(x) -> bool:
    if isinstance(x, float):
        return True
    if isinstance(x, (list, tuple)):
        return all(isinstance(i, float) for i in x)
    if isinstance(x, np.ndarray):
        return x.dtype == np.float64 or x.dtype == np.float32
    return False


def assertion(out, exp, atol):
    if atol == 0 and is_floats(exp):
        atol = 1e-6
    if out != exp and atol != 0:
        assert np.allclose(out, exp, rtol=1e-07, atol=atol)
    else:
        assert out == exp, f"out: {out}, exp: {exp}"


"""
LOOP = "for i, (inp, exp) in enumerate(zip(inputs, results)):\n    assertion({call}, exp, {atol})\n"


def script(inputs: Any, results: Any, call: str = "f(*inp)", atol: Any = 0) -> str:
    return f"{COMPARISON}inputs = {inputs}\nresults = {results}\n{LOOP.format(call=call, atol=atol)}"


def mbpp_row(**changed: Any) -> dict[str, Any]:
    row = {
        "task_id": 601, "prompt": "Double it.", "code": "def f(x):\n    return 2 * x\n", "source_file": "x",
        "test_imports": [], "test_list": ["assert f(1) == 2"], "test": script([[1], [2]], [2, 4]),
    }  # fmt: skip
    return {**row, **changed}


def he_row(inputs: Any, results: Any, atol: Any = 0) -> dict[str, Any]:
    body = f"inputs = {inputs}\nresults = {results}\n{LOOP.format(call='candidate(*inp)', atol=atol)}"
    check = "def check(candidate):\n" + "".join(f"    {line}\n" for line in body.splitlines())
    return {
        "task_id": "HumanEval/0", "prompt": 'def f(x):\n    """Double it."""\n', "entry_point": "f",
        "canonical_solution": "    return 2 * x\n", "test": COMPARISON + check,
    }  # fmt: skip


@pytest.fixture(scope="module")
def judge() -> Iterator[Judge]:
    with Judge(AnnotateParams(allow_portable=True), 1) as made:
        yield made


def passes(judge: Judge, tests: list, code: str) -> bool | None:
    return judge.judge(Problem(task_id="x", entry_point="f", tests=tests), code).passed_all


def test_each_input_becomes_an_assert() -> None:
    (problem,) = load_mbppplus([mbpp_row()])
    assert (problem.task_id, problem.split, problem.entry_point, problem.source) == (
        "mbpp/601",
        "train",
        "f",
        "mbppplus",
    )
    assert [(test.code, test.checker) for test in problem.tests] == [
        ("assert f(1) == 2", "exact"),
        ("assert f(2) == 4", "exact"),
    ]
    (problem,) = load_humanevalplus([he_row([[1], [2]], [2, 4])])
    assert [test.code for test in problem.tests] == ["assert f(1) == 2", "assert f(2) == 4"]
    assert (problem.split, problem.source, problem.task_id) == ("test", "humanevalplus", "HumanEval/0")
    # a file of HumanEval+ under HumanEval's name, too
    assert next(load_humaneval([he_row([[1]], [2])])).tests == problem.tests[:1]


def test_mbpp_plus_keeps_the_splits_of_mbpp_so_that_nothing_is_measured_on_what_it_was_trained_on() -> None:
    ids = {"train": [601, 974], "validation": [511, 600], "test": [11, 510], None: [1, 10]}
    for split, numbers in ids.items():
        for problem in load_mbppplus(mbpp_row(task_id=number) for number in numbers):
            assert problem.split == split
            assert problem.tags == ([] if split else ["prompt"])


@pytest.mark.parametrize(
    ("wanted", "atol", "answer", "same"),
    [
        ("2.0", 0, "2.0000009", True),
        ("2.0", 0, "2.00001", False),
        ("2", 0, "2.0000001", False),
        ("2", 0, "2.0", True),
        ("2.0", 0.01, "2.009", True),
        ("2.0", 0.01, "2.02", False),
        ("2.0", 0.01, "None", False),
        ("[1.0, 2.0]", 0.01, "[1.005, 2.0]", True),
        ("[1.0, 2.0]", 0.01, "[1.005, 2.5]", False),
        ("[1.0, 2.0]", 0.01, "[1.0]", False),
        ("[1.0, 2.0]", 0, "[1.0, 2.0000001]", True),
        ("[[1.0]]", 0, "[[1.0000001]]", False),
        ("inf", 0, "float('inf')", True),
        ("inf", 0, "1e300", False),
        ("(1, {2}, 'a')", 0, "(1, {2}, 'a')", True),
        ("[1, 2]", 0, "[2, 1]", False),
    ],
)
def test_answers_are_compared_as_evalplus_does(judge: Judge, wanted: str, atol: float, answer: str, same: bool) -> None:
    tests = asserts_of(script("[[1]]", f"[{wanted}]", atol=atol))
    assert isinstance(tests[0], AssertTest)
    assert passes(judge, tests, f"def f(x): return {answer}") is same


@pytest.mark.parametrize(
    ("name", "inputs", "wanted", "right", "wrong"),
    [
        ("similar_elements", "[(1, 2), (2, 3)]", "[2, 5]", ["[5, 2]", "(2, 5)", "{2, 5}"], ["[2]"]),
        ("check_str", "['a']", "True", ["True", "__import__('re').match('a', x)"], ["None", "False"]),
        ("check_str", "['b']", "False", ["False", "None"], ["True", "'b'"]),
        ("sum_div", "[1]", "1", ["1", "0"], ["2"]),
        ("surface_Area", "[3, 4]", "33", ["33", "35"], ["34"]),
        ("digit_distance_nums", "[123, 256]", "7", ["7"], ["6"]),
        ("are_equivalent", "[36, 57]", "False", ["False", "True"], ["'no'"]),
    ],
)
def test_tasks_that_evalplus_judges_by_a_rule_of_its_own(
    judge: Judge, name: str, inputs: str, wanted: str, right: list[str], wrong: list[str]
) -> None:
    tests = asserts_of(script(f"[{inputs}]", f"[{wanted}]", call=f"{name}(*inp)"))
    problem = Problem(task_id="x", entry_point=name, tests=tests)
    for answers, verdict in ((right, True), (wrong, False)):
        for answer in answers:
            code = f"def {name}(x, *more): return {answer}"
            assert judge.judge(problem, code).passed_all is verdict, (answer, tests)


def test_what_evalplus_takes_for_right_too() -> None:
    distances = asserts_of(script("[[123, 256]]", "[6]", call="digit_distance_nums(*inp)"))
    assert [test.code for test in distances] == ["assert digit_distance_nums(123, 256) in (6, 7)"]


def test_a_script_that_computes_what_it_expects_stays_whole_and_needs_no_numpy(judge: Judge) -> None:
    whole = (
        f"{COMPARISON}def ref_func(x):\n    return [2.0 * x]\n\ninputs = [[1], [2]]\n"
        "for i, inp in enumerate(inputs):\n    assertion(f(*inp), ref_func(*inp), 0)\n"
    )
    row = mbpp_row(test=whole, test_list=["assert f(0) == [0.0]"], code="def f(x):\n    return [2.0 * x]\n")
    (problem,) = load_mbppplus([row])
    assert [type(test) for test in problem.tests] == [AssertTest, ScriptTest]  # the first can be shown
    assert "numpy" not in problem.tests[1].code
    assert unsplittable(problem) == []
    for answer, same in (("[2.0 * x]", True), ("[2.0000001 * x]", True), ("[2.1 * x]", False), ("[]", False)):
        assert judge.judge(problem, f"def f(x): return {answer}").passed_all is same, answer


HEAD = "for i, (inp, exp) in enumerate(zip(inputs, results)):\n"


@pytest.mark.parametrize(
    "text",
    [
        "def check(candidate):\n    assert candidate(1) == 2\n",
        "inputs = [[1]]\nresults = [2]\nassert f(1) == 2\n",
        f"inputs = [[1]]\nresults = [2, 3]\n{HEAD}    assertion(f(*inp), exp, 0)\n",
        f"inputs = [[1]]\nresults = [2]\n{HEAD}    assertion(g(f(*inp)), exp, 0)\n",
        f"inputs = [1]\nresults = [2]\n{HEAD}    assertion(f(*inp), exp, 0)\n",
        f"inputs = [[1]]\nresults = [2]\n{HEAD}    assertion(f(*inp), exp, x)\n",
        f"inputs = [[1]]\nresults = [2]\n{HEAD}    assertion(f(*inp), exp, 0)\n    break\n",
        "def f(:",
    ],
)
def test_other_scripts_stay_as_they_are(text: str) -> None:
    assert asserts_of(text, "f") == [ScriptTest(code=text)]


@pytest.mark.parametrize("load", [load_mbppplus, load_humanevalplus])
def test_the_native_layout_is_refused_with_what_to_take(load: Any) -> None:
    row = {"task_id": "Mbpp/2", "prompt": "", "base_input": [[1]], "plus_input": [], "entry_point": "f"}
    with pytest.raises(DataError, match="row 1: evalplus's native layout") as error:
        list(load([row]))
    assert "OriginFmt" in error.value.hint


@pytest.mark.parametrize("column", ["task_id", "prompt", "code", "test_list", "test"])
def test_a_missing_column_is_named_with_its_row(column: str) -> None:
    row = {key: value for key, value in mbpp_row().items() if key != column}
    with pytest.raises(DataError, match=rf"row 2.*column `{column}` is missing"):
        list(load_mbppplus([mbpp_row(), row]))
    with pytest.raises(DataError, match="1 to 974"):
        list(load_mbppplus([mbpp_row(task_id=975)]))


plain = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.lists(inner, max_size=3).map(tuple),
    max_leaves=6,
)


@settings(max_examples=200, deadline=None)
@given(pairs=st.lists(st.tuples(st.lists(plain, max_size=3), plain), min_size=1, max_size=4))
def test_any_inputs_and_results_come_back_as_they_were(pairs: list[tuple[list, Any]]) -> None:
    inputs, results = [pair[0] for pair in pairs], [pair[1] for pair in pairs]
    tests = asserts_of(script(repr(inputs), repr(results)))
    assert len(tests) == len(pairs)
    for test, (given_, wanted) in zip(tests, pairs, strict=True):
        names = {"inf": float("inf"), "float": float}
        (line,) = ast.parse(test.code).body
        arguments = [eval(ast.unparse(part), names) for part in line.test.left.args]
        found = eval(ast.unparse(line.test.comparators[0]), names)
        assert repr((arguments, found)) == repr((given_, wanted))


def test_grade_says_how_many_problems_others_learn_from(tmp_path: Path, capsys) -> None:
    """MBPP+ holds tasks of all of MBPP's splits: 1-10 examples, 11-510 test, 511-600 validation, 601-974 train."""
    file = tmp_path / "plus.jsonl"
    for ids, told in (
        ((2, 11, 12, 520, 601, 602), "4 of 6 problems are not of its test split (2 train, 1 validation, 1 examples"),
        ((11, 12), ""),
    ):
        file.write_text("".join(json.dumps(mbpp_row(task_id=number)) + "\n" for number in ids))
        assert len(list(read_dataset("mbppplus", file))) == len(ids)
        said = capsys.readouterr().err
        assert f"warning: mbppplus: {told}" in said if told else "warning" not in said


def test_real_rows_load_and_their_references_pass(judge: Judge, shared_data: Path) -> None:
    """Three of each, picked by others for their shape; HumanEval/15 and 83 expect answers of megabytes."""
    huge = {"HumanEval/15", "HumanEval/83"}
    files = {"mbpp/MbppPlus": load_mbppplus, "humaneval/HumanEvalPlus": load_humanevalplus}
    for name, load in files.items():
        rows = [row for _, row in read_json_lines(shared_data / f"{name}-OriginFmt.shape3.jsonl")]
        problems = list(load(rows))
        assert len(problems) == len(rows) == 3
        assert all(unsplittable(problem) == [] for problem in problems)
        kept = [problem for problem in problems if problem.task_id not in huge]
        assert [judge.judge(problem, problem.reference[0]).passed_all for problem in kept] == [True] * len(kept)
        native = [row for _, row in read_json_lines(shared_data / f"{name}.shape3.jsonl")]
        with pytest.raises(DataError, match="native layout"):
            list(load(native))
    assert Counter(type(test) for problem in problems for test in problem.tests)[ScriptTest] == len(huge)
