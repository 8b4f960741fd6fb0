"""The report says what was measured: promised shape, honest answer, programs that stay quoted, equal bytes."""

import copy
import csv
import io
import json
import re

import pytest
from rich.console import Console
from test_compare import AFTER, BEFORE, LIMITS, SETTINGS, row, rows_of

from greenlit.errors import DataError, MismatchError
from greenlit.evaluation.markdown import fenced, inline, table, visible, write_markdown
from greenlit.evaluation.plots import write_plots
from greenlit.evaluation.report import (
    build_summary,
    direction,
    headline,
    leading_method,
    pick_examples,
    plain_table,
    terminal_table,
)
from greenlit.evaluation.summary import evaluation_document, summarise
from greenlit.evaluation.tables import training_rows, write_tables
from greenlit.types import AssertTest, Problem

AUDIT = {
    "kept": {"train": 5, "validation": 1, "test": 2},
    "grades": {split: {"A": 1, "B": 0, "C": 0} for split in ("train", "validation", "test")},
    "quarantined_by_split": {"train": 3, "validation": 0, "test": 0},
    "marks": {"weak tests": 4},
    "leaks": {
        "checks": ["id", "prompt"],
        "against": {"test": {"problems": 9, "statements": 8, "references": 7}},
        "not_checked": ["against HumanEval (prepare.benchmarks has none)"],
        "removed_from": {"train": 6},
        "by_check": {"prompt": 6},
        "by_evaluation": {"test": 6},
        "found": {"many": {}},
    },
    "dropped_by_reason": {"repeats a problem of test (prompt)": 6},
    "quarantined_by_reason": {"its own reference does not pass (failed)": 3},
    "problems": {"many": {}},
}


def evaluation(validation, test, **changes):
    splits = {
        name: summarise(rows_of(outcomes, **changes), SETTINGS["ks"], 0.95, SETTINGS["resamples"], 0)
        for name, outcomes in (("validation", validation), ("test", test))
    }
    return evaluation_document(splits, SETTINGS, LIMITS, 0)


def many(passing, of=40):
    """`of` problems, every one with `passing` of 4 samples right and a greedy program that is right from 3 on."""
    return {f"p{i:02d}": (passing >= 3, [j < passing for j in range(4)]) for i in range(of)}


def summary_of(after, baseline=None, **changes):
    given = {
        "experiment": "demo",
        "seed": 0,
        "baseline": baseline or evaluation(BEFORE, BEFORE),
        "after": after,
        "rl_manifest": "assets/rl/starter/manifest.json",
        "checkpoint": {method: f"results/demo/{method}/merged" for method in after},
        "made_with": {"seed": 0, "packages": {"torch": "2.13.0"}},
        "audit": AUDIT,
    }
    return build_summary(**(given | changes))


@pytest.fixture(scope="module")
def summary():
    return summary_of({"dpo": evaluation(AFTER, AFTER, model="dpo")})


LOGS = {
    "dpo": [{"step": 1, "loss": 0.7}, {"step": 2, "loss": 0.5, "rewards/accuracies": 0.8}, {"step": 2, "note": "end"}]
}


# summary


def test_the_summary_has_the_promised_shape(summary):
    promised = ["experiment", "seed", "baseline_test", "after_test", "delta", "rl_manifest", "checkpoint"]
    assert list(summary)[:7] == promised
    assert list(summary["baseline_test"]) == ["pass@1", "pass@4", "greedy"]
    assert list(summary["after_test"]["dpo"]["pass@4"]) == ["value", "low", "high", "n"]
    assert list(summary["delta"]["dpo"]["greedy"]) == ["value", "low", "high", "n", "p"]
    assert list(summary["validation"]) == ["baseline", "after", "delta"]
    assert summary["checkpoint"] == {"dpo": "results/demo/dpo/merged"}
    assert summary["sandbox_level"] == "namespaces"
    assert json.loads(json.dumps(summary, allow_nan=False)) == summary


def test_delta_is_after_minus_before(summary):
    for metric, delta in summary["delta"]["dpo"].items():
        after, before = summary["after_test"]["dpo"][metric], summary["baseline_test"][metric]
        assert delta["value"] == pytest.approx(after["value"] - before["value"])


def test_headroom_is_the_share_of_failures_that_went_away(summary):
    assert summary["headroom_recovered"]["dpo"]["greedy"] == pytest.approx(0.25 / 0.5)


def test_no_headroom_is_null():
    perfect = evaluation(many(4), many(4))
    assert summary_of({"dpo": perfect}, perfect)["headroom_recovered"]["dpo"] == {"pass@1": None, "greedy": None}


def test_absolute_paths_are_refused():
    with pytest.raises(DataError, match="must be relative"):
        summary_of({"dpo": evaluation(AFTER, AFTER)}, checkpoint={"dpo": "/home/me/merged"})


