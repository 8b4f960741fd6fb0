"""Models and adapters that cannot be used: told before anything is trained or written, with what to do."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from faults import fails, tree
from safetensors.torch import load_file, save_file

from greenlit.errors import ConfigError, DataError, GreenlitError, MismatchError
from greenlit.merging.lora import merge
from greenlit.models import POINTER, check_model, load_model, load_tokenizer, resolve, tokenizer_facts, write_pointer
from greenlit.paths import BASE

PROMPTS = ["q1\n"]


@pytest.fixture
def model(tiny_model: Path, tmp_path: Path) -> Path:
    """A copy of the tiny model, to break."""
    return Path(shutil.copytree(tiny_model, tmp_path / "model"))


def change_json(file: Path, **changes: object) -> None:
    file.write_text(json.dumps(json.loads(file.read_text()) | changes))


def without_keys(file: Path, *keys: str) -> None:
    file.write_text(json.dumps({key: value for key, value in json.loads(file.read_text()).items() if key not in keys}))


def cut(file: Path) -> None:
    file.write_bytes(file.read_bytes()[:-100])


def without_tokenizer(model: Path) -> None:
    for file in model.glob("tokenizer*"):
        file.unlink()


def of_other_shapes(model: Path) -> None:
    weights = {name: tensor[:3].contiguous() for name, tensor in load_file(model / "model.safetensors").items()}
    save_file(weights, model / "model.safetensors", {"format": "pt"})


BROKEN: dict[str, tuple[Callable[[Path], None], str]] = {
    "no config.json": (lambda model: (model / "config.json").unlink(), "no model here (no config.json)"),
    "config.json is no JSON": (lambda model: cut(model / "config.json"), "no usable config.json ("),
    "unknown architecture": (
        lambda model: change_json(model / "config.json", model_type="gpt9", architectures=["GPT9"]),
        "no usable config.json (",
    ),
    "no tokenizer": (without_tokenizer, "no usable tokenizer ("),
    "damaged tokenizer": (lambda model: cut(model / "tokenizer.json"), "no usable tokenizer ("),
    "no end token": (
        lambda model: without_keys(model / "tokenizer_config.json", "eos_token"),
        "its tokenizer has no end-of-sequence token",
    ),
    "no weights": (lambda model: (model / "model.safetensors").unlink(), "no weights here (no *.safetensors)"),
    "torn weights": (lambda model: cut(model / "model.safetensors"), "model.safetensors: damaged weights ("),
}


@pytest.mark.parametrize("fault", BROKEN)
def test_a_directory_that_cannot_be_started_from_is_refused_by_base(fault: str, model: Path, tmp_path: Path) -> None:
    breaking, message = BROKEN[fault]
    breaking(model)
    with pytest.raises(DataError) as told:
        write_pointer(str(model), None, tmp_path / "base")
    assert str(told.value).startswith(str(model))
    assert message in str(told.value)
    assert told.value.hint
    assert not (tmp_path / "base").exists()


def test_base_as_a_process_leaves_the_model_that_was_there(project: Path, tiny_model: Path) -> None:
    shutil.copytree(tiny_model, project / "broken")
    without_keys(project / "broken/tokenizer_config.json", "eos_token")
    params = project / "params.yaml"
    text = params.read_text()
    for model, code, *words in (
        ("broken", 2, "broken: its tokenizer has no end-of-sequence token", "in broken/tokenizer_config.json"),
        ("assets/models/base", 2, "params.yaml: base.model: assets/models/base: what the stage `base` writes"),
        ("nobody/nothing", 75, "base.model: nobody/nothing: no such directory, and the hub did not answer"),
        ("not a name", 2, "base.model: not a name: neither a local directory nor a model of the hub", "`starter`"),
    ):  # fmt: skip
        params.write_text(text.replace("base: {model: model}", f"base: {{model: {model}}}"))
        fails(project, "base", code, *words, HF_HUB_OFFLINE="1")


def test_damaged_models_are_told_where_they_are_loaded_too(model: Path) -> None:
    of_other_shapes(model)
    check_model(model)
    with pytest.raises(DataError, match="no usable model") as told:
        load_model(model, "float32")
    assert told.value.hint
    cut(model / "model.safetensors")
    with pytest.raises(DataError, match="no usable model"):
        load_model(model, "float32")
    without_tokenizer(model)
    with pytest.raises(DataError, match="no usable tokenizer"):
        load_tokenizer(model)


def test_memory_that_runs_out_is_no_fault_of_the_model(model: Path, monkeypatch) -> None:
    import transformers

    def no_memory(*_: object, **__: object) -> None:
        raise RuntimeError("[enforce fail at alloc_cpu.cpp:1] DefaultCPUAllocator: can't allocate memory")

    monkeypatch.setattr(transformers.AutoModelForCausalLM, "from_pretrained", no_memory)
    with pytest.raises(RuntimeError, match="can't allocate memory"):
        load_model(model, "float32")


def test_build_needs_the_tokenizers_own_files(model: Path) -> None:
    without_keys(model / "tokenizer_config.json", "eos_token")
    with pytest.raises(DataError, match="has no end-of-sequence token"):
        tokenizer_facts(model)
    (model / "tokenizer_config.json").write_text("[]")
    with pytest.raises(DataError, match=r"tokenizer_config.json: must be a JSON object \(found list\)"):
        tokenizer_facts(model)
    (model / "tokenizer_config.json").unlink()
    with pytest.raises(DataError, match=r"no tokenizer here \(no tokenizer_config.json\)"):
        tokenizer_facts(model)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ('{"source": "gone", "revision": null}', "gone: no model here (no config.json), though "),
        ('{"source": "gone"}', "pointer.json: must hold source and revision"),
        ("[1]", "pointer.json: must hold source and revision"),
        ("{", "pointer.json: not JSON ("),
    ],
)
def test_a_pointer_that_leads_nowhere(tmp_path: Path, content: str, message: str) -> None:
    (tmp_path / POINTER).write_text(content)
    with pytest.raises(DataError) as told:
        resolve(tmp_path)
    assert message in str(told.value)


def test_a_pointer_is_no_model(tiny_model: Path, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    write_pointer(str(tiny_model), None, BASE)
    with pytest.raises(ConfigError, match="what the stage `base` writes"):
        write_pointer(str(BASE), None, tmp_path / "part")


def adapter_of(folder: Path, hidden: int = 32, layers: int = 2, modules: str | list[str] = "all-linear") -> Path:
    """An untrained adapter of a model of that shape."""
    from peft import LoraConfig, get_peft_model
    from transformers import LlamaConfig, LlamaForCausalLM

    config = LlamaConfig(
        vocab_size=258, hidden_size=hidden, intermediate_size=64, num_hidden_layers=layers, num_attention_heads=2,
        max_position_embeddings=512,
    )  # fmt: skip
    adapted = get_peft_model(LlamaForCausalLM(config), LoraConfig(r=2, target_modules=modules, task_type="CAUSAL_LM"))
    adapted.save_pretrained(folder)
    return folder


@pytest.mark.parametrize(
    "shape",
    [{"hidden": 64}, {"layers": 1, "modules": ["q_proj", "v_proj"]}, {"layers": 3}],
    ids=["wider", "fewer", "more"],
)
def test_an_adapter_of_a_model_of_another_shape_is_refused(shape: dict, tiny_model: Path, tmp_path: Path) -> None:
    adapter = adapter_of(tmp_path / "adapter", **shape)
    with pytest.raises(MismatchError, match=r"adapter: the adapter does not fit .* \(") as told:
        merge(tiny_model, adapter, tmp_path / "merged", PROMPTS)
    assert told.value.hint.startswith("train again from this model")
    assert not (tmp_path / "merged").exists()


def test_an_adapter_of_the_same_shape_fits(tiny_model: Path, tmp_path: Path) -> None:
    assert (
        merge(tiny_model, adapter_of(tmp_path / "a"), tmp_path / "merged", PROMPTS)["largest_logit_difference"] < 1e-3
    )


def test_damaged_adapters_are_told(tiny_model: Path, tmp_path: Path) -> None:
    adapter = adapter_of(tmp_path / "adapter")
    file = adapter / "adapter_model.safetensors"
    for breaking, message in (
        (lambda: cut(file), "no usable adapter"),
        (file.unlink, "no usable adapter"),
        (lambda: cut(adapter / "adapter_config.json"), "adapter"),
    ):
        breaking()
        with pytest.raises(GreenlitError, match=message) as told:
            merge(tiny_model, adapter, tmp_path / "merged", PROMPTS)
        assert told.value.exit_code == 2
    with pytest.raises(DataError, match="no prompts to compare logits on"):
        merge(tiny_model, adapter, tmp_path / "merged", [])


def test_merge_as_a_process_refuses_the_adapter_of_another_base(project: Path) -> None:
    from greenlit.models import weights_sha256

    method = ["--method", "dpo"]
    fails(
        project,
        "merge",
        2,
        "results/small/dpo/adapter/start.sha256: no such file",
        "dvc repro train@dpo",
        arguments=method,
    )
    adapter = adapter_of(project / "results/small/dpo/adapter", layers=3)
    merged = project / "results/small/dpo/merged"
    merged.mkdir()
    (merged / "model.safetensors").write_text("the one before")
    (adapter / "start.sha256").write_text("0" * 64)
    fails(
        project, "merge", 2, "adapter: trained from another model than assets/models/base (sha256 000", arguments=method
    )
    (adapter / "start.sha256").write_text(weights_sha256(project / "model"))
    fails(project, "merge", 2, "adapter: the adapter does not fit", "weights have no counterpart", arguments=method)
    assert "results/small/dpo/merged/model.safetensors" in tree(project)
