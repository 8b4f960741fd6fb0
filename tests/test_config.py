"""params.yaml: every fault in one line with place, rule and what was found; hints for unknown keys."""

import copy
import json
import subprocess
import sys
from pathlib import Path

import pytest

from greenlit.config import json_schema, load_params, parse_params, read_yaml
from greenlit.errors import ConfigError

ROOT = Path(__file__).parent.parent
GOOD = read_yaml(ROOT / "params.yaml")


def fault(**changes: object) -> str:
    content = copy.deepcopy(GOOD)
    for path, value in changes.items():
        *sections, key = path.split("__")
        place = content
        for section in sections:
            place = place[section]
        place[key] = value
    with pytest.raises(ConfigError) as error:
        parse_params(content, "params.yaml")
    return str(error.value)


def test_a_value_out_of_bounds_names_place_rule_and_value() -> None:
    assert fault(annotate__timeout_s=-1) == "params.yaml: annotate.timeout_s: must be > 0 (found -1)"


def test_an_unknown_key_gets_the_nearest_one_as_hint() -> None:
    assert fault(generate__temprature=1.0) == (
        "params.yaml: generate.temprature: unknown key\n  hint: did you mean temperature?"
    )
    assert fault(methods__dpo__lora={"rank": 3, "r": 2}).startswith("params.yaml: methods.dpo.lora.rank: unknown key")
    assert "did you mean evaluate?" in fault(evaluat={})


@pytest.mark.parametrize(
    ("path", "value", "expected"),
    [
        ("seed", "zero", "seed: must be an integer (found 'zero')"),
        ("seed", True, "seed: must be an integer (found True)"),
        ("seed", -1, "seed: must be >= 0 (found -1)"),
        ("annotate__allow_portable", "yes", "annotate.allow_portable: must be true or false (found 'yes')"),
        ("generate__dtype", "float8", "generate.dtype: must be 'float32', 'bfloat16' or 'float16' (found 'float8')"),
        (
            "methods__dpo__method",
            "dpoo",
            "methods.dpo.method: must be one of 'sft', 'dpo', 'grpo', 'rloo', 'ppo' (found 'dpoo')",
        ),
        ("methods__dpo__learning_rate", "fast", "methods.dpo.learning_rate: must be a number (found 'fast')"),
        ("evaluate__ks", [1, 64], "evaluate: ks must lie between 1 and n = 8"),
        (
            "dataset__name",
            "../etc",
            "dataset.name: must be letters, digits, `_`, `.` and `-`, a letter",
        ),
        ("generate__temperature", float("nan"), "generate.temperature: must be a finite number (found nan)"),
        ("build", None, "build: must be a mapping (found None)"),
    ],
)
def test_faults_read_as_sentences(path: str, value: object, expected: str) -> None:
    assert expected in fault(**{path: value})


def test_all_faults_are_told_at_once_one_per_line() -> None:
    text = fault(seed=-1, annotate__timeout_s=0, experiment="")
    assert [line.split(":")[1].strip() for line in text.splitlines()] == ["experiment", "seed", "annotate.timeout_s"]


def test_missing_section_is_named() -> None:
    content = {key: value for key, value in GOOD.items() if key != "methods"}
    with pytest.raises(ConfigError, match=r"params.yaml: methods: is missing"):
        parse_params(content, "params.yaml")


def test_scientific_notation_is_a_number(tmp_path: Path) -> None:
    file = tmp_path / "p.yaml"
    file.write_text("a: 1e-4\nb: 1.5e3\nc: 2\nd: .5\ne: 1.e2\nf: 1e\n")
    assert read_yaml(file) == {"a": 1e-4, "b": 1500.0, "c": 2, "d": 0.5, "e": 100.0, "f": "1e"}


def test_a_key_that_stands_twice_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "p.yaml"
    file.write_text("seed: 1\nseed: 2\n")
    with pytest.raises(ConfigError, match=r"p.yaml:2: not YAML: key 'seed' stands twice"):
        read_yaml(file)


@pytest.mark.parametrize(
    ("content", "message"),
    [(b"a: [1", "not YAML"), (b"\xff\xfea", "not UTF-8"), (b"- 1", "must be a mapping"), (b"", "must be a mapping")],
)
def test_a_damaged_file_is_one_clear_error(tmp_path: Path, content: bytes, message: str) -> None:
    file = tmp_path / "params.yaml"
    file.write_bytes(content)
    with pytest.raises(ConfigError, match=message):
        load_params(file)


