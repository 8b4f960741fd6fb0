"""`greenlit data check`: every kind of fault in a file of own problems is found, by its line, with a fix."""

import gzip
import json
from pathlib import Path
from typing import Any

import pytest
import workspace
from hypothesis import given, settings
from hypothesis import strategies as st

from greenlit.config import AnnotateParams, DatasetParams, Limits
from greenlit.data.check import Found, check
from greenlit.errors import ConfigError, DataError
from greenlit.problems.adapters import adapter_for

LIMITS = AnnotateParams(allow_portable=True)


def sound(number: int, split: str = "train") -> dict[str, Any]:
    """A problem without a fault."""
    return {
        "task_id": f"add-{number}",
        "prompt": f"Add {number} to a number, unless it is negative.",
        "entry_point": "f",
        "reference": [f"def f(x):\n    if x < 0:\n        return x\n    return x + {number}\n"],
        "tests": [{"kind": "call", "input": [x], "output": x + number if x >= 0 else x} for x in (-2, -1, 0, 1, 5)],
        "split": split,
    }


SOUND = [sound(1), sound(2), sound(3, "validation"), sound(4, "test")]
FIRST = len(SOUND) + 1
"""The line behind the sound problems."""


def changed(**changes: Any) -> str:
    """One more problem, with changes; None takes a key away."""
    row = {**sound(9), **changes}
    return json.dumps({key: value for key, value in row.items() if value is not None})


def with_test(**test: Any) -> str:
    return changed(tests=[*sound(9)["tests"], test])


def checked(folder: Path, *lines: str | bytes, name: str = "mine.jsonl", run: bool = True) -> Found:
    """Check a file of the sound problems and these lines."""
    every = [*(json.dumps(row).encode() for row in SOUND), *(x.encode() if isinstance(x, str) else x for x in lines)]
    (folder / name).write_bytes(b"\n".join(every) + b"\n")
    return check(folder / name, LIMITS, run=run)


def test_a_sound_file_has_no_faults(tmp_path: Path) -> None:
    found = checked(tmp_path)
    assert found.faults == []
    assert found.notes == []
    assert found.summary() == "4 problems, no faults"


