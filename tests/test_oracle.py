"""The oracle audit: what is fit to learn from, what is not, and why; two audits give the same bytes."""

import json

import pytest

from greenlit.config import AnnotateParams, PrepareParams
from greenlit.execution.judges import Judge
from greenlit.problems.audit import Audit, reason_lines, table_rows, terminal_table
from greenlit.problems.oracle import Case, audit_oracles, count_tests
from greenlit.types import AssertTest, Problem, ScriptTest

REFERENCE = "def f(x):\n    if x > 2:\n        return x + 1\n    return 0\n"
STRONG = ["assert f(3) == 4", "assert f(2) == 0", "assert f(9) == 10"]


@pytest.fixture(scope="module")
def judge():
    with Judge(AnnotateParams(allow_portable=True, cpu_max_s=2), 1) as made:
        yield made


def audited(judge: Judge, tests: list[str], *references: str, **params) -> Case:
    problem = Problem(
        task_id="p", entry_point="f", tests=[AssertTest(code=test) for test in tests], reference=list(references)
    )
    (case,) = audit_oracles([("train", problem)], PrepareParams(**params), judge, 0)
    return case


def test_tests_that_catch_wrong_versions_make_grade_a(judge: Judge) -> None:
    case = audited(judge, STRONG, REFERENCE)
    assert (case.grade, case.marks) == ("A", [])
    assert case.killed >= 4
    assert case.mutation_score >= 0.75


def test_weak_tests_make_grade_b(judge: Judge) -> None:
    case = audited(judge, ["assert f(9) > 0", "assert f(10) > 0", "assert f(11) > 0"], REFERENCE)
    assert (case.grade, case.marks) == ("B", ["weak tests"])
    assert case.killed
    assert case.survived


def test_tests_that_accept_anything_are_quarantined(judge: Judge) -> None:
    case = audited(judge, ["assert f(3) != 'a'"] * 3, REFERENCE)
    assert case.grade is None
    assert case.reason == "its tests accept every mutant of its reference"


def test_few_tests_make_grade_b(judge: Judge) -> None:
    assert audited(judge, ["assert [f(3), f(2), f(9)] == [4, 0, 10]"], REFERENCE).marks == ["few tests"]
    assert audited(judge, STRONG[:2], REFERENCE, min_tests=2).marks == []


def test_a_reference_near_the_limit_is_marked_slow(judge: Judge) -> None:
    slow = "import time\nwhile time.process_time() < 1.2: pass\n" + REFERENCE
    assert "slow" in audited(judge, STRONG, slow, mutants=0).marks


def test_without_mutants_nobody_knows_what_the_tests_are_worth(judge: Judge) -> None:
    case = audited(judge, STRONG, REFERENCE, mutants=0)
    assert (case.grade, case.marks, case.mutation_score) == ("B", ["no mutants"], None)


def test_without_a_reference_nothing_could_be_checked(judge: Judge) -> None:
    assert audited(judge, STRONG).grade == "C"


def test_a_reference_that_fails_is_quarantined_with_the_test_that_says_so(judge: Judge) -> None:
    case = audited(judge, STRONG, "def f(x): return x + 1")
    assert case.reason == "its own reference does not pass (failed)"
    assert case.detail == "test 1: assert f(2) == 0: got 3"


def test_hidden_tests_count_too(judge: Judge) -> None:
    tests = [AssertTest(code=STRONG[0]), AssertTest(code=STRONG[1], role="hidden")]
    problem = Problem(task_id="h", entry_point="f", tests=tests, reference=["def f(x): return x + 1"])
    (case,) = audit_oracles([("train", problem)], PrepareParams(), judge, 0)
    assert case.reason == "its own reference does not pass (failed)"


def test_another_reference_may_pass_where_the_first_does_not(judge: Judge) -> None:
    case = audited(judge, STRONG, "def f(x): return x + 1", REFERENCE)
    assert (case.reference, case.grade, case.marks) == (REFERENCE, "B", ["first reference fails"])


def test_a_reference_that_passes_only_sometimes_is_quarantined(judge: Judge) -> None:
    moody = "import time\ndef f(x):\n    return 4 if int(time.time() * 1000) % 2 else 5\n"
    tests = ["assert f(3) == 4"]
    found = {audited(judge, tests, f"{moody}# {number}").reason for number in range(12)}
    assert "its reference passes only sometimes" in found


def test_every_assert_of_a_script_counts_as_a_test() -> None:
    script = ScriptTest(code="def check(candidate):\n    assert candidate(1)\n    assert candidate(2)\n")
    assert count_tests(Problem(task_id="s", tests=[script, AssertTest(code="assert f(1)")])) == 3


def test_the_audit_repeats_byte_for_byte_and_fits_a_table(judge: Judge) -> None:
    names = {"strong": STRONG, "weak": ["assert f(9) > 0"] * 3, "anything": ["assert f(3) != 'a'"] * 3}
    problems = [
        (
            "train",
            Problem(task_id=name, entry_point="f", tests=[AssertTest(code=t) for t in tests], reference=[REFERENCE]),
        )
        for name, tests in names.items()
    ]
    audits = [Audit() for _ in range(2)]
    for audit in audits:
        for case in audit_oracles(problems, PrepareParams(), judge, 0):
            audit.add(case)
    first, second = (json.dumps(audit.as_dict()) for audit in audits)
    assert first == second
    found = audits[0].as_dict()
    assert found["kept"] == {"train": 2, "validation": 0, "test": 0}
    assert found["grades"]["train"] == {"A": 1, "B": 1, "C": 0}
    assert table_rows(found)[0] == ("train", "2", "1", "1", "0", "1")
    assert terminal_table(found).row_count == 3
    assert reason_lines(found) == [
        "1 marked: weak tests",
        "1 quarantined: its tests accept every mutant of its reference",
    ]
