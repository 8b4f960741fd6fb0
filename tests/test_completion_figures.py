"""Figures, pairs and reports of problems without tests, on rows made by hand."""

import json
from pathlib import Path
from typing import Any

import pytest

from greenlit.config import SftParams
from greenlit.errors import DataError, MismatchError
from greenlit.evaluation.compare import compare, metrics_of
from greenlit.evaluation.markdown import write_markdown
from greenlit.evaluation.matches import METRICS
from greenlit.evaluation.plots import write_plots
from greenlit.evaluation.report import build_summary, headline, pick_examples, plain_table
from greenlit.evaluation.summary import (
    detectable_effect_of,
    effect_sentence,
    evaluation_document,
    flat_figures,
    summarise,
)
from greenlit.evaluation.tables import write_tables
from greenlit.execution.intake import ProblemIndex
from greenlit.grade.grade import Assignment, grade
from greenlit.iterate.choosing import Choice
from greenlit.jsonl import write_rows
from greenlit.pairs.manifest import Counts, manifest
from greenlit.pairs.nbest import n_best
from greenlit.pairs.pairs import preference_pairs, shuffle_verdicts
from greenlit.registry.evidence import lineage_tags
from greenlit.text_match import match_of
from greenlit.training.rows import training_rows
from greenlit.types import Annotated, Match, Metrics, Problem

HEAD = "def f(x):\n    y = x"
PROBLEM = Problem(task_id="a", kind="completion", starter_code=HEAD, reference=[f"{HEAD}\n    return y + 1\n"])


def row(task_id: str, index: int, similarity: float, **more: Any) -> Annotated:
    """A candidate; what is said of it besides its likeness is as good as any."""
    text = more.pop("text", f"\n    return {index + 2}")
    code = f"{HEAD}{text}\n"
    given: dict[str, Any] = {
        "task_id": task_id, "candidate_idx": index, "decoding": "greedy" if index < 0 else "sampled", "text": text,
        "code": code, "solution": code, "tokens": 9, "finish_reason": "eos", "seed": 0, "prompt_hash": "h",
        "model": "m", "passed": None, "passed_hidden": None, "passed_all": None, "verdict": "untested",
        "tests_passed": 0, "tests_total": 0, "level": "none", "rewards": {"overlap": similarity}, "reward": similarity,
        "match": Match(exact=similarity == 1.0, edit_similarity=similarity),
        "metrics": Metrics(
            loc=3, tokens=9, cyclomatic_complexity=1, nesting_depth=1, ast_hash=f"{task_id}{index}", novelty=None
        ),
    }  # fmt: skip
    return Annotated(**{**given, **more})


def document(*similarities: tuple[str, list[float]], seed: int = 0) -> dict[str, Any]:
    """Of each problem the greedy completion's likeness, then the samples'."""
    rows = [row(name, place - 1, one) for name, values in similarities for place, one in enumerate(values)]
    splits = {split: summarise(rows, [1, 8], 0.95, 500, seed) for split in ("validation", "test")}
    found = evaluation_document(splits, {"ks": [1, 8], "confidence": 0.95, "resamples": 500}, {}, seed)
    return {**found, "made_with": {}}


BEFORE = document(("a", [0.2, 0.1, 0.3]), ("b", [0.5, 0.5, 1.0]), ("c", [1.0, 1.0, 1.0]), ("d", [0.0, 0.0, 0.2]))
AFTER = document(("a", [0.6, 0.5, 0.5]), ("b", [1.0, 1.0, 1.0]), ("c", [1.0, 0.8, 1.0]), ("d", [0.3, 0.2, 0.2]))


def test_figures_are_means_over_samples_then_problems() -> None:
    test = BEFORE["splits"]["test"]
    assert BEFORE["kind"] == "completion"
    assert metrics_of(BEFORE) == list(METRICS)
    assert test["edit_similarity"]["value"] == pytest.approx((0.2 + 0.75 + 1.0 + 0.1) / 4)
    assert test["exact_match"]["value"] == pytest.approx((0 + 0.5 + 1 + 0) / 4)
    assert test["greedy_edit_similarity"]["value"] == pytest.approx((0.2 + 0.5 + 1.0 + 0.0) / 4)
    assert test["greedy_exact_match"]["value"] == pytest.approx(0.25)
    assert all(
        test[name]["n"] == 4 and test[name]["low"] < test[name]["value"] < test[name]["high"] for name in METRICS
    )
    assert test["passed"] is None
    assert test["candidates"] == {"sampled": 8, "greedy": 4, "unmeasured": 0}
    assert not any("pass@" in name for name in [*test, *flat_figures(BEFORE)])
    assert flat_figures(BEFORE)["edit_similarity_n"] == 4


