"""A small project with every artifact up to the pairs, and what each fault in it must come to."""

import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import workspace

from greenlit.jsonl import read_rows, write_rows
from greenlit.problems.prompts import prompt_hash, render
from greenlit.types import Candidate, Problem

ROOT = Path(__file__).parent.parent
RAW, DATA, RL = Path("assets/raw/file"), Path("assets/datasets/file"), Path("assets/rl/file")
PARAMS = """\
experiment: small
seed: 0
dataset: {name: file, path: mine.jsonl}
prepare: {mutants: 0}
base: {model: model}
generate: {n: 2, max_new_tokens: 4, batch_size: 8}
annotate: {allow_portable: true}
build: {max_pairs: 4}
methods:
  dpo: {method: dpo, reads: assets/rl/file/pairs.jsonl, start: assets/models/base, learning_rate: 0.001, batch_size: 2, max_length: 512, lora: {r: 2, alpha: 4}}
  sft: {method: sft, reads: assets/rl/file/nbest.jsonl, start: assets/models/base, learning_rate: 0.001, batch_size: 2, max_length: 512, lora: {r: 2, alpha: 4}}
evaluate: {n: 2, ks: [1], max_new_tokens: 4, resamples: 100}
report: {examples: 1}
register: {model: greenlit-small}
"""  # noqa: E501


def own_problem(number: int, split: str | None) -> dict[str, Any]:
    """A row of a file of own problems: add a number."""
    row = {
        "task_id": f"add-{number}",
        "prompt": f"Add {number}.",
        "entry_point": "f",
        "reference": [f"def f(x):\n    return x + {number}\n"],
        "tests": [{"kind": "call", "input": [x], "output": x + number} for x in range(4)],
    }
    return row if split is None else row | {"split": split}


OWN = [own_problem(number, split) for number, split in enumerate(["train", "train", "train", "validation", "test"], 1)]


def lines(rows: Sequence[Any]) -> str:
    """JSON Lines."""
    return "".join(json.dumps(row) + "\n" for row in rows)


def write_candidates(folder: Path, programs: Sequence[str]) -> None:
    """What `generate` would write: these programs for every problem of the train split, `{n}` its number."""
    candidates = []
    for problem in read_rows(folder / DATA / "train/problems.jsonl", Problem):
        for index, program in enumerate(programs):
            code = program.replace("{n}", problem.task_id.removeprefix("add-"))
            candidates.append(
                Candidate(
                    task_id=problem.task_id, candidate_idx=index, text=code, code=code, solution=code, tokens=len(code),
                    finish_reason="eos", seed=0, prompt_hash=prompt_hash(render(problem, False)), model="model",
                )
            )  # fmt: skip
    write_rows(folder / DATA / "train/candidates.jsonl", candidates)


RIGHT, WRONG = "def f(x):\n    return x + {n}\n", "def f(x):\n    return x\n"


def environment(**variables: str) -> dict[str, str]:
    """A user's environment with the code of this checkout."""
    kept = {key: value for key, value in os.environ.items() if not key.startswith("GREENLIT_")}
    return {**kept, "PYTHONPATH": workspace.search_path(ROOT / "src", ROOT), "GREENLIT_WORKERS": "1", **variables}


def stage(folder: Path, name: str, *arguments: str, before: Sequence[str] = (), **variables: str) -> Any:
    """Run a stage there as DVC would; `before` is put in front of the command."""
    command = [*before, sys.executable, "-m", f"tasks.{name}", *arguments]
    return subprocess.run(
        command, cwd=folder, env=environment(**variables), capture_output=True, text=True, timeout=300, check=False
    )


def make_project(folder: Path, model: Path) -> Path:
    """The project after fetch, prepare, base, annotate and build, all really run; half the candidates pass."""
    (folder / "params.yaml").write_text(PARAMS)
    (folder / "mine.jsonl").write_text(lines(OWN))
    (folder / "model").symlink_to(model)
    for name in ("fetch", "prepare", "base"):
        done = stage(folder, name)
        assert done.returncode == 0, done.stderr
    write_candidates(folder, [RIGHT, WRONG])
    for name in ("annotate", "build"):
        done = stage(folder, name)
        assert done.returncode == 0, done.stderr
    return folder


def tree(folder: Path) -> dict[str, str]:
    """Every file below, hidden ones too, with a hash of its content; `.work` is for locks and what is unfinished."""
    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and ".work" not in path.relative_to(folder).parts
    }


def told(done: Any, code: int, *words: str) -> None:
    """One clear error: its exit code, its words, and no trace of Python's."""
    assert done.returncode == code, done.stderr
    assert "Traceback" not in done.stderr
    assert done.stderr.count("error: ") == 1, done.stderr
    for word in words:
        assert word in done.stderr, done.stderr


def fails(folder: Path, name: str, code: int, *words: str, arguments: Sequence[str] = (), **variables: str) -> None:
    """The stage ends with one clear error, and every file is as it was."""
    before = tree(folder)
    done = stage(folder, name, *arguments, **variables)
    told(done, code, *words)
    assert tree(folder) == before
    assert not (folder / ".work/last_error.txt").exists(), "nobody foresaw it"
