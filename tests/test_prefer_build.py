"""What people say in human/<dataset>/: checked, never of a problem that is measured on, mixed by weight, counted."""

import json
import re
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from faults import RL, fails, lines, stage, told
from hypothesis import given
from hypothesis import strategies as st

from greenlit.config import DpoParams, HumanParams, SftParams
from greenlit.errors import DataError
from greenlit.jsonl import read_json, read_rows
from greenlit.pairs.human import HumanRows, copies
from greenlit.preferences.files import Problems, Said
from greenlit.preferences.records import Demonstration, Preference
from greenlit.training.rows import training_rows
from greenlit.types import AssertTest, NBest, Pair, Problem

HUMAN = Path("human/file")
RIGHT, WRONG = "def f(x):\n    return 1 + x\n", "def f(x):\n    return 2 + x\n"
PREFERS_PLAIN = {"task_id": "add-1", "chosen": "def f(x):\n    return x + 1\n", "rejected": "def f(x):\n    return x\n"}
PREFERS_WRONG = {"task_id": "add-1", "chosen": PREFERS_PLAIN["rejected"], "rejected": PREFERS_PLAIN["chosen"]}
OF_ITS_OWN = {"prompt": "Say hi.\n", "chosen": "hi", "rejected": "ho<eos>", "by": "a"}


def say(project: Path, preferences: list[Any] | str = (), demonstrations: list[Any] | str = ()) -> None:
    """Put these rows where people's rows belong."""
    (project / HUMAN).mkdir(parents=True, exist_ok=True)
    for name, rows in (("preferences", preferences), ("demonstrations", demonstrations)):
        if rows:
            (project / HUMAN / f"{name}.jsonl").write_text(rows if isinstance(rows, str) else lines(rows))


def build(project: Path) -> tuple[list[Pair], list[NBest], dict[str, Any], str]:
    done = stage(project, "build")
    assert done.returncode == 0, done.stderr
    rl = project / RL
    pairs, best = list(read_rows(rl / "pairs.jsonl", Pair)), list(read_rows(rl / "nbest.jsonl", NBest))
    return pairs, best, read_json(rl / "manifest.json"), done.stderr


def outputs(project: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in (project / RL).iterdir()}


def test_without_human_files_nothing_changes(project: Path) -> None:
    before = outputs(project)
    assert set(json.loads(before["manifest.json"])["settings"]["build"]) == {
        "n_best", "n_fails", "max_pairs", "margin", "least_reward", "shuffle_verdicts",
    }  # fmt: skip
    assert "human" not in json.loads(before["manifest.json"])
    (project / HUMAN).mkdir(parents=True)
    (project / HUMAN / "README.md").write_text("nobody said anything yet")
    build(project)
    assert outputs(project) == before


def test_preferences_become_pairs_behind_those_of_execution(project: Path) -> None:
    before, *_ = build(project)
    say(project, [PREFERS_PLAIN, OF_ITS_OWN])
    pairs, _, manifest, _ = build(project)
    assert pairs[: len(before)] == before
    known, own = pairs[len(before) :]
    assert known.prompt == next(pair.prompt for pair in before if pair.task_id == "add-1")
    assert (known.chosen, known.rejected) == (PREFERS_PLAIN["chosen"] + "<eos>", PREFERS_PLAIN["rejected"] + "<eos>")
    assert (known.reason, known.chosen_idx, known.rejected_idx) == ("human", None, None)
    assert (own.prompt, own.chosen, own.rejected) == ("Say hi.\n", "hi<eos>", "ho<eos>")
    assert manifest["pairs"] == len(pairs)
    assert manifest["pairs_by_reason"]["human"] == 2
    assert set(manifest["inputs_sha256"]) == {"problems", "candidates_annotated", "preferences"}
    dpo = DpoParams(method="dpo", reads=str(project / RL / "pairs.jsonl"), start="m", learning_rate=1e-3)
    assert training_rows(dpo, "<eos>")[-1] == {"prompt": "Say hi.\n", "chosen": "hi<eos>", "rejected": "ho<eos>"}


def test_the_manifest_counts_where_people_and_execution_agree(project: Path) -> None:
    say(project, [PREFERS_PLAIN, PREFERS_WRONG, PREFERS_WRONG, OF_ITS_OWN])
    assert build(project)[2]["human"]["preferences"] == {
        "rows": 4, "pairs": 4, "without_problem": 1, "execution_agrees": 1, "execution_disagrees": 2,
    }  # fmt: skip


