"""Training learns, saves what merge needs, resumes; merging proves that nothing was lost."""

import json
import os
import shutil
import signal
from pathlib import Path

import pytest

from greenlit.config import DpoParams, LoraParams, SftParams
from greenlit.errors import DataError, MismatchError
from greenlit.jsonl import write_rows
from greenlit.merging.lora import is_adapter, merge
from greenlit.models import POINTER, load_model, load_tokenizer, resolve, tokenizer_facts, weights_sha256, write_pointer
from greenlit.stage.stopping import Stopped, stoppable
from greenlit.training import checkpoints, dpo, sft
from greenlit.training.arguments import trainer_arguments
from greenlit.training.callbacks import TrainingLog
from greenlit.training.checkpoints import Checkpoints
from greenlit.training.methods import METHODS, REWARDS_MEAN
from greenlit.training.rows import training_rows
from greenlit.training.trainer import leave_out_long, steps_in
from greenlit.types import Best, NBest, Pair

DPO = DpoParams(
    method="dpo", reads="pairs.jsonl", start="base", learning_rate=5e-3, batch_size=4, epochs=3, max_length=128,
    lora=LoraParams(r=4, alpha=8), sft_weight=1.0,
)  # fmt: skip
SFT = SftParams(
    method="sft", reads="nbest.jsonl", start="base", learning_rate=5e-3, batch_size=4, epochs=3, max_length=128,
    lora=LoraParams(r=4, alpha=8),
)  # fmt: skip
PAIRS = [{"prompt": f"q{i}\n", "chosen": "aaaa<eos>", "rejected": f"zz{i}<eos>"} for i in range(8)]
PROGRAMS = [{"prompt": f"q{i}\n", "completion": "aaaa<eos>"} for i in range(8)]
PROMPTS = ["q1\n", 'def f():\n    """Something longer."""\n']


def train(kind: str, params, model: Path, folder: Path, log=None):
    folder.mkdir(exist_ok=True)
    (folder / "work").mkdir(exist_ok=True)
    function, rows = {"dpo": (dpo.train_dpo, PAIRS), "sft": (sft.train_sft, PROGRAMS)}[kind]
    steps: list[tuple[int, dict]] = []
    record = log or (lambda step, metrics: steps.append((step, dict(metrics))))
    facts = function(params, rows, model, folder / "work", folder / "adapter", 0, record)
    return facts, steps


@pytest.fixture(scope="module")
def trained(tiny_model: Path, tmp_path_factory) -> tuple[Path, dict, list]:
    folder = tmp_path_factory.mktemp("dpo")
    facts, steps = train("dpo", DPO, tiny_model, folder)
    return folder, facts, steps


def test_dpo_makes_the_chosen_likelier_than_the_rejected(trained) -> None:
    _, facts, steps = trained
    assert (facts["rows"], facts["left_out_too_long"], facts["steps"]) == (8, 0, 6)
    assert [step for step, _ in steps] == [1, 2, 3, 4, 5, 6]
    assert steps[-1][1]["loss"] < steps[0][1]["loss"]
    assert steps[-1][1]["rewards/margins"] > 0


def test_the_same_seed_trains_the_same_adapter(trained, tiny_model, tmp_path) -> None:
    folder, facts, _ = trained
    again, _ = train("dpo", DPO, tiny_model, tmp_path / "again")
    assert again == facts
    assert weights_sha256(tmp_path / "again" / "adapter") == weights_sha256(folder / "adapter")


def test_the_adapters_configuration_repeats_in_every_process(trained) -> None:
    folder, _, _ = trained
    modules = json.loads((folder / "adapter/adapter_config.json").read_text())["target_modules"]
    assert len(modules) == 14
    assert modules == sorted(modules)


