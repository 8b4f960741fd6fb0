"""What `grade` reads and what it keeps while it writes: no file makes anything but rows or a fault with its place."""

import errno
import json
import os
from pathlib import Path

import pytest
from grading_files import PROBLEMS, write_jsonl
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from greenlit.errors import DataError, WorldError
from greenlit.execution.intake import index_problems, program_head, program_of
from greenlit.grade.figures import Tally, read_ks, table
from greenlit.grade.partial import partial_rows
from greenlit.grade.sources import count_samples, read_samples
from greenlit.types import Problem

INDEX = index_problems(PROBLEMS)
GOOD = {"task_id": "Sum", "solution": "print(7)"}


def sample_file(folder: Path, *lines: str) -> Path:
    path = folder / "s.jsonl"
    path.write_text("".join(line + "\n" for line in [json.dumps(GOOD), *lines]))
    return path


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ('{"task_id": "Sum"', ":2: not JSON"),
        ("7", ":2: must be a JSON object (found int)"),
        ("[" * 100_000, ":2: not JSON"),
        ("{}", ":2: task_id: must be text (found no keys)"),
        ('{"solution": "x", "a": 1}', ":2: task_id: must be text (found a, solution)"),
        ('{"task_id": 7, "solution": "x"}', ":2: task_id: must be text (found int)"),
        ('{"task_id": "Sum"}', ":2: has neither `solution` (a whole program) nor `completion` (found task_id)"),
        ('{"task_id": "Sum", "solution": null}', ":2: has neither `solution`"),
        ('{"task_id": "Sum", "solution": ["x"]}', ":2: solution: must be text (found list)"),
        ('{"task_id": "Sum", "completion": "x"}', ":2: completion: problem Sum gives no head of a program"),
        ('{"task_id": "squar", "solution": "x"}\n{"task_id": "b", "solution": "x"}\n{"task_id": "b", "solution": "x"}',
         ":2: task_id: no problem 'squar'; 3 of 4 samples are of 2 unknown problems"),
    ],
)  # fmt: skip
def test_a_bad_sample_is_named_with_its_line(tmp_path: Path, line: str, message: str) -> None:
    path = sample_file(tmp_path, line)
    with pytest.raises(DataError) as error:
        count_samples(path, INDEX)
    assert f"{path}{message}" in str(error.value)
    if "unknown" in message:
        assert error.value.hint == "did you mean 'square'?"


def test_no_samples_are_a_fault(tmp_path: Path) -> None:
    (tmp_path / "s.jsonl").write_text("\n\n")
    with pytest.raises(DataError, match="no samples in it"):
        count_samples(tmp_path / "s.jsonl", INDEX)


ROWS = st.fixed_dictionaries(
    {},
    optional={
        "task_id": st.sampled_from(["Sum", "sum", "square", "?", 3]),
        "solution": st.none() | st.text(max_size=5) | st.integers(),
        "completion": st.none() | st.text(max_size=5),
        "candidate_idx": st.integers() | st.booleans() | st.text(max_size=2),
        "decoding": st.sampled_from(["greedy", "sampled", 0]),
    },
)
LINES = st.lists(ROWS.map(lambda row: json.dumps(row).encode()) | st.binary(max_size=12), max_size=6)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(lines=LINES, bom=st.booleans(), crlf=st.booleans())
def test_any_file_is_read_whole_or_refused_with_its_place(
    tmp_path: Path, lines: list[bytes], bom: bool, crlf: bool
) -> None:
    path = tmp_path / "s.jsonl"
    end = b"\r\n" if crlf else b"\n"
    path.write_bytes(b"\xef\xbb\xbf" * bom + end.join(lines))
    try:
        count = count_samples(path, INDEX)
    except DataError as error:
        assert str(error).startswith(f"{path}:")
        return
    samples = list(read_samples(path, INDEX))
    assert len(samples) == count
    assert all(INDEX.find(sample.task_id) is sample.problem for sample in samples)


def test_solution_wins_and_completion_continues_the_head() -> None:
    square = INDEX.find("SQUARE")
    both = {"task_id": "square", "solution": "whole", "completion": "part"}
    assert program_of(both, square, "") == "whole"
    assert program_of({"completion": "    return 1"}, square, "") == square.prompt + "    return 1"


@pytest.mark.parametrize(
    ("starter", "prompt", "head"),
    [
        ("", 'import math\ndef g(): pass\ndef f(x):\n    """Doc."""\n', "prompt"),
        ("", "def f(x):\n    ", "prompt"),
        ("", "class f:\n    def g(self):", "prompt"),
        ("class S:\n    def f(self):\n        ", "Prose.", "starter"),
        ("", "Write f.", None),
        ("", "f", None),
        ("", "def g(x):\n", None),
        ("", "def f(x)\0", None),
    ],
)
def test_what_a_completion_continues(starter: str, prompt: str, head: str | None) -> None:
    assert program_head(starter, prompt, "f") == {"prompt": prompt, "starter": starter, None: None}[head]
    assert program_head("", prompt, None) is None


