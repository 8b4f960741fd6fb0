"""The preset completion, small enough for a test: our own source files, the tiny model, all stages to the report."""

import json
from pathlib import Path
from typing import Any

import pytest
import workspace
import yaml
from workspace import paths_of

from greenlit.config import Limits
from greenlit.jsonl import read_rows
from greenlit.problems.starter import starter_problems
from greenlit.types import Annotated, NBest, Pair, Problem

FILES = 90


def source_files(path: Path) -> None:
    """Rows of both shapes: files of a few functions that the embedded model knows the like of."""
    programs = [one.reference[0] for one in starter_problems(0, Limits(train=3 * FILES, validation=1, test=1))]
    with path.open("w") as stream:
        for number in range(FILES):
            content = '"""Functions on lists."""\n\n' + "\n\n".join(programs[3 * number : 3 * number + 3])
            place: dict[str, Any] = {"content": content, "path": f"src/m{number}.py"}
            if number % 2:
                row = {**place, "repo_name": f"example/repo{number}", "license": "mit", "copies": "1"}
            else:
                row = {**place, "repository_name": f"example/repo{number}", "licenses": ["MIT"], "lang": "Python"}
            if number % 10 == 0:
                row["license" if number % 2 else "licenses"] = "gpl-3.0" if number % 2 else ["GPL-3.0"]
            stream.write(json.dumps(row) + "\n")


def smoke(folder: Path) -> None:
    """params.yaml: the preset with the tiny preset's model, and less of everything."""
    params = yaml.safe_load((folder / "presets/completion.yaml").read_text())
    params["dataset"] |= {"path": "files.jsonl", "completion": {"min_lines": 1, "max_lines": 8}}
    params["prepare"] = {"limits": {"train": 24, "validation": 6, "test": 10}}
    params["base"] = yaml.safe_load((folder / "presets/tiny.yaml").read_text())["base"]
    small = {"n": 4, "max_new_tokens": 40, "batch_size": 128, "dtype": "float32"}
    params["generate"] |= small
    params["evaluate"] |= small | {"resamples": 500}
    params["methods"]["rloo"] |= {
        "max_steps": 3, "batch_size": 16, "accumulate": 1, "max_new_tokens": 40, "max_length": 512, "eval_rows": 2,
        "learning_rate": 0.001, "lora": {"r": 8, "alpha": 8},
    }  # fmt: skip
    (folder / "params.yaml").write_text(yaml.safe_dump(params, sort_keys=False))


@pytest.fixture(scope="module")
def run(warm_module: None, tiny: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The whole pipeline, once; the model comes from DVC's cache."""
    folder = workspace.make_workspace(tmp_path_factory.mktemp("completion") / "project", "completion", cache_of=tiny)
    source_files(folder / "files.jsonl")
    smoke(folder)
    workspace.greenlit(folder, "run")
    return folder


@pytest.mark.slow
def test_from_source_files_to_a_report_that_says_there_are_no_tests(run: Path) -> None:
    paths = paths_of(run)
    audit = json.loads((run / paths.audit).read_text())
    problems = [
        one for split in ("train", "validation", "test") for one in read_rows(run / paths.problems(split), Problem)
    ]
    assert {one.kind for one in problems} == {"completion"}
    assert {split: audit["kept"][split] for split in ("train", "validation", "test")} == {
        "train": 24, "validation": 6, "test": 10,
    }  # fmt: skip
    assert sum(audit["kept"].values()) + len(audit["dropped"]) == FILES, "every row is kept or named"
    assert any("gpl-3.0" in why for why in audit["dropped_by_reason"])
    rows = list(read_rows(run / paths.annotated, Annotated))
    assert len(rows) == 24 * 4
    assert {row.passed for row in rows} == {None}
    assert {row.verdict for row in rows} <= {"untested", "syntax", "no_code"}
    assert all(set(row.rewards) == {"syntax", "overlap"} and row.reward is not None for row in rows)
    assert any(row.reward for row in rows)
    by_place = {(row.task_id, row.candidate_idx): row for row in rows}
    for pair in read_rows(run / paths.rl / "pairs.jsonl", Pair):
        better, worse = (by_place[pair.task_id, index] for index in (pair.chosen_idx, pair.rejected_idx))
        assert better.reward - worse.reward >= 0.15
    for best in read_rows(run / paths.rl / "nbest.jsonl", NBest):
        assert best.num_pass is None
        assert all(one.passed is None and one.score["reward"] >= 0.3 for one in best.best_list)
    summary = json.loads((run / paths.report("summary.json")).read_text())
    assert summary["kind"] == "completion"
    for figures in (summary["baseline_test"], summary["after_test"]["rloo"], summary["delta"]["rloo"]):
        assert list(figures) == ["edit_similarity", "exact_match", "greedy_edit_similarity", "greedy_exact_match"]
        assert all(one["n"] == 10 and one["low"] <= one["value"] <= one["high"] for one in figures.values())
    outcomes = [summary["outcomes"]["baseline"], summary["outcomes"]["after"]["rloo"]]
    assert [one["passed"] for one in outcomes] == [None, None]
    text = (run / paths.report("summary.md")).read_text()
    assert "The problems have no tests: nothing was run, and `passed` is null for every candidate." in text
    assert "pass@" not in text.replace("no pass@k", "").replace("pass_at_k.png", "")
    for ending in ("pass_at_k.png", "by_problem.png", "verdicts.png", "by_problem.csv"):
        assert (run / paths.report(ending)).stat().st_size > 100
    metrics = json.loads((run / paths.method("rloo") / "metrics.json").read_text())
    assert metrics["method"] == "rloo"