CALL = {"kind": "call", "input": [7], "output": 16}
STATIC = {
    "a comma before the bracket": ('{"task_id": "x", "tests": [],}', "not JSON", "", "comma"),
    "single quotes": ("{'task_id': 'x'}", "not JSON", "", "double quotes"),
    "None for null": ('{"task_id": "x", "split": None}', "not JSON", "", "null"),
    "two objects on a line": (changed() + changed(task_id="y"), "not JSON", "", "break the line"),
    "cut off": (changed()[:-9], "not JSON", "", "close"),
    "a raw tab": ('{"task_id": "a\tb"}', "not JSON", "", r"\t"),
    "latin-1": (changed(prompt="Zähle").replace("\\u00e4", "\xe4").encode("latin-1"), "encoding", "", "UTF-8"),
    "a byte order mark inside": (b"\xef\xbb\xbf" + changed().encode(), "byte order mark", "", "three bytes"),
    "a list": ("[1, 2]", "no object", "", "task_id"),
    "no task_id": (changed(task_id=None), "no task_id", "task_id", "add-one"),
    "task_id a number": (changed(task_id=7), "wrong type", "task_id", '"7"'),
    "task_id empty": (changed(task_id=""), "empty text", "task_id", "name"),
    "task_id again": (changed(task_id="add-2"), "repeated task_id", "task_id", "own"),
    "no tests": (changed(tests=None), "no tests", "tests", "assert"),
    "tests empty": (changed(tests=[]), "no tests", "tests", "assert"),
    "tests no list": (changed(tests="assert f(1) == 2"), "wrong type", "tests", "brackets"),
    "a test without kind": (with_test(code="assert f(1) == 10"), "no test kind", "tests.5", "kind"),
    "an unknown kind": (with_test(kind="asert", code="x"), "unknown test kind", "tests.5.kind", '"assert"'),
    "a test without code": (with_test(kind="assert"), "missing key", "tests.5.code", "assert inc"),
    "input no list": (with_test(kind="call", input=3, output=1), "wrong type", "tests.5.input", "list"),
    "an unknown checker": (with_test(**CALL, checker="sorted"), "unknown checker", "tests.5.checker", ""),
    "an unknown role": (with_test(**CALL, role="secret"), "unknown role", "tests.5.role", ""),
    "an unknown split": (changed(split="dev"), "unknown split", "split", ""),
    "an unknown language": (changed(language="pyhton"), "unknown language", "language", "python"),
    "a limit below zero": (changed(time_limit_s=-1), "wrong value", "time_limit_s", ""),
    "test for tests": (changed(tests=None, test=sound(9)["tests"]), "unknown key", "test", "tests"),
    "promt for prompt": (changed(prompt=None, promt="Add."), "unknown key", "promt", "prompt"),
    "solution for reference": (changed(reference=None, solution=sound(9)["reference"][0]), "unknown key", "solution",
                               "reference"),
    "cheker in a test": (with_test(**CALL, cheker="float"), "unknown key", "tests.5.cheker", "checker"),
    "expected for output": (with_test(kind="call", input=[7], expected=16), "unknown key", "tests.5.expected",
                            "output"),
    "a key twice": ('{"split": "test", ' + changed()[1:], "repeated key", "split", "one"),
    "NaN": (with_test(kind="call", input=[7], output=float("nan")), "NaN", "tests.5.output", "isnan"),
    "no entry point": (changed(entry_point=None), "no entry point", "entry_point", "inc"),
    "entry point not defined": (changed(entry_point="g"), "entry point not defined", "reference.0", "set entry_point"),
    "reference does not parse": (changed(reference=["def f(x)\n    return x"]), "reference that does not parse",
                                 "reference.0", "correct"),
    "test does not parse": (with_test(kind="assert", code="assert f(1) = 10"), "test that does not parse",
                            "tests.5.code", "correct"),
    "no assert in it": (with_test(kind="assert", code="f(1) == 10"), "no assert", "tests.5.code", "assert"),
    "a test twice": (with_test(kind="call", input=[0], output=9), "repeated test", "tests.5", "delete"),
    "contradicting tests": (with_test(kind="call", input=[0], output=8), "contradicting tests", "tests.5", "correct"),
    "all shown": (changed(tests=[t | {"role": "shown"} for t in sound(9)["tests"]]), "all tests shown", "tests", ""),
    "all hidden": (changed(tests=[t | {"role": "hidden"} for t in sound(9)["tests"]]), "all tests hidden", "tests",
                   ""),
    "no statement": (changed(prompt=" "), "no statement", "prompt", "words"),
    "statement again": (changed(prompt=" add 1  to a number, UNLESS it is negative. "), "repeated statement", "prompt",
                        "differs"),
    "reference again": (changed(reference=[sound(2)["reference"][0].replace("x", "number")]), "repeated reference",
                        "reference.0", "leaks"),
}  # fmt: skip


@pytest.mark.parametrize(("line", "kind", "field", "fix"), STATIC.values(), ids=STATIC)
def test_a_fault_is_found_by_its_line(tmp_path: Path, line: str | bytes, kind: str, field: str, fix: str) -> None:
    found = checked(tmp_path, line, run=False)
    assert [(fault.line, fault.kind) for fault in found.faults] == [(FIRST, kind)], found.faults
    (fault,) = found.faults
    assert fault.field == field
    assert fix in fault.fix
    assert fault.told("mine.jsonl").startswith(f"mine.jsonl:{FIRST}: {field}")


def test_what_only_running_tells(tmp_path: Path) -> None:
    wrong = "def f(x):\n    return x + 8\n"
    moody = "import random\ndef f(x):\n    return x + random.choice([9, 9, 8])\n"
    lazy = "def f(x):\n    if x > 3:\n        x = x - 1\n    return x * 2 - 3\n"
    found = checked(
        tmp_path,
        changed(task_id="fails", reference=[wrong], prompt="a"),
        changed(task_id="deaf", prompt="b",
                tests=[*sound(9)["tests"], {"kind": "assert", "code": "f(1)\nassert True"}]),
        changed(task_id="deaf script", prompt="c", reference=None,
                tests=[{"kind": "script", "code": "def check(candidate):\n    candidate(1)\n    assert 1 == 1\n"}]),
        changed(task_id="lets all pass", prompt="d", reference=[lazy],
                tests=[{"kind": "assert", "code": "assert f(1) is None or isinstance(f(1), int)"}]),
        changed(task_id="moody", prompt="e", reference=[moody],
                tests=[{"kind": "call", "input": [x], "output": x + 9} for x in range(12)]),
    )  # fmt: skip
    by_line = {fault.line - FIRST: (fault.kind, fault.field) for fault in found.faults}
    assert by_line[0] == ("reference that fails", "reference")
    assert "(failed): test 0: " in found.faults[0].message
    assert by_line[1] == ("test that accepts anything", "tests.5")
    assert by_line[2] == ("test that accepts anything", "tests.0")
    assert by_line[3] == ("tests that accept wrong programs", "tests")
    assert by_line[4][0] in {"reference that fails", "reference that fails sometimes"}
    assert found.notes == ["1 problems: no reference, so nobody has shown that their tests can be passed"]


