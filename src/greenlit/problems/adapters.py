"""The datasets by name: how each is fetched, and how its records become problems."""

import difflib
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from greenlit.config import DatasetParams, Limits
from greenlit.errors import ConfigError, DataError
from greenlit.jsonl import atomic_write, first_fault, one_line, read_json_lines
from greenlit.problems.apps import folder_rows, load_apps
from greenlit.problems.evalplus import load_humanevalplus, load_mbppplus
from greenlit.problems.humaneval import load_humaneval
from greenlit.problems.leetcode import load_leetcode
from greenlit.problems.records import Dropped
from greenlit.problems.sources import copy_local as _copy_local
from greenlit.problems.sources import hub_json_lines, rows_of_folders
from greenlit.problems.sources import hub_rows as _hub_rows
from greenlit.problems.sources import only_file as _only_file
from greenlit.problems.taco import load_taco
from greenlit.types import Problem


@dataclass(frozen=True)
class Adapter:
    """One dataset.

    `fetch(params, folder)` puts the raw records into a folder and returns where they came from;
    `load(folder, params, limits, seed)` yields the problems in the dataset's own order, with their split, and a
    `Dropped` for each record that gives none.
    """

    fetch: Callable[[DatasetParams, Path], dict[str, Any]]
    load: Callable[[Path, DatasetParams, Limits, int], Iterator[Problem | Dropped]]
    evaluation_only: bool = False
    """All its problems are test problems: nothing may learn from them."""
    composed: bool = False
    """Its statements are composed of what many share (phrases, licences): runs of words in two of them mean nothing."""


def adapter_for(params: DatasetParams) -> Adapter:
    """The adapter of `dataset.name`.

    Raises:
        ConfigError: no such dataset; the message lists those there are.
    """
    if params.name not in ADAPTERS:
        raise ConfigError(f"params.yaml: dataset.name: no dataset {params.name!r}", hint=_known(params.name))
    return ADAPTERS[params.name]


def _known(name: str) -> str:
    close = difflib.get_close_matches(name, ADAPTERS, n=1)
    return (f"did you mean {close[0]}? " if close else "") + f"one of {', '.join(ADAPTERS)}"


def _fetch_starter(params: DatasetParams, folder: Path) -> dict[str, Any]:
    if params.path is not None:
        raise ConfigError("params.yaml: dataset.path: the starter problems are made, not read (must be null)")
    return {"made_by": "greenlit.problems.starter"}


def _load_starter(folder: Path, params: DatasetParams, limits: Limits, seed: int) -> Iterator[Problem]:
    from greenlit.problems.starter import starter_problems

    yield from starter_problems(seed, limits)


MBPP_HUB_ID = "google-research-datasets/mbpp"


def _fetch_mbpp(params: DatasetParams, folder: Path) -> dict[str, Any]:
    if params.variant not in {None, "full", "sanitized"}:
        raise ConfigError(f"params.yaml: dataset.variant: must be full or sanitized (found {params.variant!r})")
    if params.path is not None:
        return _copy_local(params.path, folder)
    variant = params.variant or "full"
    rows, revision = _hub_rows(MBPP_HUB_ID, variant, params.revision)
    with atomic_write(folder / f"mbpp-{variant}.jsonl") as stream:
        stream.writelines(rows)
    return {"hub_id": MBPP_HUB_ID, "variant": variant, "revision": revision}


def _load_mbpp(folder: Path, params: DatasetParams, limits: Limits, seed: int) -> Iterator[Problem]:
    from greenlit.problems.mbpp import load_mbpp, read_mbpp_file

    file = _only_file(folder)
    rows, variant = read_mbpp_file(file)
    if params.variant not in {None, variant}:
        raise DataError(
            f"{file}: the {variant} edition of MBPP",
            hint=f"dataset.variant: {variant} in params.yaml (found {params.variant})",
        )
    with _place(file, lambda: "a row"):
        yield from load_mbpp(rows, variant)


def _fetch_own(params: DatasetParams, folder: Path) -> dict[str, Any]:
    if params.path is None:
        raise ConfigError("params.yaml: dataset.path: must name your file of problems (JSON Lines or a JSON list)")
    if Path(params.path.removesuffix(".gz")).suffix not in {".jsonl", ".json"}:
        raise ConfigError(
            f"params.yaml: dataset.path: must be JSON Lines or a JSON list, .jsonl or .json (found {params.path})",
            hint='docs/datasets.md, "Your own problems", shows the keys, and how a table becomes such a file',
        )
    return _copy_local(params.path, folder)


def _load_own(folder: Path, params: DatasetParams, limits: Limits, seed: int) -> Iterator[Problem]:
    from greenlit.problems.own import load_own

    yield from load_own(_only_file(folder))


def _from_hub(hub_id: str, config: str | None = None) -> Callable[[DatasetParams, Path], dict[str, Any]]:
    """Fetch a dataset that has one edition: a local file of its rows, or all splits from the hub."""

    def fetch(params: DatasetParams, folder: Path) -> dict[str, Any]:
        _one_edition(params)
        if params.path is not None:
            return _copy_local(params.path, folder)
        rows, revision = _hub_rows(hub_id, config, params.revision)
        with atomic_write(folder / f"{params.name}.jsonl") as stream:
            stream.writelines(rows)
        return {"hub_id": hub_id, "revision": revision}

    return fetch


APPS_HUB_ID = "codeparrot/apps"


