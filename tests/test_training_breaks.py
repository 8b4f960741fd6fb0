"""A training that breaks says why and what to change, and saves nothing broken; one that needs too much memory too."""

import subprocess
import sys
import textwrap
from pathlib import Path

import faults
import pytest
import torch
from test_training import DPO, SFT, train

from greenlit.config import GrpoParams
from greenlit.errors import ConfigError, WorldError
from greenlit.models import weights_sha256
from greenlit.training import advice, checkpoints
from greenlit.training.advice import DEAD_STEPS, RUNAWAY_STEPS, Memory, Watch, asked_bytes, out_of_memory
from greenlit.training.checkpoints import Checkpoints

GIB = 1 << 30


@pytest.mark.parametrize(
    ("kind", "rate", "told"),
    [
        ("dpo", 1e30, "dpo: the loss is nan at step 2; before: 5.8"),
        ("sft", 1e20, "sft: the gradient is nan at step 2; before: 5.1"),
        ("dpo", 1e6, "dpo: no gradient is left since step 2, and the loss stands at 6.3"),
        ("sft", 1e6, "sft: no gradient is left since step 2, and the loss stands at 5.5"),
    ],
)
@pytest.mark.parametrize("lora", [DPO.lora, None], ids=["adapter", "all weights"])
def test_a_learning_rate_far_too_high_ends_the_training_with_advice(
    tiny_model, tmp_path, monkeypatch, kind, rate, told, lora
) -> None:
    monkeypatch.setenv(checkpoints.SAVE_EVERY, "0")
    params = {"dpo": DPO, "sft": SFT}[kind].model_copy(update={"learning_rate": rate, "lora": lora})
    logged = []
    with pytest.raises(ConfigError) as error:
        train(kind, params, tiny_model, tmp_path / "m", lambda step, metrics: logged.append(step))
    text = str(error.value)
    assert text.startswith(told) or (" is nan at step 2; before: 5." in text and " is nan " in told)
    assert f"learning_rate {rate:g}" in text
    assert f"hint: lower learning_rate to {0.0001 if lora is None else 0.001:g}; then warm up" in text
    assert ("(beta: 0.2)" in text) == (kind == "dpo")
    assert not (tmp_path / "m/adapter").exists()
    assert Checkpoints(tmp_path / "m/work", 1).kept() == []  # they hold broken weights


def test_weights_that_the_very_last_step_broke_are_not_saved(tiny_model, tmp_path) -> None:
    params = SFT.model_copy(update={"learning_rate": 1e39, "max_steps": 1, "lora": None})
    with pytest.raises(ConfigError, match=r"sft: weights are no numbers after the last step \(model\."):
        train("sft", params, tiny_model, tmp_path / "m")
    assert not (tmp_path / "m/adapter").exists()
    assert Checkpoints(tmp_path / "m/work", 1).kept() == []


def test_a_sound_checkpoint_before_the_break_stays(tiny_model, tmp_path, monkeypatch) -> None:
    """A flaw of the machine at step 5 must not cost the steps before."""
    from transformers.models.llama.modeling_llama import LlamaMLP

    monkeypatch.setenv(checkpoints.SAVE_EVERY, "0")
    steps = []
    facts, whole = train("sft", SFT, tiny_model, tmp_path / "whole")
    real = LlamaMLP.forward
    monkeypatch.setattr(LlamaMLP, "forward", lambda mlp, x: real(mlp, x) * (float("nan") if len(steps) == 4 else 1.0))
    params = SFT.model_copy(update={"keep_checkpoints": 3})
    with pytest.raises(ConfigError, match="the loss is nan at step 5"):
        train("sft", params, tiny_model, tmp_path / "m", lambda step, metrics: steps.append(step))
    assert [path.name for path in Checkpoints(tmp_path / "m/work", 3).kept()] == ["checkpoint-2", "checkpoint-3"]
    monkeypatch.setattr(LlamaMLP, "forward", real)
    again, logged = train("sft", params, tiny_model, tmp_path / "m")
    assert (again, logged) == (facts, whole)
    assert weights_sha256(tmp_path / "m/adapter") == weights_sha256(tmp_path / "whole/adapter")


