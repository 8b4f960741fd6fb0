"""Intervals that cover, tests that keep their level, and the refusal to compare what was made differently."""

import random
from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binomtest

from greenlit.errors import DataError, MismatchError
from greenlit.evaluation.compare import compare, detectable_effect, interval, mcnemar_p, sign_flip_p
from greenlit.evaluation.summary import effect_sentence, error_class, evaluation_document, summarise
from greenlit.types import Annotated

SETTINGS = {"n": 4, "ks": [1, 4], "confidence": 0.95, "resamples": 500, "temperature": 1.0}
LIMITS = {"timeout_s": 10.0}


def row(task_id, index, passed, **changes):
    fields = {
        "text": "x",
        "code": f"pass # {index}",
        "solution": f"pass # {index}",
        "tokens": 10,
        "finish_reason": "eos",
        "seed": 1,
        "prompt_hash": f"hash of {task_id}",
        "model": "base",
        "passed": passed,
        "passed_hidden": None,
        "passed_all": passed,
        "verdict": {True: "passed", False: "failed", None: "infra"}[passed],
        "tests_passed": int(bool(passed)),
        "tests_total": 1,
        "level": "namespaces",
    }
    decoding = "greedy" if index == -1 else "sampled"
    return Annotated(task_id=task_id, candidate_idx=index, decoding=decoding, **(fields | changes))


def rows_of(outcomes, **changes):
    """{task_id: (greedy, [sampled, ...])} as rows."""
    return [
        row(task_id, index, passed, **changes)
        for task_id, (greedy, sampled) in outcomes.items()
        for index, passed in enumerate([greedy, *sampled], start=-1)
    ]


def document(outcomes, seed=0, settings=SETTINGS, limits=LIMITS, **changes):
    split = summarise(rows_of(outcomes, **changes), settings["ks"], settings["confidence"], settings["resamples"], seed)
    return evaluation_document({"test": split}, settings, limits, seed)


BEFORE = {
    "a": (False, [False, False, False, True]),
    "b": (False, [False] * 4),
    "c": (True, [True] * 4),
    "d": (True, [True, False, True, False]),
}
AFTER = {
    "a": (True, [True] * 4),
    "b": (True, [False, False, True, False]),
    "c": (True, [True] * 4),
    "d": (False, [False] * 4),
}


# intervals


@pytest.mark.parametrize("kind", ["rates", "differences"])
def test_95_percent_intervals_cover_the_truth_about_95_times_in_100(kind):
    rng = np.random.default_rng(7)
    covered = 0
    for trial in range(600):
        rates_P = rng.beta(0.5, 1.5, size=80)  # true mean 0.25, most problems near 0, as code models have it
        before_P = rng.binomial(8, rates_P) / 8
        if kind == "rates":
            found, truth = interval(before_P, 0.95, 1000, trial), 0.25
        else:
            after_P = rng.binomial(8, 0.5 * rates_P + 0.25) / 8  # true mean 0.375
            found, truth = interval(after_P - before_P, 0.95, 1000, trial, (-1.0, 1.0)), 0.125
        covered += found.low <= truth <= found.high
    assert 0.92 <= covered / 600 <= 0.975


def test_the_interval_is_that_of_the_plain_bootstrap():
    values_P = np.random.default_rng(1).binomial(8, 0.3, size=50) / 8
    drawn = np.random.default_rng(2).integers(0, 50, size=(40_000, 50))
    low, high = np.quantile(values_P[drawn].mean(axis=1), [0.025, 0.975])
    found = interval(values_P, 0.95, 40_000, 3)
    assert found.value == pytest.approx(values_P.mean())
    assert (found.low, found.high) == (pytest.approx(low, abs=0.006), pytest.approx(high, abs=0.006))


@settings(max_examples=30)
@given(st.lists(st.integers(0, 8), min_size=2, max_size=40), st.randoms(use_true_random=False))
def test_the_order_of_the_problems_changes_nothing(counts, shuffler):
    shuffled = list(counts)
    shuffler.shuffle(shuffled)
    first, second = (interval(np.array(one) / 8, 0.95, 200, 0) for one in (counts, shuffled))
    assert first == second
    assert 0.0 <= first.low <= first.value <= first.high <= 1.0


def test_the_same_seed_gives_the_same_interval_and_another_seed_another():
    values_P = np.linspace(0, 1, 37)
    assert interval(values_P, 0.95, 300, 5) == interval(values_P, 0.95, 300, 5)
    assert interval(values_P, 0.95, 300, 5) != interval(values_P, 0.95, 300, 6)


