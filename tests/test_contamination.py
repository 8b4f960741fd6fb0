"""Leaks: what is measured on is found in train, whatever was done to it; what only sounds alike stays."""

import gzip
import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from greenlit.config import BenchmarkParams, Limits, PrepareParams
from greenlit.errors import ConfigError, DataError
from greenlit.problems.adapters import ADAPTERS
from greenlit.problems.audit import Audit, leak_lines
from greenlit.problems.benchmarks import benchmark_problems
from greenlit.problems.contamination import (
    EvaluationSide,
    Leak,
    covered,
    gram_hashes,
    normal_id,
    reference_marks,
    statement_of,
    words_of,
)
from greenlit.problems.mbpp import load_mbpp, read_mbpp_file
from greenlit.problems.records import Dropped
from greenlit.problems.splits import without_leaks
from greenlit.problems.spool import Spool
from greenlit.problems.starter import starter_problems
from greenlit.types import AssertTest, Problem

MEASURED = Problem(
    task_id="mbpp/11",
    prompt="Write a python function to remove first and last occurrence of a given character from the string.",
    tests=[AssertTest(code='assert remove_Occ("hello","l") == "heo"')],
    reference=[
        "def remove_Occ(s, ch):\n"
        "    for i in range(len(s)):\n"
        "        if s[i] == ch:\n"
        "            s = s[0 : i] + s[i + 1 :]\n"
        "            break\n"
        "    return s\n"
    ],
    split="test",
    source="mbpp/full",
)


def trained(**changes) -> Problem:
    other = {
        "task_id": "own/1",
        "prompt": "Do something else entirely.",
        "reference": ["def g(x): return x"],
        "source": "",
    }
    return MEASURED.model_copy(update={**other, "split": "train", **changes})


def leak_of(problem: Problem, *measured: Problem, ngrams: bool = True) -> Leak | None:
    with EvaluationSide(ngrams) as side:
        for one in measured or (MEASURED,):
            side.add("test", one)
        return side.leak(problem)


def test_an_unlike_problem_stays() -> None:
    assert leak_of(trained()) is None


def test_a_test_problem_with_its_variables_renamed_is_caught() -> None:
    renamed = MEASURED.reference[0].replace("ch", "wanted").replace("s[", "text[").replace(" s ", " text ")
    renamed = renamed.replace("(s,", "(text,").replace("len(s)", "len(text)").replace("return s", "return text")
    found = leak_of(trained(reference=[f"# quite another program\n{renamed}"]))
    assert (found.check, found.of, found.task_id) == ("reference", "test", "mbpp/11")
    assert found.reason == "repeats a problem of test (reference)"


def test_renaming_the_function_too_does_not_hide_it() -> None:
    found = leak_of(trained(reference=[MEASURED.reference[0].replace("remove_Occ", "strip_ends")]))
    assert found.check == "reference"


PARAPHRASE = "Your program is to remove first and last occurrence of a given character from the string s."


def test_a_paraphrase_that_shares_thirteen_words_is_caught() -> None:
    found = leak_of(trained(prompt=PARAPHRASE))
    assert (found.check, found.task_id) == ("13-gram", "mbpp/11")
    assert found.text == "to remove first and last occurrence of a given character from the string"
    assert found.share == round(13 / 17, 4)


def test_a_phrase_in_a_long_statement_is_no_leak() -> None:
    long = trained(prompt=PARAPHRASE + " word" * 20, task_id="t", reference=[])
    assert leak_of(trained(prompt=PARAPHRASE + " term" * 20), long) is None


def test_a_problem_by_its_id_is_caught_whatever_it_says() -> None:
    found = leak_of(trained(task_id="Mbpp/011"))
    assert (found.check, found.detail) == ("id", "mbpp/11")


def test_the_same_statement_in_other_case_and_layout_is_caught() -> None:
    found = leak_of(trained(prompt=MEASURED.prompt.upper().replace(" ", "\n  ")))
    assert found.check == "prompt"
    assert found.text.startswith("WRITE A PYTHON")