def test_every_fault_is_told_not_only_the_first(tmp_path: Path) -> None:
    lines = [line for line, *_ in STATIC.values()]
    found = checked(tmp_path, *lines, run=False)
    assert {fault.line for fault in found.faults} == set(range(FIRST, FIRST + len(lines)))
    assert len({fault.kind for fault in found.faults}) >= 25
    two = checked(tmp_path, changed(split="dev", language=3, tests=[{"kind": "assert"}, {"kind": "call"}]), run=False)
    assert [fault.field for fault in two.faults] == ["language", "split", "tests.0.code", "tests.1.input",
                                                     "tests.1.output"]  # fmt: skip


def test_a_record_that_is_broken_otherwise_repeats_its_id_all_the_same(tmp_path: Path) -> None:
    found = checked(tmp_path, changed(task_id="add-1", split="dev"), run=False)
    assert [fault.kind for fault in found.faults] == ["unknown split", "repeated task_id"]


def test_a_file_needs_problems_in_every_split(tmp_path: Path) -> None:
    (tmp_path / "one.jsonl").write_text(json.dumps(sound(1)) + "\n")
    (fault,) = check(tmp_path / "one.jsonl", LIMITS, run=False).faults
    assert (fault.line, fault.kind) == (0, "empty split")
    assert "validation and test" in fault.message


@pytest.mark.parametrize(
    ("name", "content", "kind"),
    [
        ("mine.csv", b"task_id,prompt\na,b\n", "table"),
        ("mine.jsonl", b"", "empty file"),
        ("mine.jsonl", json.dumps(SOUND[0]).encode("utf-16"), "encoding"),
        ("mine.jsonl.gz", gzip.compress(b'{"task_id": "x"}' * 900, mtime=0)[:60], "damaged gzip"),
        ("mine.txt", "\n".join(map(json.dumps, SOUND)).encode(), "file name"),
    ],
)
def test_files_that_are_none(tmp_path: Path, name: str, content: bytes, kind: str) -> None:
    (tmp_path / name).write_bytes(content)
    (fault,) = check(tmp_path / name, LIMITS, run=False).faults
    assert fault.kind == kind
    assert fault.fix


def test_a_byte_order_mark_at_the_start_and_windows_line_ends_are_no_fault(tmp_path: Path) -> None:
    text = "\r\n".join(map(json.dumps, SOUND))
    (tmp_path / "mine.jsonl").write_bytes(b"\xef\xbb\xbf" + text.encode())
    assert check(tmp_path / "mine.jsonl", LIMITS, run=False).faults == []


def test_a_json_list_is_told_by_line_too(tmp_path: Path) -> None:
    rows = [*SOUND, json.loads(changed(split="dev"))]
    (tmp_path / "mine.json").write_text("[\n" + ",\n\n".join(map(json.dumps, rows)) + "\n]\n")
    found = check(tmp_path / "mine.json", LIMITS, run=False)
    assert [(fault.line, fault.kind) for fault in found.faults] == [(10, "unknown split")]
    assert found.problems == 5
    (tmp_path / "mine.json").write_text("[\n" + ",\n".join(map(json.dumps, SOUND)) + ",\n{'a': 1}\n]")
    found = check(tmp_path / "mine.json", LIMITS, run=False)
    assert [(fault.line, fault.kind) for fault in found.faults] == [(6, "not JSON")]
    assert "could not be read" in found.faults[0].message


