"""What the watch over an online run finds, and what it takes for noise."""

import random

import pytest

from greenlit.config import GrpoParams
from greenlit.errors import ConfigError
from greenlit.training.watching import Watching

PARAMS = GrpoParams(method="grpo", reads="p", start="b", learning_rate=1e-3)


def watching(**change) -> tuple[Watching, list[str]]:
    said: list[str] = []
    return Watching(PARAMS.model_copy(update=change), said.append), said


def gap(value: float) -> dict[str, float]:
    return {"gap": value, "pass/visible": 0.5, "pass/hidden": 0.5 - value}


def shown(watch: Watching, rows: list[dict[str, float]]) -> list[str]:
    """The reasons to end that it gave."""
    return [reason for step, row in enumerate(rows, 1) if (reason := watch(step, row))]


def test_a_gap_that_stays_is_told_once() -> None:
    watch, said = watching()
    assert shown(watch, [gap(0.01), gap(0.2), gap(0.22), gap(0.21), gap(0.2), gap(0.21), *[gap(0.4)] * 9]) == []
    assert watch.facts()["gap_alarm"] == {"step": 6, "gap": 0.208, "pass/visible": 0.5, "pass/hidden": 0.292}
    assert len(said) == 1
    assert said[0].startswith("hidden-test alarm at step 6: over 5 steps 50.0% of the programs pass the tests")


@pytest.mark.parametrize(
    ("change", "rows"),
    [
        ({}, [gap(0.3), gap(0.3), gap(0.3), gap(0.3), gap(0.05)] * 4),
        ({}, [gap(0.11), gap(0.30), gap(0.11), gap(0.12), gap(0.11)] * 1),
        ({}, [gap(0.3)] * 4),
        ({"gap_alarm": None}, [gap(0.9)] * 20),
        ({"gap_alarm": 0.5}, [gap(0.45)] * 20),
    ],
    ids=[
        "one step in five is fine",
        "its spread reaches the limit",
        "too few steps",
        "not asked for",
        "a higher limit",
    ],
)
def test_a_gap_that_may_be_noise_is_no_alarm(change, rows) -> None:
    watch, said = watching(**change)
    shown(watch, rows)
    assert (said, watch.facts()["gap_alarm"]) == ([], None)


def test_the_alarm_ends_a_run_where_that_is_wanted() -> None:
    watch, said = watching(gap_stops=True)
    (reason,) = shown(watch, [gap(0.3)] * 5)
    assert said[0].startswith(reason)


def test_a_run_ends_when_nothing_got_better_for_so_many_measurements() -> None:
    watch, _ = watching(patience=2)
    rows = [{"eval_reward": value} for value in (0.3, 0.5, 0.4, 0.6, 0.6, 0.5)]
    assert shown(watch, rows) == ["early stop at step 6: 2 measurements without one better than 0.6 of step 4"]
    assert watch.facts()["best_measurement"] == {"step": 4, "reward": 0.6}
    patient, _ = watching()
    assert shown(patient, rows * 5) == []


def noisy(means: list[float], seed: int) -> list[dict[str, float]]:
    chance = random.Random(seed)
    return [{"reward": chance.gauss(mean, 0.05), "reward_std": 0.45} for mean in means]


def test_a_reward_that_collapses_ends_the_training_with_advice() -> None:
    watch, _ = watching()
    with pytest.raises(
        ConfigError, match=r"diverged at step \d+: the reward fell from 0\.\d+ \(first 10 steps\)"
    ) as told:
        shown(watch, noisy([0.4] * 10 + [0.05] * 10, 0))
    assert "lower learning_rate (now 0.001), raise beta (now 0)" in str(told.value)


@pytest.mark.parametrize("seed", range(20))
def test_noise_is_no_collapse(seed) -> None:
    watch, _ = watching()
    assert shown(watch, noisy([0.4] * 200, seed)) == []
    assert shown(watching()[0], noisy([0.4] * 10 + [0.25] * 50, seed)) == []  # worse, and still there
    assert shown(watching(curriculum="easy_first")[0], noisy([0.9] * 10 + [0.05] * 50, seed)) == []  # harder problems


def test_a_model_that_runs_from_its_start_ends_the_training_with_advice() -> None:
    watch, _ = watching()
    assert shown(watch, [{"kl": 50.0}, {"kl": 50.0}, {"kl": 0.1}] * 9) == []
    with pytest.raises(ConfigError, match="KL to the start model above 10 nats per token for 5 steps"):
        shown(watch, [{"kl": 20.0}] * 5)
