"""Training on several processes: the same steps as on one, one writer, signals and faults that come through."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import faults
import pytest
import workspace
from safetensors.torch import load_file
from torch.testing import assert_close

from greenlit.config import DpoParams, GrpoParams, PpoParams
from greenlit.errors import ConfigError
from greenlit.training import launch

ROOT = Path(__file__).parent.parent
PAIR = ("--multi_gpu", "--num_processes", "2", "--main_process_port", "0")
ONLINE = "reads: assets/datasets/file/train/problems.jsonl, start: assets/models/base"
METHODS = f"""
methods:
  dpo: {{method: dpo, reads: pairs.jsonl, start: assets/models/base, learning_rate: 0.01, batch_size: 8,
         max_steps: 3, max_length: 512, lora: {{r: 2, alpha: 4}}}}
  grpo: {{method: grpo, {ONLINE}, learning_rate: 0.01, batch_size: 128, group_size: 8, max_steps: 3,
         max_new_tokens: 4, max_length: 512, lora: null}}
"""
LETTERS = """
def letters(completions):
    return [sum("a" <= letter <= "m" for letter in text) / 4 for text in completions]
"""


def afresh(folder: Path, processes: int, method: str) -> subprocess.CompletedProcess:
    """A training there from its first step, whatever an earlier one has left."""
    shutil.rmtree(folder / ".work/train", ignore_errors=True)
    return on(folder, processes, method)


def on(folder: Path, processes: int, method: str, **variables: str) -> subprocess.CompletedProcess:
    """A training there, with that many processes; it goes on from what is there."""
    return faults.stage(folder, "train", "--method", method, GREENLIT_PROCESSES=str(processes), **variables)


@pytest.fixture
def trained(project: Path) -> Path:
    """A project with methods whose every step changes the weights of the tiny model."""
    text = (project / "params.yaml").read_text()
    start, end = text.index("methods:"), text.index("evaluate:")
    rewards = "rewards: {weights: {custom: 1.0}, custom: 'letters.py:letters'}\n"
    (project / "params.yaml").write_text(text[:start] + METHODS.lstrip() + rewards + text[end:])
    (project / "letters.py").write_text(LETTERS)
    pairs = [{"task_id": f"t{i}", "prompt": f"q{i}\n", "chosen": "abc"[: 1 + i % 3] + "\n", "rejected": f"{i * 7}\n",
              "chosen_idx": 0, "rejected_idx": 1, "reason": "tests"} for i in range(24)]  # fmt: skip
    (project / "pairs.jsonl").write_text(faults.lines(pairs))
    return project


def results(folder: Path, method: str) -> tuple[list[dict[str, float]], dict]:
    out = folder / "results/small" / method
    rows = [json.loads(line) for line in (out / "logs/training_log.jsonl").read_text().splitlines()]
    return rows, load_file(next((out / "adapter").glob("*.safetensors")))


@pytest.mark.slow
@pytest.mark.usefixtures("warm")
@pytest.mark.parametrize("method", ["dpo", "grpo"])
def test_two_processes_train_as_one_does(trained: Path, method: str) -> None:
    """Losses to 1e-4 of their size, or 1e-6; weights to 1e-3 of theirs, or 1e-4: sums in another order, after 3 steps
    of Adam, which magnifies the least gradients."""
    done = afresh(trained, 1, method)
    assert done.returncode == 0, done.stderr
    rows, weights = results(trained, method)
    done = afresh(trained, 2, method)
    assert done.returncode == 0, done.stderr
    others, other_weights = results(trained, method)
    assert len(rows) == len(others) == 3
    for one, two in zip(rows, others, strict=True):
        assert two["loss"] == pytest.approx(one["loss"], rel=1e-4, abs=1e-6)
        assert two["grad_norm"] == pytest.approx(one["grad_norm"], rel=1e-3)
        if method == "grpo":
            assert two["reward"] == pytest.approx(one["reward"], rel=1e-6)
            assert one["reward"] > 0
    before = load_file(next((trained / "assets/models").rglob("*.safetensors"), trained / "model/model.safetensors"))
    assert_close(other_weights, weights, rtol=1e-3, atol=1e-4)
    if method == "grpo":
        assert any((weights[name] - before[name]).abs().max() > 1e-3 for name in weights)
    facts = json.loads((trained / "results/small" / method / "metrics.json").read_text())
    assert facts["steps"] == 3
    if method == "grpo":
        assert facts["completions"] == 3 * 128
        table = (trained / "results/small/grpo/logs/completions.jsonl").read_text().splitlines()
        assert len({json.loads(line)["step"] for line in table}) == 3
    assert len((trained / "results/small" / method / "logs/training_log.txt").read_text().splitlines()) == 3


@pytest.mark.slow
@pytest.mark.usefixtures("warm")
def test_accelerate_launch_by_hand_does_the_same(trained: Path) -> None:
    command = [sys.executable, "-m", "accelerate.commands.launch", *PAIR, "-m", "tasks.train", "--method", "dpo"]
    environment = faults.environment(ACCELERATE_USE_CPU="true")
    done = subprocess.run(command, cwd=trained, env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    rows, _ = results(trained, "dpo")
    assert afresh(trained, 1, "dpo").returncode == 0
    for one, two in zip(results(trained, "dpo")[0], rows, strict=True):
        assert two["loss"] == pytest.approx(one["loss"], rel=1e-4, abs=1e-6)


@pytest.mark.slow
def test_a_signal_reaches_all_and_the_run_goes_on_from_there(trained: Path, warm_process, monkeypatch) -> None:
    text = (trained / "params.yaml").read_text()
    (trained / "params.yaml").write_text(text.replace("max_steps: 3, max_length", "max_steps: 30, max_length"))
    environment = faults.environment(GREENLIT_PROCESSES="2", GREENLIT_SAVE_EVERY_S="1000")
    child = subprocess.Popen(
        [sys.executable, "-m", "tasks.train", "--method", "dpo"], cwd=trained, env=environment, stderr=subprocess.PIPE,
        text=True, start_new_session=True,
    )  # fmt: skip
    log = trained / "results/small/dpo/logs/training_log.jsonl"
    while not (log.exists() and log.stat().st_size) and child.poll() is None:
        time.sleep(0.05)
    child.send_signal(signal.SIGTERM)
    _, said = child.communicate(timeout=240)
    assert child.returncode == 128 + signal.SIGTERM, said
    assert "Traceback" not in said
    (checkpoint,) = (trained / ".work/train").glob("*/checkpoint-*/complete")
    step = int(checkpoint.parent.name.rpartition("-")[2])
    assert 1 <= step < 30
    assert {path.name for path in checkpoint.parent.glob("rng_state*")} == {"rng_state_0.pth", "rng_state_1.pth"}
    workspace.start_warm(monkeypatch, warm_process)
    done = on(trained, 2, "dpo")
    assert done.returncode == 0, done.stderr
    assert [row["step"] for row in results(trained, "dpo")[0]] == list(range(1, 31))


@pytest.mark.slow
@pytest.mark.usefixtures("warm")
def test_a_fault_in_the_processes_is_told_with_its_code(trained: Path) -> None:
    (trained / "pairs.jsonl").write_text("{}\n")
    done = on(trained, 2, "dpo")
    assert done.returncode == 2
    assert "pairs.jsonl" in done.stderr
    assert "Traceback" not in done.stderr


def test_how_many_processes_and_what_with_is_checked(monkeypatch, tmp_path: Path) -> None:
    monkeypatch.delenv("RANK", raising=False)
    assert not launch.to_launch()
    for said, launches in (("1", False), ("2", True)):
        monkeypatch.setenv("GREENLIT_PROCESSES", said)
        assert launch.to_launch() is launches
    monkeypatch.setenv("RANK", "0")
    assert not launch.to_launch(), "it is one of them"
    monkeypatch.delenv("RANK")
    monkeypatch.setenv("GREENLIT_PROCESSES", "two")
    with pytest.raises(ConfigError, match="GREENLIT_PROCESSES: must be an integer >= 1"):
        launch.to_launch()
    monkeypatch.delenv("GREENLIT_PROCESSES")
    monkeypatch.setenv("GREENLIT_ACCELERATE", str(tmp_path / "none.yaml"))
    with pytest.raises(ConfigError, match=r"no file .*none\.yaml"):
        launch.to_launch()


def test_a_batch_is_shared_out_or_refused() -> None:
    common = {"reads": "x", "start": "y", "learning_rate": 0.1}
    dpo = DpoParams(method="dpo", batch_size=6, **common)
    assert launch.shared_out(dpo, 2).batch_size == 3
    assert launch.shared_out(dpo, 1) == dpo
    with pytest.raises(ConfigError, match=r"batch_size must be a multiple .* \(found 6 and 4\)"):
        launch.shared_out(dpo, 4)
    ppo = launch.shared_out(PpoParams(method="ppo", batch_size=64, minibatch_size=16, **common), 2)
    assert (ppo.batch_size, ppo.minibatch_size) == (32, 8)
    with pytest.raises(ConfigError, match=r"batch_size 16 on 4 processes: group_size must divide"):
        launch.shared_out(GrpoParams(method="grpo", batch_size=16, group_size=8, **common), 4)


@pytest.mark.parametrize("file", sorted((ROOT / "presets/accelerate").glob("*.yaml")), ids=lambda path: path.stem)
def test_the_configurations_for_gpus_are_what_accelerate_reads(file: Path, monkeypatch) -> None:
    """Read by accelerate's own class, and taken over by its launcher's own check: an unknown key is an error there."""
    from accelerate.commands.config.config_args import load_config_from_file
    from accelerate.commands.launch import _validate_launch_command, launch_command_parser
    from accelerate.utils import DistributedType

    found = load_config_from_file(str(file))
    expected = DistributedType.FSDP if file.stem == "fsdp" else DistributedType.DEEPSPEED
    assert found.distributed_type == expected
    assert found.mixed_precision == "no", "params.yaml's dtype decides"
    parser = launch_command_parser()
    known = {action.dest for action in parser._actions}
    inner = found.fsdp_config if file.stem == "fsdp" else found.deepspeed_config
    assert inner
    assert set(inner) <= known
    given = parser.parse_args(["--config_file", str(file), "--num_processes", "2", "-m", "tasks.train"])
    arguments, _, _ = _validate_launch_command(given)
    assert (arguments.use_fsdp, arguments.use_deepspeed) == (file.stem == "fsdp", file.stem != "fsdp")
    assert arguments.num_processes == 2
    for key, value in inner.items():
        assert getattr(arguments, key) == value


def test_the_processes_are_told_apart_by_the_environment(monkeypatch) -> None:
    for rank, first in (("0", True), ("1", False)):
        monkeypatch.setitem(os.environ, "RANK", rank)
        assert launch.is_first() is first
    monkeypatch.setitem(os.environ, "WORLD_SIZE", "2")
    assert launch.processes() == 2
    monkeypatch.delitem(os.environ, "WORLD_SIZE")
    assert launch.anyone(True)
    assert not launch.anyone(False)
