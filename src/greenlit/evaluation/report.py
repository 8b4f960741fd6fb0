"""The report's content: one summary of baseline and all methods, its answer in a sentence, and a table to look at."""

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import PurePath
from typing import TYPE_CHECKING, Any

from greenlit.errors import DataError
from greenlit.evaluation.compare import compare, greedy_metric, metrics_of
from greenlit.evaluation.summary import detectable_effect_of, final_split
from greenlit.evaluation.tables import shown_split, split_block
from greenlit.problems.prompts import statement
from greenlit.types import Annotated, Problem

if TYPE_CHECKING:
    from rich.table import Table

NOT_MEASURED = "not measured"
_AUDITED = ("kept", "grades", "quarantined_by_split", "marks", "dropped_by_reason", "quarantined_by_reason")
_OUTCOMES = ("passed", "verdicts", "errors", "tokens_mean", "unique_ratio", "infra", "candidates", "model")


def build_summary(
    experiment: str,
    seed: int,
    baseline: Mapping[str, Any],
    after: Mapping[str, Mapping[str, Any]],
    rl_manifest: str,
    checkpoint: Mapping[str, str],
    made_with: Mapping[str, Any],
    audit: Mapping[str, Any],
) -> dict[str, Any]:
    """The content of results/reports/<experiment>_summary.json.

    Args:
        baseline: evaluations_baseline.json with the splits `validation` and, unless `evaluate.test` is false, `test`.
        after: evaluations_after.json by method, in the order to show.
        rl_manifest: path of the pairs' manifest, relative to the project.
        checkpoint: merged model's folder by method, relative to the project.
        made_with: seed, hardware and packages.
        audit: audit.json of the problems.

    Returns:
        the summary; without test, `baseline_test`, `after_test` and `delta` are null, and what else is of the test
        split (`headroom_recovered`, `changed`, `outcomes`, `mde`) is of validation. Of problems without tests, `kind`
        is `completion`, the figures are those of matches.py, and `passed` in the outcomes is null.

    Raises:
        MismatchError: an evaluation does not belong to this baseline.
        DataError: a path is absolute, and would mean nothing on another machine.
    """
    for path in (rl_manifest, *checkpoint.values()):
        if PurePath(path).is_absolute():
            raise DataError(f"report: paths must be relative to the project (found {path})")
    metrics = metrics_of(baseline)
    kind = baseline.get("kind", "program")
    final = final_split(baseline)
    compared = {
        split: {method: compare(baseline, document, split) for method, document in after.items()}
        for split in dict.fromkeys((final, "validation"))
    }
    blocks = {split: _block(baseline, after, split, found, metrics) for split, found in compared.items()}
    base, deltas = blocks[final]["baseline"], blocks[final]["delta"]
    test = blocks.get("test", dict.fromkeys(("baseline", "after", "delta")))
    return {
        "experiment": experiment,
        "seed": seed,
        "baseline_test": test["baseline"],
        "after_test": test["after"],
        "delta": test["delta"],
        "rl_manifest": rl_manifest,
        "checkpoint": dict(checkpoint),
        "kind": kind,
        "validation": blocks["validation"],
        "headroom_recovered": {
            method: {
                name: _headroom(base[name]["value"], delta[name]["value"])
                for name in (metrics[0], greedy_metric(metrics))
            }
            for method, delta in deltas.items()
        },
        "changed": {
            method: {"wins": found["wins"], "losses": found["losses"]} for method, found in compared[final].items()
        },
        "outcomes": {
            "baseline": _outcomes(baseline, final),
            "after": {method: _outcomes(document, final) for method, document in after.items()},
        },
        "confidence": baseline["settings"]["confidence"],
        "resamples": baseline["settings"]["resamples"],
        "sandbox_level": baseline["level"],
        "mde": asdict(detectable_effect_of(baseline, final)),
        "made_with": dict(made_with),
        "audit": {
            **{key: audit[key] for key in _AUDITED},
            "leaks": {key: found for key, found in audit["leaks"].items() if key != "found"},
        },
    }