def test_many_distinct_values_are_resampled_in_blocks_without_a_seam(monkeypatch):
    values_P = np.random.default_rng(0).random(60)
    whole = interval(values_P, 0.9, 1000, 1)
    monkeypatch.setattr("greenlit.evaluation.compare._BLOCK", 60 * 128)
    assert interval(values_P, 0.9, 1000, 1) == whole


def test_when_nothing_passes_the_interval_is_not_a_point():
    """Rule of three: 0 of 100 still allows for about 3 in 100."""
    found = interval(np.zeros(100), 0.95, 500, 0)
    assert (found.value, found.low) == (0.0, 0.0)
    assert found.high == pytest.approx(3 / 100, rel=0.02)


def test_when_everything_passes_the_interval_is_not_a_point():
    found = interval(np.ones(100), 0.95, 500, 0)
    assert (found.value, found.high) == (1.0, 1.0)
    assert found.low == pytest.approx(1 - 3 / 100, rel=0.02)


def test_one_problem_proves_next_to_nothing():
    found = interval([1.0], 0.95, 500, 0)
    assert (found.value, found.n) == (1.0, 1)
    assert found.low == pytest.approx(0.05)
    assert interval([1.0], 0.95, 500, 0, (-1.0, 1.0)).low < 0.0


def test_no_problem_is_no_number():
    assert interval([], 0.95, 500, 0).as_dict() == {"value": None, "low": None, "high": None, "n": 0}


# tests of a difference


@settings(max_examples=40)
@given(st.lists(st.integers(-4, 4), min_size=1, max_size=8))
def test_sign_flip_p_equals_the_enumeration_of_all_flips(steps):
    differences = [step / 4 for step in steps]
    sums = [
        sum(sign * d for sign, d in zip(signs, differences, strict=True))
        for signs in product((1, -1), repeat=len(steps))
    ]
    expected = sum(abs(total) >= abs(sum(differences)) for total in sums) / len(sums)
    assert sign_flip_p(differences, 100, 0) == pytest.approx(expected)


def test_sampled_sign_flips_agree_with_the_exact_ones(monkeypatch):
    differences_P = np.random.default_rng(3).choice([-0.5, -0.25, 0.25, 0.5, 0.75], size=14)
    exact = sign_flip_p(differences_P, 100, 0)
    monkeypatch.setattr("greenlit.evaluation.compare.EXACT_UP_TO", 0)
    assert sign_flip_p(differences_P, 40_000, 0) == pytest.approx(exact, abs=0.01)


def test_sampled_p_is_never_zero():
    assert sign_flip_p(np.ones(200), 999, 0) == 1 / 1000


def test_p_is_uniform_enough_when_nothing_changed():
    """Under no effect at most 5 % of the p values fall below 0.05."""
    rng = np.random.default_rng(11)
    rates_P = rng.beta(0.5, 1.5, size=60)
    found = [sign_flip_p((rng.binomial(8, rates_P) - rng.binomial(8, rates_P)) / 8, 500, trial) for trial in range(400)]
    assert np.mean(np.array(found) <= 0.05) <= 0.08
    assert 0.4 <= np.mean(found) <= 0.6


@given(st.integers(0, 7), st.integers(0, 7))
def test_on_pass_or_fail_the_sign_flip_test_is_mcnemars(wins, losses):
    assert mcnemar_p(wins, losses) == pytest.approx(sign_flip_p([1.0] * wins + [-1.0] * losses + [0.0] * 5, 10, 0))


def test_mcnemar_knows_only_the_problems_that_changed():
    assert mcnemar_p(0, 0) == 1.0
    assert mcnemar_p(8, 0) == pytest.approx(2 / 2**8)
    assert mcnemar_p(9, 3) == pytest.approx(binomtest(9, 12, 0.5).pvalue)


# what could be seen at all


def test_the_detectable_effect_is_found_in_about_80_of_100_trials():
    """Simulated at the planning bound: before and after unrelated, the true gain equal to the effect."""
    rng = np.random.default_rng(5)

    def rates(shift):
        return np.clip(rng.normal(0.4 + shift, 0.1, size=80), 0, 1)

    pilot = rng.binomial(8, rates(0.0))
    effect = detectable_effect(np.full(80, 8), pilot, 0.95).high
    found = 0
    for trial in range(300):
        change_P = (rng.binomial(8, rates(effect)) - rng.binomial(8, rates(0.0))) / 8
        found += interval(change_P, 0.95, 400, trial, (-1.0, 1.0)).low > 0
    assert 0.7 <= found / 300 <= 0.9