def _fetch_apps(params: DatasetParams, folder: Path) -> dict[str, Any]:
    """On the hub APPS is a loading script, which the datasets library no longer runs, over two files."""
    _one_edition(params)
    if params.path is not None and Path(params.path).is_dir():
        return rows_of_folders(params.path, folder_rows, folder / "apps.jsonl", "train/0000/question.txt")
    if params.path is not None:
        return _copy_local(params.path, folder)
    rows, revision = hub_json_lines(APPS_HUB_ID, {"train": "train.jsonl", "test": "test.jsonl"}, params.revision)
    with atomic_write(folder / "apps.jsonl") as stream:
        stream.writelines(rows)
    return {"hub_id": APPS_HUB_ID, "revision": revision}


Q_HUB_ID = "morganstanley/sft-python-q-problems"


def _fetch_q(params: DatasetParams, folder: Path) -> dict[str, Any]:
    from greenlit.problems.q import VARIANTS
    from greenlit.problems.q_files import fetch_local

    if params.variant not in {None, *VARIANTS}:
        wanted = ", ".join(VARIANTS)
        raise ConfigError(f"params.yaml: dataset.variant: must be one of {wanted} (found {params.variant!r})")
    if params.path is not None:
        return fetch_local(params.path, folder)
    rows, revision = _hub_rows(Q_HUB_ID, None, params.revision)
    with atomic_write(folder / "q.jsonl") as stream:
        stream.writelines(rows)
    return {"hub_id": Q_HUB_ID, "revision": revision}


def _load_q(folder: Path, params: DatasetParams, limits: Limits, seed: int) -> Iterator[Problem | Dropped]:
    from greenlit.problems.q import VARIANTS, load_q
    from greenlit.problems.q_files import BESIDE, read_helpers, read_statements

    variant = params.variant or VARIANTS[0]
    statements, helpers = read_statements(folder), read_helpers(folder)
    load = _rows_of(lambda rows: load_q(rows, variant, statements, helpers), BESIDE)
    yield from load(folder, params, limits, seed)


def _one_edition(params: DatasetParams) -> None:
    if params.variant is not None:
        raise ConfigError(f"params.yaml: dataset.variant: {params.name} has one edition (found {params.variant!r})")


def _fetch_completion(params: DatasetParams, folder: Path) -> dict[str, Any]:
    """The first rows of a local file, or of a stream from the hub."""
    from greenlit.problems.completion.hub import HUB_IDS, first_rows, hub_rows

    variant = params.variant or next(iter(HUB_IDS))
    if variant not in HUB_IDS:
        raise ConfigError(
            f"params.yaml: dataset.variant: must be one of {', '.join(HUB_IDS)} (found {params.variant!r})"
        )
    rows, facts = first_rows(params) if params.path is not None else hub_rows(variant, params)
    with atomic_write(folder / "rows.jsonl") as stream:
        stream.writelines(rows)
    return facts


def _load_completion(folder: Path, params: DatasetParams, limits: Limits, seed: int) -> Iterator[Problem | Dropped]:
    from greenlit.problems.completion import load_completion

    return _rows_of(lambda rows: load_completion(rows, params.completion))(folder, params, limits, seed)


def _rows_of(
    load: Callable[[Iterable[dict[str, Any]]], Iterator[Problem | Dropped]], beside: tuple[str, ...] = ()
) -> Callable[..., Any]:
    """Read the one raw file line by line.

    Args:
        beside: names of files that may lie beside it.
    """

    def load_file(folder: Path, params: DatasetParams, limits: Limits, seed: int) -> Iterator[Problem | Dropped]:
        file, number = _only_file(folder, beside), 0

        def rows() -> Iterator[dict[str, Any]]:
            nonlocal number
            for place, row in read_json_lines(file):
                number = place
                yield row

        with _place(file, lambda: f"line {number}"):
            yield from load(rows())
        if not number:
            raise DataError(f"{file}: no records in it (the file is empty)")

    return load_file


@contextmanager
def _place(file: Path, where: Callable[[], str]) -> Iterator[None]:
    """Faults of rows name their file; also those of a row that has the right columns, but that no Problem can hold."""
    try:
        yield
    except ValidationError as error:
        raise DataError(f"{file}: {where()}: {first_fault(error)}") from None
    except DataError as error:
        message = str(error.args[0])
        raise error if str(file) in message else DataError(f"{file}: {one_line(message)}", hint=error.hint) from None


ADAPTERS: Mapping[str, Adapter] = {
    "starter": Adapter(_fetch_starter, _load_starter, composed=True),
    "file": Adapter(_fetch_own, _load_own),
    "mbpp": Adapter(_fetch_mbpp, _load_mbpp),
    "humaneval": Adapter(
        _from_hub("openai/openai_humaneval", "openai_humaneval"), _rows_of(load_humaneval), evaluation_only=True
    ),
    "humanevalplus": Adapter(_from_hub("evalplus/humanevalplus"), _rows_of(load_humanevalplus), evaluation_only=True),
    "mbppplus": Adapter(_from_hub("evalplus/mbppplus"), _rows_of(load_mbppplus)),
    "q": Adapter(_fetch_q, _load_q),
    "apps": Adapter(_fetch_apps, _rows_of(load_apps)),
    "taco": Adapter(_from_hub("likaixin/TACO-verified"), _rows_of(load_taco)),
    "leetcode": Adapter(_from_hub("newfacade/LeetCodeDataset"), _rows_of(load_leetcode)),
    "completion": Adapter(_fetch_completion, _load_completion, composed=True),
}