def test_what_is_not_whole_is_refused() -> None:
    with pytest.raises(DataError, match="has no greedy candidate"):
        summarise([row("a", 0, 0.5)], [1], 0.95, 500, 0)
    with pytest.raises(DataError, match="problems with tests and of problems without"):
        summarise([row("a", -1, 0.5), row("a", 0, 0.5, match=None)], [1], 0.95, 500, 0)


def test_before_and_after_are_paired_by_problem() -> None:
    found = compare(BEFORE, AFTER, "test")
    assert found["edit_similarity"]["value"] == pytest.approx((0.3 + 0.25 - 0.1 + 0.1) / 4)
    assert found["greedy_exact_match"]["value"] == pytest.approx(0.25)
    assert found["greedy_exact_match"]["p"] == 1.0, "McNemar, one problem won"
    assert 0 < found["edit_similarity"]["p"] <= 1
    assert (found["wins"], found["losses"]) == (["a", "b", "d"], [])
    with_tests = {**AFTER, "kind": "program"}
    with pytest.raises(MismatchError, match="kind: 'completion' before, 'program' after"):
        compare(BEFORE, with_tests, "test")
    choice = Choice(BEFORE)
    assert choice.metrics[0] == "edit_similarity"
    assert choice.add(AFTER) in {True, False}


def test_the_detectable_change_is_of_edit_similarity() -> None:
    effect = detectable_effect_of(BEFORE, "test")
    assert effect.n == 4
    assert 0 < effect.low < effect.high
    assert effect_sentence(effect, "edit_similarity").startswith("Detectable change of edit_similarity: between ")


def test_the_report_says_that_nothing_was_run(tmp_path: Path) -> None:
    audit = {
        "kept": {"train": 1, "validation": 4, "test": 4},
        "grades": {split: {"A": 0, "B": 0, "C": 4} for split in ("train", "validation", "test")},
        "quarantined_by_split": {"train": 0, "validation": 0, "test": 0}, "marks": {"no tests": 9},
        "dropped_by_reason": {}, "quarantined_by_reason": {},
        "leaks": {"checks": [], "against": {}, "not_checked": [], "by_check": {}, "by_evaluation": {}},
    }  # fmt: skip
    summary = build_summary("c", 0, BEFORE, {"rloo": AFTER}, "m.json", {"rloo": "x"}, {}, audit)
    assert summary["kind"] == "completion"
    assert summary["outcomes"]["baseline"]["passed"] is None
    assert set(summary["headroom_recovered"]["rloo"]) == {"edit_similarity", "greedy_edit_similarity"}
    assert "edit_similarity on test went from 0.512 to 0.650" in headline(summary)
    assert "greedy_exact_match" in plain_table(summary)
    examples = pick_examples(summary["changed"]["rloo"], [row("a", -1, 0.2)], [row("a", -1, 0.6)], 1, {"a": PROBLEM})
    assert examples[0].statement == f"{HEAD}\n--- held back ---\n    return y + 1\n"
    assert examples[0].before.solution == "    return 1\n"
    pictures = write_plots(tmp_path, summary, BEFORE, {"rloo": AFTER}, {"rloo": []})
    write_markdown(tmp_path / "r.md", summary, {"rloo": examples}, pictures)
    text = (tmp_path / "r.md").read_text()
    for said in (
        "nothing was run, and `passed` is null for every candidate", "| passed | null (no tests) | null (no tests) |",
        "came nearer to the held-back text", "edit similarity 0.600", "There are no tests, and no pass@k.",
        "What is seen without running", "| validation | 4 | 0 | 0 | 4 | 0 |", "kept, marked: no tests",
    ):  # fmt: skip
        assert said in text
    assert "Programs ran at sandbox level" not in text
    files = write_tables(tmp_path, summary, BEFORE, {"rloo": AFTER}, {"rloo": []})
    header = files[1].read_text().splitlines()[0]
    assert header.startswith("task_id,method,baseline_edit_similarity,after_edit_similarity")


ROWS = [row("a", index, one) for index, one in enumerate((0.9, 0.1, 0.5, 0.55, 0.12))]