def test_an_evaluation_of_other_prompts_never_reaches_the_report():
    with pytest.raises(MismatchError, match="prompt_hash"):
        summary_of({"dpo": evaluation(AFTER, AFTER, prompt_hash="other")})


# the answer


@pytest.mark.parametrize(
    ("before", "after", "answer"),
    [(1, 3, "Yes, it got better"), (3, 1, "No, it got worse"), (2, 2, "No change that can be told from chance")],
)
def test_the_headline_says_what_the_interval_says(before, after, answer):
    found = headline(summary_of({"dpo": evaluation(many(after), many(after))}, evaluation(many(before), many(before))))
    assert found.startswith(answer)
    assert re.search(r"\[[+-]\d\.\d{3}, [+-]\d\.\d{3}\] \(95% interval, n = 40 problems, p [<=] ", found)


def test_a_gain_on_two_problems_is_not_called_a_gain():
    assert headline(
        summary_of({"dpo": evaluation(many(4, 2), many(4, 2))}, evaluation(many(0, 2), many(0, 2)))
    ).startswith("No change that can be told from chance")


def test_interval_and_test_must_agree():
    assert direction({"value": 0.1, "low": 0.02, "high": 0.2, "p": 0.06}, 0.95) == 0
    assert direction({"value": 0.1, "low": 0.02, "high": 0.2, "p": 0.04}, 0.95) == 1
    assert direction({"value": -0.1, "low": -0.2, "high": -0.02, "p": 0.04}, 0.95) == -1
    assert direction({"value": None, "low": None, "high": None, "p": None}, 0.95) == 0


def test_the_method_is_chosen_on_validation_even_when_test_prefers_another():
    baseline = evaluation(many(1), many(1))
    after = {"lucky": evaluation(many(2), many(4), model="lucky"), "better": evaluation(many(3), many(2), model="b")}
    found = summary_of(after, baseline)
    assert leading_method(found) == "better"
    assert "with better (chosen on validation)" in headline(found)


def test_nothing_measured_is_said_and_not_counted_as_zero():
    broken = {"p": (None, [None] * 4)}
    found = summary_of({"dpo": evaluation(broken, broken)}, evaluation(broken, broken))
    assert headline(found).startswith("Not known")
    assert "not measured n=0" in plain_table(found)


# tables


def test_the_terminal_tables_hold_every_figure_with_interval_and_n(summary):
    stream = io.StringIO()
    Console(file=stream, width=160).print(terminal_table(summary))
    for text, n in ((stream.getvalue(), r" 4 +p "), (plain_table(summary), r"n=4.*n=4.* 4 +p ")):
        assert "\x1b" not in text
        for metric in ("pass@1", "pass@4", "greedy"):
            line = next(line for line in text.splitlines() if metric in line)
            assert len(re.findall(r"\[[+-]?\d\.\d{3}, [+-]?\d\.\d{3}\]", line)) == 3
            assert re.search(n, line)


def test_the_terminal_table_keeps_an_n_that_differs(summary):
    summary = copy.deepcopy(summary)
    summary["baseline_test"]["pass@1"]["n"] = 5
    stream = io.StringIO()
    Console(file=stream, width=160).print(terminal_table(summary))
    assert "n=5" in next(line for line in stream.getvalue().splitlines() if "pass@1" in line)


def test_csv_tables_round_trip(tmp_path, summary):
    after = {"dpo": evaluation(AFTER, AFTER | {"a": (None, [True] * 4)})}
    paths = write_tables(tmp_path, summary, evaluation(BEFORE, BEFORE), after, LOGS)
    assert [path.name for path in paths] == ["demo_pass_at_k.csv", "demo_by_problem.csv", "demo_training.csv"]
    figures, problems, training = (list(csv.DictReader(path.open(newline=""))) for path in paths)
    assert {row["method"] for row in figures} == {"baseline", "dpo"}
    assert [row["k"] for row in figures if row["method"] == "dpo" and row["split"] == "test"] == ["1", "4", "greedy"]
    assert float(figures[0]["value"]) == summary["validation"]["baseline"]["pass@1"]["value"]
    assert problems[0] == {
        "task_id": "a",
        "method": "dpo",
        "baseline_pass_rate": "0.25",
        "after_pass_rate": "1.0",
        "greedy_before": "0",
        "greedy_after": "",
    }
    assert training[1] == {"method": "dpo", "step": "2", "loss": "0.5", "rewards/accuracies": "0.8"}


def test_training_rows_take_the_union_of_numeric_columns():
    rows = training_rows(
        {"a": [{"step": 1, "loss": 1.0}], "b": [{"step": 1, "reward": 2, "done": True, "nan": float("nan")}]}
    )
    assert rows == [
        {"method": "a", "step": 1, "loss": 1.0, "reward": None},
        {"method": "b", "step": 1, "loss": None, "reward": 2},
    ]


# Markdown


