"""PPO on two processes of half a batch each learns what one process of the whole batch does."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from greenlit.jsonl import read_json

SCRIPT = Path(__file__).with_name("ppo_processes.py")
SRC = Path(__file__).parent.parent / "src"


def run(*launcher: str, model: Path, folder: Path, share: int) -> None:
    environment = {**os.environ, "PYTHONPATH": str(SRC), "ACCELERATE_USE_CPU": "true"}
    command = [sys.executable, *launcher, str(SCRIPT), str(model), str(folder), str(share)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr[-3000:]


def test_two_processes_train_as_one_does_on_the_same_batch(tiny_model, tmp_path) -> None:
    run(model=tiny_model, folder=tmp_path / "one", share=8)
    torchrun = ("-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2")
    run(*torchrun, model=tiny_model, folder=tmp_path / "two", share=4)
    whole = read_json(tmp_path / "one/process_0.json")
    first, second = (read_json(tmp_path / f"two/process_{number}.json") for number in (0, 1))
    assert whole["facts"]["unrewarded"] > 0
    assert whole["facts"]["ended_early"] == "enough"
    assert first["facts"] == second["facts"]
    same = set(whole["facts"]) - {"train_loss", "eval"}
    assert {name: first["facts"][name] for name in same} == {name: whole["facts"][name] for name in same}
    assert second["rows"] == []  # the main process logs for all
    for one, two in zip(whole["rows"], first["rows"], strict=True):
        if "eval_seen" in one:
            assert (one.pop("eval_seen"), two.pop("eval_seen")) == (3, 1.5)
        else:
            assert two.pop("seen") == one.pop("seen") / 2
        assert two == pytest.approx(one, rel=1e-3, abs=1e-5)
    checkpoint = tmp_path / "two/work/checkpoint-3"
    assert {path.name for path in checkpoint.glob("rng_state_*.pt")} == {"rng_state_0.pt", "rng_state_1.pt"}
    weights, others = (load_file(tmp_path / name / "adapter/adapter_model.safetensors") for name in ("one", "two"))
    for name, weight in weights.items():
        torch.testing.assert_close(others[name], weight, rtol=1e-3, atol=1e-4)