def test_an_interrupted_training_resumes_and_ends_the_same(trained, tiny_model, tmp_path, monkeypatch) -> None:
    folder, facts, steps = trained
    monkeypatch.setenv(checkpoints.SAVE_EVERY, "0")

    def die(step, metrics):
        if step == 5:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train("dpo", DPO, tiny_model, tmp_path / "r", die)
    work = tmp_path / "r" / "work"
    assert [path.name for path in Checkpoints(work, 1).kept()] == ["checkpoint-4"]
    torn = work / "checkpoint-5"  # as a kill leaves it
    shutil.copytree(work / "checkpoint-4", torn, ignore=shutil.ignore_patterns(checkpoints.COMPLETE, "optimizer.pt"))
    again, logged = train("dpo", DPO, tiny_model, tmp_path / "r")
    assert logged == steps  # those before the checkpoint come from its record
    assert again == facts
    assert weights_sha256(tmp_path / "r" / "adapter") == weights_sha256(folder / "adapter")


@pytest.mark.parametrize(
    ("kind", "change"),
    [("sft", {"lora": LoraParams(r=4, alpha=8, dropout=0.3)}), ("sft", {"lora": None}), ("dpo", {"accumulate": 2})],
    ids=["dropout", "all weights", "accumulation"],
)
def test_a_run_that_goes_on_has_the_random_numbers_and_the_optimizer_it_had(
    tiny_model, tmp_path, monkeypatch, kind, change
) -> None:
    monkeypatch.setenv(checkpoints.SAVE_EVERY, "0")
    params = {"sft": SFT, "dpo": DPO}[kind].model_copy(update={"batch_size": 3, **change})

    def die(step, metrics):
        if step == 3:
            raise KeyboardInterrupt

    facts, steps = train(kind, params, tiny_model, tmp_path / "whole")
    with pytest.raises(KeyboardInterrupt):
        train(kind, params, tiny_model, tmp_path / "r", die)
    again, logged = train(kind, params, tiny_model, tmp_path / "r")
    assert (again, logged) == (facts, steps)
    assert weights_sha256(tmp_path / "r" / "adapter") == weights_sha256(tmp_path / "whole" / "adapter")


def test_a_signal_writes_a_checkpoint_and_the_rest_is_trained_later(trained, tiny_model, tmp_path) -> None:
    folder, facts, steps = trained

    def signalled(step, metrics):
        if step == 2:
            os.kill(os.getpid(), signal.SIGTERM)

    with stoppable(), pytest.raises(Stopped) as stopped:
        train("dpo", DPO, tiny_model, tmp_path / "s", signalled)
    assert stopped.value.exit_code == 143
    assert [path.name for path in Checkpoints(tmp_path / "s" / "work", 1).kept()] == ["checkpoint-3"]
    assert not (tmp_path / "s" / "adapter").exists()
    again, logged = train("dpo", DPO, tiny_model, tmp_path / "s")
    assert (again, logged) == (facts, steps)
    assert weights_sha256(tmp_path / "s" / "adapter") == weights_sha256(folder / "adapter")


def test_a_finished_training_is_only_saved_again(trained, tiny_model, tmp_path) -> None:
    folder, facts, steps = trained
    shutil.copytree(folder / "work", tmp_path / "f" / "work")
    again, logged = train("dpo", DPO, tiny_model, tmp_path / "f")
    assert (again, logged) == (facts, steps)
    assert weights_sha256(tmp_path / "f" / "adapter") == weights_sha256(folder / "adapter")


def test_checkpoints_are_kept_by_step_and_whatever_the_clock_says(tmp_path) -> None:
    kept = Checkpoints(tmp_path, 2)
    for step in (8, 9, 10, 11):
        (tmp_path / f"checkpoint-{step}").mkdir()
        kept.saved(step)
        os.utime(tmp_path / f"checkpoint-{step}", (1e9 - step, 1e9 - step))  # the clock runs backwards
    assert [path.name for path in kept.kept()] == ["checkpoint-10", "checkpoint-11"]
    assert kept.newest() == tmp_path / "checkpoint-11"
    checkpoints.copy_checkpoints(kept, tmp_path / "out", 1)
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["checkpoint-11"]
    checkpoints.copy_checkpoints(kept, tmp_path / "none", 0)
    assert not (tmp_path / "none").exists()


def test_checkpoints_are_due_by_time_and_never_cost_more_than_a_twentieth(tmp_path, monkeypatch) -> None:
    now = [100.0]
    monkeypatch.setattr(checkpoints.time, "monotonic", lambda: now[0])
    some = Checkpoints(tmp_path, 1)
    due = []
    for second in range(1, 300):
        now[0] += 1
        if some.due():
            due.append(second)
            (tmp_path / f"checkpoint-{second}").mkdir()
            now[0] += 5  # to write it
            some.saved(second)
    assert due == [30, 130, 230]


