"""The benchmarks that `prepare.benchmarks` names, read through the adapters, for the leak checks."""

import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path

from greenlit.config import BenchmarkParams, DatasetParams, Limits
from greenlit.errors import ConfigError, DataError
from greenlit.problems.adapters import adapter_for
from greenlit.problems.records import Dropped
from greenlit.types import Problem

DRAWN = frozenset({"file", "apps", "taco", "leetcode"})
"""Datasets whose splits are drawn here, at least where their rows tell none: as a benchmark, all of it counts."""


def benchmark_problems(
    benchmarks: Mapping[str, BenchmarkParams], seed: int, facts: dict[str, dict[str, str]]
) -> Iterator[tuple[str, Problem]]:
    """Yield (the benchmark's name, problem) of all benchmarks.

    Args:
        facts: is told where each one came from: path and sha256, or hub id and revision.

    Raises:
        ConfigError: it cannot be read as params.yaml has it; the message names the benchmark.
        DataError: there is nothing in it.
    """
    for name, params in benchmarks.items():
        dataset = DatasetParams(
            name=params.dataset or name, path=params.path, variant=params.variant, revision=params.revision
        )
        split = params.split or ("all" if dataset.name in DRAWN else "test")
        count = 0
        with tempfile.TemporaryDirectory(prefix="greenlit-benchmark-") as folder:
            for problem in _read(name, dataset, Path(folder), seed, facts):
                if isinstance(problem, Problem) and (split == "all" or problem.split == "test"):
                    count += 1
                    yield name, problem
        if not count:
            raise DataError(
                f"prepare.benchmarks.{name}: no problem in it to check against ({split} of {dataset.name})",
                hint="`split: all` in params.yaml takes every problem of the file",
            )


def _read(
    name: str, dataset: DatasetParams, folder: Path, seed: int, facts: dict[str, dict[str, str]]
) -> Iterator[Problem | Dropped]:
    try:
        adapter = adapter_for(dataset)
        facts[name] = adapter.fetch(dataset, folder)
    except ConfigError as error:
        place = f"params.yaml: prepare.benchmarks.{name}"
        said = str(error.args[0]).replace("params.yaml: dataset", place, 1)
        raise ConfigError(said if place in said else f"{place}: {said}", hint=error.hint) from None
    try:
        yield from adapter.load(folder, dataset, Limits(), seed)
    except DataError as error:  # the copy is ours; what the user knows is the file
        said = str(error.args[0]).replace(folder.as_posix(), f"prepare.benchmarks.{name}")
        raise DataError(said, hint=error.hint) from None
