"""`greenlit data list`, `show` and `stats`: what is said of datasets and problems is what is in them."""

import json
from pathlib import Path
from typing import Any

import pytest
import workspace

from greenlit.data import catalogue, showing, statistics
from greenlit.data.sources import opened
from greenlit.errors import ConfigError, DataError
from greenlit.problems.adapters import ADAPTERS
from greenlit.problems.records import Dropped
from greenlit.types import Problem

ROOT = Path(__file__).parent.parent


def own(number: int, **changes: Any) -> dict[str, Any]:
    row = {
        "task_id": f"add-{number}",
        "prompt": "Add.",
        "entry_point": "f",
        "reference": [f"def f(x):\n    # why\n    return x + {number}\n"],
        "tests": [{"kind": "call", "input": [1], "output": 1 + number},
                  {"kind": "assert", "code": f"assert f(2) == {2 + number}"},
                  {"kind": "call", "input": [3], "output": 3 + number, "role": "hidden"}],
        "split": "train",
    }  # fmt: skip
    return {**row, **changes}


@pytest.fixture
def file(tmp_path: Path) -> Path:
    rows = [own(1), own(2, split="test", difficulty="hard", prompt="Add two to it."), own(3, reference=[])]
    path = tmp_path / "mine.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def test_every_dataset_is_described(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    listed = {row["name"]: row for row in catalogue.entries()}
    assert list(listed) == list(ADAPTERS)
    assert "starter" in listed["starter"]["presets"]
    assert "mbpp" in listed["mbpp"]["presets"]
    assert [name for name, row in listed.items() if row["evaluation_only"]] == [
        name for name, adapter in ADAPTERS.items() if adapter.evaluation_only
    ]


def test_the_list_is_printed_for_people_and_for_programs(file: Path) -> None:
    text = workspace.greenlit(ROOT, "data", "list").stdout
    assert "CC-BY-4.0" in text
    assert "evaluation only" in text
    rows = json.loads(workspace.greenlit(ROOT, "data", "list", "--json").stdout)
    assert {row["name"] for row in rows} == set(ADAPTERS)


def test_a_problem_is_shown_with_roles_and_reference(file: Path) -> None:
    text = workspace.greenlit(file.parent, "data", "show", "mine.jsonl", "--task-id", "add-2").stdout
    lines = [line for line in text.splitlines() if "f(" in line]
    assert "Add two to it." in text
    assert "shown" in lines[0] and "f(1) -> 3" in lines[0]
    assert "reward" in lines[1] and "assert f(2) == 4" in lines[1]
    assert "hidden" in lines[2] and "f(3) -> 5" in lines[2]
    assert "hidden: evaluation only" in text
    assert "reference (hidden from the model)" in text
    shown = json.loads(workspace.greenlit(file.parent, "data", "show", "file", "--path", "mine.jsonl", "--json").stdout)
    assert shown["task_id"] == "add-1"
    assert [test.get("role", "reward") for test in shown["tests"]] == ["shown", "reward", "hidden"]


def test_what_is_not_there_is_said_with_what_is_near(file: Path) -> None:
    done = workspace.greenlit(file.parent, "data", "show", "mine.jsonl", "--task-id", "add2", code=2)
    assert "no problem 'add2' among 3" in done.stderr
    assert "did you mean add-2" in done.stderr
    nothing = workspace.greenlit(file.parent, "data", "show", "mbpp", code=2)
    assert "nothing of it lies here" in nothing.stderr
    with pytest.raises(ConfigError, match="no dataset 'mbbp'"), opened("mbbp"):
        pass
    with pytest.raises(DataError, match="gives no problem: broken"):
        showing.find([Dropped("x", "broken")], "x", "here")


def test_nothing_in_a_problem_steers_the_terminal(capsys: pytest.CaptureFixture) -> None:
    from rich.console import Console

    nasty = Problem.model_validate(own(1, prompt="a \x1b[31mred[/] [bold]", task_id="x\x1b]0;y\x07"))
    showing.show(Console(), nasty)
    text = capsys.readouterr().out
    assert "\x1b" not in text
    assert "[bold]" in text


def test_statistics_are_counted_by_split(file: Path) -> None:
    with opened(str(file)) as source:
        found = statistics.count(
            "file", source.place, [*source.rows(), Dropped("d", "a picture"), Dropped("e", "a picture")]
        )
    train = found.as_dict()["splits"]["train"]
    assert train["problems"] == 2
    assert train["with_reference"] == 1
    assert train["tests"] == {"least": 3, "median": 3.0, "mean": 3.0, "most": 3, "sum": 6}
    assert train["reference_lines"]["median"] == 2
    assert train["roles"] == {"shown": 2, "reward": 2, "hidden": 2}
    assert found.as_dict()["splits"]["test"]["difficulty"] == {"hard": 1}
    assert found.as_dict()["dropped"] == {"a picture": 2}
    assert statistics.reasons(found.dropped) == ["2 records give no problem: a picture"]
    rows = dict(statistics.table_rows(found))
    assert rows["problems"] == ["2", "1"]
    assert rows["difficulty hard"] == ["0", "1"]


def test_the_picture_repeats_byte_for_byte(file: Path) -> None:
    done = workspace.greenlit(file.parent, "data", "stats", "mine.jsonl")
    assert "tests per problem" in done.stdout
    picture = file.parent / "results/data/file.png"
    first = picture.read_bytes()
    assert first.startswith(b"\x89PNG")
    told = json.loads(workspace.greenlit(file.parent, "data", "stats", "mine.jsonl", "--json").stdout)
    assert told["splits"]["train"]["problems"] == 2
    assert picture.read_bytes() == first


def test_made_problems_need_nothing(tmp_path: Path) -> None:
    done = workspace.greenlit(tmp_path, "data", "show", "starter")
    assert "hidden: evaluation only" in done.stdout


@pytest.mark.parametrize(
    ("dataset", "path", "problems"),
    [("mbpp", "mbpp/mbpp.jsonl", 974), ("mbpp", "mbpp/sanitized-mbpp.json", 427),
     ("humaneval", "humaneval/HumanEval.jsonl.gz", 164),
     ("leetcode", "leetcode/LeetCodeDataset-v0.3.1-test.dev.jsonl.gz", 110)],
)  # fmt: skip
def test_counts_are_those_of_the_files(shared_data: Path, dataset: str, path: str, problems: int) -> None:
    with opened(dataset, shared_data / path) as source:
        found = statistics.count(dataset, source.place, source.rows())
    assert sum(counts.problems for counts in found.splits.values()) + found.dropped.total() == problems