def test_objects_over_several_lines_are_read_all_the_same(tmp_path: Path) -> None:
    (tmp_path / "mine.jsonl").write_text("\n".join(json.dumps(row, indent=1) for row in SOUND))
    found = check(tmp_path / "mine.jsonl", LIMITS, run=False)
    assert [(fault.line, fault.kind) for fault in found.faults] == [(1, "several lines")]
    assert found.problems == 4


def simple(number: int, **changes: Any) -> dict[str, Any]:
    """A record in the simple shape."""
    return {
        "prompt": f"Write a function to multiply by {number}",
        "solution": f"def times(x):\n    return x * {number}",
        "test_cases": [{"input": f"times({x})", "output": str(x * number)} for x in (0, 1, -2)],
        **changes,
    }


def test_simple_records_are_checked_too(tmp_path: Path) -> None:
    rows = [*SOUND, simple(3)]
    (tmp_path / "mine.json").write_text(json.dumps(rows))
    assert check(tmp_path / "mine.json", LIMITS).faults == []
    broken = [simple(4, test_cases=[]), simple(5, test_cases=[{"input": "3", "output": "15"}]),
              simple(6, solution="def times(x):\n    return x * 7")]  # fmt: skip
    (tmp_path / "mine.json").write_text("[" + ",\n".join(map(json.dumps, [*rows, *broken])) + "]")
    found = check(tmp_path / "mine.json", LIMITS)
    assert [(fault.line, fault.field, fault.kind) for fault in found.faults] == [
        (6, "test_cases", "broken test case"),
        (7, "test_cases.0.input", "broken test case"),
        (8, "reference", "reference that fails"),
    ]


def test_the_command_ends_with_2_where_there_are_faults(tmp_path: Path) -> None:
    checked(tmp_path, changed(split="dev"), run=False)
    done = workspace.greenlit(tmp_path, "data", "check", "mine.jsonl", "--no-run", code=2)
    lines = done.stdout.splitlines()
    assert lines[0].startswith(f"mine.jsonl:{FIRST}: split: must be ")
    assert lines[1].startswith("    fix: ")
    assert lines[-1] == "mine.jsonl: 5 problems, 1 faults of 1 kinds"
    told = json.loads(workspace.greenlit(tmp_path, "data", "check", "mine.jsonl", "--no-run", "--json", code=2).stdout)
    assert [(fault["line"], fault["kind"]) for fault in told["faults"]] == [(FIRST, "unknown split")]
    checked(tmp_path, run=False)
    clean = workspace.greenlit(tmp_path, "data", "check", "mine.jsonl", "--workers", "1", "--allow-portable")
    assert clean.stdout == "mine.jsonl: 4 problems, no faults\n"


def test_a_missing_file_is_one_message(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no such file"):
        check(tmp_path / "nothing.jsonl", LIMITS)


def loads(path: Path) -> bool:
    """Does the adapter that reads own problems take the file?"""
    params = DatasetParams(name="file", path=str(path))
    folder = path.parent / "raw"
    folder.mkdir(exist_ok=True)
    try:
        adapter_for(params).fetch(params, folder)
        list(adapter_for(params).load(folder, params, Limits(), 0))
    except DataError:
        return False
    return True


@settings(max_examples=60, deadline=None)
@given(
    key=st.sampled_from(["task_id", "tests", "prompt", "split", "reference", "entry_point", "time_limit_s"]),
    value=st.one_of(st.none(), st.booleans(), st.integers(), st.text(max_size=5), st.lists(st.integers(), max_size=2),
                    st.dictionaries(st.sampled_from(["kind", "code"]), st.sampled_from(["assert", 1]), max_size=2)),
)  # fmt: skip
def test_what_the_pipeline_refuses_is_a_fault(tmp_path_factory: pytest.TempPathFactory, key: str, value: Any) -> None:
    folder = tmp_path_factory.mktemp("own")
    found = checked(folder, json.dumps({**sound(9), key: value}), run=False)
    assert loads(folder / "mine.jsonl") or found.faults


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=60))
def test_no_bytes_make_it_fail(tmp_path_factory: pytest.TempPathFactory, content: bytes) -> None:
    folder = tmp_path_factory.mktemp("own")
    (folder / "mine.jsonl").write_bytes(content)
    assert check(folder / "mine.jsonl", LIMITS, run=False).faults