def test_a_short_statement_inside_another_is_caught_by_eight_words() -> None:
    short = trained(task_id="t", prompt="Write a function that matches a word containing 'z'.", reference=[])
    long = trained(prompt="Write a function that matches a word containing 'z', not at its start or end.", reference=[])
    assert leak_of(long, short).check == "8-gram"
    assert leak_of(short, long).share == 1


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("Write a function to find the area of a trapezium.", "Write a function to find the area of a pentagon."),
        ("Write a function to sort a list of tuples using lambda.", "Write a function to sort a list of dictionaries."),
    ],
)
def test_what_only_begins_alike_stays(one: str, other: str) -> None:
    assert leak_of(trained(prompt=one, reference=[]), trained(task_id="t", prompt=other, reference=[])) is None


def test_tiny_programs_are_compared_with_their_names() -> None:
    square = trained(task_id="t", prompt="Perimeter of a square.", reference=["def square(a): return 4 * a"])
    assert leak_of(trained(reference=["def rhombus(a): return 4 * a"]), square) is None
    assert leak_of(trained(reference=["def square(side): return 4 * side"]), square).check == "reference"


def test_the_datasets_own_lines_before_a_reference_hide_nothing() -> None:
    prelude = "import math\nfrom typing import *\n\n"
    with_lines = trained(prelude=prelude, reference=[prelude + MEASURED.reference[0]])
    assert leak_of(with_lines).check == "reference"


def test_composed_statements_are_not_compared_by_words() -> None:
    assert leak_of(trained(prompt=PARAPHRASE), ngrams=False) is None
    assert leak_of(trained(task_id="mbpp_11"), ngrams=False).check == "id"


def test_the_statement_of_humaneval_is_its_docstring() -> None:
    code = 'def area(r: float) -> float:\n    """ Return the area of a circle with the given radius r. """\n'
    problem = trained(prompt="Complete the function `area`.", starter_code=code)
    assert words_of(statement_of(problem)) == words_of("return the area of a circle with the given radius r")
    assert statement_of(trained(starter_code="def area(r):\n")) == "Do something else entirely."


@pytest.mark.parametrize(
    ("task_id", "source", "normal"),
    [
        ("Mbpp/11", "", "mbpp/11"),
        ("mbpp/11", "mbpp/full", "mbpp/11"),
        ("MBPP_0011", "", "mbpp/11"),
        ("11", "mbpp/sanitized", "mbpp/11"),
        ("MbppPlus/11", "", "mbpp/11"),
        ("HumanEval/0", "", "humaneval/0"),
        ("openai_humaneval/00", "", "humaneval/0"),
        ("HumanEval+/7", "", "humaneval/7"),
        ("leetcode/Two_Sum", "", "leetcode/two-sum"),
        ("11", "", "11"),
        ("Add-One", "", "add-one"),
        ("week1-3", "mbpp", "week1-3"),
    ],
)
def test_ids_of_benchmarks_have_one_spelling(task_id: str, source: str, normal: str) -> None:
    assert normal_id(task_id, source) == normal


@settings(deadline=None)
@given(st.text(), st.text())
def test_any_id_and_program_can_be_normalised(text: str, other: str) -> None:
    assert normal_id(text, other) == normal_id(text.strip(), other)
    assert list(reference_marks(text)) == list(reference_marks(text))


@settings(deadline=None)
@given(st.lists(st.sampled_from("abc"), max_size=30), st.lists(st.sampled_from("abc"), max_size=30), st.integers(1, 5))
def test_covered_words_are_those_in_shared_runs(one: list[str], other: list[str], n: int) -> None:
    runs = {tuple(other[place : place + n]) for place in range(len(other) - n + 1)}
    inside = {
        place + step for place in range(len(one) - n + 1) if tuple(one[place : place + n]) in runs for step in range(n)
    }
    assert covered(gram_hashes(one, n), n, set(gram_hashes(other, n))) == sorted(inside)


def cleaned(problems, benchmarks=(), limits=None) -> tuple[dict[str, list[str]], dict]:
    audit, spool = Audit(), Spool()
    for problem in problems:
        spool.add(problem.split, problem)
    with EvaluationSide() as side:
        without_leaks(spool, side, benchmarks, limits or Limits(), audit)
        audit.checked = side.facts()
    return {
        split: [row.task_id for _, row in spool.rows(split)] for split in ("train", "validation", "test")
    }, audit.as_dict()


