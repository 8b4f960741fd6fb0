"""Rounds: each goes on from the one before, nothing is overwritten, validation chooses, test is looked at once."""

import json
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import faults
import interruption
import pytest
import workspace
import yaml
from flow_runs import noted
from hypothesis import given, settings
from hypothesis import strategies as st
from test_compare import LIMITS, SETTINGS, rows_of
from test_report import AUDIT, evaluation, many

from greenlit.config import load_params, read_yaml
from greenlit.errors import ConfigError, MismatchError
from greenlit.evaluation.markdown import write_markdown
from greenlit.evaluation.measure import measure
from greenlit.evaluation.plots import write_plots
from greenlit.evaluation.report import build_summary, headline, terminal_table
from greenlit.evaluation.summary import evaluation_document, summarise
from greenlit.evaluation.tables import write_tables
from greenlit.iterate import choosing
from greenlit.iterate.choosing import Choice, is_gain
from greenlit.iterate.copies import run_step, start_step
from greenlit.iterate.plan import Model, Step, make_plan
from greenlit.iterate.results import answer, table_rows
from greenlit.iterate.rounds import follow
from greenlit.jsonl import read_json, read_rows, write_rows
from greenlit.paths import BASE
from greenlit.types import Annotated, Problem

PASSING = st.lists(st.integers(0, 4), min_size=3, max_size=12)
"""How many of 4 samples pass, by problem."""
ROUNDS = st.integers(3, 10).flatmap(
    lambda problems: st.lists(st.lists(st.integers(0, 4), min_size=problems, max_size=problems), min_size=2, max_size=5)
)
"""The same by round, the base first."""


def measured(passing, settings=SETTINGS):
    outcomes = {f"p{at:02d}": (count >= 3, [j < count for j in range(4)]) for at, count in enumerate(passing)}
    split = summarise(rows_of(outcomes), settings["ks"], settings["confidence"], settings["resamples"], 0)
    return evaluation_document({"validation": split}, settings, LIMITS, 0)


def value(document) -> float:
    return document["splits"]["validation"]["pass@1"]["value"]


# --- choosing ---------------------------------------------------------------------------------------------------------


@given(ROUNDS)
@settings(max_examples=40, deadline=None)
def test_a_round_is_chosen_only_if_its_gain_over_the_best_before_it_is_more_than_chance(rounds) -> None:
    choice = Choice(measured(rounds[0]))
    for passing in rounds[1:]:
        before = choice.best
        chosen = choice.add(measured(passing))
        delta = choice.changes[-1]["pass@1"]
        assert choice.against[-1] == before
        assert chosen == (delta["low"] > 0)
        assert choice.best == (len(choice.documents) - 1 if chosen else before)
        assert not chosen or value(choice.documents[choice.best]) > value(choice.documents[before])
        assert choice.without_gain == len(choice.documents) - 1 - choice.best


@given(PASSING, st.integers(1, 3))
@settings(max_examples=25, deadline=None)
def test_a_tie_goes_to_the_earlier_round(passing, repeats) -> None:
    choice = Choice(measured([0] * len(passing)))
    choice.add(measured(passing))
    first = choice.best
    assert [choice.add(measured(passing)) for _ in range(repeats)] == [False] * repeats
    assert choice.best == first


def test_the_base_may_win_and_a_round_must_beat_the_best_not_the_one_before() -> None:
    base, worse, good, between = ([2] * 30, [1] * 30, [4] * 30, [3] * 30)
    choice = Choice(measured(base))
    assert not choice.add(measured(worse))
    assert (choice.best, choice.without_gain) == (0, 1)
    assert choice.add(measured(good))
    assert not choice.add(measured(between))  # better than the base, worse than the best
    assert (choice.best, choice.against, choice.without_gain) == (2, [None, 0, 0, 2], 1)


def test_a_gain_within_chance_is_no_gain_and_what_could_not_be_measured_is_none_either() -> None:
    choice = Choice(measured([2, 2, 2, 2, 2, 2]))
    assert not choice.add(measured([3, 2, 2, 1, 3, 2]))
    assert choice.changes[-1]["pass@1"]["value"] > 0
    assert not is_gain({"value": None, "low": None, "high": None, "n": 0, "p": None})


def test_rounds_that_were_measured_differently_are_not_compared() -> None:
    choice = Choice(measured([2] * 5))
    with pytest.raises(MismatchError, match=r"settings\.temperature"):
        choice.add(measured([4] * 5, {**SETTINGS, "temperature": 0.5}))


