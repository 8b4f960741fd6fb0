"""Own problems: JSON Lines or one list, our records or simple ones; a fault is told with its line."""

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
from greenlit.problems.adapters import adapter_for
from greenlit.problems.own import load_own, split_of
from greenlit.problems.own_rows import own_rows, plain_row
from greenlit.types import Problem

SIMPLE: dict[str, Any] = {
    "prompt": "Write a function to find max in array",
    "solution": "def find_max(arr):\n    return max(arr)",
    "test_cases": [{"input": "find_max([1,5,3])", "output": "5"}, {"input": "find_max([2])", "output": "2"}],
    "difficulty": "easy",
}
OURS = {"task_id": "a", "entry_point": "f", "tests": [{"kind": "call", "input": [{"[": "]}"}], "output": 1}]}


def load(tmp_path: Path, content: str, name: str = "mine.json") -> list[Problem]:
    path = tmp_path / name
    path.write_text(content)
    return list(load_own(path))


def test_a_simple_record_becomes_a_problem(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (problem,) = load(tmp_path, json.dumps([SIMPLE], indent=2))
    assert [test.code for test in problem.tests] == ["assert find_max([1,5,3]) == 5", "assert find_max([2]) == 2"]
    assert (problem.entry_point, problem.reference, problem.difficulty) == ("find_max", [SIMPLE["solution"]], "easy")
    assert problem.split == split_of(problem.task_id)
    with Judge(AnnotateParams(allow_portable=True), 1) as judge:
        assert judge.judge(problem, problem.reference[0]).passed_all
        assert judge.judge(problem, "def find_max(arr): return str(max(arr))").passed_all is False
    said = capsys.readouterr().err
    assert 'of the outputs given as text 2 were read as the values they spell ("5" as 5), 0 spell none' in said


@pytest.mark.parametrize(
    ("output", "wanted", "read"),
    [
        ("5", "5", "literals"),
        ("[0,1]", "[0, 1]", "literals"),
        (" True ", "True", "literals"),
        ("true", "True", "literals"),
        ('{"a": null}', "{'a': None}", "literals"),
        ("'5'", "'5'", "literals"),
        ('"5"', "'5'", "literals"),
        ("(1, 'x')", "(1, 'x')", "literals"),
        ("abc", "'abc'", "texts"),
        ("", "''", "texts"),
        ("1 2", "'1 2'", "texts"),
        ("f(x)", "'f(x)'", "texts"),
        (5, "5", None),
        ([0, "a"], "[0, 'a']", None),
        (None, "None", None),
    ],
)
def test_outputs_given_as_text_are_the_values_they_spell(output: Any, wanted: str, read: str | None) -> None:
    counts: Counter[str] = Counter()
    row = plain_row({**SIMPLE, "test_cases": [{"input": "f(1)", "output": output}]}, "x:1", counts)
    assert row["tests"][0]["code"] == f"assert f(1) == {wanted}"
    assert counts == ({read: 1} if read else {})


def test_a_simple_record_keeps_its_id_and_split_when_others_are_added(tmp_path: Path) -> None:
    other = {**SIMPLE, "prompt": "Another one."}
    (alone,) = load(tmp_path, json.dumps([SIMPLE]))
    _, again = load(tmp_path, json.dumps([other, {**SIMPLE, "solution": "def find_max(a): return 0"}]))
    assert (again.task_id, again.split) == (alone.task_id, alone.split)
    assert alone.task_id.startswith("find_max-")
    (named,) = load(tmp_path, json.dumps([{**SIMPLE, "id": 7, "split": "train"}]))
    assert (named.task_id, named.split) == ("7", "train")


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        ({"test_cases": []}, "test_cases: must be a list of one test at least (found [])"),
        ({"test_cases": "x"}, "test_cases: must be a list of one test at least (found 'x')"),
        ({"test_cases": [{"input": "f(1)"}]}, "test_cases.0: must be an object with input and output (found {'input"),
        ({"test_cases": [{"input": "5", "output": "5"}]}, "test_cases.0.input: must be a call such as find_max([1, 5"),
        ({"test_cases": [{"input": "f(1", "output": "5"}]}, "test_cases.0.input: must be a call"),
        ({"test_cases": [{"input": [1], "output": "5"}]}, "test_cases.0.input: must be a call"),
        ({"test_cases": [{"input": "f(1)", "output": float("inf")}]}, "test_cases.0.output: must be a plain value (f"),
        ({"test_cases": [{"input": "f(1)", "output": "NaN"}]}, "test_cases.0.output: must be a plain value (found nan"),
        (
            {"test_cases": [{"input": "f(1)", "output": "5"}, {"input": "g(1)", "output": "5"}]},
            "test_cases: must call one function (found f, g)",
        ),
        ({"prompt": 5}, "prompt: input should be a valid string (found 5)"),
    ],
)
def test_faults_of_simple_records_name_line_and_place(tmp_path: Path, changed: dict, told: str) -> None:
    content = "[\n" + json.dumps(SIMPLE) + ",\n" + json.dumps({**SIMPLE, **changed}) + "\n]\n"
    with pytest.raises(DataError) as error:
        load(tmp_path, content)
    assert f"mine.json:3: {told}" in str(error.value)


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ("[\nROW", ":2: the list does not end"),
        ('[\nROW,\n{"x": [1', ":3: the list does not end"),
        ("[ROW, 5]", ":1: must be a list of objects (found ', 5')"),
        ("[ROW]\n[]", ":2: must be one list, and nothing beside it"),
        ("[ROW]\nx", ":2: must be one list, and nothing beside it (found 'x')"),
        ('[\n{"a": 1,}\n]', ":2: invalid JSON: "),
        ('[{"task_id": ["a"}]]', "invalid JSON"),
        ("[]", ": no problems in it"),
        ("[\n]\n", ": no problems in it"),
        ("[1, 2]", ":1: must be a JSON object (found [1, 2])"),
        ("task_id,prompt\n1,x\n", ":1: invalid JSON"),
        ("5", ":1: must be a JSON object (found 5)"),
        ('[{"task_id": "a", "tests": []}]', ":1: tests: list should have at least 1 item"),
        ("[\nROW,\nROW\n]", ":3: task_id: 'a' stands on line 2 already"),
    ],
)
def test_faults_of_lists_name_their_line(tmp_path: Path, content: str, told: str) -> None:
    with pytest.raises(DataError) as error:
        load(tmp_path, content.replace("ROW", json.dumps(OURS)))
    assert told in str(error.value)


