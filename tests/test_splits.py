"""From records to splits: roles, leaks, broken references, own files; every drop has its reason."""

import json
from pathlib import Path

import pytest

from greenlit.config import AnnotateParams, DatasetParams, Limits, PrepareParams
from greenlit.errors import ConfigError, DataError
from greenlit.execution.judges import Judge
from greenlit.problems.adapters import ADAPTERS, adapter_for
from greenlit.problems.audit import Audit
from greenlit.problems.own import official_split, split_of
from greenlit.problems.records import Dropped
from greenlit.problems.splits import all_filled, split_problems, with_roles
from greenlit.problems.taco import load_taco
from greenlit.types import SPLITS, AssertTest, CallTest, Problem, ScriptTest


def problem(task_id: str, split: str | None, add: int, prompt: str = "", reference: str | None = None) -> Problem:
    tests = [AssertTest(code=f"assert f({x}) == {x + add}") for x in range(3)]
    code = f"def f(x):\n    return x + {add}\n" if reference is None else reference
    return Problem(
        task_id=task_id, prompt=prompt or f"Add {add}.", split=split, tests=tests, entry_point="f", reference=[code]
    )


@pytest.fixture(scope="module")
def judge():
    with Judge(AnnotateParams(allow_portable=True), 1) as made:
        yield made


def splits(judge: Judge, problems: list[Problem], **params) -> tuple[dict[str, list[str]], Audit]:
    audit = Audit()
    made = split_problems(problems, PrepareParams(**{"mutants": 0, **params}), judge, audit)
    return {split: [row.task_id for _, row in made.rows(split)] for split in SPLITS}, audit


GOOD = [problem("v", "validation", 1), problem("t", "test", 2), problem("a", "train", 3), problem("b", "train", 4)]


def test_what_repeats_a_test_problem_leaves_train(judge: Judge) -> None:
    same_text = problem("c", "train", 5, prompt="add  2.")
    renamed = problem("d", "train", 2, prompt="Other words", reference="def f(y):\n    return y + 2  # two\n")
    made, audit = splits(judge, [same_text, renamed, *GOOD])
    assert made == {"train": ["a", "b"], "validation": ["v"], "test": ["t"]}
    assert audit.as_dict()["dropped"] == {
        "c": "repeats a problem of test (prompt): t: add 2.",
        "d": "repeats a problem of test (reference): t",
    }


def test_a_reference_that_fails_its_own_tests_is_quarantined_with_the_reason(judge: Judge) -> None:
    wrong = problem("w", "train", 9, reference="def f(x):\n    return x\n")
    broken = problem("s", "train", 8, reference="def f(x) return x")
    made, audit = splits(judge, [wrong, broken, *GOOD])
    assert made["train"] == ["a", "b"]
    told = audit.as_dict()
    assert told["quarantined"]["w"] == "its own reference does not pass (failed): test 0: assert f(0) == 9: got 0"
    assert told["quarantined_by_reason"] == {
        "its own reference does not pass (failed)": 1,
        "its own reference does not pass (syntax)": 1,
    }
    assert told["reference_passes"] == 4


def test_tests_that_cannot_be_judged_are_reported_not_guessed(judge: Judge) -> None:
    empty = ScriptTest(code="def check(candidate):\n    candidate(1)\n")
    untested = problem("l", "train", 33).model_copy(update={"tests": [empty]})
    made, audit = splits(judge, [*GOOD, untested])
    assert made["train"] == ["a", "b"]
    (row,) = audit.quarantined()
    assert (row.task_id, row.split, row.reason) == ("l", "train", "its tests cannot be judged")
    assert row.detail


def test_problems_without_a_reference_are_kept_and_counted(judge: Judge) -> None:
    bare = GOOD[2].model_copy(update={"task_id": "n", "prompt": "Bare", "reference": []})
    made, audit = splits(judge, [*GOOD, bare])
    assert made["train"] == ["a", "b", "n"]
    assert audit.as_dict()["no_reference"] == 1
    assert audit.as_dict()["problems"]["n"]["grade"] == "C"


def test_limits_take_the_first_and_say_what_they_left_out(judge: Judge) -> None:
    made, audit = splits(judge, GOOD, limits=Limits(train=1))
    assert made["train"] == ["a"]
    assert audit.as_dict()["dropped"] == {"b": "over the limit"}


def test_no_split_no_training(judge: Judge) -> None:
    _, audit = splits(judge, [*GOOD, problem("x", None, 7)])
    assert audit.as_dict()["dropped"] == {"x": "in no split"}
    with pytest.raises(DataError, match="task_id: 'a' stands twice"):
        splits(judge, [*GOOD, GOOD[2]])


def test_every_split_needs_problems() -> None:
    filled = {"train": 2, "validation": 1, "test": 1}
    all_filled(filled, "x", evaluation_only=False)
    with pytest.raises(DataError, match=r"x: test: no problems left \(found train 2, validation 1, test 0;"):
        all_filled({**filled, "test": 0}, "x", evaluation_only=False)
    with pytest.raises(DataError, match=r"x: for evaluation only: .* nothing may learn from them"):
        all_filled({**filled, "train": 0, "validation": 0}, "x", evaluation_only=True)