# --- what a round is --------------------------------------------------------------------------------------------------


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = workspace.make_workspace(tmp_path / "project", "starter")
    monkeypatch.chdir(folder)
    return folder


def change(**sections: object) -> None:
    """Other sections in params.yaml."""
    path = Path("params.yaml")
    path.write_text(yaml.safe_dump({**read_yaml(path), **sections}))


def test_several_methods_need_a_name_and_only_what_it_starts_from_is_trained(project: Path) -> None:
    with pytest.raises(ConfigError, match=r"methods: there are 2") as error:
        make_plan(None, 2, 1)
    assert error.value.hint == "--method NAME, one of dpo, sft"
    with pytest.raises(ConfigError, match="no method 'grpo'"):
        make_plan("grpo", 2, 1)
    plan = make_plan("sft", 2, 1)
    step = plan.round_step(1, None)
    assert (plan.name, step.folder) == ("starter-sft", Path("rounds/starter-sft/r1"))
    assert list(step.content["methods"]) == ["sft"]


def test_a_round_changes_its_name_its_base_and_the_splits_and_nothing_else(project: Path) -> None:
    given = read_yaml(Path("params.yaml"))
    change(methods={"dpo": given["methods"]["dpo"]})
    given = read_yaml(Path("params.yaml"))
    model = Model(1, Path("rounds/starter/r1/results/starter-r1/dpo/merged"), "0123456789abcdef0123.dir")
    step = make_plan(None, 3, 1).round_step(2, model)
    changed = {key for key in given if step.content[key] != given[key]}
    assert changed == {"experiment", "base", "evaluate"}
    assert step.content["experiment"] == "starter-r2"
    assert step.content["base"] == {"model": "previous/r1-0123456789abcdef"}
    assert step.content["evaluate"] == {**given["evaluate"], "test": False}
    assert make_plan(None, 3, 1).test_step(model).content["evaluate"]["test"] is True


def test_a_method_that_starts_from_another_brings_it_along_to_the_rounds_own_results(project: Path) -> None:
    methods = read_yaml(Path("params.yaml"))["methods"]
    methods["dpo"]["start"] = "results/starter/sft/merged"
    change(methods=methods)
    content = make_plan("dpo", 1, 1).round_step(1, None).content
    assert list(content["methods"]) == ["sft", "dpo"]
    assert content["methods"]["dpo"]["start"] == "results/starter-dpo-r1/sft/merged"
    assert content["methods"]["sft"]["start"] == "assets/models/base"


@pytest.mark.parametrize("start", ["models/mine", "results/starter/dpo/merged"])
def test_a_method_that_would_not_go_on_from_the_round_before_is_refused(project: Path, start: str) -> None:
    methods = read_yaml(Path("params.yaml"))["methods"]
    methods["dpo"]["start"] = start
    change(methods=methods)
    with pytest.raises(ConfigError, match=r"methods\.dpo\.start: must be assets/models/base"):
        make_plan("dpo", 1, 1)


def test_a_copy_has_the_projects_files_and_its_own_params_and_follows_changes(project: Path) -> None:
    before = Path("params.yaml").read_bytes()
    Path("custom/mine.py").write_text("x = 1\n")
    Path("src/greenlit/old.py").write_text("")
    step = make_plan("dpo", 1, 1).round_step(1, None)
    start_step(step)
    copy = step.folder
    (copy / "dvc.lock").write_text("its own")
    Path("src/greenlit/old.py").unlink()
    Path("tasks/base.py").write_text("# changed\n")
    Path("dvc.lock").write_text("of the checkout")
    start_step(step)
    assert Path("params.yaml").read_bytes() == before
    assert load_params(copy / "params.yaml").experiment == "starter-dpo-r1"
    assert (copy / "custom/mine.py").exists()
    assert not (copy / "src/greenlit/old.py").exists()
    assert (copy / "tasks/base.py").read_text() == "# changed\n"
    assert (copy / "dvc.lock").read_text() == "its own"
    where = subprocess.run(
        [sys.executable, "-m", "dvc", "cache", "dir"], cwd=copy, capture_output=True, text=True, check=True
    )
    assert Path(where.stdout.strip()).resolve() == (project / ".dvc/cache").resolve()
    commits = [workspace.run(place, "git", "rev-parse", "HEAD").stdout for place in (project, copy)]
    assert commits[0] == commits[1]