def test_a_benchmark_is_a_path_or_a_section() -> None:
    content = copy.deepcopy(GOOD)
    content["prepare"]["benchmarks"] = {"humaneval": "h.jsonl", "mbpp": None, "mine": {"dataset": "file", "path": "m"}}
    found = parse_params(content, "params.yaml").prepare.benchmarks
    assert [(one.dataset, one.path) for one in found.values()] == [(None, "h.jsonl"), (None, None), ("file", "m")]
    assert fault(prepare__benchmarks={"mbpp": 3}).startswith("params.yaml: prepare.benchmarks.mbpp: ")


def test_reasoning_is_asked_for_in_one_way() -> None:
    reasoning = {**GOOD["prepare"], "answer_format": "reasoning"}
    thinking = {**GOOD["rewards"], "format": {"think": "tags"}}
    assert "set one of them (found reasoning and tags)" in fault(prepare=reasoning, rewards=thinking)


def test_settings_are_frozen() -> None:
    with pytest.raises(ValueError, match="frozen"):
        load_params(ROOT / "params.yaml").seed = 3


def test_the_schema_describes_every_key() -> None:
    schema = json_schema()
    for name, section in schema["$defs"].items():
        for key, field in section.get("properties", {}).items():
            assert "description" in field, f"{name}.{key} has no docstring"


def greenlit(*arguments: str, cwd: Path = ROOT) -> subprocess.CompletedProcess:
    return subprocess.run(
        [sys.executable, "-m", "greenlit.cli", *arguments], cwd=cwd, capture_output=True, text=True, check=False
    )


def test_a_wrong_file_ends_the_command_with_exit_code_2(tmp_path: Path) -> None:
    (tmp_path / "params.yaml").write_text((ROOT / "params.yaml").read_text().replace("seed: 0", "seed: -5"))
    done = greenlit("params", cwd=tmp_path)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == "error: params.yaml: seed: must be >= 0 (found -5)\n"


def test_schema_and_resolved_params_are_json_on_stdout() -> None:
    assert json.loads(greenlit("params", "--schema").stdout)["properties"]["seed"]
    resolved = json.loads(greenlit("params").stdout)
    assert resolved["evaluate"]["confidence"] == 0.95
    assert resolved["register"]["model"] == "greenlit-starter"


@pytest.fixture
def no_gpu(monkeypatch) -> None:
    monkeypatch.setattr("greenlit.config.machine.has_cuda", lambda: False)
    monkeypatch.delenv("GREENLIT_VLLM_CPU", raising=False)


@pytest.mark.parametrize("change", ["generate: {backend: vllm}", "evaluate: {backend: vllm, ks: [1]}"])
def test_vllm_without_a_gpu_is_refused_before_anything_starts(tmp_path, no_gpu, change: str, monkeypatch) -> None:
    file = tmp_path / "params.yaml"
    file.write_text(f"{_least()}{change}\n")
    section = change.partition(":")[0]
    with pytest.raises(ConfigError, match=rf"{section}\.backend: vllm: vLLM needs a CUDA GPU, and there is none here"):
        load_params(file)
    monkeypatch.setenv("GREENLIT_VLLM_CPU", "1")
    assert load_params(file)
    monkeypatch.setattr("greenlit.config.machine.has_cuda", lambda: True)
    monkeypatch.delenv("GREENLIT_VLLM_CPU")
    assert load_params(file)


def test_a_method_that_asks_for_vllm_without_a_gpu_is_refused(tmp_path, no_gpu) -> None:
    file = tmp_path / "params.yaml"
    file.write_text(_least("grpo, vllm: {}"))
    with pytest.raises(ConfigError, match=r"methods\.m\.vllm: vLLM needs a CUDA GPU"):
        load_params(file)


def test_auto_runs_anywhere(tmp_path, no_gpu) -> None:
    file = tmp_path / "params.yaml"
    file.write_text(f"{_least()}generate: {{backend: auto}}\n")
    assert load_params(file).generate.backend == "auto"


@pytest.mark.parametrize(
    ("key", "hint"),
    [("use_vllm", "here it is backend: vllm, on a CUDA GPU"), ("max_tokens", "here it is max_new_tokens")],
)
def test_what_other_tools_call_a_setting_of_sampling_is_told(key: str, hint: str) -> None:
    said = fault(**{f"generate__{key}": True})
    assert said.startswith(f"params.yaml: generate.{key}: unknown key\n  hint: {hint}")


def _least(method: str = "dpo") -> str:
    return (
        "experiment: e\nseed: 0\ndataset: {name: file}\nbase: {model: starter}\n"
        f"methods: {{m: {{method: {method}, reads: r, start: s, learning_rate: 0.1}}}}\n"
    )