def test_leaks_leave_train_and_validation_never_test_and_are_listed() -> None:
    copy = trained(task_id="copy", prompt=MEASURED.prompt)
    twin = MEASURED.model_copy(update={"task_id": "twin"})
    kept, told = cleaned([copy, copy.model_copy(update={"task_id": "v", "split": "validation"}), MEASURED, twin])
    assert kept == {"train": [], "validation": [], "test": ["mbpp/11", "twin"]}
    assert told["leaks"]["removed_from"] == {"train": 1, "validation": 1}
    assert told["leaks"]["by_check"] == {"prompt": 2}
    assert told["leaks"]["found"]["copy"] == {
        "split": "train",
        "of": "test",
        "problem": "mbpp/11",
        "check": "prompt",
        "text": MEASURED.prompt,
    }
    assert told["dropped_by_reason"] == {"repeats a problem of test (prompt)": 2}
    assert leak_lines(told)[0] == "leaks removed: 1 from train, 1 from validation; checked against test (2)"


def test_test_problems_over_the_limit_are_measured_on_all_the_same() -> None:
    first = trained(task_id="first", prompt="The first one.", split="test", reference=[])
    kept, told = cleaned([first, MEASURED, trained(prompt=MEASURED.prompt)], limits=Limits(test=1))
    assert kept == {"train": [], "validation": [], "test": ["first"]}
    assert told["dropped"]["mbpp/11"] == "over the limit"


def test_within_a_split_problems_may_repeat_each_other() -> None:
    rows = [
        trained(task_id=name, split=split) for split in ("train", "validation") for name in (f"{split}1", f"{split}2")
    ]
    kept, _ = cleaned(rows)
    assert kept == {"train": [], "validation": ["validation1", "validation2"], "test": []}


def test_overlaps_are_cut_short_in_the_audit() -> None:
    long = "x" * 40 + " word" * 400
    found = leak_of(trained(prompt=long, reference=[]), trained(task_id="t", prompt=long.upper(), reference=[]))
    assert len(found.text) < 170
    assert found.text.endswith("...")


# benchmarks


HUMANEVAL = {
    "task_id": "HumanEval/53",
    "prompt": 'def add(x: int, y: int):\n    """Add two numbers x and y and tell nobody of it, not at night\n    """\n',
    "canonical_solution": "    return x + y\n",
    "test": "def check(candidate):\n    assert candidate(0, 1) == 1\n",
    "entry_point": "add",
}


def test_benchmarks_are_read_through_the_adapters_and_clean_train(tmp_path: Path) -> None:
    file = tmp_path / "HumanEval.jsonl.gz"
    file.write_bytes(gzip.compress(json.dumps(HUMANEVAL).encode()))
    params = PrepareParams(benchmarks={"humaneval": str(file)})
    facts: dict = {}
    leaked = trained(prompt="Add two numbers x and y and tell nobody of it, not at night.", reference=[])
    kept, told = cleaned([leaked, trained(task_id="o")], benchmark_problems(params.benchmarks, 0, facts))
    assert kept["train"] == ["o"]
    assert told["leaks"]["by_evaluation"] == {"humaneval": 1}
    assert told["leaks"]["against"]["humaneval"] == {"problems": 1, "statements": 1, "references": 1}
    assert set(facts["humaneval"]) == {"path", "sha256"}


def test_of_a_benchmark_with_splits_its_test_problems_count(tmp_path: Path) -> None:
    file = tmp_path / "mbpp.jsonl"
    row = {"text": "Add.", "code": "def f(x): return x", "test_list": ["assert f(1) == 1"], "test_setup_code": ""}
    rows = [{**row, "challenge_test_list": [], "task_id": task_id} for task_id in (2, 11, 700)]
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    named = {
        "mbpp": BenchmarkParams(path=str(file)),
        "own": BenchmarkParams(dataset="mbpp", path=str(file), split="all"),
    }
    found = [(name, problem.task_id) for name, problem in benchmark_problems(named, 0, {})]
    assert found == [("mbpp", "mbpp/11"), ("own", "mbpp/2"), ("own", "mbpp/11"), ("own", "mbpp/700")]


