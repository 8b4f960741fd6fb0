"""Whatever bytes a file holds, its reader gives rows or one clear error: path, one line per fault, bounded, at once."""

import json
import math
import random
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from greenlit.config import DatasetParams, Limits, load_params
from greenlit.errors import GreenlitError
from greenlit.jsonl import read_json, read_json_lines, read_rows, to_line
from greenlit.problems.adapters import ADAPTERS
from greenlit.problems.files import read_problems
from greenlit.types import AssertTest, Candidate, Problem

ROOT = Path(__file__).parent.parent
CASES = 10_000
ENOUGH_S = 2.0
"""Of CPU, for one small file; without its guards, a bomb of aliases takes minutes."""

PROBLEM = Problem(
    task_id="a", prompt="Add é to 1.", reference=["def f(x): return x + 1"], tests=[AssertTest(code="assert f(1) == 2")]
)
ROWS = {
    "file": json.loads(to_line(PROBLEM)) | {"tests": [{"kind": "call", "input": [1, [2.5, None]], "output": {"a": 1}}]},
    "mbpp": {
        "task_id": 601, "text": "Add.", "code": "def f(x): return x", "test_list": ["assert f(1) == 1"],
        "test_setup_code": "", "challenge_test_list": [],
    },
    "humaneval": {
        "task_id": "HumanEval/0", "prompt": "def f(x):\n    'Same.'\n", "canonical_solution": "    return x\n",
        "test": "def check(candidate):\n    assert candidate(1) == 1\n", "entry_point": "f",
    },
    "apps": {
        "id": 1, "question": "Say it.", "solutions": '["print(1)"]', "difficulty": "interview", "url": "u",
        "input_output": '{"inputs": ["1"], "outputs": ["1"]}', "starter_code": "",
    },
    "taco": {
        "id": 1, "question": "Say it.", "solutions": ["print(1)"], "starter_code": "", "difficulty": "EASY",
        "input_output": '{"inputs": ["1"], "outputs": ["1"]}', "url": "u", "name": None, "source": "s", "tags": "[]",
        "time_limit": None, "memory_limit": None,
    },
    "leetcode": {
        "task_id": "a", "prompt": "import math\n", "completion": "class Solution:\n    def f(self, x): return x\n",
        "entry_point": "Solution().f", "test": "def check(candidate):\n    assert candidate(x = 1) == 1\n",
        "problem_description": "Same.", "starter_code": "class Solution:\n", "difficulty": "Easy", "tags": ["Math"],
    },
    "mbppplus": {
        "task_id": 601, "prompt": "Same.", "code": "def f(x): return x", "test_imports": [],
        "test_list": ["assert f(1) == 1"], "test": "inputs = [[1]]\nresults = [1.5]\n"
        "for i, (inp, exp) in enumerate(zip(inputs, results)):\n    assertion(f(*inp), exp, 0.1)\n",
    },
    "q": {
        "problem_id": "a", "problem_description": "Same.", "python_solution": "def solve(x): return x",
        "q_solution": "solve:{x}", "difficulty": "Easy", "tags": ["Array"], "test_cases": [{
            "test_case_number": 1, "q_test_code": "show solve[1;2]", "q_expected_output": "1",
            "python_test_code": "print(solve(1))", "python_expected_output": "1",
        }],
    },
    "candidate": {
        "task_id": "a", "candidate_idx": 0, "text": "x", "code": "x", "solution": "x", "tokens": 1,
        "finish_reason": "eos", "logprob": -1.5, "seed": 0, "prompt_hash": "h", "model": "m",
    },
}  # fmt: skip
SIMPLE = {"prompt": "p", "solution": "def f(x): return x", "test_cases": [{"input": "f([1])", "output": "[1]"}]}
JSON_PIECES = [
    b"NaN", b"-Infinity", b"1e999", b"9" * 5000, b"[" * 400, b"]" * 400, b'{"a":' * 300, b'"\\ud800"', b"\\u0000",
    b"\0", b"\xff", b"\xc3", b"\xed\xa0\x80", b"\xef\xbb\xbf", b"\r", b"\n", b"\n\n", b'"', b"\\", b",", b":", b"{",
    b"}", b"null", b"true", b'"kind":"x\ny"', b'"kind"', b'"task_id"', b"-1", b"0.5", b"[]", b"{}", b"\xe2\x80\xa8",
    b"x" * 70_000,
]  # fmt: skip
YAML_PIECES = [
    b"\t", b"\n", b"\n  ", b":", b": ", b"- ", b"? ", b"*a", b"&a ", b"<<: ", b"!!int ", b"!!binary ", b"!!set ",
    b"!x ", b"!!timestamp ", b"!!omap ", b"!!pairs ", b"!!float ", b"!!bool ", b"!!null ", b"!!str ", b"[", b"]",
    b"{", b"}", b"'", b'"', b"|", b">", b"#", b"%YAML 9.9\n", b"---\n", b"...\n", b".nan", b".inf", b"1e999", b"0x",
    b"9" * 5000, b"2024-99-99", b"1:30", b"~", b"true", b"\0", b"\xff\xfe", b"\xef\xbb\xbf", b"[" * 300,
    b"{a: " * 200, b"\xc2\x85", b"\\x", b"@", b"`", b"a: &a [*a]\n",
    b"b: &b [x,x,x,x,x,x,x,x]\nc: &c [*b,*b,*b,*b,*b,*b,*b,*b]\n", b"seed: 1\n", b"seed", b"methods", b"1: x\n",
    b"k" * 5000, b"\xf0\x9f\x98\x80", b"evaluate: {ks: [[[1]]]}\n",
]  # fmt: skip
PARAMS = [path.read_bytes() for path in sorted((ROOT / "presets").glob("*.yaml"))]