def test_tables_are_refused_with_what_to_do(tmp_path: Path) -> None:
    for name in ("mine.csv", "mine.tsv", "mine.parquet", "mine.csv.gz"):
        params = DatasetParams(name="file", path=str(tmp_path / name))
        with pytest.raises(ConfigError, match="must be JSON Lines or a JSON list") as error:
            adapter_for(params).fetch(params, tmp_path)
        assert "a table" in error.value.hint


@pytest.mark.parametrize("name", ["mine.json", "mine.jsonl", "mine.json.gz"])
def test_lists_and_lines_are_told_apart_by_what_is_in_them(tmp_path: Path, name: str) -> None:
    import gzip

    rows = [OURS, {**OURS, "task_id": "b"}]
    made = []
    for content in (json.dumps(rows, indent=1), "".join(json.dumps(row) + "\n" for row in rows)):
        source = tmp_path / name
        data = content.encode()
        source.write_bytes(gzip.compress(data) if name.endswith(".gz") else data)
        params = DatasetParams(name="file", path=str(source))
        raw = tmp_path / f"raw{len(made)}"
        raw.mkdir()
        adapter_for(params).fetch(params, raw)
        made.append(list(adapter_for(params).load(raw, params, Limits(), 0)))
    assert made[0] == made[1]
    assert [problem.task_id for problem in made[0]] == ["a", "b"]


values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**60), 2**60)
    | st.text(max_size=10)
    | st.sampled_from(list('[]{},:"\\\n')),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=8,
)


@settings(max_examples=300, deadline=None)
@given(
    rows=st.lists(st.dictionaries(st.text(max_size=4), values, max_size=4), min_size=1, max_size=5),
    indent=st.none() | st.integers(0, 3),
    ascii_only=st.booleans(),
)
def test_a_list_reads_as_the_json_library_reads_it(
    rows: list[dict], indent: int | None, ascii_only: bool, tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tmp_path_factory.mktemp("list") / "x.json"
    path.write_text(json.dumps(rows, indent=indent, ensure_ascii=ascii_only), newline="\n")
    found = list(own_rows(path))
    assert [row for _, row in found] == rows
    lines = path.read_text().split("\n")
    assert all("{" in lines[number - 1] for number, _ in found)


@settings(max_examples=200, deadline=None)
@given(value=values)
def test_an_output_that_spells_a_value_is_that_value(value: Any) -> None:
    for text in (repr(value), json.dumps(value)):
        case = {"input": "f(1)", "output": text}
        code = plain_row({**SIMPLE, "test_cases": [case]}, "x:1", Counter())["tests"][0]["code"]
        assert eval(code.removeprefix("assert f(1) == ")) == value
