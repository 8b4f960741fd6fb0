"""Every dataset from the hub, by id and commit, over HTTP: a hub of our own, rows written here, the real libraries."""

import io
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hub_server import COMMIT, Hub, serving
from test_adapters import APPS, HUMANEVAL, LEETCODE, TACO
from test_evalplus import he_row, mbpp_row
from test_mbpp import FULL
from test_q_problems import ROW

CHILD = """
import json, os, sys, tempfile
from pathlib import Path
from greenlit.config import DatasetParams, Limits
from greenlit.errors import GreenlitError
from greenlit.problems.adapters import adapter_for

for case in json.loads(sys.argv[1]):
    os.environ.update(case.get("environment", {}))
    params = DatasetParams(**case["dataset"])
    adapter = adapter_for(params)
    with tempfile.TemporaryDirectory() as folder:
        try:
            facts = adapter.fetch(params, Path(folder))
            made = list(adapter.load(Path(folder), params, Limits(), 0))
            found = {"facts": facts, "made": [[one.task_id, getattr(one, "split", "dropped")] for one in made]}
        except GreenlitError as error:
            found = {"error": str(error), "exit": error.exit_code}
    print(json.dumps(found), flush=True)
"""


def parquet(*rows: dict[str, Any]) -> bytes:
    import pyarrow
    import pyarrow.parquet

    out = io.BytesIO()
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(list(rows)), out)
    return out.getvalue()


def lines(*rows: dict[str, Any]) -> bytes:
    return "".join(json.dumps(row) + "\n" for row in rows).encode()


def card(config: str, *splits: str) -> bytes:
    """The part of a dataset's README that names its files."""
    files = "".join(f"  - split: {split}\n    path: {config}/{split}-*\n" for split in splits)
    return f"---\nconfigs:\n- config_name: {config}\n  data_files:\n{files}---\n".encode()


def the_hub() -> Hub:
    mbpp = {"train": 601, "test": 11, "validation": 511, "prompt": 2}
    return Hub(
        {
            "google-research-datasets/mbpp": {
                "README.md": card("full", *mbpp),
                **{f"full/{split}-0.parquet": parquet({**FULL, "task_id": number}) for split, number in mbpp.items()},
            },
            "openai/openai_humaneval": {
                "README.md": card("openai_humaneval", "test"),
                "openai_humaneval/test-0.parquet": parquet(HUMANEVAL),
            },
            "evalplus/humanevalplus": {"data/test-0.parquet": parquet(he_row([[1]], [2]))},
            "evalplus/mbppplus": {"data/test-0.parquet": parquet(mbpp_row(), mbpp_row(task_id=11))},
            "likaixin/TACO-verified": {
                "data/train-0.parquet": parquet(TACO, {**TACO, "id": 9, "source": "geeksforgeeks"})
            },
            "newfacade/LeetCodeDataset": {
                "LeetCodeDataset-train.jsonl": lines(LEETCODE),
                "LeetCodeDataset-test.jsonl": lines({**LEETCODE, "task_id": "thrice"}),
            },
            "codeparrot/apps": {
                "apps.py": b"raise SystemExit('a loading script is never run')",
                "train.jsonl": lines({"id": 7, **{key: APPS[key] for key in APPS if key != "problem_id"}}),
                "test.jsonl": lines({"id": 7, **{key: APPS[key] for key in APPS if key != "problem_id"}}),
            },
            "morganstanley/sft-python-q-problems": {
                "data/train-0.parquet": parquet({**ROW, "metadata": {"prompt": ""}}),
                "data/test-0.parquet": parquet({**ROW, "problem_id": "other", "metadata": {"prompt": ""}}),
            },
        },
        gated={"likaixin/TACO-verified"},
    )  # fmt: skip


CASES: list[dict[str, Any]] = [
    {"dataset": {"name": "taco"}},
    {"dataset": {"name": "taco"}, "environment": {"HUGGING_FACE_HUB_TOKEN": "hf_right"}},
    {"dataset": {"name": "mbpp"}},
    {"dataset": {"name": "humaneval"}},
    {"dataset": {"name": "humanevalplus"}},
    {"dataset": {"name": "mbppplus", "revision": COMMIT}},
    {"dataset": {"name": "leetcode"}},
    {"dataset": {"name": "apps"}},
    {"dataset": {"name": "q", "variant": "q_to_python"}},
    {"dataset": {"name": "leetcode", "revision": "f" * 40}},
    {"dataset": {"name": "apps", "revision": "f" * 40}},
]


