"""The reward function of the online methods: with the real judge, hidden tests apart, faults of the world as None."""

import os
import time
from collections.abc import Iterator
from concurrent.futures import Future

import psutil
import pytest

from greenlit.config import AnnotateParams, RewardsParams
from greenlit.errors import ConfigError, DataError, SandboxError, WorldError
from greenlit.rewards.online import OnlineReward

LIMITS = AnnotateParams(allow_portable=True, timeout_s=2.0, cpu_min_s=0.3, cpu_max_s=1.0, memory_mib=256)
SQUARE = {
    "task_id": "square",
    "entry_point": "f",
    "tests": [
        {"kind": "assert", "code": "assert f(1) == 1", "role": "shown"},
        {"kind": "assert", "code": "assert f(3) == 9", "role": "hidden"},
    ],
}
DOUBLE = {
    "task_id": "double",
    "entry_point": "f",
    "tests": [{"kind": "assert", "code": "assert f(1) == 2"}, {"kind": "assert", "code": "assert f(3) == 6"}],
}
RIGHT, CHEAT, WRONG = "def f(x): return x * x", "def f(x): return 1", "def f(x): return 0"


@pytest.fixture(scope="module")
def reward() -> Iterator[OnlineReward]:
    with OnlineReward([SQUARE, DOUBLE], LIMITS, RewardsParams(), workers=1) as reward:
        yield reward


def asked(reward: OnlineReward, completions: list, task_id: list[str], ids: list | None = None) -> list[float | None]:
    """Every keyword of GRPOTrainer._calculate_rewards."""
    return reward(
        prompts=["p"] * len(completions), completions=completions, completion_ids=ids or [[1]] * len(completions),
        task_id=task_id, trainer_state=None, log_extra=lambda *_: None, log_metric=lambda *_: None,
    )  # fmt: skip


def test_a_program_that_cheats_the_shown_test_earns_all_and_shows_as_a_gap(reward: OnlineReward) -> None:
    reward.measured()
    found = asked(reward, [RIGHT, CHEAT, CHEAT, WRONG, "def f(x): return 2"], ["square"] * 4 + ["double"])
    assert found == [1.0, 1.0, 1.0, 0.0, 0.5]
    figures = reward.measured()
    assert figures["pass/visible"] == pytest.approx(3 / 5)
    assert figures["pass/hidden"] == pytest.approx(1 / 4), "of the problem that has hidden tests"
    assert figures["gap"] == pytest.approx(3 / 4 - 1 / 4)
    assert figures["rewards/tests/mean"] == pytest.approx(3.5 / 5) == figures["reward/mean"]
    assert figures["rewards/tests/std"] == pytest.approx(0.4), "of 1, 1, 1, 0 and 1/2"
    assert figures["distinct"] == pytest.approx(4 / 5)
    assert figures["rewards/tests/none"] == 0
    assert reward.measured() == {}, "since it was last asked"


def test_the_last_batch_is_a_table(reward: OnlineReward) -> None:
    asked(reward, [CHEAT, "def f(x:"], ["square", "double"])
    cheat, broken = reward.last
    assert (cheat["task_id"], cheat["text"], cheat["rewards/tests"], cheat["reward"]) == ("square", CHEAT, 1.0, 1.0)
    assert (cheat["passed"], cheat["passed_hidden"]) == (True, False)
    assert (broken["verdict"], broken["reward"]) == ("syntax", 0.0)


def test_the_caller_goes_on_while_programs_run(reward: OnlineReward) -> None:
    sleeper = "import time\ndef f(x):\n    time.sleep(0.4)\n    return x * x"
    begun = time.monotonic()
    first = reward.submit(["p"], [sleeper], ["square"])
    second = reward.submit(["p"], [WRONG], ["square"])
    assert isinstance(first, Future)
    assert time.monotonic() - begun < 0.3
    assert not first.done()
    assert (first.result(), second.result()) == ([1.0], [0.0])
    assert time.monotonic() - begun > 0.4


def test_equal_completions_run_once(reward: OnlineReward) -> None:
    sleeper = "import time\ndef f(x):\n    time.sleep(0.3)\n    return x * x  # once"
    begun = time.monotonic()
    assert asked(reward, [sleeper] * 8, ["square"] * 8) == [1.0] * 8
    assert asked(reward, [sleeper] * 8, ["square"] * 8) == [1.0] * 8
    assert time.monotonic() - begun < 4 * 0.6, "two tests in one or two processes; sixteen would take 5 s and more"


