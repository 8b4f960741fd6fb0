"""A reward of the user's own: what it is told, and that nothing it does stops the training or counts as 0."""

import math
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
from grading_files import environment
from test_rewards import BLOCK, RIGHT, problem, sample

from greenlit.config import AnnotateParams, RewardsParams
from greenlit.errors import ConfigError
from greenlit.rewards.custom import CustomFunction, columns, custom
from greenlit.rewards.online import OnlineReward
from greenlit.rewards.rating import rate
from greenlit.rewards.sample import Sample

ROOT = Path(__file__).parent.parent


def params(folder: Path, source: str, timeout_s: float = 1.0, **more) -> RewardsParams:
    """Weights of the tests and of a function `f` with this source, equal."""
    path = folder / "mine.py"
    path.write_text(source)
    weights = {"tests": 1.0, "custom": 1.0}
    given = {"weights": weights, "custom": f"{path}:f", "custom_timeout_s": timeout_s}
    return RewardsParams.model_validate({**given, **more})


def ended(settings: RewardsParams) -> None:
    from greenlit.rewards import custom as module

    module._function(settings.custom, settings.custom_timeout_s).close()


def texts(*some: str) -> list[Sample]:
    return [sample(text=text) for text in some]


def test_what_it_returns_enters_the_mean(tmp_path: Path) -> None:
    settings = params(
        tmp_path, "def f(completions, passed): return [len(t) / 4 if p else None for t, p in zip(completions, passed)]"
    )
    found = rate([*texts("ab", "abcd"), sample("fff", text="ab")], settings)
    assert [one.rewards["custom"] for one in found] == [0.5, 1.0, None]
    assert [one.reward for one in found] == [0.75, 1.0, 0.0]
    ended(settings)


def test_it_is_told_columns_by_name_and_nothing_of_hidden_tests(tmp_path: Path) -> None:
    source = "def f(**columns):\n    assert len({len(c) for c in columns.values()}) == 1\n    return [len(columns)]"
    given = columns([sample("pppf", reference_cpu_s=(1.0,), problem=problem(reference=[RIGHT]))])
    settings = params(tmp_path, source)
    assert custom([sample()], settings) == [len(given)]
    told = {name: column[0] for name, column in given.items()}
    assert (told["passed"], told["tests_passed"], told["tests_total"], told["verdict"]) == (True, 3, 3, "passed")
    assert told["reference"] == [RIGHT]
    assert not {"passed_hidden", "passed_all", "error", "tests"} & set(told)
    ended(settings)


