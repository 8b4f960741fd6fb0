"""`greenlit train` and `greenlit train-reward-model`: changes are checked first, tried apart, saved when asked."""

import json
import re
import shutil
from pathlib import Path

import faults
import pytest
import workspace
import yaml

from greenlit.config import parse_params, read_yaml
from greenlit.errors import ConfigError
from greenlit.rewards.model import LearnedReward
from greenlit.training import command

ROOT = Path(__file__).parent.parent
PARAMS = """\
# an experiment of my own
experiment: small
seed: 0
dataset: {name: file, path: mine.jsonl}
scrape: {sources: {}}
fetch: {reads: mine.jsonl}
prepare: {mutants: 0}
base: {model: model}             # a local one
generate: {n: 2}
annotate: {allow_portable: true}
build: {max_pairs: 4}
methods:
  prefer:                        # learns from my file
    method: dpo
    reads: preferences.jsonl
    start: assets/models/base
    learning_rate: 0.001         # found on validation
    batch_size: 4
    max_length: 128
    lora: {r: 2, alpha: 4}

rewards: {model: assets/models/base}
reward_models: {}
evaluate: {n: 2, ks: [1]}
report: {examples: 1}
register: {model: greenlit-small}
tracking: {report_to: []}
"""
PREFERENCES = [
    {"prompt": f"q{i % 12}\n", "chosen": "a" * (1 + i % 3) + "b", "rejected": "a" * (1 + i % 2) + "z"}
    for i in range(36)
]


@pytest.fixture
def here(tmp_path: Path, monkeypatch) -> Path:
    monkeypatch.chdir(tmp_path)
    Path("params.yaml").write_text(PARAMS)
    return tmp_path


def test_values_are_yaml_and_go_to_the_method_or_to_a_section() -> None:
    changes = command.changes_of(["beta=0.5", "lora.r=8", "seed=3", "rewards.model=x", "lora=null"], "prefer", "dpo")
    assert changes == {
        ("methods", "prefer", "beta"): 0.5, ("methods", "prefer", "lora", "r"): 8, ("seed",): 3,
        ("rewards", "model"): "x", ("methods", "prefer", "lora"): None,
    }  # fmt: skip
    assert command.changes_of(["learning_rate=1e-4"], "m", "dpo")[("methods", "m", "learning_rate")] == 1e-4
    assert command.changes_of(["loss_type=[ipo, sft]"], "m", "dpo")[("methods", "m", "loss_type")] == ["ipo", "sft"]
    for word in ("beta", "=3", "beta:3"):
        with pytest.raises(ConfigError, match="must be key=value"):
            command.changes_of([word], "m", "dpo")
    with pytest.raises(ConfigError, match="--set beta:1: not YAML"):
        command.changes_of(["beta={1"], "m", "dpo")


def test_changes_are_checked_with_the_rest_and_told_with_the_command(here: Path) -> None:
    params, changes = command.changed_params("prefer", ["beta=0.5", "lora.r=8"])
    assert (params.methods["prefer"].beta, params.methods["prefer"].lora.r) == (0.5, 8)
    assert params.methods["prefer"].lora.alpha == 4
    assert len(changes) == 2
    with pytest.raises(ConfigError) as error:
        command.changed_params("prefer", ["beta=-1", "temperature=1"])
    assert str(error.value).splitlines()[:2] == [
        "params.yaml with --set beta=-1 --set temperature=1: methods.prefer.beta: must be > 0 (found -1)",
        "params.yaml with --set beta=-1 --set temperature=1: methods.prefer.temperature: dpo has no `temperature`: "
        "it learns from the rows of a file and samples nothing itself",
    ]
    with pytest.raises(ConfigError, match="no method 'dpo'") as error:
        command.changed_params("dpo", [])
    assert "one of prefer" in str(error.value)
    assert Path("params.yaml").read_text() == PARAMS


def test_saving_keeps_comments_order_and_all_else(here: Path) -> None:
    changes = command.changes_of(["learning_rate=1e-4", "lora.r=8", "eval_rows=6", "generate.n=3"], "prefer", "dpo")
    command.save_changes(changes)
    text = Path("params.yaml").read_text()
    expected = yaml.safe_load(PARAMS)
    expected["methods"]["prefer"] |= {"learning_rate": 1e-4, "eval_rows": 6}
    expected["methods"]["prefer"]["lora"]["r"] = 8
    expected["generate"]["n"] = 3
    assert read_yaml(Path("params.yaml")) == expected
    for line in (
        "# an experiment of my own",
        "prefer:                        # learns from my file",
        "# found on valid",
    ):
        assert line in text
    touched = ("learning_rate", "lora:", "generate:")
    unchanged = [line for line in PARAMS.splitlines() if not line.strip().startswith(touched)]
    assert [line for line in text.splitlines() if line in unchanged] == unchanged
    parse_params(read_yaml(Path("params.yaml")), "params.yaml")