def seen(watch: Watch, losses: list[float], gradient: float = 1.0) -> int | None:
    """The step at which the watch ends a training with these losses."""
    for step, loss in enumerate(losses, 1):
        try:
            watch(step, {"loss": loss, "grad_norm": gradient})
        except ConfigError:
            return step
    return None


def test_a_loss_that_runs_away_is_told_and_one_that_recovers_is_not() -> None:
    start = [0.7] * 5
    assert seen(Watch("dpo", DPO), start + [4.0] * 100) == 5 + RUNAWAY_STEPS
    assert seen(Watch("dpo", DPO), (start + [4.0] * (RUNAWAY_STEPS - 1)) * 5) is None
    assert seen(Watch("dpo", DPO), [*start, 400.0]) == 6
    assert seen(Watch("dpo", DPO), [3.0] * 300) is None
    assert seen(Watch("dpo", DPO), [0.7, 4e5, 0.7, *[4.0] * 30]) == 3 + RUNAWAY_STEPS
    assert seen(Watch("dpo", DPO), [2.0 * 0.97**step for step in range(300)]) is None


def test_no_gradient_is_a_fault_only_where_nothing_was_learnt() -> None:
    """The hinge loss ends at 0 without a gradient, once all pairs are told apart."""
    assert seen(Watch("dpo", DPO), [1.0] * 10, gradient=0.0) == DEAD_STEPS
    assert seen(Watch("dpo", DPO), [1.0, *[0.0] * 50], gradient=0.0) is None


def test_the_size_of_an_online_methods_loss_says_nothing_and_nan_does() -> None:
    params = GrpoParams(method="grpo", reads="r", start="s", learning_rate=1e-3)
    assert seen(Watch("grpo", params, loss_tells=False), [0.0, 1.0, 900.0] * 30, gradient=0.0) is None
    with pytest.raises(ConfigError) as error:
        Watch("grpo", params, loss_tells=False)(3, {"loss": float("inf")})
    assert "grpo: the loss is inf at step 3" in str(error.value)
    assert "scale rewards down" in str(error.value)
    assert "(beta: 0.05)" in str(error.value)


@pytest.mark.usefixtures("warm")
def test_a_broken_run_leaves_what_an_earlier_one_saved(project: Path) -> None:
    done = faults.stage(project, "train", "--method", "sft")
    assert done.returncode == 0, done.stderr
    adapter = project / "results/small/sft/adapter"
    before = faults.tree(adapter)
    params = (project / "params.yaml").read_text()
    (project / "params.yaml").write_text(params.replace("learning_rate: 0.001", "learning_rate: 1e30"))
    done = faults.stage(project, "train", "--method", "sft", GREENLIT_SAVE_EVERY_S="0")
    faults.told(done, 2, "sft: the ", "is nan at step", "lower learning_rate to 0.001")
    assert faults.tree(adapter) == before
    assert not list((project / ".work/train").glob("*/checkpoint-*/complete"))


OUT_OF_CUDA = torch.OutOfMemoryError(
    "CUDA out of memory. Tried to allocate 2.50 GiB. GPU 0 has a total capacity of 15.77 GiB of which 1.02 GiB is free."
)
CPU_TEXT = "[enforce fail at alloc_cpu.cpp:124] err == 0. DefaultCPUAllocator: can't allocate memory: you tried to allocate 3221225472 bytes. Error code 12 (Cannot allocate memory)"  # noqa: E501


def test_what_was_asked_for_is_read_from_torchs_messages() -> None:
    assert asked_bytes(str(OUT_OF_CUDA)) == int(2.5 * GIB)
    assert asked_bytes(CPU_TEXT) == 3 * GIB
    assert asked_bytes("Tried to allocate 20.00 MiB") == 20 << 20
    assert asked_bytes("std::bad_alloc") is None