def test_pairs_prefer_by_a_margin_and_use_all_evenly() -> None:
    pairs = list(preference_pairs(PROBLEM, HEAD, ROWS, 2, "<eos>", 0.2))
    assert [(one.chosen_idx, one.rejected_idx) for one in pairs] == [(0, 1), (3, 4)]
    assert {one.reason for one in pairs} == {"higher reward"}
    assert pairs[0].chosen == "\n    return 2\n<eos>"
    every = list(preference_pairs(PROBLEM, HEAD, ROWS, 99, "", 0.2))
    assert len({(one.chosen_idx, one.rejected_idx) for one in every}) == len(every) == 8
    assert list(preference_pairs(PROBLEM, HEAD, ROWS, 99, "", 0.85)) == []


def test_what_ran_out_of_tokens_counts_where_its_block_had_ended() -> None:
    ran_on = row("a", 5, 1.0, finish_reason="length", text="\n    return y + 1\n\n\ndef g(")
    ran_on = ran_on.model_copy(update={"solution": f"{HEAD}\n    return y + 1\n"})
    cut_off = row("a", 6, 1.0, finish_reason="length", text="\n    return y + 1\n")
    unknown = row("a", 7, 1.0, reward=None)
    pairs = list(preference_pairs(PROBLEM, HEAD, [ran_on, cut_off, unknown, *ROWS], 1, "<eos>", 0.2))
    assert (pairs[0].chosen_idx, pairs[0].chosen) == (5, "\n    return y + 1\n<eos>")


def test_the_best_are_imitated_if_they_are_good_enough(tmp_path: Path) -> None:
    best = n_best(PROBLEM, HEAD, ROWS, 2, 5, (), 0.3)
    assert [one.candidate_idx for one in best.best_list] == [0, 3]
    assert (best.num_pass, best.num_fail, best.num_uniq) == (None, None, 3)
    assert {one.passed for one in best.best_list} == {None}
    path = tmp_path / "nbest.jsonl"
    write_rows(path, [best])
    params = SftParams(method="sft", reads=str(path), start="assets/models/base", learning_rate=0.001)
    assert [one["completion"] for one in training_rows(params, "<eos>")] == [
        "\n    return 2\n<eos>",
        "\n    return 5\n<eos>",
    ]
    write_rows(path, [n_best(PROBLEM, HEAD, ROWS, 2, 5, (), 0.95)])
    with pytest.raises(DataError, match="nothing to learn from"):
        training_rows(params, "<eos>")


def test_the_manifest_counts_no_passes(tmp_path: Path) -> None:
    counts = Counts("completion")
    counts.add(ROWS, [])
    told = manifest(counts, {}, {}, "none")
    assert told["kind"] == "completion"
    assert (told["problems_all_pass"], told["problems_none_passes"]) == (None, None)
    assert told["train_edit_similarity"] == pytest.approx(0.434)
    assert "train_pass@k" not in told
    assert "build.margin apart" in (counts.nothing_to_learn() or "")


def test_the_placebo_deals_out_likeness_too() -> None:
    dealt = shuffle_verdicts(ROWS, 1)
    assert sorted(one.reward for one in dealt) == sorted(one.reward for one in ROWS)
    assert [one.reward for one in dealt] != [one.reward for one in ROWS]
    assert all(one.match.edit_similarity == one.reward for one in dealt)
    assert [one.text for one in dealt] == [one.text for one in ROWS]


def test_a_version_in_the_registry_does_not_pretend_to_pass_tests(tmp_path: Path) -> None:
    figures = {"after_test": AFTER["splits"]["test"]["edit_similarity"]}
    tags = lineage_tags({}, "base", 0, figures, tmp_path, "completion")
    assert tags["kind"] == "completion"
    assert "no tests, nothing was run, passed is null" in tags["measured_by"]
    assert "pass@" not in tags["figures"]
    assert "execution" in lineage_tags({}, "base", 0, {}, tmp_path)["measured_by"]


def test_completions_are_not_graded(tmp_path: Path) -> None:
    from greenlit.config import AnnotateParams

    samples = tmp_path / "samples.jsonl"
    samples.write_text(json.dumps({"task_id": "a", "completion": "\n    return y + 1\n"}) + "\n")
    work = Assignment(ProblemIndex([PROBLEM]), samples, tmp_path / "out.jsonl", AnnotateParams())
    with pytest.raises(DataError, match="have no tests"):
        grade(work, [1], 1, None)


def test_match_takes_the_nearest_reference() -> None:
    two = PROBLEM.model_copy(update={"reference": [*PROBLEM.reference, f"{HEAD}\n    return x\n"]})
    found = match_of(f"{HEAD}\n    return x\n", two)
    assert (found.exact, found.edit_similarity) == (True, 1.0)
    assert (
        match_of("x", Problem.model_validate({"task_id": "q", "tests": [{"kind": "assert", "code": "assert 1"}]}))
        is None
    )