def test_models_that_differ_have_different_names_where_a_round_starts_from_them(project: Path) -> None:
    (project / "merged").mkdir()
    plan, names = make_plan("dpo", 2, 1), []
    for md5 in ("1" * 32, "2" * 32):
        step = plan.round_step(2, Model(1, Path("merged"), md5))
        start_step(step)
        names += [path.name for path in (step.folder / "previous").iterdir()]
        assert (step.folder / step.content["base"]["model"]).resolve() == (project / "merged").resolve()
    assert names == ["r1-1111111111111111", "r1-2222222222222222"]  # the older name is gone, as its content is


# --- the loop, with rounds that are told instead of run ---------------------------------------------------------------


class Told:
    """Runs no stage: writes what one would have left, with these pass rates; remembers what it was asked."""

    def __init__(self, validation: list[int], test: list[int] = (1, 3)) -> None:
        self.validation, self.test, self.asked = validation, test, []

    def __call__(self, step: Step) -> None:
        self.asked.append(step.folder.name)
        number = int(step.folder.name.rpartition("r")[2])
        if step.stage == "baseline":
            self._write(step.evaluation(None), evaluation(many(1), many(self.test[number > 0])))
            return
        if number == 1:
            self._write(step.evaluation(None), measured([self.validation[0]] * 40))
        self._write(step.evaluation("dpo"), measured([self.validation[number]] * 40))
        results = step.folder / step.paths.method("dpo")
        self._write(results / "metrics.json", {"method": "dpo", "rows": 7})
        merged = {"path": (step.paths.method("dpo") / "merged").as_posix(), "md5": f"{number}" * 32}
        (step.folder / "dvc.lock").write_text(yaml.safe_dump({"stages": {"merge@dpo": {"cmd": "x", "outs": [merged]}}}))

    def _write(self, path: Path, content: object) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(content))


@pytest.fixture
def one_method(project: Path) -> Path:
    change(methods={"dpo": read_yaml(Path("params.yaml"))["methods"]["dpo"]})
    return project


def test_the_best_round_is_measured_on_test_with_the_base_and_no_other(one_method: Path) -> None:
    told = Told([1, 2, 3, 3])
    found = follow(make_plan(None, 3, 1), told)
    assert told.asked == ["r1", "r2", "r3", "test-r0", "test-r2"]
    assert (found["chosen"], found["ended"]) == (2, "rounds")
    assert [one["better"] for one in found["rounds"]] == [None, True, True, False]
    assert found["test"]["delta"]["pass@1"]["value"] == pytest.approx(0.5)
    assert found["test_looks"] == ["2" * 32]
    assert read_json(Path("results/starter_rounds.json")) == found
    assert "round 2 is chosen on validation. On test: better than the base, pass@1 0.250 -> 0.750" in answer(found)
    rows = table_rows(found)
    assert [row[0] for row in rows] == ["base", "1", "2", "3"]
    assert [row[-1] for row in rows] == ["", "better", "chosen", ""]
    assert (rows[3][4], rows[3][5]) == ("2", "7 pairs")


@pytest.mark.parametrize(("patience", "asked"), [(1, ["r1"]), (2, ["r1", "r2"])])
def test_it_stops_when_patience_ends_and_leaves_test_alone_when_the_base_wins(one_method, patience, asked) -> None:
    told = Told([2, 2, 1, 4])
    found = follow(make_plan(None, 3, patience), told)
    assert told.asked == asked
    assert (found["chosen"], found["ended"], found["test"], found["test_looks"]) == (0, "patience", None, [])
    assert "none is better than the base" in answer(found)


def test_another_chosen_round_is_another_look_at_test_and_the_answer_says_so(one_method: Path) -> None:
    follow(make_plan(None, 1, 1), Told([1, 2]))
    found = follow(make_plan(None, 2, 1), Told([1, 2, 4]))
    assert found["test_looks"] == ["1" * 32, "2" * 32]
    assert "2 models have been measured on test" in answer(found)


def test_who_does_not_want_test_measured_gets_a_choice_only(one_method: Path) -> None:
    change(evaluate={**read_yaml(Path("params.yaml"))["evaluate"], "test": False})
    told = Told([1, 2])
    found = follow(make_plan(None, 1, 1), told)
    assert (told.asked, found["chosen"], found["test"]) == (["r1"], 1, None)
    assert "Test was not measured (evaluate.test is false" in answer(found)


# --- a report without test --------------------------------------------------------------------------------------------


