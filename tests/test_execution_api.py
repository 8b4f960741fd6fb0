"""`greenlit.execution.judge` and the reward function for TRL: the executor as others call it."""

import doctest
import gc
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from grading_files import PROBLEMS, environment, wait_until

from greenlit.config import AnnotateParams
from greenlit.errors import ConfigError, DataError
from greenlit.execution import api, judge
from greenlit.rewards.execution import ExecutionReward, execution_reward
from greenlit.types import Problem

PARAMS = AnnotateParams(allow_portable=True, timeout_s=2.0, cpu_min_s=0.3, cpu_max_s=1.0, memory_mib=256)


def test_the_example_in_its_documentation() -> None:
    assert doctest.testmod(api) == doctest.TestResults(failed=0, attempted=4)


@pytest.mark.parametrize(
    "code",
    [
        "import greenlit.execution\njudge = greenlit.execution.judge",
        "from greenlit.execution import judge",
        "from greenlit.execution.judges import Judge\nfrom greenlit.execution import judge",
        "from greenlit.execution.api import judge\nimport greenlit.execution\nassert greenlit.execution.judge is judge",
    ],
)
def test_the_name_is_one_function_however_it_is_imported(code: str) -> None:
    probe = f"{code}\nimport types\nprint(type(judge) is types.FunctionType, judge.__module__, judge.__name__)"
    done = subprocess.run([sys.executable, "-c", probe], env=environment(), capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["True", "greenlit.execution.api", "judge"]


def loaded_by(code: str) -> set[str]:
    """What a fresh interpreter has loaded after some code."""
    probe = f"{code}\nimport sys; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", probe], env=environment(), capture_output=True, text=True, check=True)
    return set(done.stdout.split())


def test_importing_the_package_loads_nothing() -> None:
    loaded = loaded_by("import greenlit.execution")
    assert {name for name in loaded if name.startswith("greenlit")} == {"greenlit", "greenlit.execution"}
    assert "pydantic" not in loaded


def test_the_main_process_loads_none_of_what_its_workers_run() -> None:
    loaded = loaded_by("import greenlit.execution.judges")
    run = ("worker", "verdicts", "languages", "jailed", "lane", "portable", "shipping", "decoding", "expressions")
    assert "greenlit.execution.pool" in loaded
    assert not loaded & {f"greenlit.execution.{name}" for name in run}


def test_pairs_and_rows_records_and_dicts(tmp_path: Path) -> None:
    problems = {"square": Problem.model_validate(PROBLEMS[0]), "x": PROBLEMS[1]}
    candidates = [
        ("square", "def f(x): return x * x"),
        {"task_id": "SQUARE", "completion": "    return x\n"},
        {"task_id": "Sum", "solution": "print(7)"},
    ]
    for _ in range(2):
        found = judge(problems, candidates, workers=1, allow_portable=True, cache=tmp_path / "v.sqlite")
        assert [one.passed_all for one in found] == [True, False, True]


def test_it_streams_and_ends_its_processes_when_let_go() -> None:
    pulled = 0

    def endless() -> Iterator[tuple[str, str]]:
        nonlocal pulled
        while True:
            pulled += 1
            yield "Sum", f"print(7)  # {pulled}"

    before = set(psutil.Process().children(recursive=True))
    found = judge(PROBLEMS, endless(), workers=1, allow_portable=True)
    assert next(found).passed_all is True
    assert pulled < 1000
    del found
    gc.collect()
    assert wait_until(lambda: set(psutil.Process().children(recursive=True)) <= before, 5)


@pytest.mark.parametrize(
    ("candidate", "message"),
    [
        (("cube", "x"), r"candidate 0: task_id: no problem 'cube'"),
        ("x", "candidate 0: must be a pair"),
        (("Sum", 7), "candidate 0: solution: must be text \\(found int\\)"),
        ({"task_id": "Sum"}, "candidate 0: has neither `solution`"),
    ],
)
def test_bad_candidates(candidate: object, message: str) -> None:
    with pytest.raises(DataError, match=message):
        list(judge(PROBLEMS, [candidate], workers=1, allow_portable=True))


def test_limits_out_of_bounds_are_told_at_once() -> None:
    with pytest.raises(ConfigError, match="timeout_s: must be > 0"):
        judge(PROBLEMS, [], timeout_s=0)
    assert api.limits_of(None, None, False) == AnnotateParams()
    short, long = api.limits_of(0.2, 100, True), api.limits_of(30, None, True)
    assert (short.cpu_min_s, short.cpu_max_s, short.timeout_s, short.memory_mib) == (0.2, 0.2, 0.4, 100)
    assert (long.cpu_min_s, long.cpu_max_s, long.timeout_s) == (AnnotateParams().cpu_min_s, 30, 60)