def test_too_little_memory_is_told_with_numbers_and_what_to_halve(tiny_model, tmp_path, monkeypatch) -> None:
    from transformers.models.llama.modeling_llama import LlamaMLP

    def no_memory(mlp, x):
        raise OUT_OF_CUDA

    monkeypatch.setattr(LlamaMLP, "forward", no_memory)
    monkeypatch.setattr(advice, "memory", lambda: Memory("Tesla T4", GIB, 16 * GIB, 5 * GIB))
    with pytest.raises(WorldError) as error:
        train("dpo", DPO, tiny_model, tmp_path / "m")
    assert error.value.exit_code == 75
    assert str(error.value) == (
        "dpo: not enough memory on Tesla T4: asked for 2.5 GiB; 1 of 16 GiB are free, 5 are ours "
        "(batch_size 4, max_length 128, LoRA of rank 4, float32)\n"
        "hint: free Tesla T4 of other processes and run it again, or halve batch_size to 2 and double accumulate to 2 "
        "(the same steps); gradient_checkpointing: true (the same result, slower); dtype: bfloat16"
    )
    assert not (tmp_path / "m/adapter").exists()


def test_settings_that_no_waiting_helps_are_the_users_to_change() -> None:
    params = SFT.model_copy(update={"batch_size": 1, "lora": None, "gradient_checkpointing": True, "dtype": "bfloat16"})
    told = out_of_memory(RuntimeError(CPU_TEXT), "sft", params, Memory("this machine", GIB, 4 * GIB, 3 * GIB))
    assert isinstance(told, ConfigError)
    assert told.exit_code == 2
    assert "sft: not enough memory on this machine: asked for 3 GiB; 1 of 4 GiB are free, 3 are ours" in str(told)
    assert told.hint == (
        "halve max_length to 64; longer rows are left out; train an adapter (lora: {r: 16, alpha: 32})"
    )


def test_other_faults_pass_as_they_are(tiny_model, tmp_path, monkeypatch) -> None:
    from transformers.models.llama.modeling_llama import LlamaMLP

    def broken(mlp, x):
        raise RuntimeError("mat1 and mat2 shapes cannot be multiplied")

    monkeypatch.setattr(LlamaMLP, "forward", broken)
    with pytest.raises(RuntimeError, match="shapes cannot be multiplied"):
        train("sft", SFT, tiny_model, tmp_path / "m")


STARVED = """
    import resource, sys
    from pathlib import Path
    import psutil
    import test_training as own
    from transformers import TrainerCallback
    from greenlit.stage.entry import exit_cleanly
    from greenlit.training import trainer

    class Starve(TrainerCallback):
        def on_train_begin(self, args, state, control, **_):
            limit = psutil.Process().memory_info().vms + (200 << 20)
            resource.setrlimit(resource.RLIMIT_AS, (limit, limit))

    real = trainer.step_callback
    def starving(log):
        trainer.checkpoint_callback = lambda *a, **k: Starve()
        return real(log)
    trainer.step_callback = starving
    own.PROGRAMS = [{"prompt": f"q{i}", "completion": "a" * 400 + "<eos>"} for i in range(512)]
    params = own.SFT.model_copy(update={"batch_size": 512, "max_length": 500})
    exit_cleanly(lambda: own.train("sft", params, Path(sys.argv[1]), Path(sys.argv[2])))
"""


def test_a_real_lack_of_memory_on_a_cpu_is_one_error_with_numbers(tiny_model, tmp_path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(STARVED), str(tiny_model), str(tmp_path / "m")],
        cwd=Path(__file__).parent, env=faults.environment(OMP_NUM_THREADS="1"), capture_output=True, text=True,
        timeout=300,
    )  # fmt: skip
    assert done.returncode in {2, 75}, done.stderr
    assert done.stderr.count("error: ") == 1
    assert "Traceback" not in done.stderr
    assert "error: sft: not enough memory on this machine, as far as `ulimit -v` lets us: asked for 0." in done.stderr
    assert "halve batch_size to 256 and double accumulate to 2" in done.stderr
    assert not (tmp_path / "m/adapter").exists()