def blocks_of(markdown):
    """(lines inside code blocks, lines outside), by CommonMark's rule for fences."""
    inside, outside, fence = [], [], ""
    for line in markdown.splitlines():
        found = re.match(r"`{3,}", line)
        if fence:
            if re.fullmatch(rf"`{{{len(fence)},}}\s*", line):
                fence = ""
            else:
                inside.append(line)
        elif found:
            fence = found[0]
        else:
            outside.append(line)
    return inside, outside


def test_a_program_cannot_break_out_of_its_block(tmp_path, summary):
    evil = "print(1)\n```\n# <script>alert(1)</script>\n`````\n</td></tr></table>\n![x](http://evil)\n\x1b[31m\ud800"
    before = [row("a", -1, False, solution=evil, error="E: ``` </td> | x"), row("d", -1, True)]
    after = [row("a", -1, True, solution=evil), row("b", -1, True), row("d", -1, False)]
    problem = Problem(task_id="a", prompt="say ```` |", tests=[AssertTest(code="assert True")])
    found = pick_examples({"wins": ["a"], "losses": ["d"]}, before, after, 3, {"a": problem})
    assert [(one.task_id, one.outcome) for one in found] == [("a", "won"), ("d", "lost")]
    write_markdown(tmp_path / "r.md", summary, {"dpo": found}, {})
    text = (tmp_path / "r.md").read_text(encoding="utf-8")
    inside, outside = blocks_of(text)
    for piece in ("<script>", "![x]", "say ````"):
        assert any(piece in line for line in inside)
        assert not any(piece in line for line in outside)
    assert sum(line.count("</table>") for line in outside) == 2
    assert "\x1b" not in text


def test_the_report_answers_first_and_shows_everything(tmp_path, summary):
    picture = tmp_path / "reports" / "demo pass.png"
    write_markdown(tmp_path / "reports" / "r.md", summary, {}, {"Figures": picture})
    text = (tmp_path / "reports" / "r.md").read_text()
    title, answer = text.split("\n\n")[:2]
    assert title == "# demo: before and after"
    assert answer == headline(summary)
    assert "![Figures](demo%20pass.png)" in text
    assert str(tmp_path) not in text
    for piece in (
        "## evaluate: test",
        "## evaluate: validation",
        "| failed | 9 (56.2%) | 7 (43.8%) |",
        "| packages.torch | 2.13.0 |",
        "## prepare: oracle audit",
        "| train | 5 | 1 | 0 | 0 | 3 |",
        "| quarantined: its own reference does not pass (failed) | 3 |",
        "## prepare: leak checks",
        "| test | 9 | 8 | 7 | 6 |",
        "| prompt | 6 |",
        "- not checked against HumanEval (prepare.benchmarks has none)",
    ):
        assert piece in text
    assert "of 4 test problems, the greedy program of 2 changed from failing to passing and of 1 from" in text
    assert "Detectable change of pass@1" in text


def test_examples_are_limited_per_side():
    rows = [row(name, -1, True) for name in "abcdef"]
    found = pick_examples({"wins": list("abcd"), "losses": ["e", "f"]}, rows, rows, 1, {})
    assert [one.task_id for one in found] == ["a", "e"]
    assert pick_examples({"wins": ["a"], "losses": []}, rows, rows, 0, {}) == []


def test_quoting():
    assert fenced("a\n````\nb", "python") == "`````python\na\n````\nb\n`````"
    assert fenced("x\n" * 100, "python").splitlines()[-2] == "... 40 more lines"
    assert inline("a`b") == "`` a`b ``"
    assert table(("h",), [("a|b\n<i>",)]) == "| h |\n| --- |\n| a\\|b &lt;i> |"
    assert visible("a\x00\x1b\tb\r\n") == "a␀␛\tb\n"


# pictures


def test_pictures_are_drawn_and_have_the_same_bytes_again(tmp_path, summary):
    documents = evaluation(BEFORE, BEFORE), {"dpo": evaluation(AFTER, AFTER)}
    first = write_plots(tmp_path / "one", summary, *documents, LOGS)
    second = write_plots(tmp_path / "two", summary, *documents, LOGS)
    assert [path.name for path in first.values()] == [
        "demo_pass_at_k.png",
        "demo_by_problem.png",
        "demo_verdicts.png",
        "demo_training.png",
    ]
    for one, two in zip(first.values(), second.values(), strict=True):
        assert one.read_bytes().startswith(b"\x89PNG")
        assert one.read_bytes() == two.read_bytes()
        assert b"tEXt" not in one.read_bytes()


def test_pictures_survive_missing_logs_and_unmeasured_problems(tmp_path):
    broken = {"p": (None, [None] * 4)}
    baseline = evaluation(broken, broken)
    found = write_plots(tmp_path, summary_of({"dpo": baseline}, baseline), baseline, {"dpo": baseline}, {"dpo": []})
    assert len(found) == 3
    assert not (tmp_path / "demo_training.png").exists()
