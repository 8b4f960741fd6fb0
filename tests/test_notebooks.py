"""The notebooks run from the first cell to the last, in a small size, and hold no outputs in git.

The preview runs in a kernel of Jupyter's own. Cells are plain Python (no magics), so where texts in them are changed,
for a smaller size or another machine, they run as a script.
"""

import ast
import json
import os
import runpy
import shutil
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
@pytest.mark.usefixtures("warm")
def test_the_rloo_notebook_runs_from_end_to_end(tmp_path: Path) -> None:
    folder = workspace.make_workspace(tmp_path / "project", "starter")
    before = (folder / "params.yaml").read_bytes()
    notebook = folder / "notebooks/02_rloo_training.ipynb"
    assert sum(cell.count(SIZE) for cell in cells(notebook, "code")) == 1
    warm = {"sys.path[:2])": f"sys.path[:2] + [{str(workspace.WARM)!r}])"}  # the path of its stages: tests/warm too
    done = run_cells(notebook, folder / "notebooks", tmp_path, {SIZE: "SMALL = True", **warm})
    work = folder / ".work/02_rloo_training_small"
    summary = json.loads((work / "results/reports/rloo_summary.json").read_text())
    gain = summary["delta"]["rloo"]["pass@1"]
    assert gain["n"] == len(cells_of_test(work))
    assert f"{gain['value']:+.3f}" in done.stdout
    assert len((work / "results/rloo/rloo/logs/training_log.jsonl").read_text().splitlines()) == 4
    assert (folder / "params.yaml").read_bytes() == before
    status = subprocess.run(["git", "status", "--short"], cwd=folder, capture_output=True, text=True, check=True)
    assert status.stdout == ""


@pytest.mark.slow
def test_the_preview_runs_from_end_to_end(tmp_path: Path) -> None:
    folder = workspace.make_workspace(tmp_path / "project", "starter")
    told, pictures = in_a_kernel(folder / "notebooks/01_dataset_preview.ipynb")
    work = folder / ".work/01_dataset_preview"
    assert pictures == 2
    audit = json.loads((work / "assets/datasets/starter/audit.json").read_text())
    assert audit["kept"] == {"train": 60, "validation": 20, "test": 30}
    assert "reference        passed   8 of 8 tests" in told
    assert "always the same  failed" in told
    assert "did you mean tests?" in told
    assert "30 written, left out: {}" in told
    assert (work / "statistics.png").read_bytes().startswith(b"\x89PNG")
    status = subprocess.run(["git", "status", "--short"], cwd=folder, capture_output=True, text=True, check=True)
    assert status.stdout == ""


@pytest.mark.slow
def test_the_preview_runs_on_kaggle(tmp_path: Path) -> None:
    """The project as a read-only dataset without git or DVC; pip is the only part of Kaggle that is played."""
    source = workspace.make_workspace(tmp_path / "input/greenlit", "starter")
    for name in (".git", ".dvc"):
        shutil.rmtree(source / name)
    for path in [source, *source.rglob("*")]:
        path.chmod(path.stat().st_mode & ~0o222)
    before = workspace_digest(source)
    pip = tmp_path / "packages/pip"
    pip.mkdir(parents=True)
    (pip / "__init__.py").touch()  # else the real one is found first
    (pip / "__main__.py").write_text("import pathlib, sys; pathlib.Path(sys.argv[0] + '.asked').write_text('yes')")
    (tmp_path / "working").mkdir()
    kaggle = {'"/kaggle/input"': repr(str(tmp_path / "input")), "/kaggle/working": str(tmp_path / "working")}
    done = run_cells(ROOT / "notebooks/01_dataset_preview.ipynb", tmp_path / "working", tmp_path, kaggle, pip.parent)
    assert (pip / "__main__.py.asked").exists()
    assert "30 written, left out: {}" in done.stdout
    assert (tmp_path / "working/greenlit/.work/01_dataset_preview/statistics.png").exists()
    assert not (tmp_path / "working/greenlit/.git").exists()
    assert workspace_digest(source) == before
    for path in [source, *source.rglob("*")]:
        path.chmod(path.stat().st_mode | 0o200)  # else pytest cannot clear it away


def workspace_digest(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def in_a_kernel(notebook: Path) -> tuple[str, int]:
    """Run a notebook where it lies, as Jupyter does; what its cells printed, and how many pictures they show."""
    import nbformat
    from nbclient import NotebookClient

    content = nbformat.read(notebook, as_version=4)
    NotebookClient(content, timeout=600, resources={"metadata": {"path": str(notebook.parent)}}).execute()
    outputs = [output for cell in content.cells for output in cell.get("outputs", ())]
    told = "".join(output.text for output in outputs if output.output_type == "stream")
    return told, sum("image/png" in output.get("data", {}) for output in outputs)


def run_cells(
    notebook: Path, cwd: Path, tmp_path: Path, changes: dict[str, str] | None = None, packages: Path | None = None
) -> subprocess.CompletedProcess:
    """Run a notebook's code, with some texts of it replaced, and packages put before all others."""
    code = "\n\n".join(cells(notebook, "code"))
    for before, after in (changes or {}).items():
        assert before in code
        code = code.replace(before, after)
    script = tmp_path / "cells.py"
    script.write_text(code, encoding="utf-8")
    environment = {**os.environ, "MPLBACKEND": "Agg"}
    if packages:
        environment["PYTHONPATH"] = os.pathsep.join(filter(None, [str(packages), environment.get("PYTHONPATH")]))
    done = subprocess.run([sys.executable, str(script)], cwd=cwd, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, f"{done.stdout[-3000:]}\n{done.stderr[-3000:]}"
    return done


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
    for name in setup["CACHES"]:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("MPLCONFIGDIR", "mine")
    (source / "src").chmod(0o555)
    target = setup["set_up"](tmp_path / "working/greenlit", source, tmp_path / "caches")
    (source / "src").chmod(0o755)
    assert os.environ["HF_HOME"] == str(tmp_path / "caches/huggingface")
    assert os.environ["MPLCONFIGDIR"] == "mine"
    assert (target / "src").stat().st_mode & 0o200
    assert (target / "src/greenlit/types.py").exists()
    assert not (target / "results").exists()
    wanted = {line.partition(">")[0].partition("=")[0] for line in asked["wanted"]}
    assert {"transformers", "trl", "peft", "accelerate", "datasets", "pydantic", "radon"} <= wanted
    assert not {"torch", "dvc[s3]", "prefect", "mlflow"} & wanted
    assert any(line.startswith("transformers==") for line in asked["pinned"])
    assert not [line for line in asked["pinned"] if line.startswith(("torch", "nvidia", "triton"))]


def test_a_torch_that_pip_replaced_is_told(tmp_path: Path, monkeypatch) -> None:
    setup = runpy.run_path(str(ROOT / "scripts/kaggle_setup.py"))["set_up"]
    versions = iter(["2.6.0+cu124", "2.13.0"])
    monkeypatch.setattr("subprocess.run", lambda *_, **__: None)
    monkeypatch.setitem(setup.__globals__, "installed", lambda _: next(versions))
    for name in ("dvc.yaml", "requirements.txt", "requirements.lock"):
        (tmp_path / name).write_bytes((ROOT / name).read_bytes())
    with pytest.raises(RuntimeError, match=r"from 2\.6\.0\+cu124 to 2\.13\.0"):
        setup(tmp_path, tmp_path, tmp_path / "caches")
