"""The judge's score as a reward for online training."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from ai_server import Answer, Server, by_rule, programs_in, serve

from greenlit.config import JudgeParams, RewardsParams
from greenlit.errors import ConfigError, DataError
from greenlit.feedback.reward import judge_reward
from greenlit.rewards.judge import require_permitted
from greenlit.rewards.rating import rate
from greenlit.rewards.sample import Sample
from greenlit.types import AssertTest, Problem

PROBLEM = Problem(
    task_id="p", prompt="Add.", entry_point="f", starter_code="def f(x):\n", tests=[AssertTest(code="assert f(1) == 2")]
)
PARAMS = JudgeParams(model="m", attempts=1)


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Server]:
    monkeypatch.chdir(tmp_path)
    with serve(by_rule(lambda program: 7 if "x + 1" in program else 3)) as state:
        monkeypatch.setenv("GREENLIT_JUDGE_URL", state.url)
        yield state


def test_completions_are_scored_as_the_programs_they_hold(server: Server) -> None:
    completions = [
        "    return x + 1\n",
        [{"role": "assistant", "content": "```python\ndef f(x):\n    return x\n```"}],
        [{"role": "assistant", "content": None}],
        [],
    ]
    with judge_reward([PROBLEM], PARAMS, dataset="ds", weight=0) as reward:
        assert reward(prompts=[""] * 4, completions=completions, task_id=["p"] * 4, other=[1] * 4) == [0.7, 0.3, 0, 0]
        assert reward.__name__ == "judge"
    asked = {programs_in(request.body["messages"])[0] for request in server.requests}
    assert asked == {"def f(x):\n    return x + 1\n", "def f(x):\n    return x\n"}


def test_a_fault_of_the_endpoint_is_none(server: Server) -> None:
    server.always = Answer(b"", 500)
    with judge_reward({"p": PROBLEM}, PARAMS, dataset="ds", weight=0) as reward:
        assert reward([""], ["    return x\n"], task_id=["p"]) == [None]


def test_what_is_missing_is_told(server: Server) -> None:
    with judge_reward([PROBLEM], PARAMS, dataset="ds", weight=0) as reward:
        with pytest.raises(DataError, match="no column `task_id`"):
            reward([""], ["x"])
        with pytest.raises(DataError, match="no problem 'q'"):
            reward([""], ["x"], task_id=["q"])


def test_a_weight_above_0_needs_a_calibration(server: Server) -> None:
    with pytest.raises(ConfigError, match=r"rewards\.judge: m with rubric v1: is not calibrated on ds"):
        judge_reward([PROBLEM], PARAMS, dataset="ds", weight=0.1)


def test_it_is_one_of_the_rewards_of_params_yaml(server: Server) -> None:
    judge = JudgeParams(model="one of params.yaml", attempts=1)
    params = RewardsParams(weights={"judge": 1.0, "syntax": 0.0}, judge=judge)
    samples = [Sample(PROBLEM, text=code, code=code) for code in ("def f(x): return x + 1", "def f(x): return x")]
    assert [found.reward for found in rate(samples, params)] == [0.7, 0.3]
    with pytest.raises(ConfigError, match="is not calibrated on ds"):
        require_permitted(params, "ds")
    require_permitted(params.model_copy(update={"weights": {"judge": 0.0, "tests": 1.0}}), "ds")


@pytest.mark.parametrize("content", [{"weights": {"judge": 1}}, {"judge": {"model": "m"}}])
def test_judge_and_its_weight_go_together(content: dict) -> None:
    with pytest.raises(ValueError, match="go together"):
        RewardsParams.model_validate(content)
