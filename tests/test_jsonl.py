"""JSON Lines: faults name file, line and field; files appear whole or not at all."""

import gzip
import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from greenlit.errors import DataError
from greenlit.jsonl import atomic_write, read_json, read_json_lines, read_rows, to_line, write_rows
from greenlit.types import AssertTest, CallTest, Problem

GOOD = Problem(task_id="a", tests=[AssertTest(code="assert f(1) == 2", role="shown")])


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ('{"task_id": "b", "tests": []}', ":2: tests: list should have at least 1 item"),
        ('{"tests": [{"kind": "assert", "code": "x"}]}', ":2: task_id: field required"),
        ('{"task_id": 7, "tests": [{"kind": "assert", "code": "x"}]}', ":2: task_id: input should be a valid string"),
        ('{"task_id": "b", "tests": [{"kind": "asert"}]}', ":2: tests.0.kind: must be one of 'assert', "),
        ('{"task_id": "b", "tests": [{"kind": "call", "input": 3, "output": 1}]}', ":2: tests.0.call.input: "),
        ('{"task_id": "b", ', ":2: invalid JSON"),
        ("[1]", ":2: "),
        ("\ud800".encode("utf-8", "surrogatepass").decode("latin-1"), ":2: invalid JSON"),
    ],
)  # fmt: skip
def test_a_bad_line_is_named_with_its_field(tmp_path: Path, line: str, message: str) -> None:
    file = tmp_path / "problems.jsonl"
    file.write_text(to_line(GOOD) + line + "\n", encoding="utf-8")
    with pytest.raises(DataError) as error:
        list(read_rows(file, Problem))
    assert f"{file}{message}" in str(error.value)


def test_rows_before_the_fault_are_streamed(tmp_path: Path) -> None:
    file = tmp_path / "problems.jsonl"
    file.write_text(to_line(GOOD) + "broken\n")
    rows = read_rows(file, Problem)
    assert next(rows) == GOOD
    with pytest.raises(DataError):
        next(rows)


def test_bom_crlf_and_blank_lines_are_no_fault(tmp_path: Path) -> None:
    file = tmp_path / "problems.jsonl"
    file.write_bytes(b"\xef\xbb\xbf" + to_line(GOOD).replace("\n", "\r\n").encode() + b"\r\n\n")
    assert list(read_rows(file, Problem)) == [GOOD]


def test_bytes_that_are_not_utf8_are_located(tmp_path: Path) -> None:
    file = tmp_path / "problems.jsonl"
    file.write_bytes(to_line(GOOD).encode() + b'{"task_id": "\xff"}\n')
    with pytest.raises(DataError, match=r"problems.jsonl:2: not UTF-8 \(byte 0xff at position 13\)"):
        list(read_rows(file, Problem))


def test_missing_and_damaged_files(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no such file"):
        list(read_rows(tmp_path / "none.jsonl", Problem))
    broken = tmp_path / "x.jsonl.gz"
    broken.write_bytes(gzip.compress(b"abc" * 100)[:-10])
    with pytest.raises(DataError, match="damaged gzip file"):
        list(read_rows(broken, Problem))
    broken.write_bytes(b"plain")
    with pytest.raises(DataError, match="damaged gzip file"):
        list(read_rows(broken, Problem))
    with pytest.raises(DataError, match="not JSON"):
        read_json(broken)


def test_gzip_by_suffix_and_the_same_bytes_every_time(tmp_path: Path) -> None:
    one, two = tmp_path / "a.jsonl.gz", tmp_path / "b.jsonl.gz"
    assert write_rows(one, [GOOD, GOOD]) == write_rows(two, [GOOD, GOOD]) == 2
    assert one.read_bytes() == two.read_bytes()
    assert list(read_rows(one, Problem)) == [GOOD, GOOD]


def test_a_failed_write_leaves_the_old_file_and_no_litter(tmp_path: Path) -> None:
    file = tmp_path / "rows.jsonl"
    file.write_text("old")
    with pytest.raises(RuntimeError), atomic_write(file) as stream:
        stream.write("half")
        raise RuntimeError
    assert file.read_text() == "old"
    assert list(tmp_path.iterdir()) == [file]


def test_unknown_keys_are_kept(tmp_path: Path) -> None:
    file = tmp_path / "p.jsonl"
    row = {"task_id": "a", "tests": [{"kind": "assert", "code": "x", "weight": 2}], "url": "u"}
    file.write_text(json.dumps(row) + "\n")
    again = json.loads(to_line(next(read_rows(file, Problem))))
    assert again["url"] == "u"
    assert again["tests"] == [{"kind": "assert", "code": "x", "weight": 2}]


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=8,
)


@given(inputs=st.lists(json_values), output=json_values, prompt=st.text(st.characters(exclude_categories=["Cs"])))
def test_any_call_test_survives_the_file(tmp_path_factory, inputs: list, output: object, prompt: str) -> None:
    file = tmp_path_factory.mktemp("rows") / "p.jsonl"
    problem = Problem(task_id="t", prompt=prompt, tests=[CallTest(input=inputs, output=output)])
    write_rows(file, [problem])
    assert list(read_rows(file, Problem)) == [problem]


def test_lines_of_other_columns(tmp_path: Path) -> None:
    file = tmp_path / "x.jsonl"
    file.write_text('{"a": 1}\n\n[2]\n')
    rows = read_json_lines(file)
    assert next(rows) == (1, {"a": 1})
    with pytest.raises(DataError, match=r"x.jsonl:3: must be a JSON object \(found list\)"):
        next(rows)