def test_a_report_without_test_shows_validation_and_says_so(tmp_path: Path) -> None:
    baseline, after = measured([1] * 40), {"dpo": measured([3] * 40)}
    summary = build_summary("demo", 0, baseline, after, "m.json", {"dpo": "merged"}, {"seed": 0}, AUDIT)
    assert (summary["baseline_test"], summary["after_test"], summary["delta"]) == (None, None, None)
    assert summary["headroom_recovered"]["dpo"]["pass@1"] == pytest.approx(0.5 / 0.75)
    assert headline(summary).startswith("Yes, it got better: pass@1 on validation went from 0.250 to 0.750")
    assert headline(summary).endswith("Test was not measured.")
    assert str(terminal_table(summary).title).startswith("demo: validation, ")
    logs = {"dpo": [{"step": 1, "loss": 0.7}, {"step": 2, "loss": 0.5}]}
    pictures = write_plots(tmp_path, summary, baseline, after, logs)
    assert next(iter(pictures)) == "Validation figures before and after, with intervals"
    write_tables(tmp_path, summary, baseline, after, logs)
    rows = (tmp_path / "demo_pass_at_k.csv").read_text().splitlines()[1:]
    assert {row.split(",")[1] for row in rows} == {"validation"}
    write_markdown(tmp_path / "demo.md", summary, {}, pictures)
    text = (tmp_path / "demo.md").read_text()
    assert "Test was not measured (`evaluate.test` is false in params.yaml)" in text
    assert "## evaluate: test" not in text
    assert "dpo: of 40 validation problems" in text