def _block(
    baseline: Mapping[str, Any],
    after: Mapping[str, Mapping[str, Any]],
    split: str,
    compared: Mapping[str, Mapping[str, Any]],
    metrics: list[str],
) -> dict[str, Any]:
    return {
        "baseline": {name: baseline["splits"][split][name] for name in metrics},
        "after": {
            method: {name: document["splits"][split][name] for name in metrics} for method, document in after.items()
        },
        "delta": {method: {name: found[name] for name in metrics} for method, found in compared.items()},
    }


def _headroom(base: float | None, gain: float | None) -> float | None:
    """Share of the baseline's failures that is gone; null where nothing was left to gain."""
    return gain / (1.0 - base) if base is not None and gain is not None and base < 1.0 else None


def _outcomes(document: Mapping[str, Any], split: str) -> dict[str, Any]:
    return {key: document["splits"][split].get(key) for key in _OUTCOMES}


def is_untested(summary: Mapping[str, Any]) -> bool:
    """Have the problems no tests?"""
    return summary.get("kind") == "completion"


def first_metric(summary: Mapping[str, Any]) -> str:
    """The figure the answer is about: pass@1, else the pass@k with the smallest k; without tests edit similarity."""
    return next(iter(summary["validation"]["baseline"]))


def leading_method(summary: Mapping[str, Any]) -> str:
    """The method with the largest gain on validation: never chosen by looking at test."""
    metric = first_metric(summary)
    gains = summary["validation"]["delta"]

    def gain(method: str) -> float:
        value = gains[method][metric]["value"]
        return float("-inf") if value is None else value

    return max(sorted(gains), key=gain)


def headline(summary: Mapping[str, Any]) -> str:
    """Did it get better, and by how much: one sentence."""
    method, metric, split = leading_method(summary), first_metric(summary), shown_split(summary)
    block = split_block(summary, split)
    before, after, delta = (
        figures[metric] for figures in (block["baseline"], block["after"][method], block["delta"][method])
    )
    chosen = f"{method} (chosen on validation)" if len(block["delta"]) > 1 else method
    if delta["value"] is None:
        return f"Not known: no problem of the {split} split could be measured both before and after {chosen}."
    change = (
        f"{metric} on {split} went from {before['value']:.3f} to {after['value']:.3f} with {chosen}, a change of "
        f"{change_text(delta)} ({summary['confidence']:.0%} interval, n = {delta['n']} problems, {p_text(delta['p'])})."
    )
    answers = {
        1: "Yes, it got better",
        -1: "No, it got worse",
        0: "No change that can be told from chance",
    }
    unseen = "" if split == "test" else " Test was not measured."
    return f"{answers[direction(delta, summary['confidence'])]}: {change}{unseen}"


def direction(delta: Mapping[str, Any], confidence: float) -> int:
    """1 for better, -1 for worse, 0 when it may be chance: interval and test must both exclude no change.

    They can disagree when few problems changed; the bootstrap is then the more optimistic of the two.
    """
    if delta["value"] is None or delta["p"] > 1.0 - confidence:
        return 0
    return int(delta["low"] > 0.0) - int(delta["high"] < 0.0)


def figure_text(figure: Mapping[str, Any]) -> str:
    """`0.557 [0.480, 0.630] n=160`."""
    if figure["value"] is None:
        return f"{NOT_MEASURED} n=0"
    return f"{figure['value']:.3f} [{figure['low']:.3f}, {figure['high']:.3f}] n={figure['n']}"


def change_text(delta: Mapping[str, Any]) -> str:
    """`+0.307 [+0.251, +0.362]`."""
    if delta["value"] is None:
        return NOT_MEASURED
    return f"{delta['value']:+.3f} [{delta['low']:+.3f}, {delta['high']:+.3f}]"


def p_text(p: float | None) -> str:
    """`p = 0.031`, `p < 0.001`."""
    if p is None:
        return "p unknown"
    return "p < 0.001" if p < 0.001 else f"p = {p:.3f}"


COLUMNS = ("method", "metric", "before", "after", "change", "n", "p")


def table_rows(summary: Mapping[str, Any], split: str) -> list[tuple[str, ...]]:
    """The cells below COLUMNS: one row per method and metric, before and after with their intervals and n."""
    block = split_block(summary, split)
    return [
        (
            method,
            metric,
            figure_text(block["baseline"][metric]),
            figure_text(block["after"][method][metric]),
            change_text(delta),
            str(delta["n"]),
            p_text(delta["p"]),
        )
        for method, deltas in block["delta"].items()
        for metric, delta in deltas.items()
    ]


