"""Ranking and pairs: pass over fail, unlike programs only, near misses first, nothing truncated, a cap per problem."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from greenlit.pairs.manifest import Counts, manifest
from greenlit.pairs.nbest import n_best, ranked
from greenlit.pairs.pairs import VERDICT_FIELDS, preference_pairs, shuffle_verdicts
from greenlit.program_metrics import ast_hash, lines_of_code, novelties, program_metrics
from greenlit.types import Annotated, AssertTest, Problem

PROBLEM = Problem(task_id="p", entry_point="f", tests=[AssertTest(code="assert f(1) == 2")])


def row(idx: int, code: str, passed: bool | None, tests_passed: int = 0, **more) -> Annotated:
    verdict = {True: "passed", False: "failed", None: "infra"}[passed]
    fields = {
        "task_id": "p", "candidate_idx": idx, "text": code, "code": code, "solution": code, "tokens": len(code),
        "finish_reason": "eos", "seed": 0, "prompt_hash": "h", "model": "m", "passed": passed, "passed_hidden": None,
        "passed_all": passed, "verdict": verdict, "tests_passed": 3 if passed else tests_passed, "tests_total": 3,
        "metrics": program_metrics(code, len(code)),
    }  # fmt: skip
    return Annotated(**{**fields, **more})


ROWS = [
    row(0, "def f(x):\n    return x + 1\n", True),
    row(1, "def f(y):\n    return y + 1\n", True),
    row(2, "def f(x):\n    y = x\n    return y + 1\n", True),
    row(3, "def f(x):\n    return x\n", False, 1),
    row(4, "def f(x):\n    return x + 2\n", False, 2),
    row(5, "def f(x)\n    return x", False, 0, verdict="syntax"),
    row(6, "def f(x):\n    return 7\n", False, 2, finish_reason="length"),
    row(7, "def f(x):\n    return 8\n", None),
]


def test_plain_programs_come_first_and_renamed_ones_count_once() -> None:
    passing, failing = ranked(ROWS)
    assert [r.candidate_idx for r in passing] == [0, 2]
    assert [r.candidate_idx for r in failing] == [4, 3, 5]


def test_pairs_prefer_pass_over_near_miss_and_end_with_eos() -> None:
    pairs = list(preference_pairs(PROBLEM, "prompt", ROWS, max_pairs=3, end="<eos>"))
    assert [(pair.chosen_idx, pair.rejected_idx) for pair in pairs] == [(0, 4), (2, 3), (0, 5)]
    assert [pair.reason for pair in pairs] == ["pass over near miss", "pass over near miss", "pass over syntax"]
    assert pairs[0].chosen == "def f(x):\n    return x + 1\n<eos>"


def test_chat_pairs_are_messages_without_an_end_token() -> None:
    prompt = [{"role": "user", "content": "q"}]
    pair = next(preference_pairs(PROBLEM, prompt, ROWS, 1, "<eos>"))
    assert pair.chosen == [{"role": "assistant", "content": ROWS[0].text}]


@pytest.mark.parametrize("rows", [ROWS[:3], ROWS[3:6], ROWS[6:], []])
def test_no_pairs_without_both_a_pass_and_a_fail(rows: list[Annotated]) -> None:
    assert list(preference_pairs(PROBLEM, "p", rows, 4, "")) == []


@given(passes=st.integers(0, 6), fails=st.integers(0, 6), most=st.integers(1, 40))
def test_pairs_are_distinct_capped_and_use_candidates_evenly(passes: int, fails: int, most: int) -> None:
    rows = [row(i, f"def f(x): return x + {i}", i < passes, 1) for i in range(passes + fails)]
    pairs = [(pair.chosen_idx, pair.rejected_idx) for pair in preference_pairs(PROBLEM, "p", rows, most, "")]
    assert len(pairs) == min(most, passes * fails)
    assert len(set(pairs)) == len(pairs)
    for side in (0, 1):
        uses = [sum(pair[side] == i for pair in pairs) for i in {pair[side] for pair in pairs}]
        assert not uses or max(uses) - min(uses) <= 1


def test_shuffled_verdicts_keep_the_programs_and_the_pass_rate() -> None:
    shuffled = shuffle_verdicts(ROWS, seed=3)
    assert [r.solution for r in shuffled] == [r.solution for r in ROWS]
    assert [r.finish_reason for r in shuffled] == [r.finish_reason for r in ROWS]
    assert sorted(str(r.passed) for r in shuffled) == sorted(str(r.passed) for r in ROWS)
    assert shuffled == shuffle_verdicts(ROWS, seed=3)
    assert any(shuffle_verdicts(ROWS, seed=s) != ROWS for s in range(5))
    for before in ROWS:
        dealt = {tuple(str(getattr(r, field)) for field in VERDICT_FIELDS) for r in shuffled}
        assert tuple(str(getattr(before, field)) for field in VERDICT_FIELDS) in dealt


def test_nbest_counts_what_there_was() -> None:
    best = n_best(PROBLEM, "prompt", ROWS, passes=1, fails=2)
    assert [(entry.candidate_idx, entry.passed) for entry in best.best_list] == [(0, True), (4, False), (3, False)]
    assert (best.num_pass, best.num_uniq, best.num_fail, best.fail_uniq) == (3, 2, 4, 3)


def test_the_manifest_counts_pairs_pass_rates_and_length_bias(tmp_path) -> None:
    counts = Counts()
    pairs = list(preference_pairs(PROBLEM, "prompt", ROWS, 2, ""))
    counts.add(ROWS, pairs)
    source = tmp_path / "x.jsonl"
    source.write_text("x")
    made = manifest(counts, {"seed": 0}, {"problems": source}, "portable")
    assert (made["candidates"], made["pairs"], made["truncated"]) == (8, 2, 1)
    assert made["train_pass@k"]["1"] == pytest.approx(3 / 7, abs=1e-6)
    assert made["length_bias"]["chosen_mean_tokens"] == (ROWS[0].tokens + ROWS[2].tokens) / 2
    assert list(made["inputs_sha256"]) == ["problems"]


def test_the_manifest_says_what_hints_did(tmp_path) -> None:
    source = tmp_path / "x.jsonl"
    source.write_text("x")
    hints = [None, "Sort.", None, "Sort.", None, "Sort.", None, "Sort."]
    hinted = [row.model_copy(update={"strategy": hint}) for row, hint in zip(ROWS, hints, strict=True)]
    for rows, told in ((ROWS, []), (hinted, ["", "Sort."])):
        counts = Counts()
        counts.add(rows, [])
        found = manifest(counts, {}, {"problems": source}, "portable")["diversity"]
        assert [row["hint"] for row in found["by_strategy"]] == told
        assert 0 < found["unique_ratio"] <= 1
    assert sum(row["candidates"] for row in found["by_strategy"]) == 8
    assert sum(row["passed"] for row in found["by_strategy"]) == 3
    for row in found["by_strategy"]:
        passing = [one for one in hinted if one.passed and (one.strategy or "") == row["hint"]]
        assert row["passed"] == len(passing)


ALIKE = "def f(xs):\n    total = 0\n    for x in xs:\n        total += x\n    return total\n"


@pytest.mark.parametrize(
    ("other", "same"),
    [
        ("def f(a):\n    '''Sum.'''\n    s = 0  # start\n    for b in a: s += b\n    return s\n", True),
        ("def f(a: list) -> int:\n    s = 0\n    for b in a:\n        s += b\n    return s\n", True),
        ("def f(a):\n    s = 1\n    for b in a: s += b\n    return s\n", False),
        ("def g(a):\n    s = 0\n    for b in a: s += b\n    return s\n", False),
        ("def f(a):\n    s = 0\n    for b in a: s += a\n    return s\n", False),
        ("def f(sum):\n    total = 0\n    for x in sum:\n        total += x\n    return total\n", True),
    ],
)
def test_the_hash_sees_through_names_and_nothing_else(other: str, same: bool) -> None:
    assert (ast_hash(ALIKE) == ast_hash(other)) is same


def test_metrics_of_a_program() -> None:
    metrics = program_metrics(
        "# note\ndef f(x):\n\n    if x:\n        for i in x:\n            pass\n    return 1\n", 9
    )
    assert (metrics.loc, metrics.cyclomatic_complexity, metrics.nesting_depth, metrics.tokens) == (5, 3, 3, 9)
    broken = program_metrics("def f(:\n  x", 3)
    assert (broken.loc, broken.cyclomatic_complexity, broken.nesting_depth) == (2, None, None)


@pytest.mark.parametrize("code", ["(" * 300, "x = " + "1+" * 5000 + "1", "\0", "'''", "\t x\n  y", ""])
def test_metrics_survive_any_text(code: str) -> None:
    metrics = program_metrics(code, 1)
    assert metrics.ast_hash == program_metrics(code, 1).ast_hash


def test_lines_of_a_string_over_several_lines_count() -> None:
    assert lines_of_code('x = """a\nb\n"""\n\n# no\ny = 1') == 4


def test_novelty_is_zero_for_twins_and_null_alone() -> None:
    assert novelties(["a = 1"]) == [None]
    assert novelties(["a = 1", "a = 1"]) == [None, None]
    one, two, three = novelties(["abcd", "abce", "wxyz"])
    assert one == two < three == 1.0
