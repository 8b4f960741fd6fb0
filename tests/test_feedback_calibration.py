"""A judge counts only after it was measured: AUC as defined, within problems too, its tastes told, refusals named."""

import json
import random
from collections.abc import Callable
from itertools import product
from pathlib import Path

import numpy as np
import pytest
from ai_server import Model, by_rule, is_comparison, preferred, programs_in, scored, serve
from hypothesis import given, settings
from hypothesis import strategies as st

from greenlit.config import JudgeParams
from greenlit.errors import ConfigError, WorldError
from greenlit.feedback.agreement import Rated, auc, auc_overall, auc_within, length_correlation, position_bias
from greenlit.feedback.calibration import Extent, calibrate, draw
from greenlit.feedback.judge import AiJudge, Comparison
from greenlit.feedback.permit import calibration_file, lowest_auc, require_calibrated
from greenlit.jsonl import write_json
from greenlit.program_metrics import program_metrics
from greenlit.types import Annotated, AssertTest, Problem

PARAMS = JudgeParams(model="some/judge", threshold=0.6)
SURE = (0.95, 300, 0)
"""confidence, resamples, seed"""


@settings(deadline=None)
@given(st.lists(st.tuples(st.booleans(), st.integers(0, 4)), max_size=30))
def test_auc_is_the_probability_that_a_pass_scores_higher(rows: list[tuple[bool, int]]) -> None:
    passing, failing = ([score for passed, score in rows if passed is side] for side in (True, False))
    found = auc([passed for passed, _ in rows], [score for _, score in rows])
    if not passing or not failing:
        assert found is None
        return
    wins = [1.0 if one > other else 0.5 if one == other else 0.0 for one, other in product(passing, failing)]
    assert found == pytest.approx(np.mean(wins))


def rated(
    score: Callable[[int, bool, int], float], problems: int = 40, length: Callable = lambda *_: 10
) -> list[Rated]:
    """Two passing and two failing programs per problem: score(problem, passed, number)."""
    return [
        Rated(f"p{p}", passed, score(p, passed, n), length(p, passed, n))
        for p in range(problems)
        for passed in (True, False)
        for n in range(2)
    ]


def test_a_judge_that_is_right_a_coin_and_a_constant() -> None:
    right, constant = rated(lambda p, passed, n: float(passed)), rated(lambda *_: 0.5)
    assert auc_overall(right, *SURE)["value"] == auc_within(right, *SURE)["value"] == 1.0
    chance = random.Random(0)
    coin = rated(lambda *_: chance.random(), 200)
    for found in (auc_overall(coin, *SURE), auc_within(coin, *SURE)):
        assert found["low"] < 0.5 < found["high"]
        assert found["high"] - found["low"] < 0.15
    assert auc_overall(constant, *SURE)["value"] == auc_within(constant, *SURE)["value"] == 0.5


def test_who_only_knows_hard_problems_from_easy_ones_knows_nothing_within_one() -> None:
    rows = [Rated(f"p{p}", n < (3 if p % 2 else 1), 0.9 if p % 2 else 0.1, 10) for p in range(40) for n in range(4)]
    assert auc_overall(rows, *SURE)["low"] > 0.6
    assert auc_within(rows, *SURE)["value"] == 0.5


def test_few_problems_make_a_wide_interval_even_when_all_agree() -> None:
    lows = [auc_within(rated(lambda p, passed, n: float(passed), count), *SURE)["low"] for count in (2, 5, 60)]
    assert lows == sorted(lows)
    assert lows[0] < 0.5 < lows[1] < 0.9 < lows[2] < 1


def test_the_bootstrap_resamples_problems_not_programs() -> None:
    """Copies of a problem's programs are no new evidence."""
    chance = random.Random(1)
    once = rated(lambda p, passed, n: chance.random() + 0.3 * passed)
    often = [row for row in once for _ in range(10)]
    one, many = (auc_overall(rows, *SURE) for rows in (once, often))
    assert many["value"] == pytest.approx(one["value"])
    assert many["high"] - many["low"] == pytest.approx(one["high"] - one["low"], rel=0.2)


