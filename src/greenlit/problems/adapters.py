"""The datasets by name: how each is fetched, and how its records become problems."""

import shutil
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from greenlit.config import DatasetParams, Limits
from greenlit.errors import ConfigError, DataError, WorldError
from greenlit.jsonl import atomic_write
from greenlit.types import Problem
from greenlit.workspace import sha256_file


@dataclass(frozen=True)
class Adapter:
    """One dataset.

    `fetch(params, folder)` puts the raw records into a folder and returns where they came from;
    `load(folder, params, limits, seed)` yields the problems in the dataset's own order, with their split.
    """

    fetch: Callable[[DatasetParams, Path], dict[str, Any]]
    load: Callable[[Path, DatasetParams, Limits, int], Iterator[Problem]]


def adapter_for(params: DatasetParams) -> Adapter:
    """The adapter of `dataset.name`.

    Raises:
        ConfigError: no such dataset; the message lists those there are.
    """
    if params.name not in ADAPTERS:
        raise ConfigError(
            f"params.yaml: dataset.name: no dataset {params.name!r}", hint=f"one of {', '.join(ADAPTERS)}"
        )
    return ADAPTERS[params.name]


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

    rows, variant = read_mbpp_file(_only_file(folder))
    if params.variant not in {None, variant}:
        raise DataError(
            f"{_only_file(folder)}: the {variant} edition of MBPP",
            hint=f"dataset.variant: {variant} in params.yaml (found {params.variant})",
        )
    yield from load_mbpp(rows, variant)


def _fetch_own(params: DatasetParams, folder: Path) -> dict[str, Any]:
    if params.path is None:
        raise ConfigError("params.yaml: dataset.path: must name your file of problems (JSONL)")
    if Path(params.path).suffix not in {".jsonl", ".gz"}:
        raise ConfigError(
            f"params.yaml: dataset.path: must be JSON Lines, .jsonl or .jsonl.gz (found {params.path})",
            hint='one object per line; README.md, "Real problems", shows the keys',
        )
    return _copy_local(params.path, folder)


def _load_own(folder: Path, params: DatasetParams, limits: Limits, seed: int) -> Iterator[Problem]:
    from greenlit.problems.own import load_own

    yield from load_own(_only_file(folder))


ADAPTERS: Mapping[str, Adapter] = {
    "starter": Adapter(_fetch_starter, _load_starter),
    "file": Adapter(_fetch_own, _load_own),
    "mbpp": Adapter(_fetch_mbpp, _load_mbpp),
}


def _copy_local(path: str, folder: Path) -> dict[str, Any]:
    source = Path(path)
    if not source.is_file():
        raise ConfigError(f"params.yaml: dataset.path: no such file ({path})")
    copy = folder / source.name
    shutil.copyfile(source, copy)
    return {"path": source.as_posix(), "sha256": sha256_file(copy)}


def _only_file(folder: Path) -> Path:
    files = sorted(path for path in folder.iterdir() if path.name != "source.json")
    if len(files) != 1:
        raise DataError(f"{folder}: must hold one file of records (found {len(files)})", hint="dvc repro --force fetch")
    return files[0]


def _hub_rows(hub_id: str, variant: str, revision: str | None) -> tuple[Iterator[str], str]:
    """Lines of JSON of all splits of a hub dataset, and the commit they come from."""
    import json

    import httpx
    from datasets import load_dataset
    from huggingface_hub import HfApi

    try:
        commit = revision or str(HfApi().dataset_info(hub_id).sha)
        splits = load_dataset(hub_id, variant, revision=commit)
    except (OSError, httpx.HTTPError) as error:
        raise WorldError(
            f"{hub_id}: the hub did not answer ({error})",
            hint="check the network, or name a local file in dataset.path",
        ) from error
    lines = (json.dumps(row, ensure_ascii=False) + "\n" for name in sorted(splits) for row in splits[name])
    return lines, commit
