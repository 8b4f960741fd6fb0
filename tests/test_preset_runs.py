"""Every preset for real datasets runs through its whole pipeline, to the report, in a small size.

Kept of the preset is what it is about: dataset, rewards, method and its kind of settings. Made small: the model (the
tiny preset's), the problems (the starter's, written as rows of the dataset), samples, steps. What runs are the
stages themselves, one after the other in this process, since starting twelve processes per preset takes longer than
all of them.

q programs cannot run here, without its interpreter: of `q` it is the variant that asks for Python. The preset itself
(programs in q, and a judge that finds them) is as far as its problems: see the last test.
"""

import importlib
import itertools
import json
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from greenlit.config import Limits, load_params
from greenlit.jsonl import read_json, read_rows
from greenlit.paths import Paths
from greenlit.presets import FOLDER, presets
from greenlit.problems.own import split_of
from greenlit.problems.starter import starter_problems
from greenlit.types import SPLITS, Annotated, CallTest, Problem, Split

ROOT = Path(__file__).parent.parent
OFFLINE = ("generate", "annotate", "build")
WANTED = Limits(train=10, validation=3, test=4)
LATER = {"starter", "tiny", "placebo", "methods", "completion"}
"""Presets that other tests run: test_starter.py, test_pipeline.py, test_training_measured.py, test_completion.py."""
SMALL_SAMPLING = {"max_new_tokens": 48, "batch_size": 128, "dtype": "float32", "top_p": 1.0, "temperature": 1.0}
SMALL_TRAINING = {"max_steps": 2, "dtype": "float32", "max_length": 512, "gradient_checkpointing": False,
                  "lora": {"r": 4, "alpha": 8}, "accumulate": 1, "save_steps": None}  # fmt: skip
SMALL_ONLINE = {"batch_size": 8, "group_size": 4, "max_new_tokens": 48}