THREE = {
    "task_id": "three",
    "entry_point": "f",
    "tests": [
        {"kind": "assert", "code": "assert f(1) == 1", "role": "shown"},
        {"kind": "assert", "code": "assert f(2) == 4"},
        {"kind": "assert", "code": "assert f(3) == 9", "role": "hidden"},
    ],
}
UNSPLITTABLE = {"task_id": "open", "tests": [{"kind": "assert", "code": "[f(i) for i in (1, 2)]\nassert x == 1"}]}


@pytest.fixture(scope="module")
def reward() -> Iterator[ExecutionReward]:
    with execution_reward([THREE, UNSPLITTABLE], PARAMS, workers=1) as reward:
        yield reward


def called_as_trl_calls(reward: ExecutionReward, completions: list, task_id: list[str]) -> list[float | None]:
    """Every keyword of GRPOTrainer._calculate_rewards, a further column among them."""
    return reward(
        prompts=["p"] * len(completions), completions=completions, completion_ids=[[1]] * len(completions),
        task_id=task_id, difficulty=["easy"] * len(completions), trainer_state=None,
        log_extra=lambda *_: None, log_metric=lambda *_: None,
    )  # fmt: skip


def test_rewards_are_shares_of_the_tests_that_may_be_rewarded(reward: ExecutionReward) -> None:
    right, half, wrong = "def f(x): return x * x", "def f(x): return 1", "def f(x): return -1"
    hidden_only_wrong = "def f(x): return x * x if x < 3 else 0"
    fenced = f"Here it is:\n```python\n{right}\n```\nDone."
    message = [{"role": "assistant", "content": fenced}]
    completions = [right, half, wrong, hidden_only_wrong, fenced, message, [{"role": "assistant", "content": None}], ""]
    found = called_as_trl_calls(reward, completions, ["three"] * len(completions))
    assert found == [1.0, 0.5, 0.0, 1.0, 1.0, 1.0, 0.0, 0.0]
    assert reward.__name__ == "execution"


def test_a_reward_that_could_not_be_found_out_is_none(reward: ExecutionReward) -> None:
    found = called_as_trl_calls(reward, ["def f(x): return x\nx = 1"], ["open"])
    assert found in ([None], [1.0])  # 1.0 once the engine judges such tests; never 0.0


def test_all_or_nothing_and_one_judge_over_many_calls() -> None:
    before = set(psutil.Process().children())
    with execution_reward([THREE], PARAMS, workers=1, all_or_nothing=True) as reward:
        assert called_as_trl_calls(reward, ["def f(x): return 1"], ["three"]) == [0.0]
        workers = set(psutil.Process().children()) - before
        assert called_as_trl_calls(reward, ["def f(x): return x ** 2"], ["three"]) == [1.0]
        assert set(psutil.Process().children()) - before == workers != set()
    assert set(psutil.Process().children()) <= before
    assert called_as_trl_calls(reward, ["def f(x): return x ** 2"], ["three"]) == [1.0]
    reward.close()


def test_a_dataset_without_task_id_is_told(reward: ExecutionReward) -> None:
    with pytest.raises(DataError, match="no column `task_id`"):
        reward(prompts=["p"], completions=["c"])
    with pytest.raises(DataError, match="no problem 'thre'\nhint: did you mean 'three'"):
        called_as_trl_calls(reward, ["c"], ["thre"])


def test_the_reward_ends_its_processes_with_the_program() -> None:
    code = (
        "import json, psutil, sys\nfrom greenlit.config import AnnotateParams\n"
        "from greenlit.rewards.execution import execution_reward\n"
        f"reward = execution_reward(json.loads({json.dumps(json.dumps([THREE]))}), "
        "AnnotateParams(allow_portable=True), workers=1)\n"
        "assert reward(['p'], ['def f(x): return x * x'], ['three']) == [1.0]\n"
        "print(*(child.pid for child in psutil.Process().children()))\n"
    )
    done = subprocess.run([sys.executable, "-c", code], env=environment(), capture_output=True, text=True, check=True)
    pids = [int(pid) for pid in done.stdout.split()]
    assert pids and wait_until(lambda: not any(psutil.pid_exists(pid) for pid in pids), 2)
