"""Sample and grade validation and test with one model: the same for the base model and for what was trained from it.

With `evaluate.test: false` nothing is sampled on test; the file of its candidates is there, and empty. So is that of
validation for a dataset that is only measured on, which has nothing but test problems.
"""

import itertools
import sys
from pathlib import Path
from typing import Any

from greenlit.cluster.crew import nodes_unlike_here
from greenlit.cluster.judging import judge_of_stage
from greenlit.config import EvaluateParams, Params
from greenlit.errors import ConfigError
from greenlit.evaluation.summary import evaluation_document, summarise
from greenlit.execution.cache import VerdictCache
from greenlit.execution.cheats.gate import refuse_forgeable
from greenlit.generation.sample import sample
from greenlit.grading import annotate
from greenlit.jsonl import read_rows, write_json, write_rows
from greenlit.paths import Paths
from greenlit.problems.files import kind_of, read_problems
from greenlit.stage.hardware import made_with, workers
from greenlit.stage.progress import progress
from greenlit.stage.workspace import sha256_file, work_dir
from greenlit.types import Annotated, Split

MEASURED: tuple[Split, ...] = ("validation", "test")


def splits_of(params: EvaluateParams) -> tuple[Split, ...]:
    """The splits that are measured, in their order."""
    return MEASURED if params.test else ("validation",)


def measure(model: Path, params: Params, paths: Paths, method: str | None) -> dict[str, Any]:
    """Write the graded candidates and the figures of one model; return the figures.

    Args:
        model: directory of the model.
        method: name under `methods` whose merged model this is; None for the base model.
    """
    _require_two_models(params.evaluate, method)
    label = "baseline" if method is None else f"evaluate {method}"
    splits = [split for split in splits_of(params.evaluate) if params.methods or paths.problems(split).stat().st_size]
    files = [paths.problems(split) for split in splits]
    problems = {split: read_problems(file) for split, file in zip(splits, files, strict=True)}
    kind = kind_of(problem for rows in problems.values() for problem in rows.values())
    settings = {"params": params.evaluate.model_dump(), "seed": params.seed}
    with work_dir(label.replace(" ", "_"), settings, [*files, model]) as work:
        candidates = sample(
            model,
            [problem for split in splits for problem in problems[split].values()],
            params.evaluate,
            seed=params.seed,
            greedy=True,
            work=work,
            workers=workers(),
            label=label,
        )
        with judge_of_stage(kind, params.annotate, workers(), earns=True) as judge, VerdictCache() as cache:
            print(judge.banner, file=sys.stderr)
            stopped = refuse_forgeable(judge)
            for split in splits:
                count = len(problems[split]) * (params.evaluate.n + 1)
                with progress(f"{label}: verdicts, {split}", count, "programs") as bar:
                    graded = annotate(problems[split], itertools.islice(candidates, count), judge, bar, cache)
                    write_rows(paths.measured(split, method), (row for row, _ in graded))
    for split in set(MEASURED) - set(splits):
        write_rows(paths.measured(split, method), ())
    document = evaluation_document(
        {split: _figures(paths.measured(split, method), params.evaluate, params.seed) for split in splits},
        params.evaluate.model_dump(exclude={"test"}),  # the splits stand in the document
        params.annotate.model_dump(),
        params.seed,
    )
    document["cheats_stopped"] = stopped
    document["problems_sha256"] = {split: sha256_file(file) for split, file in zip(splits, files, strict=True)}
    document["made_with"] = made_with(params.seed)
    if nodes := nodes_unlike_here():
        document["made_with"]["nodes"] = nodes
    write_json(paths.evaluation(method), document)
    return document


def _require_two_models(params: EvaluateParams, method: str | None) -> None:
    """One name at an endpoint would measure the same model before and after."""
    if method is not None and params.backend == "openai" and params.openai.model is not None:
        raise ConfigError(
            f"params.yaml: evaluate.openai.model: names {params.openai.model!r} for {method}'s model too",
            hint="null asks for each model by its directory, e.g. results/<experiment>/<method>/merged: serve both",
        )


def _figures(path: Path, params: EvaluateParams, seed: int) -> dict[str, Any]:
    return summarise(read_rows(path, Annotated), params.ks, params.confidence, params.resamples, seed)