def test_four_times_the_problems_halve_the_detectable_effect():
    n_P, c_P = np.full(25, 8), np.arange(25) % 9
    few, many = detectable_effect(n_P, c_P, 0.95), detectable_effect(np.tile(n_P, 4), np.tile(c_P, 4), 0.95)
    assert many.high == pytest.approx(few.high / 2, rel=0.02)
    assert 0.0 < few.low < few.high


@pytest.mark.parametrize(("n_P", "c_P"), [([8, 8, 8], [0, 0, 0]), ([8], [3]), ([0, 0], [0, 0])])
def test_without_spread_the_detectable_effect_is_unknown_and_not_zero(n_P, c_P):
    effect = detectable_effect(n_P, c_P, 0.95)
    assert effect.high is None
    assert "not known" in effect_sentence(effect)


# evaluations


def test_summarise_counts_what_it_was_given():
    found = document(BEFORE)["splits"]["test"]
    assert found["pass@1"]["value"] == pytest.approx((1 / 4 + 0 + 1 + 2 / 4) / 4)
    assert found["pass@4"]["value"] == pytest.approx(3 / 4)
    assert found["greedy"]["value"] == pytest.approx(2 / 4)
    assert {found[name]["n"] for name in ("pass@1", "pass@4", "greedy")} == {4}
    assert found["verdicts"]["sampled"] == {"failed": 9, "passed": 7}
    assert found["problems"]["d"] == {"n": 4, "c": 2, "greedy": True}
    assert found["unique_ratio"] == 1.0
    assert found["tokens_mean"] == 10.0


def test_the_order_of_the_rows_changes_nothing():
    rows = rows_of(BEFORE)
    shuffled = random.Random(1).sample(rows, len(rows))
    assert summarise(rows, [1, 4], 0.95, 300, 0) == summarise(shuffled, [1, 4], 0.95, 300, 0)


def test_evaluation_counts_hidden_tests_and_not_only_the_verdict_of_reward_tests():
    rows = [row("a", index, True, passed_all=False) for index in range(-1, 4)]
    found = summarise(rows, [1], 0.95, 200, 0)
    assert (found["pass@1"]["value"], found["greedy"]["value"]) == (0.0, 0.0)
    assert found["verdicts"]["sampled"] == {"passed": 4}


def test_a_sandbox_failure_is_no_failed_program():
    found = document({"a": (None, [True, True, None, True]), "b": (True, [True] * 4)})["splits"]["test"]
    assert found["pass@1"]["value"] == 1.0
    assert found["problems"]["a"] == {"n": 3, "c": 3, "greedy": None}
    assert [found[name]["n"] for name in ("pass@1", "pass@4", "greedy")] == [2, 1, 1]
    assert found["infra"] == {"pass@1": 0, "pass@4": 1, "greedy": 1}
    assert found["candidates"] == {"sampled": 8, "greedy": 2, "unmeasured": 2}


def test_when_the_sandbox_failed_everywhere_there_is_no_number():
    found = document({"a": (None, [None] * 4)})
    assert found["splits"]["test"]["pass@1"] == {"value": None, "low": None, "high": None, "n": 0}
    change = compare(found, found, "test")["pass@1"]
    assert (change["value"], change["p"], change["n"]) == (None, None, 0)


def test_equal_programs_of_one_problem_count_once():
    rows = [row(task, index, True, solution="same") for task in "ab" for index in range(-1, 4)]
    assert summarise(rows, [1], 0.95, 200, 0)["unique_ratio"] == 2 / 8


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        ([], "no candidates"),
        (rows_of({"a": (True, [True] * 3)}), "a: pass@4 is undefined .*found 3"),
        ([row("a", index, True) for index in range(4)], "a: has no greedy"),
        ([*rows_of({"a": (True, [True] * 4)}), row("a", 2, True)], "a: candidate_idx 2 stands twice"),
        ([*rows_of({"a": (True, [True] * 4)}), *rows_of({"b": (True, [True] * 4)}, model="x")], "more than one model"),
        ([*rows_of({"a": (True, [True] * 4)}), row("a", 9, True, prompt_hash="y")], "different prompts"),
    ],
)
def test_incomplete_or_mixed_candidates_are_refused(rows, said):
    with pytest.raises(DataError, match=said):
        summarise(rows, [1, 4], 0.95, 200, 0)


@pytest.mark.parametrize(
    ("line", "name"),
    [
        ("NameError: name 'x' is not defined", "NameError"),
        ("json.decoder.JSONDecodeError: Expecting value", "JSONDecodeError"),
        ("RecursionError", "RecursionError"),
        ("killed after 5 s", "other"),
    ],
)
def test_error_lines_are_counted_by_class(line, name):
    assert error_class(line) == name


