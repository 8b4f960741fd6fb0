"""Training learns, saves what merge needs, resumes; merging proves that nothing was lost."""

import json
import shutil
from pathlib import Path

import pytest

from greenlit.config import DpoParams, LoraParams, SftParams
from greenlit.errors import DataError, MismatchError
from greenlit.jsonl import write_rows
from greenlit.models import POINTER, load_model, load_tokenizer, resolve, tokenizer_facts, weights_sha256, write_pointer
from greenlit.training import dpo, sft
from greenlit.training.arguments import trainer_arguments
from greenlit.training.callbacks import TrainingLog
from greenlit.training.lora import is_adapter, merge
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


def test_an_interrupted_training_resumes_and_ends_the_same(trained, tiny_model, tmp_path) -> None:
    folder, _, steps = trained

    def die(step, metrics):
        if step == 5:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train("dpo", DPO, tiny_model, tmp_path / "r", die)
    assert list((tmp_path / "r" / "work").glob("checkpoint-4"))
    _, rest = train("dpo", DPO, tiny_model, tmp_path / "r")
    assert [step for step, _ in rest] == [5, 6]
    assert rest[-1][1]["loss"] == pytest.approx(steps[-1][1]["loss"], rel=1e-5)
    assert weights_sha256(tmp_path / "r" / "adapter") == weights_sha256(folder / "adapter")


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