def test_completions_that_were_cut_off_are_counted() -> None:
    with OnlineReward([SQUARE], LIMITS, RewardsParams(), workers=1, max_new_tokens=3, eos_ids=[9]) as reward:
        asked(reward, [RIGHT, WRONG, RIGHT], ["square"] * 3, [[1, 2, 9], [1, 2, 3], []])
        figures = reward.measured()
    assert figures["truncated"] == pytest.approx(2 / 3)
    assert figures["tokens/mean"] == 2
    assert "truncated" not in OnlineReward([SQUARE], LIMITS, RewardsParams(), workers=1).measured()


def test_hidden_tests_never_enter_a_reward() -> None:
    rewards = RewardsParams.model_validate({"weights": {"tests": 1.0}, "tests": {"kind": "weighted"}})
    with OnlineReward([SQUARE], LIMITS, rewards, workers=1) as reward:
        assert asked(reward, [CHEAT, RIGHT], ["square"] * 2) == [1.0, 1.0]


def test_what_the_user_got_wrong_is_told_before_anything_runs(reward: OnlineReward) -> None:
    with pytest.raises(DataError, match="no column `task_id`"):
        reward(prompts=["p"], completions=["c"])
    with pytest.raises(DataError, match="no problem 'squar'\nhint: did you mean 'square'"):
        reward.submit(["p"], ["c"], ["squar"])
    lengthy = RewardsParams(weights={"tests": 1.0, "length": 0.1})
    with pytest.raises(ConfigError, match=r"length\.max_tokens: must be <= max_new_tokens 48 \(found 512\)"):
        OnlineReward([SQUARE], LIMITS, lengthy, workers=1, max_new_tokens=48)


UNSPLITTABLE = {"task_id": "open", "tests": [{"kind": "assert", "code": "[f(i) for i in (1, 2)]\nassert x == 1"}]}


def test_a_program_nobody_can_judge_is_none_and_stops_nothing() -> None:
    with OnlineReward([UNSPLITTABLE], LIMITS, RewardsParams(), workers=1) as reward:
        assert asked(reward, ["def f(x): return x\nx = 1"], ["open"]) == [None]
        figures = reward.measured()
        assert figures["reward/none"] == figures["rewards/tests/none"] == 1
        assert "reward/mean" not in figures


def test_a_sandbox_that_died_for_good_is_told() -> None:
    with OnlineReward([SQUARE], LIMITS, RewardsParams(), workers=1) as reward:
        assert asked(reward, [RIGHT], ["square"]) == [1.0]
        pool = reward._desk.judge.pool
        start = pool._start

        def start_and_die() -> None:
            start()
            pool.workers[-1].process.kill()

        pool._start = start_and_die
        pool.workers[0].process.kill()
        with pytest.raises(SandboxError, match=r"no longer judges any program.*worker died"):
            asked(reward, [WRONG], ["square"])


def test_closing_ends_what_is_under_way_and_every_process() -> None:
    before = set(psutil.Process().children(recursive=True))
    reward = OnlineReward([SQUARE], LIMITS, RewardsParams(), workers=1)
    loops = [f"def f(x):\n    while True: pass  # {number}" for number in range(400)]
    future = reward.submit(["p"] * 400, loops, ["square"] * 400)
    later = reward.submit(["p"], [RIGHT], ["square"])
    time.sleep(1.0)
    begun = time.monotonic()
    reward.close()
    assert time.monotonic() - begun < 60, "400 loops of 0.3 CPU seconds and more take far longer"
    with pytest.raises(WorldError, match="closed while"):
        future.result()
    assert later.cancelled()
    assert set(psutil.Process().children(recursive=True)) <= before


def test_a_fork_of_the_trainer_has_a_judge_of_its_own(reward: OnlineReward) -> None:
    assert asked(reward, [RIGHT], ["square"]) == [1.0]
    mine = reward._desk.judge
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            if asked(reward, [WRONG, RIGHT], ["square"] * 2) == [0.0, 1.0] and reward._desk.judge is not mine:
                reward.close()
                code = 0
        finally:
            os._exit(code)
    assert os.waitpid(pid, 0)[1] == 0
    assert reward._desk.judge is mine
    assert asked(reward, ["def f(x): return x ** 2  # after"], ["square"]) == [1.0]
