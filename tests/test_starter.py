"""The claim of the README, on the machine at hand: `make run` makes the model better, and the placebo does not.

Minutes long: the whole starter experiment, then its control with shuffled verdicts, in a copy of the project. Stages
fork from the warm process (tests/warm): what a cold start does is shown by the tiny preset.
"""

import json
import shutil
import sys
from pathlib import Path

import pytest
import workspace

ROOT = Path(__file__).parent.parent

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def project(warm_module: None, tmp_path_factory) -> Path:
    folder = workspace.make_workspace(tmp_path_factory.mktemp("starter"), "starter")
    venv = Path(sys.prefix)
    if shutil.which("make") and (venv / ".ready").exists() and venv == ROOT / ".venv":
        (folder / ".venv").symlink_to(venv)
        workspace.run(folder, "make", "run")
    else:  # another environment than the Makefile's
        workspace.greenlit(folder, "run")
    return folder


def summary_of(folder: Path, experiment: str) -> dict:
    return json.loads((folder / f"results/reports/{experiment}_summary.json").read_text())


@pytest.mark.parametrize("metric", ["pass@1", "greedy"])
def test_the_model_gets_better_at_problems_it_has_never_seen(project: Path, metric: str) -> None:
    summary = summary_of(project, "starter")
    delta = summary["delta"]["dpo"][metric]
    assert delta["n"] == 200
    assert delta["value"] >= 0.15
    assert delta["low"] > 0
    assert delta["p"] < 0.01
    assert summary["headroom_recovered"]["dpo"][metric] >= 0.25


def test_the_base_model_is_imperfect_in_the_way_it_should_be(project: Path) -> None:
    before = summary_of(project, "starter")["baseline_test"]
    assert 0.2 <= before["pass@1"]["value"] <= 0.4
    assert before["pass@8"]["value"] >= 0.7


def test_the_placebo_shows_no_gain(project: Path) -> None:
    shutil.copyfile(ROOT / "presets/placebo.yaml", project / "params.yaml")
    workspace.greenlit(project, "run", "--only", "test_after")
    summary = summary_of(project, "placebo")
    assert summary["baseline_test"] == summary_of(project, "starter")["baseline_test"]
    for metric in ("pass@1", "greedy"):
        assert summary["delta"]["dpo"][metric]["low"] <= 0, metric
