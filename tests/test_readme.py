"""The README does not lie: its commands exist, its tree is the tree, its graph is DVC's, its links lead somewhere."""

import re
import sys
from pathlib import Path

import pytest
import workspace
import yaml

from greenlit.config import parse_params, read_yaml
from greenlit.execution.cheats.gate import forging
from greenlit.execution.cheats.suite import CHEATS

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()
TESTED = {
    "make run": "tests/test_starter.py",
    "make test": ".ci/run",
    "make up": "tests/test_served.py",
    "make ui": "tests/test_served.py",
    "make down": "tests/test_served.py",
    "python -m flows.offline": "tests/test_pipeline.py",
    "greenlit run": "tests/test_pipeline.py",
    "greenlit run --only baseline,train_gen,rl_build,train_all,test_after": "tests/test_cli.py",
    "greenlit preset mbpp": "here",
    "greenlit preset starter": "here",
    "greenlit preset placebo": "tests/test_starter.py",
    "greenlit doctor": "tests/test_doctor.py",
    "greenlit train dpo --set beta=0.5": "tests/test_training_command.py",
    "greenlit run --only reward_model": "tests/test_cli.py",
    "greenlit data list": "tests/test_data_preview.py",
    "greenlit data show starter": "tests/test_data_preview.py",
    "greenlit data stats starter": "tests/test_data_preview.py",
    "greenlit data check my_problems.jsonl": "tests/test_data_check.py",
    "greenlit data export starter --to humaneval --out starter.jsonl": "tests/test_data_export.py",
    "greenlit prefer": "tests/test_prefer.py",
    "greenlit calibrate-judge": "tests/test_feedback_build.py",
    "greenlit grade --problems problems.jsonl --samples samples.jsonl --out verdicts.jsonl": "tests/test_grade.py",
    "greenlit generate --prompts prompts.jsonl --model path/to/model --out samples.jsonl -n 10": (
        "tests/test_generate_command.py"
    ),
    "greenlit chat": "tests/test_chat.py",
    "greenlit preset mbpp --diff": "tests/test_presets.py",
    "greenlit reproduce starter": "tests/test_reproduce.py",
    "greenlit reproduce starter --check": "tests/test_reproduce.py",
    "dvc exp run -S methods.dpo.beta=0.5": "tests/test_sweeps.py",
    "dvc exp run --queue -S methods.dpo.beta=0.1,0.5": "tests/test_sweeps.py",
    "dvc exp run --run-all -j 1": "tests/test_sweeps.py",
    "mlflow ui --backend-store-uri sqlite:///mlflow.db": "tests/test_pipeline.py",
    "python -m greenlit.trackers.delivery": "tests/test_tracking.py",
    "greenlit models list": "tests/test_models.py",
    "greenlit models lineage champion": "tests/test_models.py",
    'greenlit models rollback --reason "..."': "tests/test_promotion.py",
    "mlflow models serve -m models:/greenlit-starter@champion --env-manager local": "tests/test_models.py",
    "greenlit launch train --method dpo --dry-run": "tests/test_launch_plan.py",
    "greenlit run --launcher sagemaker": "tests/test_launch_pipeline.py",
    "greenlit params --schema": "here",
    "greenlit params": "here",
    "dvc repro": "tests/test_pipeline.py",
    "dvc dag": "here",
    "dvc metrics show": "tests/test_pipeline.py",
    "dvc metrics diff": "tests/test_pipeline.py",
    "dvc plots show": "tests/test_pipeline.py",
}


def commands() -> list[str]:
    blocks = re.findall(r"```sh\n(.*?)```", README, re.DOTALL)
    lines = [line.split("#")[0].strip() for block in blocks for line in block.splitlines()]
    return [line.removeprefix(".venv/bin/") for line in lines if line]


def test_every_command_is_run_by_a_test() -> None:
    assert commands()
    assert set(commands()) <= set(TESTED)


@pytest.mark.parametrize("command", [name for name, where in TESTED.items() if where == "here"])
def test_the_light_commands_work(tmp_path: Path, command: str) -> None:
    folder = workspace.make_workspace(tmp_path, "starter")
    first, *rest = command.split()
    module = {"greenlit": "greenlit.cli", "dvc": "dvc"}[first]
    workspace.run(folder, sys.executable, "-m", module, *rest)


def test_the_graph_is_the_one_in_dvc_yaml(tmp_path: Path) -> None:
    drawn = re.search(r"```mermaid\n(.*?)```", README, re.DOTALL)[1]
    edges = {(a, b) for a, b in re.findall(r"(\w+) --> (\w+)", drawn)}
    folder = workspace.make_workspace(tmp_path, "starter")
    out = workspace.run(folder, sys.executable, "-m", "dvc", "dag", "--dot").stdout
    found = {(a.split("@")[0], b.split("@")[0]) for a, b in re.findall(r'"([^"]+)" -> "([^"]+)"', out)}
    assert edges == found


def test_the_tree_names_files_there_are() -> None:
    tree = re.search(r"```text\n(.*?)```", README, re.DOTALL)[1]
    for line in tree.splitlines():
        path = line[:24].strip()
        if path:
            assert (ROOT / path).exists(), path


def test_the_numbers_of_cheats_are_those_of_the_suite() -> None:
    text = " ".join(README.split())
    assert re.findall(r"`doctor` tries (\d+) known cheats", text) == [str(len(CHEATS))]
    assert re.findall(r"one of the short form's (\d+) forges", text) == [str(len(forging()))]


def test_links_lead_somewhere() -> None:
    for target in re.findall(r"\]\((?!http|#)([^)]+)\)", README):
        assert (ROOT / target.split("#")[0]).exists(), target


def test_the_example_of_own_settings_is_valid() -> None:
    for block in re.findall(r"```yaml\n(.*?)```", README, re.DOTALL):
        content = read_yaml(ROOT / "params.yaml") | yaml.safe_load(block)
        parse_params(content, "README.md")
