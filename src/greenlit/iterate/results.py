"""What came of the rounds: `results/<name>_rounds.json`, a table, and the answer in a sentence.

experiment, method, seed, confidence, metric, rounds_asked, patience
rounds       of the base (round 0) and each round: {"round", "experiment", "folder", "model", "model_md5",
             "learnt_from", "validation": {figure: {"value", "low", "high", "n"}}, "against": the round it was
             compared with, "change": {figure: {"value", "low", "high", "n", "p"}}, "better"}
chosen       the round that is taken; null while rounds are run
ended        why no more rounds were run: `rounds` or `patience`; null while they are
test         {"baseline", "after", "delta"} of the base and the chosen round; null when test was not looked at
test_looks   hashes of the models that were ever measured on test: more than one, and the figure flatters
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from greenlit.evaluation.compare import compare, greedy_metric
from greenlit.evaluation.report import change_text, direction, figure_text, p_text
from greenlit.iterate.choosing import SPLIT, Choice
from greenlit.iterate.plan import Model, Plan, Step
from greenlit.jsonl import read_json
from greenlit.runs.records import outs_of

if TYPE_CHECKING:
    from rich.table import Table

_ROWS = {"sft": "programs", "dpo": "pairs"}
"""What a row of a method's training data is."""


def rounds_file(name: str) -> Path:
    """Where the figures of the rounds lie."""
    return Path("results") / f"{name}_rounds.json"


def merged_model(step: Step, number: int, method: str) -> Model:
    """The model that a round has come to, with the hash that its dvc.lock notes."""
    stage, path = f"merge@{method}", step.paths.method(method) / "merged"
    noted = outs_of(step.folder, [stage])[stage][path.as_posix()]
    return Model(number, step.folder / path, noted["md5"])


def learnt_from(step: Step, method: str) -> dict[str, int]:
    """How much a round was trained on: {"pairs": 210}, {"problems": 490, "completions": 7680}."""
    facts = read_json(step.folder / step.paths.method(method) / "metrics.json")
    if "problems" in facts:
        return {key: facts[key] for key in ("problems", "completions")}
    return {_ROWS.get(facts["method"], "rows"): facts["rows"]}


def round_rows(
    plan: Plan, choice: Choice, steps: Sequence[Step], models: Sequence[Model | None]
) -> list[dict[str, Any]]:
    """The base and every round, as they stand under `rounds`.

    Args:
        steps: of round 1, 2, ...
        models: of round 0, 1, ...; None is the base.
    """
    rows = []
    for number, document in enumerate(choice.documents):
        step, model, change = (steps[number - 1] if number else None), models[number], choice.changes[number]
        rows.append(
            {
                "round": number,
                "experiment": step.experiment if step else None,
                "folder": step.folder.as_posix() if step else None,
                "model": model.folder.as_posix() if model else plan.params.base.model,
                "model_md5": model.md5 if model else None,
                "learnt_from": learnt_from(step, plan.method) if step else None,
                SPLIT: {name: document["splits"][SPLIT][name] for name in choice.metrics},
                "against": choice.against[number],
                "change": {name: change[name] for name in choice.metrics} if change else None,
                "better": choice.better[number],
            }
        )
    return rows


def on_test(before: Mapping[str, Any], after: Mapping[str, Any], metrics: Sequence[str]) -> dict[str, Any]:
    """The base and the chosen round on test, and the paired difference.

    Raises:
        MismatchError: they were measured differently.
    """
    delta = compare(before, after, "test")
    return {
        "baseline": {name: before["splits"]["test"][name] for name in metrics},
        "after": {name: after["splits"]["test"][name] for name in metrics},
        "delta": {name: delta[name] for name in metrics},
    }


COLUMNS = ("round", "validation", "greedy", "change", "against", "learnt from", "")


def table_rows(found: Mapping[str, Any]) -> list[tuple[str, ...]]:
    """The cells below COLUMNS, one row per round."""
    return [_cells(found, one) for one in found["rounds"]]


def _cells(found: Mapping[str, Any], one: Mapping[str, Any]) -> tuple[str, ...]:
    change, figures = one["change"], one[SPLIT]
    return (
        _called(one["round"]),
        figure_text(figures[found["metric"]]),
        figure_text(figures[greedy_metric(figures)]).partition(" [")[0],
        change_text(change[found["metric"]]) if change else "",
        _called(one["against"]) if change else "",
        ", ".join(f"{count:,} {what}" for what, count in (one["learnt_from"] or {}).items()),
        "chosen" if one["round"] == found["chosen"] else "better" if one["better"] else "",
    )


def _called(number: int) -> str:
    return str(number) if number else "base"


def terminal_table(found: Mapping[str, Any]) -> "Table":
    """The rounds as a rich table."""
    from rich import box
    from rich.markup import escape
    from rich.table import Table

    title = f"{found['experiment']}: {found['method']}, {found['metric']} on {SPLIT}, [low, high] at "
    table = Table(title=escape(f"{title}{found['confidence']:.0%} confidence"), box=box.SIMPLE_HEAD, padding=0)
    for column in COLUMNS:
        table.add_column(column)
    for cells in table_rows(found):
        table.add_row(*map(escape, cells), style="green" if cells[-1] == "chosen" else None)
    return table


def answer(found: Mapping[str, Any]) -> str:
    """Which round was chosen, and what it does on test: a sentence or two."""
    chosen, ended = found["chosen"], found["ended"]
    why = f" (no gain in {found['patience']} of them in a row)" if ended == "patience" else ""
    run = len(found["rounds"]) - 1
    text = f"{run} of {found['rounds_asked']} rounds run{why}; "
    if not chosen:
        return f"{text}none is better than the base on {SPLIT} beyond chance, so test was not looked at."
    text += f"round {chosen} is chosen on {SPLIT}."
    if found["test"] is None:
        return f"{text} Test was not measured (evaluate.test is false in params.yaml)."
    metric, test = found["metric"], found["test"]
    before, after, delta = (test[block][metric] for block in ("baseline", "after", "delta"))
    if delta["value"] is None:
        return f"{text} Not known what it does on test: no problem could be measured on both sides."
    said = {1: "better than the base", -1: "worse than the base", 0: "no change that can be told from chance"}
    text += (
        f" On test: {said[direction(delta, found['confidence'])]}, {metric} {before['value']:.3f} -> "
        f"{after['value']:.3f}, {change_text(delta)} ({found['confidence']:.0%} interval, n = {delta['n']} problems, "
        f"{p_text(delta['p'])})."
    )
    looks = len(found["test_looks"])
    return text if looks == 1 else f"{text} {looks} models have been measured on test: it is not unseen any more."
