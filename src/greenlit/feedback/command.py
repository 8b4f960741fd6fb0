"""The command behind `greenlit calibrate-judge`: the judges that params.yaml names, against annotated candidates."""

import json
import sys
from dataclasses import dataclass
from typing import Any

from greenlit.config import JudgeParams, Params, load_params
from greenlit.errors import ConfigError, DataError
from greenlit.feedback.calibration import Extent, calibrate, draw, extent_of
from greenlit.feedback.judge import AiJudge, identity_of
from greenlit.feedback.permit import calibration_file, lowest_auc
from greenlit.jsonl import write_json
from greenlit.pairs.groups import by_problem
from greenlit.paths import Paths
from greenlit.problems.files import kind_of, read_problems
from greenlit.stage.hardware import limit_threads, quiet_libraries
from greenlit.stage.progress import progress
from greenlit.stage.workspace import sha256_file


@dataclass(frozen=True)
class Options:
    """As they stand on the command line."""

    extent: Extent
    as_json: bool


def calibrate_command(options: Options) -> int:
    """Calibrate and print; 1 where a judge's word may not count.

    Raises:
        GreenlitError: no judge is named, no candidates, no answer.
    """
    quiet_libraries()
    limit_threads(1)
    params = load_params()
    found = [_calibrate(judge, params, options.extent) for judge in judges_of(params)]
    if options.as_json:
        print(json.dumps([document for _, document in found], indent=2))
    else:
        _show(found)
    return 0 if all(_fit(judge, document) for judge, document in found) else 1


def judges_of(params: Params) -> list[JudgeParams]:
    """The judges that params.yaml names, each once.

    Raises:
        ConfigError: it names none.
    """
    named = [params.rewards.judge, params.build.ai.judge if params.build.ai else None]
    unlike = {json.dumps(identity_of(judge), sort_keys=True): judge for judge in named if judge is not None}
    if not unlike:
        raise ConfigError(
            "params.yaml: names no AI judge", hint="e.g. build: {ai: {judge: {model: qwen2.5-coder-7b-instruct}}}"
        )
    return list(unlike.values())


def _calibrate(judge: JudgeParams, params: Params, extent: Extent) -> tuple[JudgeParams, dict[str, Any]]:
    paths = Paths.of(params)
    problems = read_problems(paths.problems("train"))
    if kind_of(problems.values()) == "completion":
        raise DataError(f"{paths.problems('train')}: no tests (kind: completion), so no execution to agree with")
    samples = draw(by_problem(paths.annotated, problems), extent, params.seed)
    with AiJudge(judge) as ai, progress(f"judge {judge.model}", sum(extent_of(samples).values()), "questions") as bar:
        ai.advance = bar.advance
        document = calibrate(ai, samples, paths.dataset, params.seed)
    document["inputs_sha256"] = {"candidates_annotated": sha256_file(paths.annotated)}
    file = calibration_file(judge, paths.dataset)
    write_json(file, document)
    print(f"{file}: written; commit it with the project", file=sys.stderr)
    return judge, document


def _fit(judge: JudgeParams, document: dict[str, Any]) -> bool:
    low = lowest_auc(document)
    return low is not None and low >= judge.threshold


def _show(found: list[tuple[JudgeParams, dict[str, Any]]]) -> None:
    from rich.console import Console
    from rich.table import Table

    console = Console(width=None if sys.stdout.isatty() else 100)
    for judge, document in found:
        table = Table(
            "", "", title=f"{judge.model}, rubric {judge.rubric}, on {document['dataset']}", show_header=False
        )
        for name, value in _rows(document):
            table.add_row(name, value)
        console.print(table)
        low = lowest_auc(document)
        told = "could not be measured" if low is None else f"is {low:.3f}"
        allowed = "its weight may be above 0" if _fit(judge, document) else "its weight must be 0"
        console.print(f"the low end of its AUC {told}, the threshold {judge.threshold:g}: {allowed}")


def _rows(document: dict[str, Any]) -> list[tuple[str, str]]:
    position = document["position"]
    return [
        ("programs scored", f"{document['programs'] - document['unscored']} of {document['programs']}"),
        ("AUC, all programs", _interval(document["auc"])),
        ("AUC within a problem", _interval(document["auc_within"]) + f"  ({document['auc_within']['n']} problems)"),
        ("score and length, same verdict", _interval(document["length_correlation"])),
        ("answers that flip with the order", f"{position['flips']} of {position['pairs'] - position['unanswered']}"),
        ("first program preferred", "-" if position["first_share"] is None else f"{position['first_share']:.2f}"),
        ("clear comparisons that execution confirms", f"{position['clear_and_right']} of {position['clear']}"),
        ("cost", f"{document['cost']['calls']} calls, {document['cost']['tokens']} tokens"),
    ]


def _interval(figure: dict[str, Any]) -> str:
    if figure["value"] is None:
        return "-"
    return f"{figure['value']:.3f} [{figure['low']:.3f}, {figure['high']:.3f}]"