def test_merged_weights_compute_what_start_and_adapter_do(trained, tiny_model, tmp_path) -> None:
    folder, _, _ = trained
    assert is_adapter(folder / "adapter")
    facts = merge(tiny_model, folder / "adapter", tmp_path / "merged", PROMPTS)
    assert facts["kind"] == "adapter"
    assert facts["largest_logit_difference"] < 1e-3
    assert list((tmp_path / "merged").glob("*.safetensors"))
    assert weights_sha256(tmp_path / "merged") != weights_sha256(tiny_model)
    assert load_tokenizer(tmp_path / "merged").get_vocab() == load_tokenizer(tiny_model).get_vocab()


def test_a_merge_that_loses_something_is_an_error(trained, tiny_model, tmp_path, monkeypatch) -> None:
    from peft.tuners.tuners_utils import BaseTuner

    folder, _, _ = trained
    monkeypatch.setattr(BaseTuner, "merge_and_unload", BaseTuner.unload)
    with pytest.raises(MismatchError, match=r"logits of the merged model and of start \+ adapter differ by"):
        merge(tiny_model, folder / "adapter", tmp_path / "merged", PROMPTS)


def test_an_adapter_of_another_model_is_an_error(trained, tiny_model, tmp_path) -> None:
    folder, _, _ = trained
    other = tmp_path / "adapter"
    shutil.copytree(folder / "adapter", other)
    from safetensors.torch import load_file, save_file

    weights = load_file(other / "adapter_model.safetensors")
    save_file({key: value[:, :-1].contiguous() for key, value in weights.items()}, other / "adapter_model.safetensors")
    with pytest.raises(DataError, match="the adapter does not fit"):
        merge(tiny_model, other, tmp_path / "merged", PROMPTS)


def test_all_weights_can_be_trained_and_pass_through_the_merge(tiny_model, tmp_path) -> None:
    full = SFT.model_copy(update={"lora": None, "learning_rate": 1e-3})
    facts, steps = train("sft", full, tiny_model, tmp_path / "full")
    assert facts["rows"] == 8
    assert steps[-1][1]["loss"] < steps[0][1]["loss"]
    assert not is_adapter(tmp_path / "full" / "adapter")
    merged = merge(tiny_model, tmp_path / "full" / "adapter", tmp_path / "merged", PROMPTS)
    assert (merged["kind"], merged["largest_logit_difference"]) == ("full", 0.0)
    assert weights_sha256(tmp_path / "merged") != weights_sha256(tiny_model)


def test_sft_with_a_chat_model_keeps_the_template(tiny_chat_model, tmp_path) -> None:
    prompt = [{"role": "user", "content": "q"}]
    rows = [{"prompt": prompt, "completion": [{"role": "assistant", "content": "aaaa"}]}] * 4
    (tmp_path / "work").mkdir()
    log = lambda step, metrics: None  # noqa: E731
    sft.train_sft(SFT, rows, tiny_chat_model, tmp_path / "work", tmp_path / "adapter", 0, log)
    merge(tiny_chat_model, tmp_path / "adapter", tmp_path / "merged", [prompt])
    assert load_tokenizer(tmp_path / "merged").chat_template == load_tokenizer(tiny_chat_model).chat_template


def test_our_settings_become_the_trainers(tmp_path) -> None:
    arguments = dpo.trl_arguments(DPO, tmp_path, seed=7, cuda=False)
    assert arguments["loss_type"] == ["sigmoid", "sft"]
    assert arguments["loss_weights"] == [1.0, 1.0]
    assert (arguments["seed"], arguments["data_seed"], arguments["use_cpu"], arguments["bf16"]) == (7, 7, True, False)
    plain = dpo.trl_arguments(DPO.model_copy(update={"sft_weight": 0.0}), tmp_path, 7, True)
    assert (plain["loss_type"], plain["use_cpu"]) == (["sigmoid"], False)
    assert trainer_arguments(SFT, tmp_path, 0, True)["learning_rate"] == 5e-3
    assert steps_in(9, SFT) == 9