@settings(max_examples=5, deadline=None)
@given(st.integers(0, 1000))
def test_a_taste_for_length_shows_and_verdicts_do_not_make_one(seed: int) -> None:
    chance = random.Random(seed)
    lengths = {(p, passed, n): chance.randint(10, 500) for p in range(40) for passed in (True, False) for n in range(2)}

    def length(*key: int) -> int:
        return lengths[key]

    def likes_long(*key: int) -> float:
        return lengths[key] / 500

    assert length_correlation(rated(likes_long, length=length), *SURE)["value"] > 0.85
    assert length_correlation(rated(lambda p, passed, n: float(passed), length=length), *SURE)["value"] is None
    noise = length_correlation(rated(lambda *_: chance.random(), length=length), *SURE)
    assert -0.5 < noise["low"] <= noise["value"] <= noise["high"] < 0.5
    # passing programs are longer here, and score higher: right, and no taste
    honest = rated(lambda p, passed, n: passed + 0.01 * (n == p % 2), length=lambda p, passed, n: 100 if passed else 10)
    assert length_correlation(honest, *SURE)["value"] is None


def test_position_bias_counts_flips_and_first_places() -> None:
    always_first = [Comparison("first", "first")] * 4
    assert position_bias(always_first) == {
        "pairs": 4, "unanswered": 0, "flips": 4, "flip_share": 1.0, "first_share": 1.0,
    }  # fmt: skip
    mixed = [Comparison("first", "second"), Comparison("equal", "equal"), Comparison("second", "second"),
             Comparison(None, "first")]  # fmt: skip
    assert position_bias(mixed) == {
        "pairs": 4, "unanswered": 1, "flips": 1, "flip_share": 1 / 3, "first_share": 0.25,
    }  # fmt: skip
    assert position_bias([])["flip_share"] is None


RIGHT = ["return x + 1", "return 1 + x", "return -(-x - 1)", "y = x\n    return y + 1"]
WRONG = ["return x", "return x + 2", "return x - 1", "return 1"]


def candidates(problems: int, passing: int = 3, failing: int = 3) -> list[tuple[Problem, list[Annotated]]]:
    """Problems with so many passing and failing programs each."""
    groups = []
    for number in range(problems):
        problem = Problem(task_id=f"p{number}", prompt=f"Add one ({number}).", tests=[AssertTest(code="assert 1")])
        bodies = [(body, True) for body in RIGHT[:passing]] + [(body, False) for body in WRONG[:failing]]
        groups.append((problem, [program(problem, n, *one) for n, one in enumerate(bodies)]))
    return groups


def program(problem: Problem, number: int, body: str, passed: bool) -> Annotated:
    code = f"def f(x):\n    {body}\n"
    return Annotated(
        task_id=problem.task_id, candidate_idx=number, text=code, code=code, solution=code, tokens=9, seed=0,
        finish_reason="eos", prompt_hash="h", model="m", passed=passed, passed_hidden=None, passed_all=passed,
        verdict="passed" if passed else "failed", tests_passed=int(passed), tests_total=1,
        metrics=program_metrics(code, 9),
    )  # fmt: skip


def is_right(code: str) -> int:
    return 9 if any(body in code for body in RIGHT) else 2


def calibrated(model: Model, tmp_path: Path, monkeypatch, groups=None, **extent: int) -> dict:
    """What a judge of this kind comes to."""
    monkeypatch.chdir(tmp_path)
    with serve(model) as server:
        monkeypatch.setenv("GREENLIT_JUDGE_URL", server.url)
        with AiJudge(PARAMS) as judge:
            samples = draw(groups or candidates(20), Extent(**extent), 0)
            return calibrate(judge, samples, "ds", 0)


def test_a_judge_that_knows_is_fit(tmp_path, monkeypatch) -> None:
    found = calibrated(by_rule(is_right), tmp_path, monkeypatch)
    assert found["auc"] == {"value": 1.0, "low": 1.0, "high": 1.0, "n": 80}
    assert found["auc_within"]["value"] == 1.0
    assert found["auc_within"]["n"] == 20
    assert (found["programs"], found["passing"], found["unscored"]) == (80, 40, 0)
    assert found["position"] | {"first_share": 0} == {
        "pairs": 20, "unanswered": 0, "flips": 0, "flip_share": 0.0, "first_share": 0, "clear": 20,
        "clear_and_right": 20,
    }  # fmt: skip
    assert found["cost"] == {"calls": 120, "tokens": 1200}
    write_json(calibration_file(PARAMS, "ds"), found)
    assert require_calibrated(PARAMS, "ds") == json.loads(json.dumps(found))
    with pytest.raises(ConfigError, match=r"less than threshold 0\.99"):
        require_calibrated(PARAMS.model_copy(update={"threshold": 0.99}), "ds")


