"""annotate writes what the `rewards` section asks for; by default the same bytes as before there was one."""

import json
from pathlib import Path
from typing import Any

import faults
import pytest
import yaml

from greenlit.jsonl import read_rows
from greenlit.types import Annotated

ANNOTATED = faults.DATA / "train/candidates_annotated.jsonl"
PROGRAMS = [
    faults.RIGHT,
    faults.WRONG,
    "def f(x):\n    return x + {n} if x < 2 else 0\n",
    'def f(x: int) -> int:\n    """Add {n} to it."""\n    return x + {n}\n',
    "def f( x ):\n  if x: return x+{n};\n  return {n}\n",
    "def f(x:",
    "import os\nos._exit(0)",
]
HALF = '"def f(x):\\n    return x + 1 if x < 2 else 0\\n"'
AS_BEFORE = (
    f'{{"task_id":"add-1","candidate_idx":2,"decoding":"sampled","text":{HALF},"code":{HALF},"solution":{HALF},'
    '"tokens":43,"finish_reason":"eos","logprob":null,"seed":0,"prompt_hash":"f4fcf67aee70371e","model":"model",'
    '"backend":null,"dtype":null,"served_by":null,"strategy":null,'
    '"passed":false,"passed_hidden":null,"passed_all":false,"verdict":"failed","tests_passed":2,"tests_total":4,'
    '"error":"test 2: f(2): got 0, expected 3","level":"LEVEL","metrics":{"loc":2,"tokens":43,'
    '"cyclomatic_complexity":2,"nesting_depth":1,"ast_hash":"157ebadbdad23fa9","novelty":NOVELTY},'
    '"rewards":{"tests":0.5},"reward":0.5}'
)
"""The row that annotate of the version before the `rewards` section wrote, but for level, novelty and what candidates
tell of their sampling since then."""


def annotated(project: Path, rewards: dict[str, Any] | None, **variables: str) -> tuple[list[Annotated], str]:
    """Run the stage on PROGRAMS with these rewards, from nothing; the rows, and what it said."""
    document = yaml.safe_load(faults.PARAMS)
    if rewards is not None:
        document["rewards"] = rewards
    (project / "params.yaml").write_text(yaml.safe_dump(document))
    faults.write_candidates(project, PROGRAMS)
    (project / ".work/verdicts.sqlite").unlink(missing_ok=True)
    done = faults.stage(project, "annotate", **variables)
    assert done.returncode == 0, done.stderr
    return list(read_rows(project / ANNOTATED, Annotated)), done.stderr


def test_the_default_writes_what_it_always_wrote(project: Path) -> None:
    rows, _ = annotated(project, None)
    line = (project / ANNOTATED).read_text().splitlines()[2]
    expected = AS_BEFORE.replace("LEVEL", rows[2].level).replace("NOVELTY", json.dumps(rows[2].metrics.novelty))
    assert line == expected


EVERYTHING = {
    "weights": {
        "tests": 4.0, "speed": 1.0, "syntax": 0.0, "execution": 0.0, "style": 1.0, "documentation": 1.0,
        "complexity": 1.0, "overlap": 0.0, "length": 0.0, "custom": 0.0,
    },
    "custom": "mine.py:f",
}  # fmt: skip


def test_every_reward_of_every_candidate_and_the_same_bytes_again(project: Path) -> None:
    (project / "mine.py").write_text("def f(code, tokens): return [len(c) / t for c, t in zip(code, tokens)]")
    rows, _ = annotated(project, EVERYTHING)
    first = (project / ANNOTATED).read_bytes()
    right, wrong, half, documented, ugly, broken, exits = (rows[place].rewards for place in range(len(PROGRAMS)))
    assert right == {
        "tests": 1.0, "speed": 0.5, "syntax": 1.0, "execution": 1.0, "style": 1.0, "documentation": 0.0,
        "complexity": 1.0, "overlap": 1.0, "length": 0.0, "custom": 1.0,
    }  # fmt: skip
    assert rows[0].reward == pytest.approx((4 + 0.5 + 1 + 0 + 1) / 8)
    assert (documented["documentation"], documented["style"], rows[3].reward) == (1.0, 1.0, pytest.approx(7.5 / 8))
    assert ugly["style"] == pytest.approx(1 / 3), "E701 and E703 in three lines"
    assert ugly["complexity"] == pytest.approx(0.5 / 2 + 0.5 * 2 / 3)
    for failing in (wrong, half, broken, exits):
        assert {failing[name] for name in ("speed", "style", "documentation", "complexity")} == {0.0}
    assert (half["tests"], rows[2].reward) == (0.5, 0.25)
    assert (broken["syntax"], broken["execution"], exits["syntax"], exits["execution"]) == (0.0, 0.0, 1.0, 0.0)
    assert min(row.reward for row in rows if row.passed) > max(row.reward for row in rows if not row.passed)
    annotated(project, EVERYTHING)
    assert (project / ANNOTATED).read_bytes() == first


def test_a_reward_of_the_users_that_goes_wrong_is_null_and_told(project: Path) -> None:
    (project / "mine.py").write_text("def f(code): return [1 / (len(c) - len('def f(x:')) for c in code]")
    rows, said = annotated(project, {"weights": {"tests": 1.0, "custom": 1.0}, "custom": "mine.py:f"})
    lost = [row for row in rows if row.solution.strip() == "def f(x:"]
    assert len(lost) == 3, "one of each problem"
    for row in rows:
        assert (row.reward is None) == (row.rewards["custom"] is None) == (row in lost)
    assert "raised ZeroDivisionError: division by zero (mine.py:1); left out" in said
    assert f"rewards.custom went wrong on 3 of {len(rows)} completions" in said


def test_a_custom_reward_that_is_not_there_is_one_clear_error(project: Path) -> None:
    document = yaml.safe_load(faults.PARAMS)
    document["rewards"] = {"weights": {"tests": 1.0, "custom": 1.0}, "custom": "mine.py:f"}
    (project / "params.yaml").write_text(yaml.safe_dump(document))
    faults.write_candidates(project, PROGRAMS)
    before = (project / ANNOTATED).read_bytes()
    faults.told(faults.stage(project, "annotate"), 2, "params.yaml: rewards.custom: no file mine.py")
    assert (project / ANNOTATED).read_bytes() == before