@pytest.mark.parametrize(
    ("bad", "told"),
    [
        ("raise ZeroDivisionError('oh')", "raised ZeroDivisionError: oh (mine.py:4)"),
        ("import time; time.sleep(60)", "hung: no answer within 1 s"),
        ("import os; os._exit(3)", "died"),
        ("import os, signal; os.kill(os.getpid(), signal.SIGSEGV)", "died"),
        ("found.append(float('nan'))", "returned nan, which is no finite number"),
        ("found.append(-float('inf'))", "returned -inf, which is no finite number"),
        ("found.append('good')", """returned "'good'", which is no finite number"""),
        ("found.append(10 ** 400)", "which is no finite number"),
        ("found += [1.0, 1.0, 1.0]", "returned 3 values for 1 samples"),
        ("return 5", "returned int, not a list"),
        ("return None", "returned NoneType, not a list"),
    ],
)
def test_one_bad_sample_is_left_out_and_told_and_takes_no_other_one_along(
    bad: str, told: str, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    source = (
        f"def f(completions):\n    found = []\n    for text in completions:\n        if text == 'bad': {bad}\n"
        "        else: found.append(0.5)\n    return found\n"
    )
    settings = params(tmp_path, source)
    samples = texts("a", "b", "bad", "c")
    begun = time.monotonic()
    found = rate(samples, settings)
    assert [one.reward for one in found] == [0.75, 0.75, None, 0.75]
    assert found[2].rewards == {"tests": 1.0, "custom": None}
    assert found[2].faults == ("custom",)
    first = capsys.readouterr().err
    assert told in first and "left out" in first and first.count("warning") == 2, "this, and that DVC does not see it"
    assert [one.reward for one in rate(samples[:2], settings)] == [0.75, 0.75], "and it goes on"
    rate(samples, settings)
    assert told not in capsys.readouterr().err, "told once"
    assert time.monotonic() - begun < 20
    ended(settings)


def test_a_function_that_hangs_on_everything_costs_bounded_time(tmp_path: Path) -> None:
    settings = params(tmp_path, "def f(completions):\n    while True: pass\n", timeout_s=0.5)
    begun = time.monotonic()
    found = rate(texts(*"abcdefgh"), settings)
    assert time.monotonic() - begun < 6, "0.5 s for the batch, 1 s for its samples, and what starting takes"
    assert [one.reward for one in found] == [None] * 8
    assert [one.rewards["tests"] for one in found] == [1.0] * 8
    ended(settings)


def test_measured_only_its_faults_take_nothing_out(tmp_path: Path) -> None:
    settings = params(tmp_path, "def f(completions): raise ValueError", weights={"tests": 1.0, "custom": 0.0})
    assert [one.reward for one in rate(texts("a", "b"), settings)] == [1.0, 1.0]
    ended(settings)


def test_arrays_tensors_and_what_it_prints(tmp_path: Path, capfd: pytest.CaptureFixture) -> None:
    source = "import numpy\ndef f(completions):\n    print('{\"values\": [9]}')\n    return numpy.array([0.25, 0.5])"
    settings = params(tmp_path, source)
    assert custom(texts("a", "b"), settings) == [0.25, 0.5]
    assert '{"values": [9]}' in capfd.readouterr().err
    ended(settings)
    settings = params(tmp_path, "import numpy\ndef f(completions): return [numpy.float32(0.5), numpy.int64(1)]", 1.5)
    assert custom(texts("a", "b"), settings) == [0.5, 1.0]
    ended(settings)


@pytest.mark.parametrize(
    ("source", "name", "message"),
    [
        ("def g(completions): ...", "f", "LookupError: the file has no f"),
        ("f = 7", "f", "TypeError: f is no function but int"),
        ("def f(:", "f", "SyntaxError"),
        ("import greenlit_no_such_module\n", "f", "No module named 'greenlit_no_such_module'"),
        ("import os; os._exit(1)", "f", "died"),
    ],
)
def test_a_file_that_cannot_be_used_is_told_at_once(source: str, name: str, message: str, tmp_path: Path) -> None:
    settings = params(tmp_path, source)
    with pytest.raises(ConfigError, match=r"params\.yaml: rewards\.custom: .*mine\.py:f: ") as error:
        custom(texts("a"), settings)
    assert message in str(error.value)


def test_no_file(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"rewards\.custom: no file .*none\.py"):
        CustomFunction(str(tmp_path / "none.py") + ":f", 1.0)


def test_a_file_below_custom_needs_no_warning(capsys: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    settings = RewardsParams(weights={"tests": 1.0, "custom": 0.1}, custom="custom/brevity.py:brevity")
    known = problem(reference=[RIGHT, RIGHT * 2])
    long = RIGHT + "# " + "x" * (len(RIGHT) - 2)
    samples = [sample(problem=known), sample(code=long, problem=known), sample("fff", problem=known), sample()]
    assert custom(samples, settings) == [1.0, 0.5, 0.0, None]
    assert capsys.readouterr().err == ""
    ended(settings)


def test_its_process_ends_with_ours(tmp_path: Path) -> None:
    """Also where ours is killed, and where the function is at work."""
    settings = params(tmp_path, "import time\ndef f(completions): time.sleep(60)", timeout_s=60.0)
    code = (
        "import os, sys, threading, time, psutil\n"
        "from greenlit.rewards.custom import CustomFunction\n"
        f"mine = CustomFunction({settings.custom!r}, 60.0)\n"
        "threading.Thread(target=mine.values, args=({'completions': ['a']},), daemon=True).start()\n"
        "while not psutil.Process().children(): time.sleep(0.05)\n"
        "time.sleep(1.0)\n"
        "print(psutil.Process().children()[0].pid, flush=True)\n"
        "time.sleep(60)\n"
    )
    process = subprocess.Popen([sys.executable, "-c", code], env=environment(), stdout=subprocess.PIPE, text=True)
    child = psutil.Process(int(process.stdout.readline()))
    process.send_signal(signal.SIGKILL)
    process.wait()
    process.stdout.close()
    assert child.wait(timeout=5) is None or not child.is_running()


def test_online_training_goes_on_without_the_sample_and_says_so(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    source = "def f(completions): return [float('nan') if 'sorry' in t else 1.0 for t in completions]"
    settings = params(tmp_path, source)
    limits = AnnotateParams(allow_portable=True)
    square = {"task_id": "sq", "entry_point": "f", "tests": [{"kind": "assert", "code": "assert f(2) == 4"}]}
    with OnlineReward([square], limits, settings, workers=1) as reward:
        texts = ["def f(x): return x * x", "def f(x): return x * x  # sorry", "def f(x): return x"]
        found = reward(prompts=["p"] * 3, completions=texts, task_id=["sq"] * 3)
        figures = reward.measured()
    assert found == [1.0, None, 0.5]
    assert figures["rewards/custom/fault"] == figures["rewards/custom/none"] == pytest.approx(1 / 3)
    assert figures["rewards/custom/mean"] == 1.0, "0 is no part of it"
    assert figures["reward/mean"] == pytest.approx(0.75)
    err = capsys.readouterr().err
    assert "returned nan" in err
    assert "rewards.custom went wrong on 1 of 3 completions" in err
    ended(settings)


def test_a_fork_has_a_process_of_its_own(tmp_path: Path) -> None:
    settings = params(tmp_path, "import os\ndef f(completions): return [os.getpid()]")
    (mine,) = custom(texts("a"), settings)
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            code = 0 if custom(texts("a"), settings) != [mine] else 2
            ended(settings)
        finally:
            os._exit(code)
    assert os.waitpid(pid, 0)[1] == 0
    assert custom(texts("a"), settings) == [mine]
    assert not math.isnan(mine)
    ended(settings)


def test_the_example_in_the_documentation(tmp_path: Path) -> None:
    import greenlit.rewards.custom as module

    example = module.__doc__.split("\n\n")[1]
    source = "\n".join(line[4:] for line in example.splitlines()).replace("shortness", "f")
    settings = params(tmp_path, source)
    assert custom([sample(text=BLOCK), sample("fff", text="x")], settings) == [1 / (1 + len(BLOCK)), 0.0]
    ended(settings)


def test_grpo_trains_on_without_the_sample_and_never_takes_it_for_0(tmp_path: Path, tiny_model: Path) -> None:
    """The real trainer, the real judge; on a part of the completions the user's function raises, hangs, returns nan."""
    from datasets import Dataset
    from trl import GRPOConfig, GRPOTrainer

    source = (
        "import time\n\ndef f(completions): return [one(sum(map(ord, text)) % 9) for text in completions]\n\n"
        "def one(place):\n    if place == 0: time.sleep(60)\n    if place < 3: raise ValueError\n"
        "    return float('nan') if place < 5 else 1.0\n"
    )
    settings = params(tmp_path, source, timeout_s=0.3)
    square = {"task_id": "sq", "entry_point": "f", "tests": [{"kind": "assert", "code": "assert f(2) == 4"}]}
    arguments = GRPOConfig(
        output_dir=str(tmp_path / "out"), use_cpu=True, bf16=False, gradient_checkpointing=False, report_to=[],
        per_device_train_batch_size=8, num_generations=8, max_completion_length=4, max_steps=2, logging_steps=1,
        beta=0.0, disable_tqdm=True, save_strategy="no", learning_rate=1e-3,
    )  # fmt: skip
    rows = Dataset.from_list([{"prompt": "abc", "task_id": "sq"}] * 4)
    with OnlineReward([square], AnnotateParams(allow_portable=True), settings, workers=1) as reward:
        trainer = GRPOTrainer(str(tiny_model), reward_funcs=reward, args=arguments, train_dataset=rows)
        trainer.train()
        figures = reward.measured()
    assert 0.2 < figures["rewards/custom/fault"] < 0.9
    logged = [row for row in trainer.state.log_history if "reward" in row]
    assert len(logged) == 2 and all(math.isfinite(row["loss"]) for row in logged)
    assert [row["reward"] for row in logged] == [0.5, 0.5], "tests 0, custom 1: nothing that was lost counts as 0"
    ended(settings)