def test_a_benchmark_of_ones_own_counts_whole(tmp_path: Path) -> None:
    file = tmp_path / "mine.jsonl"
    rows = [{"task_id": f"p{i}", "tests": [{"kind": "assert", "code": "assert f(1)"}]} for i in range(30)]
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    named = {"mine": BenchmarkParams(dataset="file", path=str(file))}
    assert len(list(benchmark_problems(named, 0, {}))) == 30


def test_benchmarks_that_cannot_be_read_are_named(tmp_path: Path) -> None:
    def read(**params) -> None:
        list(benchmark_problems({"mine": BenchmarkParams(**params)}, 0, {}))

    with pytest.raises(ConfigError, match=r"prepare\.benchmarks\.mine\.name: no dataset 'mine'"):
        read(path="x.jsonl")
    with pytest.raises(ConfigError, match=r"prepare\.benchmarks\.mine\.path: no such file \(gone\.jsonl\)"):
        read(dataset="humaneval", path="gone.jsonl")
    empty = tmp_path / "train.jsonl"
    row = {"text": "Add.", "code": "def f(x): return x", "test_list": ["assert f(1) == 1"], "test_setup_code": ""}
    empty.write_text(json.dumps({**row, "challenge_test_list": [], "task_id": 700}) + "\n")
    with pytest.raises(DataError, match=r"prepare\.benchmarks\.mine: no problem in it .*\(test of mbpp\)"):
        read(dataset="mbpp", path=str(empty))
    broken = tmp_path / "broken.jsonl"
    broken.write_text("{\n")
    with pytest.raises(DataError, match=r"^prepare\.benchmarks\.mine/broken\.jsonl:1: not JSON"):
        read(dataset="humaneval", path=str(broken))


# real data


def loaded(name: str, problems) -> list[Problem]:
    return [one for one in problems if not isinstance(one, Dropped)]


def test_real_mbpp_loses_its_twins_and_little_else(shared_data: Path) -> None:
    rows, _ = read_mbpp_file(shared_data / "mbpp/mbpp.jsonl")
    kept, told = cleaned([problem for problem in load_mbpp(rows) if problem.split])
    assert len(kept["test"]) == 500
    assert told["leaks"]["by_check"] == {"prompt": 3, "reference": 11, "13-gram": 17, "8-gram": 1}
    assert told["leaks"]["removed_from"] == {"train": 28, "validation": 4}
    assert told["leaks"]["found"]["mbpp/872"]["problem"] == "mbpp/216"
    assert told["leaks"]["not_checked"] == ["against HumanEval and HumanEval+ (prepare.benchmarks has none)"]


def test_real_datasets_of_different_origin_do_not_accuse_each_other(shared_data: Path) -> None:
    benchmarks = {"humaneval": BenchmarkParams(path=str(shared_data / "humaneval/HumanEval.jsonl.gz"))}
    rows, _ = read_mbpp_file(shared_data / "mbpp/mbpp.jsonl")
    train = [problem for problem in load_mbpp(rows) if problem.split == "train"]
    _, told = cleaned(train, benchmark_problems(benchmarks, 0, {}))
    assert {name: found["problem"] for name, found in told["leaks"]["found"].items()} == {"mbpp/960": "HumanEval/55"}
    assert told["leaks"]["against"]["humaneval"]["problems"] == 164


def test_the_starter_keeps_its_problems() -> None:
    limits = Limits(train=120, validation=40, test=60)
    problems = list(starter_problems(0, limits))
    assert ADAPTERS["starter"].composed
    with EvaluationSide(ngrams=False) as side:
        for problem in problems:
            if problem.split != "train":
                side.add(str(problem.split), problem)
        assert [problem.task_id for problem in problems if problem.split == "train" and side.leak(problem)] == []
        assert any("composed" in line for line in side.facts()["not_checked"])
