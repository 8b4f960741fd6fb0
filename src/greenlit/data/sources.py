"""Where the problems of a dataset are read: a file that is named, what `prepare` left, or the raw records.

Roles are those that `prepare` gives: where a dataset says nothing of them, its first tests count as shown.
"""

import difflib
import tempfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from greenlit.config import PARAMS, DatasetParams, PrepareParams, load_params
from greenlit.errors import ConfigError
from greenlit.jsonl import read_rows
from greenlit.paths import Paths
from greenlit.problems.adapters import ADAPTERS
from greenlit.problems.records import Dropped
from greenlit.problems.splits import with_roles
from greenlit.types import SPLITS, Problem

MADE = "starter"
"""The dataset that is made, and so is always at hand."""


@dataclass(frozen=True)
class Source:
    """The problems of one dataset, to be streamed as often as needed."""

    dataset: str
    place: str
    """Where they are read, in words."""
    rows: Callable[[], Iterator[Problem | Dropped]]

    def problems(self) -> Iterator[Problem]:
        """Without the records that give none."""
        return (row for row in self.rows() if isinstance(row, Problem))


@contextmanager
def opened(dataset: str, path: Path | None = None) -> Iterator[Source]:
    """The problems of a dataset; nothing is downloaded.

    Args:
        dataset: a name in ADAPTERS, or a file of own problems.
        path: the dataset's own file, read by its adapter.

    Raises:
        ConfigError: no such dataset or file, or nothing of it lies here.
    """
    if dataset not in ADAPTERS and path is None and Path(dataset).is_file():
        dataset, path = "file", Path(dataset)
    if dataset not in ADAPTERS:
        close = difflib.get_close_matches(dataset, ADAPTERS, n=1)
        also = f"did you mean {close[0]}? " if close else ""
        raise ConfigError(f"no dataset {dataset!r}", hint=f"{also}one of {', '.join(ADAPTERS)}, or a file of your own")
    if path is None:
        yield _at_hand(dataset)
        return
    if not path.exists():
        raise ConfigError(f"--path: no such file ({path})")
    with tempfile.TemporaryDirectory(prefix="greenlit-data-") as folder:
        params = DatasetParams(name=dataset, path=str(path))
        ADAPTERS[dataset].fetch(params, Path(folder))
        yield Source(dataset, str(path), _adapted(Path(folder), params, PrepareParams(), 0))


def _at_hand(dataset: str) -> Source:
    """What `prepare` wrote, else what `fetch` did, else what is made.

    Raises:
        ConfigError: none of these.
    """
    paths = Paths(dataset, "")
    prepared = [paths.problems(split) for split in SPLITS if paths.problems(split).is_file()]
    if prepared:
        return Source(dataset, str(paths.audit.parent), lambda: (row for file in prepared for row in _rows(file)))
    dataset_params, prepare, seed = _settings(dataset)
    if paths.raw.is_dir() or dataset == MADE:
        place = str(paths.raw) if paths.raw.is_dir() else "made here"
        return Source(dataset, place, _adapted(paths.raw, dataset_params, prepare, seed))
    raise ConfigError(
        f"{dataset}: nothing of it lies here (looked for {paths.audit.parent} and {paths.raw})",
        hint="name its file with --path, or set dataset.name and `greenlit run --only prepare`",
    )


def _rows(file: Path) -> Iterable[Problem]:
    return read_rows(file, Problem)


def _settings(dataset: str) -> tuple[DatasetParams, PrepareParams, int]:
    """Those of params.yaml where it is about this dataset."""
    if PARAMS.is_file():
        params = load_params()
        if params.dataset.name == dataset:
            return params.dataset, params.prepare, params.seed
    return DatasetParams(name=dataset), PrepareParams(), 0


def _adapted(
    folder: Path, params: DatasetParams, prepare: PrepareParams, seed: int
) -> Callable[[], Iterator[Problem | Dropped]]:
    def rows() -> Iterator[Problem | Dropped]:
        for row in ADAPTERS[params.name].load(folder, params, prepare.limits, seed):
            yield with_roles(row, prepare.shown_tests) if isinstance(row, Problem) else row

    return rows
