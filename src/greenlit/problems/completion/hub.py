"""The first source files of a local file or of a hub dataset, streamed: what comes after them is never read."""

import itertools
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from greenlit.config import DatasetParams
from greenlit.errors import ConfigError, WorldError
from greenlit.jsonl import one_line, read_json_lines

HUB_IDS = {"codeparrot-clean": "codeparrot/codeparrot-clean", "the-stack-smol": "bigcode/the-stack-smol"}
_IN_FOLDERS = {"the-stack-smol"}
"""Editions with a folder per language."""


def first_rows(params: DatasetParams) -> tuple[Iterator[str], dict[str, Any]]:
    """Lines of JSON of a local file (JSON lines, plain or .gz), and what is to be said of where they come from.

    Raises:
        ConfigError: no such file; the lines raise DataError where they are no JSON objects.
    """
    path = Path(params.path or "")
    if path.is_dir():
        raise ConfigError(f"params.yaml: dataset.path: a folder, where a file is expected ({path})")
    if not path.is_file():
        raise ConfigError(f"params.yaml: dataset.path: no such file ({path})", hint="relative to the project's root")
    rows = (row for _, row in itertools.islice(read_json_lines(path), params.completion.rows))
    return map(_line, rows), {"path": path.as_posix(), "rows_at_most": params.completion.rows}


def hub_rows(variant: str, params: DatasetParams) -> tuple[Iterator[str], dict[str, Any]]:
    """The same of a hub dataset, as many of each language; the commit they come from is pinned.

    Raises:
        WorldError: the hub does not answer, or does not let us in.
    """
    import httpx
    from huggingface_hub import HfApi

    hub_id, asked = HUB_IDS[variant], params.completion
    try:
        commit = params.revision or str(HfApi().dataset_info(hub_id).sha)
    except (OSError, httpx.HTTPError) as error:
        raise _no_answer(hub_id, error) from error
    folders = [f"data/{language}" for language in asked.languages] if variant in _IN_FOLDERS else [None]
    share = -(-asked.rows // len(folders))
    rows = (row for folder in folders for row in _stream(hub_id, folder, commit, share))
    facts = {"hub_id": hub_id, "revision": commit, "folders": folders, "rows_at_most": share * len(folders)}
    return map(_line, rows), facts


def _stream(hub_id: str, folder: str | None, commit: str, count: int) -> Iterator[dict[str, Any]]:
    import httpx
    from datasets import load_dataset

    try:
        stream = load_dataset(hub_id, data_dir=folder, split="train", revision=commit, streaming=True)
        yield from itertools.islice(stream, count)
    except (OSError, httpx.HTTPError) as error:
        raise _no_answer(hub_id, error) from error


def _no_answer(hub_id: str, error: Exception) -> WorldError:
    return WorldError(
        f"{hub_id}: the hub did not answer ({one_line(str(error))})",
        hint="check the network; a gated dataset wants its terms accepted and HF_TOKEN set; or name a local file in "
        "dataset.path",
    )


def _line(row: dict[str, Any]) -> str:
    return json.dumps(row, ensure_ascii=True, default=str) + "\n"