def test_demonstrations_come_first_and_those_that_fail_are_left_out_and_named(project: Path) -> None:
    say(
        project,
        demonstrations=[
            {"task_id": "add-1", "completion": RIGHT},
            {"task_id": "add-1", "completion": WRONG},
            {"prompt": "Say hi.\n", "completion": "hi"},
        ],
    )
    _, best, manifest, told_on_stderr = build(project)
    assert "warning: human/file/demonstrations.jsonl:2: left out: it fails its problem's tests" in told_on_stderr
    assert [(row.id, row.best_list[0].text, row.best_list[0].passed) for row in (best[0], best[-1])] == [
        ("add-1", RIGHT, True), (best[-1].id, "hi", None),
    ]  # fmt: skip
    assert best[-1].id.startswith("human:")
    assert manifest["human"]["demonstrations"] == {
        "rows": 3, "programs": 2, "without_problem": 1, "failing": 1, "not_run": 1,
    }  # fmt: skip
    sft = SftParams(method="sft", reads=str(project / RL / "nbest.jsonl"), start="m", learning_rate=1e-3)
    rows = training_rows(sft, "<eos>")
    assert {"prompt": "Say hi.\n", "completion": "hi<eos>"} in rows
    assert [row["completion"] for row in rows].count(RIGHT + "<eos>") == 1
    assert not any(WRONG in row["completion"] for row in rows)


def test_weights_are_numbers_of_rows(project: Path) -> None:
    params = project / "params.yaml"
    human = "build: {max_pairs: 4, human: {preferences: 3, demonstrations: 0}}"
    params.write_text(params.read_text().replace("build: {max_pairs: 4}", human))
    say(project, [PREFERS_PLAIN, OF_ITS_OWN | {"weight": 0}], [{"prompt": "Say hi.\n", "completion": "hi"}])
    pairs, best, manifest, _ = build(project)
    assert [pair.chosen for pair in pairs if pair.reason == "human"] == [PREFERS_PLAIN["chosen"] + "<eos>"] * 3
    assert not any(row.id.startswith("human:") for row in best)
    assert manifest["human"]["weights"] == {"preferences": 3.0, "demonstrations": 0.0, "check": True}


def test_a_placebo_learns_nothing_from_people(project: Path) -> None:
    params = project / "params.yaml"
    params.write_text(params.read_text().replace("{max_pairs: 4}", "{max_pairs: 4, shuffle_verdicts: true}"))
    say(project, [PREFERS_PLAIN])
    pairs, _, manifest, told_on_stderr = build(project)
    assert "human/file: left out of the placebo" in told_on_stderr
    assert "human" not in {pair.reason for pair in pairs} | set(manifest)


BAD_ROWS = {
    "test": ({"task_id": "add-5"}, "task_id: 'add-5' is a problem of the test split, which is only measured on"),
    "validation": ({"task_id": "add-4"}, "task_id: 'add-4' is a problem of the validation split"),
    "unknown": ({"task_id": "add-9"}, "task_id: 'add-9' is none of the 3 problems of the train split"),
    "test's prompt": ({"prompt": '"""add   5.\n"""'}, "prompt: repeats 'add-5' of the test split"),
    "no prompt": ({}, "prompt: must not be empty where there is no task_id"),
    "same": ({"prompt": "p", "rejected": "hi "}, "chosen and rejected are the same"),
    "empty": ({"prompt": "p", "chosen": ""}, "chosen: must not be empty"),
    "wrong type": ({"prompt": "p", "chosen": 7}, "chosen.str: input should be a valid string (found 7)"),
    "weight": ({"prompt": "p", "weight": -1}, "weight: input should be greater than or equal to 0 (found -1)"),
    "messages": (
        {"prompt": [{"role": "user", "content": "p"}]},
        "prompt: must be text: the model to be trained has no chat template (found messages)",
    ),
}


@pytest.mark.parametrize("fault", BAD_ROWS)
def test_a_bad_row_is_refused_with_its_place(project: Path, fault: str) -> None:
    changes, words = BAD_ROWS[fault]
    say(project, [PREFERS_PLAIN, {"chosen": "hi", "rejected": "ho"} | changes])
    fails(project, "build", 2, "human/file/preferences.jsonl:2: ", words)


