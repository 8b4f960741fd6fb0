"""The notebooks run from the first cell to the last, in a small size, and hold no outputs in git.

A notebook's cells are plain Python (no magics), so they run here in one process, as a kernel runs them: a kernel of
Jupyter's own would be a dozen packages more, for the tests alone.
"""

import ast
import json
import os
import runpy
import subprocess
import sys
from pathlib import Path

import pytest
import workspace

ROOT = Path(__file__).parent.parent
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
SIZE = "SMALL = False"


def cells(notebook: Path, kind: str) -> list[str]:
    content = json.loads(notebook.read_text(encoding="utf-8"))
    return ["".join(cell["source"]) for cell in content["cells"] if cell["cell_type"] == kind]


@pytest.mark.parametrize("notebook", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_is_what_jupyter_reads_and_holds_no_outputs(notebook: Path) -> None:
    content = json.loads(notebook.read_text(encoding="utf-8"))
    assert (content["nbformat"], content["nbformat_minor"]) == (4, 5)
    assert content["metadata"]["kernelspec"]["name"] == "python3"
    ids = [cell["id"] for cell in content["cells"]]
    assert len(set(ids)) == len(ids)
    for cell in content["cells"]:
        if cell["cell_type"] == "code":
            assert (cell["execution_count"], cell["outputs"]) == (None, [])
            ast.parse("".join(cell["source"]))
    first = cells(notebook, "markdown")[0]
    assert "pip" in first
    assert "Where data goes" in first
    assert str(ROOT) not in notebook.read_text(encoding="utf-8")


@pytest.mark.slow
def test_the_rloo_notebook_runs_from_end_to_end(tmp_path: Path) -> None:
    folder = workspace.make_workspace(tmp_path / "project", "starter")
    before = (folder / "params.yaml").read_bytes()
    code = cells(folder / "notebooks/02_rloo_training.ipynb", "code")
    assert sum(cell.count(SIZE) for cell in code) == 1
    script = tmp_path / "cells.py"
    script.write_text("\n\n".join(code).replace(SIZE, "SMALL = True"), encoding="utf-8")
    done = subprocess.run(
        [sys.executable, str(script)],
        cwd=folder / "notebooks",
        env={**os.environ, "MPLBACKEND": "Agg"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, f"{done.stdout[-3000:]}\n{done.stderr[-3000:]}"
    work = folder / ".work/02_rloo_training_small"
    summary = json.loads((work / "results/reports/rloo_summary.json").read_text())
    gain = summary["delta"]["rloo"]["pass@1"]
    assert gain["n"] == len(cells_of_test(work))
    assert f"{gain['value']:+.3f}" in done.stdout
    assert len((work / "results/rloo/rloo/logs/training_log.jsonl").read_text().splitlines()) == 4
    assert (folder / "params.yaml").read_bytes() == before
    status = subprocess.run(["git", "status", "--short"], cwd=folder, capture_output=True, text=True, check=True)
    assert status.stdout == ""


def cells_of_test(work: Path) -> list[str]:
    return (work / "assets/datasets/starter/test/problems.jsonl").read_text().splitlines()


def test_on_kaggle_the_project_is_copied_and_torch_stays_what_it_is(tmp_path: Path, monkeypatch) -> None:
    setup = runpy.run_path(str(ROOT / "scripts/kaggle_setup.py"))
    asked: dict[str, list[str]] = {}

    def pip(command: list[str], check: bool) -> None:
        assert check
        asked["wanted"] = Path(command[command.index("-r") + 1]).read_text().splitlines()
        asked["pinned"] = Path(command[command.index("-c") + 1]).read_text().splitlines()

    monkeypatch.setattr("subprocess.run", pip)
    source = tmp_path / "input"
    for name in ("dvc.yaml", "requirements.txt", "requirements.lock", "src/greenlit/types.py"):
        (source / name).parent.mkdir(parents=True, exist_ok=True)
        (source / name).write_bytes((ROOT / name).read_bytes())
    (source / "results").mkdir()
    target = setup["set_up"](tmp_path / "working/greenlit", source)
    assert (target / "src/greenlit/types.py").exists()
    assert not (target / "results").exists()
    wanted = {line.partition(">")[0].partition("=")[0] for line in asked["wanted"]}
    assert {"transformers", "trl", "peft", "accelerate", "datasets", "pydantic", "radon"} <= wanted
    assert not {"torch", "dvc[s3]", "prefect", "mlflow"} & wanted
    assert any(line.startswith("transformers==") for line in asked["pinned"])
    assert not [line for line in asked["pinned"] if line.startswith(("torch", "nvidia", "triton"))]
