"""The house rules that a reader relies on: layers, stage names, lazy imports, presets, README."""

import ast
import re
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest
import yaml

from greenlit.config import Params, load_params, parse_params, read_yaml
from greenlit.paths import Paths

ROOT = Path(__file__).parent.parent
SRC = ROOT / "src"
HEAVY = (
    "torch",
    "transformers",
    "trl",
    "peft",
    "datasets",
    "mlflow",
    "wandb",
    "tensorboard",
    "prefect",
    "dvc",
    "vllm",
    "sagemaker",
    "ray",
    "matplotlib",
)
DVC = read_yaml(ROOT / "dvc.yaml")
STAGES = list(DVC["stages"])
MODULES = sorted(path.stem for path in (ROOT / "tasks").glob("*.py") if path.stem != "__init__")


def stage_body(name: str) -> dict:
    stage = DVC["stages"][name]
    return stage.get("do", stage)


@cache
def parsed(path: Path) -> ast.Module:
    return ast.parse(path.read_text())


@cache
def imported(path: Path) -> frozenset[str]:
    """Dotted names that a file imports anywhere, at module level or inside functions."""
    names: set[str] = set()
    for node in ast.walk(parsed(path)):
        if isinstance(node, ast.Import):
            names.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            names.add(node.module)
            names.update(f"{node.module}.{alias.name}" for alias in node.names)
    return frozenset(names)


@cache
def module_file(name: str) -> Path | None:
    base = (SRC if name.startswith("greenlit") else ROOT) / name.replace(".", "/")
    for path in (base.with_suffix(".py"), base / "__init__.py"):
        if path.exists():
            return path
    return None


@cache
def closure(start: Path) -> set[Path]:
    """Files of ours that a module of tasks/ needs, itself and its package included."""
    found: set[Path] = set()
    todo = [start, start.with_name("__init__.py")]
    while todo:
        path = todo.pop()
        if path in found:
            continue
        found.add(path)
        for name in imported(path):
            if name.split(".")[0] not in {"greenlit", "tasks"}:
                continue
            parts = name.split(".")
            files = (module_file(".".join(parts[:length])) for length in range(1, len(parts) + 1))
            todo.extend(file for file in files if file is not None and not is_only_docstring(file))
    return found


@cache
def is_only_docstring(path: Path) -> bool:
    return all(isinstance(node, ast.Expr) for node in parsed(path).body)


def our_files(folder: str) -> list[Path]:
    return sorted((ROOT / folder).rglob("*.py"))


@pytest.mark.parametrize(
    ("folder", "forbidden"),
    [("src", ("flows", "tasks", "prefect", "dvc")), ("tasks", ("flows", "prefect", "dvc"))],
)
def test_layers_point_one_way(folder: str, forbidden: tuple[str, ...]) -> None:
    for path in our_files(folder):
        roots = {name.split(".")[0] for name in imported(path)}
        assert not roots & set(forbidden), f"{path} imports {roots & set(forbidden)}"


def test_every_stage_has_its_module_and_every_module_its_stage() -> None:
    assert sorted(STAGES) == MODULES
    for name in STAGES:
        assert f"python -m tasks.{name}" in stage_body(name)["cmd"]


def test_sections_of_params_are_stages_or_shared_words() -> None:
    shared = {"experiment", "seed", "dataset", "methods", "rewards", "reward_models", "tracking"}
    sections = {field.alias or name for name, field in Params.model_fields.items()}
    assert sections - shared <= set(STAGES)


@pytest.mark.parametrize("name", STAGES)
def test_a_stage_depends_on_all_the_code_it_runs(name: str) -> None:
    listed = [ROOT / dep for dep in stage_body(name)["deps"] if dep.startswith(("src/", "tasks/"))]
    for path in listed:
        assert path.exists(), path
    missing = [
        path.relative_to(ROOT).as_posix()
        for path in closure(ROOT / "tasks" / f"{name}.py")
        if not any(path == dep or dep in path.parents for dep in listed)
    ]
    assert not sorted(missing)


@pytest.mark.parametrize("name", STAGES)
def test_a_stage_depends_on_no_code_it_does_not_run(name: str) -> None:
    needed = closure(ROOT / "tasks" / f"{name}.py")
    for dep in stage_body(name)["deps"]:
        if dep.startswith(("src/", "tasks/")):
            path = ROOT / dep
            assert any(file == path or path in file.parents for file in needed), f"{name} does not use {dep}"