def test_rows_that_are_too_long_are_left_out_and_counted(tiny_model) -> None:
    tokenizer = load_tokenizer(tiny_model)
    rows = [*PAIRS[:2], {"prompt": "q", "chosen": "x" * 200, "rejected": "y"}]
    kept, left_out = leave_out_long(rows, ("chosen", "rejected"), tokenizer, 128)
    assert (len(kept), left_out) == (2, 1)
    with pytest.raises(DataError, match="1 rows, all longer than max_length = 128"):
        leave_out_long(rows[2:], ("chosen", "rejected"), tokenizer, 128)


def test_rows_to_learn_from(tmp_path) -> None:
    pairs, nbest = tmp_path / "pairs.jsonl", tmp_path / "nbest.jsonl"
    write_rows(
        pairs, [Pair(prompt="p", chosen="c", rejected="r", task_id="t", chosen_idx=0, rejected_idx=1, reason="x")]
    )
    best = [Best(candidate_idx=i, code=t, text=t, passed=i == 0, score={}) for i, t in enumerate(["good", "bad"])]
    write_rows(
        nbest,
        [NBest(id="t", entry_point="f", prompt="p", best_list=best, num_pass=1, num_uniq=1, num_fail=1, fail_uniq=1)],
    )
    assert training_rows(DPO.model_copy(update={"reads": str(pairs)}), "<eos>") == [
        {"prompt": "p", "chosen": "c", "rejected": "r"}
    ]
    assert training_rows(SFT.model_copy(update={"reads": str(nbest)}), "<eos>") == [
        {"prompt": "p", "completion": "good<eos>"}
    ]
    pairs.write_text("")
    with pytest.raises(DataError, match=r"no problem has both a program that passes and one that fails") as error:
        training_rows(DPO.model_copy(update={"reads": str(pairs)}), "<eos>")
    assert "where none passes, sample more (generate.n)" in str(error.value)


def test_the_log_is_json_lines_and_readable_text(tmp_path) -> None:
    with TrainingLog(tmp_path / "logs") as log:
        log(1, {"loss": 0.123456789, "learning_rate": 1e-3, "rewards/accuracies": 0.5})
    assert json.loads((tmp_path / "logs/training_log.jsonl").read_text()) == {
        "step": 1, "loss": 0.123457, "learning_rate": 0.001, "rewards/accuracies": 0.5,
    }  # fmt: skip
    assert (tmp_path / "logs/training_log.txt").read_text() == (
        "step 1  loss 0.1235  learning_rate 0.001  pair accuracy 0.500\n"
    )


def test_rewards_are_told_apart_from_the_rest(tmp_path) -> None:
    with TrainingLog(tmp_path) as log:
        log(1, {"loss": 1.0, "rewards/chosen": 0.5, "rewards/margins": 0.25})
        log.write_rewards("what they mean")
    assert json.loads((tmp_path / "rewards.json").read_text()) == {
        "meaning": "what they mean", "steps": [{"step": 1, "chosen": 0.5, "margins": 0.25}],
    }  # fmt: skip
    with TrainingLog(tmp_path) as log:
        log(1, {"loss": 1.0})
        log.write_rewards("none")
    assert json.loads((tmp_path / "rewards.json").read_text())["steps"] == []
    assert set(REWARDS_MEAN) == set(METHODS)


def test_a_local_model_is_pointed_at_not_copied(tiny_model, tmp_path) -> None:
    pointer = write_pointer(str(tiny_model), None, tmp_path / "base")
    assert pointer == {"source": str(tiny_model), "revision": None}
    assert [path.name for path in (tmp_path / "base").iterdir()] == [POINTER]
    assert resolve(tmp_path / "base") == tiny_model
    assert load_model(resolve(tmp_path / "base"), "float32").num_parameters() > 0


def test_tokenizer_facts_agree_with_the_tokenizer(tiny_model, tiny_chat_model) -> None:
    for model in (tiny_model, tiny_chat_model):
        tokenizer = load_tokenizer(model)
        assert tokenizer_facts(model) == (tokenizer.eos_token, tokenizer.chat_template is not None)