def test_case_counts_only_where_two_names_differ_by_it() -> None:
    tests = PROBLEMS[0]["tests"]
    index = index_problems({name: {"task_id": name, "tests": tests} for name in ("a", "A", "Mbpp/2")})
    assert index.find("a").task_id == "a" and index.find("A").task_id == "A"
    assert index.find("mbpp/2").task_id == "Mbpp/2"
    assert index.find("MBPP/3") is None
    with pytest.raises(DataError, match="problems: task_id: 'a' stands twice"):
        index_problems([Problem(task_id="a", tests=tests)] * 2)
    with pytest.raises(DataError, match="problem 1: tests: field required"):
        index_problems([{"task_id": "a", "tests": tests}, {"task_id": "b"}])


def test_rows_are_taken_up_where_they_were_made_from_the_same(tmp_path: Path) -> None:
    out = tmp_path / "v.jsonl"
    with pytest.raises(ZeroDivisionError), partial_rows(out, {"seed": 1}) as (rows, differing):
        assert differing is None
        rows.add({"a": 1})
        rows.add({"a": "ü"})
        rows.flush()
        raise ZeroDivisionError
    with partial_rows(out, {"seed": 1}) as (rows, differing):
        assert (rows.found, differing, list(rows.rows())) == (2, None, [{"a": 1}, {"a": "ü"}])
    with (tmp_path / "v.jsonl.partial").open("a") as stream:
        stream.write('{"torn": ')
    with partial_rows(out, {"seed": 1}) as (rows, _):
        assert rows.found == 2
        rows.add({"a": 3})
        rows.finish()
    assert out.read_text() == '{"a": 1}\n{"a": "\\u00fc"}\n{"a": 3}\n'
    assert [path.name for path in tmp_path.iterdir()] == ["v.jsonl"]


def test_rows_of_something_else_make_room(tmp_path: Path) -> None:
    with partial_rows(tmp_path / "v", {"seed": 1, "level": "a"}) as (rows, _):
        rows.add({"a": 1})
        rows.flush()
    with partial_rows(tmp_path / "v", {"seed": 1, "level": "b"}) as (rows, differing):
        assert (rows.found, differing) == (0, "level")
    assert (tmp_path / "v.partial").read_bytes() == b""


def test_a_full_disk_keeps_whole_lines_and_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Only the disk is made up: it takes 40 bytes more, then it is full."""
    room = 40
    real = os.write

    def write(handle: int, content: memoryview) -> int:
        nonlocal room
        if not room:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        written = real(handle, content[:room])
        room -= written
        return written

    with pytest.raises(WorldError, match="No space left on device"), partial_rows(tmp_path / "v", {}) as (rows, _):
        rows.add({"a": 1})
        rows.flush()
        monkeypatch.setattr(os, "write", write)
        for number in range(10):
            rows.add({"a": number})
        rows.flush()
    assert (tmp_path / "v.partial").read_bytes() == b'{"a": 1}\n'


def test_figures_need_as_many_samples_as_k() -> None:
    tally = Tally()
    for problem, results in {"a": [True, False, None], "b": [True, True, True, True]}.items():
        for passed in results:
            tally.add(problem, {"passed": passed, "verdict": "passed" if passed else "failed", "level": "x"}, False)
    found = tally.figures([1, 3, 4], problems=5)
    assert found["pass@1"]["value"] == 0.75
    assert found["pass@3"]["n"] == 1  # of a, one sample could not be judged
    assert found["ks_left_out"] == [4]
    assert (found["samples"], found["unmeasured"], found["problems_without_samples"]) == (7, 1, 3)
    text = table({**found, "resumed": 2, "cached": 1, "judged": 4, "seconds": 2.0, "verdicts_per_s": 2.0})
    assert "pass@4: left out, some problem has 3 samples only" in text
    assert "7, 2 from before the stop, 1 from the verdict cache, 4 judged in 2.0 s (2 verdicts/s)" in text
    assert read_ks("10, 1,1") == [1, 10]


def test_nothing_measured_is_not_zero() -> None:
    tally = Tally()
    tally.add("a", {"passed": None, "verdict": "infra", "level": "x"}, False)
    found = tally.figures([1], problems=1)
    assert found["pass@1"] == {"value": None, "low": None, "high": None, "n": 0}
    assert "pass@1    not known: no problem could be measured" in table(
        {**found, "resumed": 0, "cached": 0, "judged": 1, "seconds": 1.0, "verdicts_per_s": 1.0}
    )


def test_problem_files_are_of_our_format(tmp_path: Path) -> None:
    path = write_jsonl(tmp_path / "p.jsonl", PROBLEMS)
    from greenlit.grade.sources import read_problem_file

    assert [problem.task_id for problem in read_problem_file(path)] == ["square", "Sum"]