@pytest.fixture(scope="module")
def answers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[list[dict[str, Any]], Hub]]:
    """What a process of its own made of each case: the libraries read the hub's address when they are imported."""
    folder = tmp_path_factory.mktemp("hub")
    with serving(the_hub()) as hub:
        environment = {key: value for key, value in os.environ.items() if "TOKEN" not in key}
        environment |= {"HF_ENDPOINT": hub.address, "HF_HOME": str(folder), "HF_HUB_OFFLINE": "0"}
        path = os.pathsep.join([str(Path(__file__).parent.parent / "src"), environment.get("PYTHONPATH", "")])
        done = subprocess.run(
            [sys.executable, "-c", CHILD, json.dumps(CASES)],
            cwd=folder, env={**environment, "PYTHONPATH": path}, capture_output=True, text=True, timeout=600,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr[-4000:]
        yield [json.loads(line) for line in done.stdout.splitlines()], hub


def test_each_dataset_comes_by_its_id_with_its_commit(answers: tuple[list[dict[str, Any]], Hub]) -> None:
    found = {case["dataset"]["name"]: answer for case, answer in zip(CASES[1:9], answers[0][1:9], strict=True)}
    assert {name: answer["error"] for name, answer in found.items() if "error" in answer} == {}
    assert all(answer["facts"]["revision"] == COMMIT for answer in found.values())
    assert {name: answer["facts"]["hub_id"] for name, answer in found.items()} == {
        "mbpp": "google-research-datasets/mbpp",
        "humaneval": "openai/openai_humaneval",
        "humanevalplus": "evalplus/humanevalplus",
        "mbppplus": "evalplus/mbppplus",
        "taco": "likaixin/TACO-verified",
        "leetcode": "newfacade/LeetCodeDataset",
        "apps": "codeparrot/apps",
        "q": "morganstanley/sft-python-q-problems",
    }
    made = {name: dict(answer["made"]) for name, answer in found.items()}
    assert made["mbpp"] == {"mbpp/601": "train", "mbpp/11": "test", "mbpp/511": "validation", "mbpp/2": None}
    assert made["humaneval"] == made["humanevalplus"] == {"HumanEval/0": "test"}
    assert made["mbppplus"] == {"mbpp/601": "train", "mbpp/11": "test"}
    assert made["taco"]["taco/9"] == "dropped"
    assert made["leetcode"]["leetcode/thrice"] == made["apps"]["apps/test/7"] == made["q"]["q/other"] == "test"
    assert made["leetcode"]["leetcode/twice"] in {"train", "validation"}
    assert set(made["apps"]) == {"apps/train/7", "apps/test/7"}


def test_a_gated_dataset_takes_the_token_of_the_environment(answers: tuple[list[dict[str, Any]], Hub]) -> None:
    refused, served = answers[0][:2]
    assert refused["exit"] == 2
    assert refused["error"].startswith(
        "likaixin/TACO-verified: no token is set, and the hub refuses it (GatedRepoError)"
    )
    assert "HF_TOKEN" in refused["error"]
    assert len(served["made"]) == 2
    assert {token for path, token in answers[1].asked if "openai_humaneval" in path} == {"hf_right"}


def test_a_commit_that_is_not_there_is_told(answers: tuple[list[dict[str, Any]], Hub]) -> None:
    for answer, name in zip(answers[0][9:], ("newfacade/LeetCodeDataset", "codeparrot/apps"), strict=True):
        assert answer["exit"] == 2
        assert answer["error"] == f"params.yaml: dataset.revision: {name} has no such commit (found {'f' * 40!r})"


def test_a_token_may_stand_in_env_files_and_a_hub_that_is_down_is_the_worlds_fault(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("HUGGING_FACE_HUB_TOKEN=hf_right\n")
    probe = (
        "import os\nfrom greenlit.errors import WorldError\nfrom greenlit.problems.sources import hub_json_lines\n"
        "try: hub_json_lines('codeparrot/apps', {'train': 'train.jsonl'}, None)\n"
        "except WorldError as error: print(os.environ['HF_TOKEN'], error.exit_code, str(error).splitlines()[0])\n"
    )
    environment = {key: value for key, value in os.environ.items() if "TOKEN" not in key}
    environment |= {"HF_ENDPOINT": "http://127.0.0.1:9", "HF_HOME": str(tmp_path), "HF_HUB_OFFLINE": "0"}
    environment["PYTHONPATH"] = str(Path(__file__).parent.parent / "src")
    done = subprocess.run(
        [sys.executable, "-c", probe], cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=300
    )
    assert done.stdout.startswith("hf_right 75 codeparrot/apps: the hub did not answer ("), done.stderr[-2000:]
