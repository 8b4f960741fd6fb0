"""The judge's score as a reward for online training."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from ai_server import Answer, Server, by_rule, programs_in, serve

from greenlit.config import JudgeParams
from greenlit.errors import ConfigError, DataError
from greenlit.feedback.reward import judge_reward
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