def table_title(summary: Mapping[str, Any], split: str) -> str:
    """What the table shows, so that it can stand alone."""
    return f"{summary['experiment']}: {split}, [low, high] at {summary['confidence']:.0%} confidence"


def terminal_table(summary: Mapping[str, Any], split: str | None = None) -> "Table":
    """The comparison as a rich table, of test if it was measured; signs carry the meaning, colour only repeats it."""
    from rich import box
    from rich.markup import escape
    from rich.table import Table

    split = split or shown_split(summary)
    table = Table(title=escape(table_title(summary, split)), box=box.SIMPLE_HEAD, padding=0, collapse_padding=True)
    for column in COLUMNS:
        table.add_column(column, justify="right" if column == "n" else "left", no_wrap=column in {"metric", "n", "p"})
    deltas = [delta for figures in split_block(summary, split)["delta"].values() for delta in figures.values()]
    for cells, delta in zip(table_rows(summary, split), deltas, strict=True):
        style = {1: "green", -1: "red", 0: None}[direction(delta, summary["confidence"])]
        own_n = f" n={delta['n']}"  # stands in its own column, unless it differs
        table.add_row(*(escape(cell.removesuffix(own_n)) for cell in cells), style=style)
    return table


def baseline_table(experiment: str, document: Mapping[str, Any]) -> "Table":
    """The base model's figures alone, where nothing is trained."""
    from rich import box
    from rich.markup import escape
    from rich.table import Table

    title = f"{experiment}: the base model, [low, high] at {document['settings']['confidence']:.0%} confidence"
    table = Table(title=escape(title), box=box.SIMPLE_HEAD)
    for column in ("split", "metric", "figure"):
        table.add_column(column)
    for split, figures in document["splits"].items():
        for metric in metrics_of(document):
            table.add_row(split, metric, escape(figure_text(figures[metric])))
    return table


def plain_table(summary: Mapping[str, Any], split: str = "test") -> str:
    """The comparison as aligned text, for pipes and logs."""
    rows = [COLUMNS, *table_rows(summary, split)]
    widths = [max(len(row[at]) for row in rows) for at in range(len(COLUMNS))]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
    return "\n".join([table_title(summary, split), *lines])


@dataclass(frozen=True)
class Example:
    """A problem whose greedy program changed sides, with both programs."""

    task_id: str
    outcome: str
    """`won` or `lost`."""
    statement: str
    before: Annotated
    after: Annotated


def pick_examples(
    changed: Mapping[str, list[str]],
    before: Iterable[Annotated],
    after: Iterable[Annotated],
    limit: int,
    problems: Mapping[str, Problem],
) -> list[Example]:
    """The first `limit` won and the first `limit` lost problems by task id: shown as they come, not picked by hand.

    Args:
        changed: {"wins", "losses"} of one method of the summary.
        before, after: all candidates of the split that the summary answers with.
        problems: of that split; of a completion the head of the file stands in the statement, not in the programs.
    """
    wanted = {"won": changed["wins"][:limit], "lost": changed["losses"][:limit]}
    names = {task_id for task_ids in wanted.values() for task_id in task_ids}
    old, new = (
        {row.task_id: _without_head(row, problems) for row in rows if row.decoding == "greedy" and row.task_id in names}
        for rows in (before, after)
    )
    return [
        Example(task_id, outcome, _asked(problems.get(task_id)), old[task_id], new[task_id])
        for outcome, task_ids in wanted.items()
        for task_id in task_ids
    ]


def _asked(problem: Problem | None) -> str:
    if problem is None or problem.kind == "program":
        return statement(problem) if problem else ""
    return f"{problem.starter_code}\n--- held back ---\n{problem.held_back[0].lstrip(chr(10))}"


def _without_head(row: Annotated, problems: Mapping[str, Problem]) -> Annotated:
    if row.match is None or row.task_id not in problems:
        return row
    rest = row.solution.removeprefix(problems[row.task_id].starter_code).lstrip("\n")
    return row.model_copy(update={"solution": rest})