@pytest.fixture(scope="module")
def project(tiny: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the tiny preset's base model, in which the presets run one after the other."""
    folder = tmp_path_factory.mktemp("presets")
    shutil.copytree(tiny / "assets/models/base", folder / "model")
    (folder / "LICENSE").write_text("")
    return folder


def made(split: Split) -> list[Problem]:
    return [problem for problem in starter_problems(0, WANTED) if problem.split == split]


def calls(problem: Problem) -> list[CallTest]:
    return [test for test in problem.tests if isinstance(test, CallTest)]


def asserts(problem: Problem, name: str) -> list[str]:
    return [f"assert {name}({', '.join(map(repr, test.input))}) == {test.output!r}" for test in calls(problem)]


def ids_of(split: Split, form: str) -> Iterator[int]:
    """Numbers whose task_id falls into a split by its hash."""
    return (number for number in itertools.count() if split_of(form.format(number)) == split)


def mbpp_rows() -> Iterator[dict[str, Any]]:
    first: dict[Split, int] = {"train": 601, "validation": 511, "test": 11}
    for split in SPLITS:
        for number, problem in enumerate(made(split), start=first[split]):
            tests = asserts(problem, str(problem.entry_point))
            yield {
                "task_id": number, "text": problem.prompt, "code": problem.reference[0], "test_list": tests[:3],
                "test_setup_code": "", "challenge_test_list": tests[3:5],
            }  # fmt: skip


def taco_rows() -> Iterator[dict[str, Any]]:
    for split in SPLITS:
        for number, problem in zip(ids_of(split, "taco/{}"), made(split), strict=False):
            content = {
                "fn_name": problem.entry_point,
                "inputs": [test.input for test in calls(problem)],
                "outputs": [[test.output] for test in calls(problem)],
            }
            yield {
                "id": number, "question": problem.prompt, "solutions": problem.reference, "starter_code": "",
                "input_output": json.dumps(content), "difficulty": "EASY", "source": "codewars",
                "tags": "['Math']", "time_limit": "2.0 seconds", "memory_limit": "256.0 megabytes",
            }  # fmt: skip


def leetcode_rows() -> Iterator[dict[str, Any]]:
    for split in SPLITS:
        for number, problem in zip(ids_of(split, "leetcode/problem-{}"), made(split), strict=False):
            name = str(problem.entry_point)
            method = problem.reference[0].replace("def ", "    def ", 1).replace(f"{name}(", f"{name}(self, ")
            body = "\n".join(line if place == 0 else f"    {line}" for place, line in enumerate(method.split("\n")))
            checks = "\n".join(f"    {line}" for line in asserts(problem, "candidate"))
            yield {
                "task_id": f"problem-{number}", "prompt": "from typing import *\n",
                "completion": f"class Solution:\n{body.rstrip()}\n", "entry_point": f"Solution().{name}",
                "test": f"def check(candidate):\n{checks}\n", "problem_description": problem.prompt,
                "starter_code": f"class Solution:\n{body.split(chr(10))[0]}\n        ", "difficulty": "Easy",
                "tags": ["Array"], "split": "test" if split == "test" else "train",
            }  # fmt: skip


def q_rows() -> Iterator[dict[str, Any]]:
    for split in SPLITS:
        for number, problem in zip(ids_of(split, "q/problem-{}"), made(split), strict=False):
            cases = [
                {
                    "test_case_number": place,
                    "python_test_code": f"print({problem.entry_point}({', '.join(map(repr, test.input))}))",
                    "python_expected_output": str(test.output),
                    "q_test_code": f"show {problem.entry_point}[{number}];",
                    "q_expected_output": "1",
                }
                for place, test in enumerate(calls(problem), start=1)
            ]
            yield {
                "problem_id": f"problem-{number}", "problem_description": problem.prompt,
                "python_solution": problem.reference[0], "q_solution": f"{problem.entry_point}:{{[x] x}}",
                "test_cases": cases, "difficulty": "Easy", "tags": ["Array"],
                "split": "test" if split == "test" else "train",
            }  # fmt: skip


def humaneval_rows() -> Iterator[dict[str, Any]]:
    for number, problem in enumerate(made("test")):
        signature, _, body = problem.reference[0].partition("\n")
        checks = "\n".join(f"    {line}" for line in asserts(problem, "candidate"))
        yield {
            "task_id": f"HumanEval/{number}", "prompt": f'{signature}\n    """{problem.prompt}"""\n',
            "canonical_solution": f"{body.rstrip()}\n", "test": f"def check(candidate):\n{checks}\n",
            "entry_point": problem.entry_point,
        }  # fmt: skip


ROWS = {"mbpp": mbpp_rows, "taco": taco_rows, "leetcode": leetcode_rows, "q": q_rows, "humaneval": humaneval_rows}
METHOD = {"mbpp": "dpo", "taco": "dpo", "leetcode": "rloo", "rlaif-leetcode": "ppo", "q": "grpo",
          "humaneval-check": None}  # fmt: skip
"""One method of each preset; between them all five kinds but sft."""


def small(name: str, method: str | None) -> dict[str, Any]:
    """The preset, made small."""
    content = yaml.safe_load((ROOT / FOLDER / f"{name}.yaml").read_text())
    dataset = content["dataset"]["name"]
    if dataset in ROWS:
        Path("rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in ROWS[dataset]()))
        content["dataset"]["path"] = "rows.jsonl"
    if dataset == "q":
        content["dataset"]["variant"] = "q_to_python"
    content["prepare"] |= {"limits": {}, "mutants": 1}
    content["base"] = {"model": "model"}
    content["generate"] = {**content["generate"], **SMALL_SAMPLING, "n": 8}
    content["evaluate"] = {**content["evaluate"], **SMALL_SAMPLING, "n": 2, "ks": [1, 2], "resamples": 100}
    content["tracking"] = {"report_to": []}
    if method:
        settings = content["methods"][method] | SMALL_TRAINING
        if "group_size" in settings:
            settings |= SMALL_ONLINE
        if "minibatch_size" in settings:
            settings |= {"minibatch_size": 8}
        content["methods"] = {method: settings}
    return content


def stage(monkeypatch: pytest.MonkeyPatch, name: str, *arguments: str) -> None:
    """Run a stage as its command line would."""
    monkeypatch.setattr(sys, "argv", [name, *arguments])
    importlib.import_module(f"tasks.{name}").main()


def test_every_preset_is_run_by_some_test() -> None:
    known = {path.stem for path in (ROOT / FOLDER).glob("*.yaml")}
    assert known <= set(METHOD) | LATER


@pytest.mark.slow
@pytest.mark.parametrize(("name", "method"), METHOD.items(), ids=METHOD)
def test_a_preset_runs_to_its_report(
    project: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture, name: str, method: str | None
) -> None:
    monkeypatch.chdir(project)
    monkeypatch.setenv("GREENLIT_WORKERS", "1")
    Path("params.yaml").write_text(yaml.safe_dump(small(name, method), sort_keys=False))
    params = load_params()
    paths = Paths.of(params)
    for source in params.scrape.sources.names():
        stage(monkeypatch, "scrape", "--source", source)
    for part in ("fetch", "prepare", "base", "baseline"):
        stage(monkeypatch, part)
    audit = read_json(paths.audit)
    assert audit["reference_passes"] == sum(audit["kept"].values())
    assert audit["kept"]["test"] >= 2
    baseline = read_json(paths.evaluation(None))
    if method is None:
        from greenlit.cli import print_result

        capsys.readouterr()
        print_result()
        value = baseline["splits"]["test"]["pass@1"]["value"]
        assert f"{value:.3f}" in capsys.readouterr().out
        assert list(baseline["splits"]) == ["test"]
        return
    for part in OFFLINE:
        stage(monkeypatch, part)
    for part in ("train", "merge", "evaluate"):
        stage(monkeypatch, part, "--method", method)
    stage(monkeypatch, "report")
    summary = read_json(paths.report("summary.json"))
    assert list(summary["delta"]) == [method]
    assert summary["delta"][method]["pass@1"]["n"] == audit["kept"]["test"]
    assert read_json(paths.method(method) / "metrics.json")["steps"] == 2
    graded = list(read_rows(paths.annotated, Annotated))
    assert len(graded) == audit["kept"]["train"] * 8
    weighed = set(params.rewards.weights)
    assert weighed <= set().union(*(row.rewards for row in graded))
    assert f"# {params.experiment}" in paths.report("summary.md").read_text()


def test_the_q_preset_asks_for_q_programs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from greenlit.data.executed import cannot_run
    from greenlit.problems.q import load_q

    monkeypatch.chdir(ROOT)
    params = load_params(presets()["q"])
    assert params.dataset.variant == "description_to_q"
    problems = [problem for problem in load_q(q_rows(), "description_to_q") if isinstance(problem, Problem)]
    assert {problem.language for problem in problems} == {"q"}
    assert {problem.split for problem in problems} == set(SPLITS)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert "q" in cannot_run(problems[0])


@pytest.mark.parametrize("name", ["humaneval"])
def test_a_method_on_an_evaluation_set_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    from greenlit.errors import DataError

    monkeypatch.chdir(tmp_path)
    content = small("humaneval-check", None)
    content["methods"] = {"dpo": {"method": "dpo", "reads": "assets/rl/humaneval/pairs.jsonl",
                                  "start": "assets/models/base", "learning_rate": 0.001}}  # fmt: skip
    Path("params.yaml").write_text(yaml.safe_dump(content))
    stage(monkeypatch, "fetch")
    with pytest.raises(DataError, match="for evaluation only"):
        stage(monkeypatch, "prepare")
    assert not Path("assets/datasets/humaneval/test/problems.jsonl").exists()