def mutated(source: bytes, pieces: list[bytes], draw: random.Random) -> bytes:
    """A valid file with one to four places cut out, doubled, flipped, or filled with a piece."""
    content = bytearray(source)
    for _ in range(draw.randint(1, 4)):
        at = draw.randrange(len(content) + 1)
        to = min(len(content), at + draw.choice([0, 1, 3, 10, 60]))
        way = draw.randrange(4)
        if way == 0:
            content[at:to] = draw.choice(pieces)
        elif way == 1:
            del content[at:to]
        elif way == 2:
            content[at:at] = content[at:to]
        elif at < len(content):
            content[at] ^= 1 << draw.randrange(8)
    return bytes(content)


def files(sources: list[bytes], pieces: list[bytes]) -> st.SearchStrategy[bytes]:
    """Any bytes, and mutated valid files."""
    mutations = st.builds(mutated, st.sampled_from(sources), st.just(pieces), st.randoms(use_true_random=False))
    return st.one_of(st.binary(max_size=300), mutations, mutations, mutations)


def check(read: Callable[[Path], Any], path: Path, content: bytes) -> None:
    """Nothing but a GreenlitError may come out, and that must read well."""
    path.write_bytes(content)
    started = time.process_time()
    try:
        read(path)
    except GreenlitError as error:
        lines = str(error).splitlines()
        assert error.exit_code == 2
        assert all(path.name in line or line.lstrip().startswith("hint: ") for line in lines), lines
        assert max(map(len, lines)) < 1000
        assert len(lines) <= 90
        assert all(line.isprintable() for line in lines), lines
    assert time.process_time() - started < ENOUGH_S


def as_lines(row: dict[str, Any]) -> bytes:
    other = row | {"task_id": "b" if isinstance(row.get("task_id"), str) else 602}
    other |= {"problem_id": "b"} if "problem_id" in row else {}
    return f"{json.dumps(row, ensure_ascii=False)}\n{json.dumps(other)}\n".encode()


def read_dataset(name: str) -> Callable[[Path], Any]:
    """All problems of a dataset whose one raw file this is."""

    def read(path: Path) -> None:
        list(ADAPTERS[name].load(path.parent, DatasetParams(name=name), Limits(), 0))

    return read


READERS: dict[str, tuple[Callable[[Path], Any], list[bytes]]] = {
    "problems": (read_problems, [as_lines(ROWS["file"])]),
    "a list of problems": (read_dataset("file"), [json.dumps([ROWS["file"], SIMPLE], indent=1).encode()]),
    "candidates": (lambda path: list(read_rows(path, Candidate)), [as_lines(ROWS["candidate"])]),
    "any rows": (lambda path: list(read_json_lines(path)), [as_lines(row) for row in ROWS.values()]),
    "one document": (read_json, [json.dumps(ROWS["taco"], indent=1).encode()]),
    **{f"dataset {name}": (read_dataset(name), [as_lines(ROWS[name])]) for name in ROWS if name in ADAPTERS},
}


def fuzz(read: Callable[[Path], Any], strategy: st.SearchStrategy[bytes], path: Path, cases: int) -> int:
    """Try that many files; return how many were tried."""
    tried = 0

    @settings(max_examples=cases, deadline=None, database=None, suppress_health_check=list(HealthCheck))
    @given(content=strategy)
    def all_of_them(content: bytes) -> None:
        nonlocal tried
        tried += 1
        check(read, path, content)

    all_of_them()
    return tried


@pytest.mark.parametrize("name", READERS)
def test_any_lines_are_rows_or_one_clear_error(name: str, tmp_path: Path) -> None:
    read, sources = READERS[name]
    assert fuzz(read, files(sources, JSON_PIECES), tmp_path / "x.jsonl", 150) > 100


def test_any_params_are_settings_or_clear_errors(tmp_path: Path) -> None:
    assert fuzz(load_params, files(PARAMS, YAML_PIECES), tmp_path / "params.yaml", 150) > 100


@pytest.mark.slow
@pytest.mark.parametrize("name", ["problems", "any rows"])
def test_ten_thousand_files_of_lines(name: str, tmp_path: Path) -> None:
    read, sources = READERS[name]
    assert fuzz(read, files(sources, JSON_PIECES), tmp_path / "x.jsonl", CASES) >= CASES


@pytest.mark.slow
def test_ten_thousand_files_of_params(tmp_path: Path) -> None:
    """Small ones, for time: YAML is parsed at about 50 KB/s."""
    small = [b"\n".join(source.split(b"\n")[at : at + 12]) for source in PARAMS for at in (0, 12, 24, 36)]
    assert fuzz(load_params, files(small, YAML_PIECES), tmp_path / "params.yaml", CASES) >= CASES


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20) | st.just("x" * 10_000),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)


@settings(max_examples=300, deadline=None, suppress_health_check=list(HealthCheck))
@given(value=values, data=st.data())
def test_any_value_under_any_key_of_a_dataset(value: Any, data: st.DataObject, tmp_path_factory: Any) -> None:
    name = data.draw(st.sampled_from([name for name in ROWS if name in ADAPTERS]))
    key = data.draw(st.sampled_from(sorted(ROWS[name])))
    path = tmp_path_factory.mktemp("raw") / "x.jsonl"
    check(read_dataset(name), path, as_lines(ROWS[name] | {key: value}))


def test_the_valid_files_that_are_mutated_are_valid(tmp_path: Path) -> None:
    path = tmp_path / "x.jsonl"
    for name, (read, sources) in READERS.items():
        for source in sources:
            path.write_bytes(source)
            try:
                read(path)
            except GreenlitError as error:  # pragma: no cover
                pytest.fail(f"{name}: {error}")
    assert math.isfinite(ROWS["candidate"]["logprob"])