# before and after


def test_compare_pairs_by_problem():
    found = compare(document(BEFORE), document(AFTER, model="trained"), "test")
    assert found["pass@1"]["value"] == pytest.approx((3 / 4 + 1 / 4 + 0 - 2 / 4) / 4)
    assert found["pass@1"]["p"] == sign_flip_p([0.75, 0.25, 0.0, -0.5], 500, 0)
    assert found["greedy"]["value"] == pytest.approx(1 / 4)
    assert found["greedy"]["p"] == mcnemar_p(2, 1)
    assert (found["wins"], found["losses"]) == (["a", "b"], ["d"])
    assert found["pass@1"]["low"] < found["pass@1"]["value"] < found["pass@1"]["high"]


def test_pairing_beats_comparing_two_intervals():
    """Every problem gains the same: the difference is certain although each side's interval is wide."""
    rates = range(0, 4)
    before = {f"p{i}": (False, [j < rates[i % 4] for j in range(4)]) for i in range(40)}
    after = {f"p{i}": (False, [j < rates[i % 4] + 1 for j in range(4)]) for i in range(40)}
    old, new = document(before), document(after, model="trained")
    change = compare(old, new, "test")["pass@1"]
    assert old["splits"]["test"]["pass@1"]["high"] > new["splits"]["test"]["pass@1"]["low"] - 0.1
    assert change["value"] == pytest.approx(0.25)
    assert change["low"] > 0.1
    assert change["p"] == pytest.approx(1 / 501)


def test_a_model_compared_with_itself_shows_no_change_but_no_certainty_either():
    found = compare(document(BEFORE), document(BEFORE), "test")
    assert (found["pass@1"]["value"], found["pass@1"]["p"], found["greedy"]["p"]) == (0.0, 1.0, 1.0)
    assert found["pass@1"]["low"] < 0.0 < found["pass@1"]["high"]
    assert (found["wins"], found["losses"]) == ([], [])


def test_a_problem_unmeasured_on_one_side_leaves_the_comparison():
    after = AFTER | {"a": (None, [True, True, True, None])}
    found = compare(document(BEFORE), document(after, model="trained"), "test")
    assert [found[name]["n"] for name in ("pass@1", "pass@4", "greedy")] == [4, 3, 3]
    assert found["wins"] == ["b"]


def test_other_problems_are_refused_by_name():
    after = {name: outcome for name, outcome in AFTER.items() if name != "b"} | {"z": (True, [True] * 4)}
    before, later = document(BEFORE), document(after, model="trained")
    later["prompt_hash"] = before["prompt_hash"]
    with pytest.raises(MismatchError, match=r"1 only in the baseline: b; 1 only in the after-evaluation: z"):
        compare(before, later, "test")


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"settings": SETTINGS | {"temperature": 0.5}}, r"settings\.temperature: 1\.0 before, 0\.5 after"),
        ({"limits": {"timeout_s": 20.0}}, r"limits\.timeout_s: 10\.0 before, 20\.0 after"),
        ({"seed": 1}, "seed: 0 before, 1 after"),
        ({"prompt_hash": "another"}, "prompt_hash: "),
        ({"level": "portable"}, "level: 'namespaces' before, 'portable' after"),
        ({"backend": "vllm bfloat16"}, "backend: '' before, 'vllm bfloat16' after"),
    ],
)
def test_evaluations_made_differently_are_refused_and_the_difference_is_named(changes, said):
    with pytest.raises(MismatchError, match=said):
        compare(document(BEFORE), document(AFTER, **changes), "test")


def test_programs_that_never_ran_have_no_level_and_cause_no_mismatch():
    rows = rows_of(BEFORE)
    rows[1] = row("a", 0, False, verdict="no_code", level="")
    assert summarise(rows, [1], 0.95, 200, 0)["level"] == "namespaces"


def test_every_difference_is_named_at_once():
    other = document(AFTER, seed=3, limits={"timeout_s": 1.0})
    with pytest.raises(MismatchError, match=r"(?s)seed: .*limits\.timeout_s: "):
        compare(document(BEFORE), other, "test")


def test_splits_of_two_models_make_no_document():
    splits = {
        name: summarise(rows_of(BEFORE, model=model), [1], 0.95, 200, 0)
        for name, model in (("validation", "base"), ("test", "other"))
    }
    with pytest.raises(DataError, match="base, other"):
        evaluation_document(splits, SETTINGS, LIMITS, 0)