@pytest.mark.parametrize("name", STAGES)
def test_a_stage_docstring_says_reads_writes_params(name: str) -> None:
    text = ast.get_docstring(ast.parse((ROOT / "tasks" / f"{name}.py").read_text()))
    assert text.startswith(f"{name}: ")
    for word in ("Reads ", "Writes ", "Params "):
        assert f"\n{word}" in text


def test_dvc_writes_where_paths_say() -> None:
    params = load_params(ROOT / "params.yaml")
    paths = Paths.of(params)
    method = next(iter(params.methods))
    values = {
        "dataset.name": params.dataset.name,
        "experiment": params.experiment,
        "key": method,
        "item.reads": params.methods[method].reads,
        "item.start": params.methods[method].start,
        "rewards.model": params.rewards.model,
    }

    def filled(text: str) -> str:
        return re.sub(r"\$\{([\w.]+)\}", lambda found: values[found[1]], text)

    outs: set[str] = set()
    for name in STAGES:
        body = stage_body(name)
        for out in [*body.get("outs", []), *body.get("metrics", []), *body.get("plots", [])]:
            outs.add(filled(out if isinstance(out, str) else next(iter(out))))
    expected = [
        paths.raw, paths.audit, paths.candidates, paths.annotated, paths.timings, paths.rl / "pairs.jsonl",
        paths.evaluation(None), paths.evaluation(method), paths.report("summary.json"), paths.report("summary.md"),
        *(paths.problems(split) for split in ("train", "validation", "test")),
        *(paths.measured(split, m) for split in ("validation", "test") for m in (None, method)),
        paths.method(method) / "adapter", paths.method(method) / "merged",
        *(paths.log(method, name) for name in ("training_log.jsonl", "rewards.json", "completions.jsonl")),
        paths.log(method, "eval_results.json"),
    ]  # fmt: skip
    assert {path.as_posix() for path in expected} <= outs


@pytest.mark.parametrize("path", sorted((ROOT / "presets").glob("*.yaml")), ids=lambda path: path.stem)
def test_every_preset_parses(path: Path) -> None:
    params = parse_params(read_yaml(path), path.name)
    for name, method in params.methods.items():
        assert params.dataset.name in method.reads, f"{path.name}: methods.{name} reads another dataset's file"
    for section in (
        "scrape",
        "fetch",
        "prepare",
        "base",
        "generate",
        "annotate",
        "build",
        "rewards",
        "evaluate",
        "report",
        "register",
    ):
        assert section in yaml.safe_load(path.read_text()), f"dvc.yaml tracks {section}: it must stand in every preset"


def test_params_yaml_is_the_starter_preset() -> None:
    assert (ROOT / "params.yaml").read_text() == (ROOT / "presets/starter.yaml").read_text()


PROBE = f"""
import os, sys
import greenlit.config
for module in sys.argv[1:]:
    if not os.fork():
        __import__(module)
        print(module, *(heavy for heavy in {HEAVY!r} if heavy in sys.modules), flush=True)
        os._exit(0)
    os.wait()
"""
"""Each module in a process of its own; the one they fork from has imported what all of them do."""


@cache
def heavy_after() -> dict[str, list[str]]:
    """What of the heavy packages each of these modules imports."""
    modules = ["greenlit.cli", "greenlit.jsonl", "greenlit.types", *(f"tasks.{name}" for name in MODULES)]
    out = subprocess.run([sys.executable, "-c", PROBE, *modules], cwd=ROOT, capture_output=True, text=True, check=True)
    return {module: heavy for module, *heavy in map(str.split, out.stdout.splitlines())}


@pytest.mark.parametrize("module", ["greenlit.cli", "greenlit.jsonl", "greenlit.types"])
def test_cli_and_config_import_nothing_heavy(module: str) -> None:
    assert heavy_after()[module] == []


@pytest.mark.parametrize("name", MODULES)
def test_importing_a_stage_loads_nothing_heavy(name: str) -> None:
    assert heavy_after()[f"tasks.{name}"] == []


def test_heavy_packages_are_imported_inside_functions() -> None:
    for path in [*our_files("src"), *our_files("tasks")]:
        for node in parsed(path).body:
            names = [a.name for a in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            assert not {name.split(".")[0] for name in names} & set(HEAVY), f"{path}:{node.lineno}"


def test_no_path_or_host_of_a_machine_is_tracked() -> None:
    files = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True).stdout.split()
    for name in files:
        text = (ROOT / name).read_text(errors="ignore")
        assert not re.search(r"(^|[^\w.])/(work|farm|opt/pypi|root)/", text, re.MULTILINE), name