def test_a_judge_that_likes_long_programs_and_the_first_place_is_found_out(tmp_path, monkeypatch) -> None:
    def model(messages) -> str:
        if is_comparison(messages):
            return preferred(messages, "first")
        return scored(messages, min(10, len(programs_in(messages)[0]) - 20))

    found = calibrated(model, tmp_path, monkeypatch)
    assert found["length_correlation"]["low"] > 0.8
    assert found["position"]["flip_share"] == found["position"]["first_share"] == 1.0
    assert found["position"]["clear"] == 0


def test_what_is_not_scored_is_counted_and_no_zero(tmp_path, monkeypatch) -> None:
    rule = by_rule(is_right)
    found = calibrated(lambda m: "?" if "return x\n" in m[1]["content"] else rule(m), tmp_path, monkeypatch)
    assert 0 < found["unscored"] < 20
    assert found["auc"]["value"] == 1.0
    assert found["faults"] == {
        "an answer was not as asked for, twice": found["unscored"] + found["position"]["unanswered"] * 2
    }


def test_no_score_at_all_is_no_calibration(tmp_path, monkeypatch) -> None:
    with pytest.raises(WorldError, match="no answer to any of 80 questions"):
        calibrated(lambda _: "?", tmp_path, monkeypatch)


def test_without_a_pass_and_a_fail_in_one_problem_nothing_within_can_be_measured(tmp_path, monkeypatch) -> None:
    groups = [*candidates(5, failing=0), *candidates(9, passing=0)[5:]]
    found = calibrated(by_rule(is_right), tmp_path, monkeypatch, groups)
    assert found["auc"]["value"] == 1.0
    assert found["auc_within"] == {"value": None, "low": None, "high": None, "n": 0}
    assert lowest_auc(found) is None
    write_json(calibration_file(PARAMS, "ds"), found)
    with pytest.raises(ConfigError, match="its AUC against execution could not be measured"):
        require_calibrated(PARAMS, "ds")


def test_problems_with_both_come_first_and_as_many_of_each() -> None:
    groups = [*candidates(6, failing=0), *[(p.model_copy(update={"task_id": f"q{p.task_id}"}), rows) for p, rows in
                                          candidates(4)]]  # fmt: skip
    samples = draw(groups, Extent(problems=5, programs=4), 0)
    assert [sample.unequal is not None for sample in samples] == [True] * 4 + [False]
    assert [sum(bool(row.passed) for row in sample.rows) for sample in samples] == [2, 2, 2, 2, 3]
    assert draw(groups, Extent(5, 4), 0) == samples
    assert draw(groups, Extent(5, 4), 1) != samples


@pytest.mark.parametrize("change", [{"model": "other"}, {"temperature": 0.7}, {"max_new_tokens": 99}])
def test_a_calibration_holds_for_exactly_this_judge(tmp_path, monkeypatch, change: dict) -> None:
    found = calibrated(by_rule(is_right), tmp_path, monkeypatch, candidates(12), programs=2)
    write_json(calibration_file(PARAMS, "ds"), found)
    other = PARAMS.model_copy(update=change)
    with pytest.raises(ConfigError, match="is not calibrated on ds") as error:
        require_calibrated(other, "ds", "build.ai.judge")
    assert str(error.value).startswith(f"params.yaml: build.ai.judge: {other.model} with rubric v1: ")
    assert "`greenlit calibrate-judge`" in str(error.value.hint)
    with pytest.raises(ConfigError, match="is not calibrated on other"):
        require_calibrated(PARAMS, "other")
    require_calibrated(PARAMS.model_copy(update={"concurrency": 1, "max_calls": 7, "timeout_s": 1.0}), "ds")


def test_a_file_of_another_judge_put_in_its_place_does_not_help(tmp_path, monkeypatch) -> None:
    found = calibrated(by_rule(is_right), tmp_path, monkeypatch, candidates(12), programs=2)
    other = PARAMS.model_copy(update={"model": "other"})
    write_json(calibration_file(other, "ds"), found)
    with pytest.raises(ConfigError, match="is not calibrated"):
        require_calibrated(other, "ds")