def test_without_test_its_problems_are_not_even_read_and_settings_are_written_as_ever(
    tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("GREENLIT_WORKERS", "1")
    Path("params.yaml").write_text(faults.PARAMS)
    params, paths = load_params(), workspace.paths_of(tmp_path)
    for number, split in enumerate(("validation", "test")):
        write_rows(paths.problems(split), [Problem.model_validate(faults.own_problem(number, split))])
    BASE.parent.mkdir(parents=True)
    BASE.symlink_to(tiny_model)
    documents = []
    for test in (True, False):
        changed = params.evaluate.model_copy(update={"test": test})
        documents.append(measure(BASE, params.model_copy(update={"evaluate": changed}), paths, None))
        rows = paths.measured("test", None).read_text().splitlines()
        assert len(rows) == (3 if test else 0)
        paths.problems("test").unlink(missing_ok=True)
    assert [list(document["splits"]) for document in documents] == [["validation", "test"], ["validation"]]
    assert documents[0]["splits"]["validation"] == documents[1]["splits"]["validation"]
    assert "test" not in documents[0]["settings"]


# --- the whole thing --------------------------------------------------------------------------------------------------


def stages_run(output: str) -> list[str]:
    return re.findall(r"Running stage '(.*?)'", output)


def of_step(output: str, number: int) -> str:
    """What was printed during a step, the first being 1."""
    return re.split(r"^(?:round \d+ of \d+|test of round \d+): ", output, flags=re.MULTILINE)[number]


TWO_ROUNDS = ("--rounds", "2", "--patience", "2")


@dataclass
class Iterated:
    """A project in which `greenlit iterate` was stopped in its second round, and then ran to its end."""

    folder: Path
    first: str
    """What was printed until it was stopped."""
    done: subprocess.CompletedProcess
    before: dict[str, str]
    """The checkout as it was."""


@pytest.fixture(scope="module")
def iterated(warm_module: None, tiny: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterated:
    folder = Path(shutil.copytree(tiny, tmp_path_factory.mktemp("iterated") / "project", symlinks=True))
    before = checkout(folder)
    command = (sys.executable, "-m", "greenlit.cli", "iterate", *TWO_ROUNDS)
    process = interruption.start(folder, *command)
    try:
        interruption.wait_for(folder, "round 2 of 2: ", 900)
        interruption.wait_for(folder, "Running stage 'generate'", 900)
        family = interruption.tree(process.pid)
        process.terminate()
        assert process.wait(120) == 143
        assert interruption.gone(family, 20)
    finally:
        interruption.end_all()
    first = (folder / "output.txt").read_text()
    return Iterated(folder, first, workspace.run(folder, *command), before)


@pytest.mark.slow
def test_two_rounds_interrupted_after_the_first_and_then_a_look_at_test(
    iterated: Iterated, tmp_path: Path, monkeypatch
) -> None:
    folder = Path(shutil.copytree(iterated.folder, tmp_path / "project", symlinks=True))
    first, done = iterated.first, iterated.done
    assert stages_run(of_step(first, 1)) == ["baseline", "train@dpo", "merge@dpo", "evaluate@dpo", "report"]
    assert "stopped by SIGTERM; the same command goes on from there" in first

    assert stages_run(of_step(done.stderr, 1)) == []
    assert stages_run(of_step(done.stderr, 2))[-2:] == ["evaluate@dpo", "report"]
    found = read_json(folder / "results/tiny_rounds.json")
    assert answer(found) in " ".join(done.stdout.split())
    check_rounds(folder)

    # ten problems and a tiny model: whether a round is better is left to chance. As if each were, in the same copies:
    trained = made_by_training(folder)
    monkeypatch.setattr(choosing, "is_gain", lambda delta: True)
    monkeypatch.chdir(folder)
    found = follow(make_plan(None, 2, 2), run_step)
    assert made_by_training(folder) == trained
    assert found["chosen"] == 2
    check_test(folder, found)
    assert checkout(folder) == iterated.before


def checkout(folder: Path) -> dict[str, str]:
    """What rounds leave alone."""
    files = ("params.yaml", "dvc.lock", "results/reports/tiny_summary.md")
    return faults.tree(folder / "assets") | {name: (folder / name).read_text() for name in files}


def made_by_training(folder: Path) -> dict[Path, int]:
    """When the rounds' weights were written."""
    return {path: path.stat().st_mtime_ns for path in (folder / "rounds/tiny").glob("r*/results/*/dpo/*/*.safetensors")}


def check_rounds(folder: Path) -> None:
    """Every round has all its files, has left test alone, and starts from the model of the one before."""
    rounds = [folder / f"rounds/tiny/r{number}" for number in (1, 2)]
    for number, place in enumerate(rounds, 1):
        name = f"tiny-r{number}"
        for file in (
            "params.yaml", "dvc.lock", "assets/datasets/starter/train/candidates_annotated.jsonl",
            "assets/rl/starter/pairs.jsonl", f"results/{name}/dpo/adapter/adapter_model.safetensors",
            f"results/{name}/dpo/merged/model.safetensors", f"results/reports/{name}_summary.md",
        ):  # fmt: skip
            assert (place / file).stat().st_size > 0, file
        for file in ("candidates_baseline.jsonl", "dpo/candidates_after.jsonl"):
            assert (place / "assets/datasets/starter/test" / file).read_bytes() == b""
        assert read_json(place / f"results/reports/{name}_summary.json")["baseline_test"] is None
    candidates = [(place / "assets/datasets/starter/train/candidates.jsonl").read_bytes() for place in rounds]
    assert candidates[0] != candidates[1]
    ends, begins = (
        list(read_rows(place / "assets/datasets/starter/validation" / file, Annotated))
        for place, file in zip(rounds, ("dpo/candidates_after.jsonl", "candidates_baseline.jsonl"), strict=True)
    )
    assert [row.text for row in ends] == [row.text for row in begins]


def check_test(folder: Path, found: dict) -> None:
    """The base and the chosen round were measured on test, with figures of their own."""
    documents = []
    for number in (0, 2):
        place = folder / f"rounds/tiny/test-r{number}/assets/datasets/starter/test"
        rows = list(read_rows(place / "candidates_baseline.jsonl", Annotated))
        assert len({row.task_id for row in rows}) == 10
        documents.append(read_json(place / "evaluations_baseline.json")["splits"])
    assert documents[1]["validation"]["pass@1"] == found["rounds"][2]["validation"]["pass@1"]
    assert documents[0]["validation"]["pass@1"] == found["rounds"][0]["validation"]["pass@1"]
    test = found["test"]
    assert [test["baseline"]["pass@1"], test["after"]["pass@1"]] == [one["test"]["pass@1"] for one in documents]
    assert test["delta"]["pass@1"]["n"] == 10


@pytest.mark.slow
def test_the_flow_does_the_same(iterated: Iterated, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(iterated.folder, tmp_path / "project", symlinks=True))
    shutil.rmtree(folder / ".prefect", ignore_errors=True)  # the runs of other tests in the project it is a copy of
    results = folder / "results/tiny_rounds.json"
    by_command = read_json(results)
    results.unlink()
    done = workspace.run(folder, sys.executable, "-m", "flows.iterate", *TWO_ROUNDS)
    assert stages_run(done.stdout + done.stderr) == []
    found = read_json(results)
    assert found == by_command
    assert [one["round"] for one in found["rounds"]] == [0, 1, 2]
    expected = ["round 1 of 2", "round 2 of 2"]
    expected += ["test of round 0", f"test of round {found['chosen']}"] if found["chosen"] else []
    found = noted(folder, "task_run")
    assert sorted(name for name, _ in found) == expected
    assert {state for _, state in found} <= {"Completed", "Cached"}