def test_records_that_give_no_problem_are_counted_under_their_reason(judge: Judge) -> None:
    _, audit = splits(judge, [*GOOD, Dropped("p1", "needs a picture"), Dropped("p2", "needs a picture", "two")])
    assert audit.as_dict()["dropped_by_reason"] == {"needs a picture": 2}
    assert audit.as_dict()["dropped"] == {"p1": "needs a picture", "p2": "needs a picture: two"}


@pytest.mark.parametrize(("shown", "roles"), [(0, "rrr"), (1, "srr"), (2, "ssr"), (9, "ssr")])
def test_the_first_tests_are_shown_and_one_never_is(shown: int, roles: str) -> None:
    made = with_roles(GOOD[0], shown)
    assert "".join(test.role[0] for test in made.tests) == roles
    assert [json.loads(test.model_dump_json()).get("role", "reward")[0] for test in made.tests] == list(roles)


def test_roles_of_the_dataset_stay() -> None:
    own = GOOD[0].model_copy(update={"tests": [AssertTest(code="a"), AssertTest(code="b", role="shown")]})
    assert with_roles(own, 1) is own


def test_own_problems_are_read_split_and_judged(judge: Judge, tmp_path: Path) -> None:
    file = tmp_path / "mine.jsonl"
    rows = [
        {
            "task_id": f"add-{i}",
            "prompt": f"Add {i}.",
            "entry_point": "f",
            "reference": [f"def f(x): return x + {i}"],
            "tests": [
                CallTest(input=[1], output=1 + i).model_dump(),
                {"kind": "assert", "code": f"assert f(2) == {2 + i}"},
            ],
        }
        for i in range(40)
    ]
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    params = DatasetParams(name="file", path=str(file))
    raw = tmp_path / "raw"
    raw.mkdir()
    source = adapter_for(params).fetch(params, raw)
    assert source["path"] == str(file)
    made, audit = splits(judge, list(adapter_for(params).load(raw, params, Limits(), 0)))
    assert sum(map(len, made.values())) == audit.as_dict()["reference_passes"] == 40
    assert all(split_of(task_id) == split for split, ids in made.items() for task_id in ids)
    assert all(made.values())


def test_own_problems_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"dataset.path: must name your file"):
        adapter_for(DatasetParams(name="file")).fetch(DatasetParams(name="file"), tmp_path)
    csv = DatasetParams(name="file", path="x.csv")
    with pytest.raises(ConfigError, match=r"must be JSON Lines or a JSON list, .jsonl or .json \(found x.csv\)"):
        adapter_for(csv).fetch(csv, tmp_path)
    gone = DatasetParams(name="file", path=str(tmp_path / "gone.jsonl"))
    with pytest.raises(ConfigError, match="no such file"):
        adapter_for(gone).fetch(gone, tmp_path)
    with pytest.raises(ConfigError, match="no dataset 'nope'") as error:
        adapter_for(DatasetParams(name="nope"))
    assert error.value.hint == f"one of {', '.join(ADAPTERS)}"


def test_prepare_says_how_problems_are_answered(judge: Judge) -> None:
    made = split_problems(GOOD, PrepareParams(mutants=0, answer_format="reasoning"), judge, Audit())
    assert [row.answer_format for _, row in made.rows("train")] == ["reasoning", "reasoning"]
    assert all('"answer_format":"reasoning"' in line for _, line in made.lines("test"))


def test_nothing_of_an_official_train_half_becomes_test() -> None:
    train = [official_split(str(i), "train") for i in range(4000)]
    assert set(train) == {"train", "validation"}
    assert abs(train.count("validation") / 4000 - 0.1) < 0.02
    assert {official_split(str(i), "test") for i in range(100)} == {"test"}
    assert [official_split(str(i), None) for i in range(100)] == [split_of(str(i)) for i in range(100)]


def test_taco_keeps_to_its_halves_where_rows_tell_them_and_verified_is_drawn() -> None:
    row = {
        "question": "Double it.",
        "solutions": "[]",
        "starter_code": "",
        "input_output": json.dumps({"inputs": ["1"], "outputs": ["2"]}),
    }
    halves = [{**row, "split": half} for half in ["train"] * 60 + ["test"] * 20]
    found = [problem.split for problem in load_taco(halves)]
    assert set(found[:60]) == {"train", "validation"}
    assert set(found[60:]) == {"test"}
    verified = [{**row, "id": number, "split": "train"} for number in range(60)]
    assert {problem.split for problem in load_taco(verified)} == {"train", "validation", "test"}


def test_shares_of_the_splits() -> None:
    found = [split_of(str(i)) for i in range(4000)]
    assert abs(found.count("test") / 4000 - 0.2) < 0.03
    assert abs(found.count("validation") / 4000 - 0.1) < 0.02
