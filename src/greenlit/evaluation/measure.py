"""Sample and grade validation and test with one model: the same for the base model and for what was trained from it."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from greenlit.config import EvaluateParams, Params
from greenlit.evaluation.summary import evaluation_document, summarise
from greenlit.execution.judge import Judge
from greenlit.generation.sample import sample
from greenlit.grading import annotate
from greenlit.hardware import workers
from greenlit.jsonl import read_rows, write_json, write_rows
from greenlit.paths import Paths
from greenlit.problems.files import read_problems
from greenlit.progress import progress
from greenlit.types import Annotated, Split
from greenlit.workspace import work_dir

MEASURED: tuple[Split, ...] = ("validation", "test")


def measure(model: Path, params: Params, paths: Paths, method: str | None) -> dict[str, Any]:
    """Write the graded candidates and the figures of one model; return the figures.

    Args:
        model: directory of the model.
        method: name under `methods` whose merged model this is; None for the base model.
    """
    label = "baseline" if method is None else f"evaluate {method}"
    for split in MEASURED:
        _grade(model, params, paths, method, split, label)
    document = evaluation_document(
        {split: _figures(paths.measured(split, method), params.evaluate, params.seed) for split in MEASURED},
        params.evaluate.model_dump(),
        params.annotate.model_dump(),
        params.seed,
    )
    write_json(paths.evaluation(method), document)
    return document


def _grade(model: Path, params: Params, paths: Paths, method: str | None, split: Split, label: str) -> None:
    problems = read_problems(paths.problems(split))
    settings: Mapping[str, Any] = {"params": params.evaluate.model_dump(), "seed": params.seed, "split": split}
    with work_dir(label.replace(" ", "_"), settings, [paths.problems(split), model]) as work:
        candidates = sample(
            model,
            list(problems.values()),
            params.evaluate,
            seed=params.seed,
            greedy=True,
            work=work,
            workers=workers(),
            label=f"{label}: {split}",
        )
        total = len(problems) * (params.evaluate.n + 1)

        def rows() -> Iterator[Annotated]:
            with (
                Judge(params.annotate, workers()) as judge,
                progress(f"{label}: {split} verdicts", total, "programs") as bar,
            ):
                yield from (row for row, _ in annotate(problems, candidates, judge, bar))

        write_rows(paths.measured(split, method), rows())


def _figures(path: Path, params: EvaluateParams, seed: int) -> dict[str, Any]:
    return summarise(read_rows(path, Annotated), params.ks, params.confidence, params.resamples, seed)