def test_a_torn_line_and_a_file_that_nobody_reads_are_told(project: Path) -> None:
    say(project, lines([PREFERS_PLAIN]) + '{"task_id": "add-1", "cho')
    fails(project, "build", 2, "human/file/preferences.jsonl:2: invalid JSON")
    (project / HUMAN / "preferences.jsonl").rename(project / HUMAN / "preference.jsonl")
    told(stage(project, "build"), 2, "human/file/preference.jsonl: nobody reads a file of this name", "hint: preferenc")


def test_a_chat_models_rows_are_messages() -> None:
    rows = [
        Preference(prompt="Say hi.", chosen="hi", rejected="ho"),
        Preference.model_validate_json(
            '{"prompt": [{"role": "user", "content": "q"}], "chosen": [{"role": "assistant", "content": "a"}],'
            ' "rejected": "b"}'
        ),
    ]
    human = HumanRows(Said([("f:1", rows[0]), ("f:2", rows[1])]), HumanParams(), {}, 0, "<eos>", chat=True)
    one, two = human.pairs()
    assert one.prompt == [{"role": "user", "content": "Say hi."}]
    assert one.chosen == [{"role": "assistant", "content": "hi"}]
    assert (two.prompt, two.rejected) == ([{"role": "user", "content": "q"}], [{"role": "assistant", "content": "b"}])


def test_whole_programs_lose_the_lines_that_the_prompt_ends_with() -> None:
    problem = Problem(task_id="t", starter_code="def f(x):\n", tests=[AssertTest(code="assert f(1) == 2")])
    row = Demonstration(task_id="t", completion="def f(x):\n    return x + 1\n")
    human = HumanRows(Said([], [("f:1", row)]), HumanParams(check=False), {"t": problem}, 0, "<eos>", chat=False)
    human.check_demonstrations(None)
    (entry,) = human.best_of(problem)
    assert (entry.text, entry.code, entry.passed) == ("    return x + 1\n", row.completion, None)


def test_a_long_statement_is_found_inside_a_prompt_and_a_short_one_only_as_a_whole(tmp_path: Path) -> None:
    tests = [AssertTest(code="assert f(1) == 2")]
    statement = "Return the sum of the even numbers."
    held_out = [
        Problem(task_id="long", prompt=statement, tests=tests),
        Problem(task_id="s", prompt="Sum.", tests=tests),
    ]
    (tmp_path / "test.jsonl").write_text("".join(problem.model_dump_json() + "\n" for problem in held_out))
    problems = Problems({}, {"test": tmp_path / "test.jsonl"})
    for prompt in (f"Please: '''{statement.upper()}'''\nassert f([2]) == 2", "`sum`."):
        with pytest.raises(DataError, match=r"repeats '(long|s)' of the test split"):
            problems.check("f:1", Preference(prompt=prompt, chosen="a", rejected="b"))
    for prompt in ("Return the sum of the even numbers, squared.", "A sum."):
        problems.check("f:1", Preference(prompt=prompt, chosen="a", rejected="b"))


@given(weight=st.floats(0, 5), key=st.text())
def test_copies_are_the_weight_rounded_down_or_up(weight: float, key: str) -> None:
    assert abs(copies(weight, key) - weight) < 1
    assert copies(weight, key) == copies(weight, key)
    assert copies(float(int(weight)), key) == int(weight)


def test_a_half_takes_half_of_the_rows_and_a_new_row_changes_no_other() -> None:
    rows = [Preference(prompt=f"p{n}", chosen="a", rejected="b") for n in range(2000)]

    def drawn(said: list[Preference], seed: int) -> Counter[str]:
        places = [(f"f:{n}", row) for n, row in enumerate(said)]
        human = HumanRows(Said(places), HumanParams(preferences=1.5), {}, seed, "", chat=False)
        return Counter(str(pair.prompt) for pair in human.pairs())

    found = drawn(rows, 0)
    assert 2900 < found.total() < 3100  # 3000, standard deviation 22
    assert drawn(rows[1:], 0) == Counter({prompt: n for prompt, n in found.items() if prompt != "p0"})
    assert drawn(rows, 1) != found


def test_the_examples_of_the_readme_are_rows() -> None:
    readme = (Path(__file__).parent.parent / "human/README.md").read_text()
    rows = re.findall(r"^\{.*\}$", readme, re.MULTILINE)
    kinds = [Preference if "chosen" in row else Demonstration for row in rows]
    assert kinds == [Preference, Demonstration]
    for kind, row in zip(kinds, rows, strict=True):
        kind.model_validate_json(row)
