"""The preset completion at a size for a test: source files of our own, the embedded model, every stage to the report."""

import json
import random
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
    chance = random.Random(0)
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
            chance.random()
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