def test_every_preset_survives_a_saved_change(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    for preset in sorted((ROOT / "presets").glob("*.yaml")):
        shutil.copyfile(preset, "params.yaml")
        before = read_yaml(Path("params.yaml"))
        if not before["methods"]:  # it only measures
            continue
        name = next(iter(before["methods"]))
        command.save_changes({("methods", name, "weight_decay"): 0.125})
        before["methods"][name]["weight_decay"] = 0.125
        assert read_yaml(Path("params.yaml")) == before
        comments = re.findall(r"#.*", preset.read_text())
        assert re.findall(r"#.*", Path("params.yaml").read_text()) == comments


def test_a_trials_folder_is_named_after_what_was_changed() -> None:
    assert command.trial_name("dpo", ["lora.r=8", "beta=0.5"]) == "dpo-beta-0.5-lora.r-8"
    long = command.trial_name("dpo", [f"lora.target_modules=[{', '.join('abcdefgh' * 3)}]", "beta=1"])
    other = command.trial_name("dpo", [f"lora.target_modules=[{', '.join('abcdefgh' * 3)}]", "beta=2"])
    assert long != other
    assert max(len(long), len(other)) <= 80


@pytest.fixture(scope="module")
def project(tiny_model: Path, tmp_path_factory) -> Path:
    """A project whose only method learns from a file that git does not track."""
    folder = workspace.make_workspace(tmp_path_factory.mktemp("train"), "tiny")
    (folder / "params.yaml").write_text(PARAMS)
    (folder / "preferences.jsonl").write_text(faults.lines([row | PAIR for row in PREFERENCES]))
    shutil.copytree(tiny_model, folder / "model")
    return folder


PAIR = {"task_id": "t", "chosen_idx": 0, "rejected_idx": 1, "reason": "human"}


@pytest.mark.slow
@pytest.mark.usefixtures("warm")
def test_a_change_is_tried_apart_then_saved(project: Path) -> None:
    first = workspace.greenlit(project, "train", "prefer")
    assert first.stdout.splitlines()[-1] == "results/small/prefer"
    assert ran(first) == ["base", "train@prefer"]
    own, lock = faults.tree(project / "results/small"), (project / "dvc.lock").read_bytes()

    tried = workspace.greenlit(project, "train", "prefer", "--set", "beta=0.5", "--set", "lora.r=4")
    out = project / "results/trials/small/prefer-beta-0.5-lora.r-4"
    assert tried.stdout.splitlines()[-1] == out.relative_to(project).as_posix()
    assert ran(tried) == ["train@prefer"]
    settings = yaml.safe_load((out / "config.yaml").read_text())
    assert (settings["beta"], settings["lora"]["r"], settings["learning_rate"]) == (0.5, 4, 0.001)
    assert json.loads((out / "adapter/adapter_config.json").read_text())["r"] == 4
    assert (out / "logs/training.png").stat().st_size > 1000
    assert (project / "params.yaml").read_text() == PARAMS
    assert (faults.tree(project / "results/small"), (project / "dvc.lock").read_bytes()) == (own, lock)
    assert not list((project / ".work/trials").iterdir())

    saved = workspace.greenlit(project, "train", "prefer", "--set", "beta=0.5", "--set", "lora.r=4", "--save")
    assert ran(saved) == []  # the trial left it in DVC's cache
    changed = PARAMS.replace("{r: 2, alpha: 4}\n", "{r: 4, alpha: 4}\n    beta: 0.5\n")
    assert (project / "params.yaml").read_text() == changed
    assert (project / "results/small/prefer/config.yaml").read_text() == (out / "config.yaml").read_text()


@pytest.mark.slow
def test_a_wrong_change_ends_before_anything_is_touched(project: Path) -> None:
    before = faults.tree(project)
    done = workspace.greenlit(project, "train", "prefer", "--set", "beta=-1", code=2)
    assert "error: params.yaml with --set beta=-1: methods.prefer.beta: must be > 0 (found -1)" in done.stderr
    done = workspace.greenlit(project, "train", "prefer", "--save", code=2)
    assert "error: --save: nothing to save" in done.stderr
    assert faults.tree(project) == before


def ran(done) -> list[str]:
    return re.findall(r"Running stage '(.*?)'", done.stdout + done.stderr)


def test_a_reward_model_is_trained_on_anyones_pairs_outside_of_an_experiment(tiny_model, tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("mine.jsonl").write_text(faults.lines(PREFERENCES))
    settings = [
        "learning_rate=1e-2",
        "batch_size=8",
        "epochs=4",
        "max_length=64",
        "lora={r: 4, alpha: 8}",
        "eval_rows=6",
    ]
    metrics = command.reward_model_from(Path("mine.jsonl"), Path("out"), str(tiny_model), settings, seed=0)
    assert sorted(path.name for path in Path("out").iterdir()) == ["config.yaml", "logs", "metrics.json", "model"]
    told = command.told_worth(metrics)
    assert re.match(
        r"accuracy 1.000 \[0\.\d+, 1.000\] on 6 pairs of 2 problems held out; length alone \(the (shorter|longer)\) "
        r"0\.\d+ \[.*\]; difference \+0\.\d+ \[.*\], p = ",
        told,
    ), told
    better, worse = LearnedReward(Path("out/model")).scores(["q\n", "q\n"], ["aab", "aaz"])
    assert better > worse
    again = command.reward_model_from(Path("mine.jsonl"), Path("out"), str(tiny_model), settings, seed=0)
    assert again == metrics
    with pytest.raises(ConfigError, match=r"--set: learning_rat: unknown key\n  hint: did you mean learning_rate\?"):
        command.reward_model_from(Path("mine.jsonl"), Path("other"), str(tiny_model), ["learning_rat=1"], seed=0)
    assert not Path("other").exists()
    Path("taken").mkdir()
    Path("taken/thesis.tex").touch()
    with pytest.raises(ConfigError, match="--output taken: not empty, and no reward model"):
        command.reward_model_from(Path("mine.jsonl"), Path("taken"), str(tiny_model), [], seed=0)
