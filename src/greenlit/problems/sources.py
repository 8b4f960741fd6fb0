"""Where raw records come from: a file or folder of the user's, or the hub, by id and commit.

A token for gated datasets comes from HF_TOKEN or HUGGING_FACE_HUB_TOKEN, in the environment or in `.env`.
"""

import json
import os
import shutil
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from greenlit.errors import ConfigError, DataError, WorldError
from greenlit.jsonl import atomic_write, one_line
from greenlit.stage.workspace import sha256_file

SOURCE = "source.json"


def copy_local(path: str, folder: Path) -> dict[str, Any]:
    """Copy the one file that dataset.path names, and say where it came from.

    Raises:
        ConfigError: there is no such file.
    """
    source = Path(path)
    if source.is_dir():
        raise ConfigError(f"params.yaml: dataset.path: a folder, where a file is expected ({path})")
    if not source.is_file():
        raise ConfigError(f"params.yaml: dataset.path: no such file ({path})", hint="relative to the project's root")
    copy = folder / source.name
    shutil.copyfile(source, copy)
    return {"path": source.as_posix(), "sha256": sha256_file(copy)}


def rows_of_folders(
    path: str, rows_of: Callable[[Path], Iterable[dict[str, Any]]], target: Path, example: str
) -> dict[str, Any]:
    """Write the rows of a dataset that keeps a folder per problem, and say where they came from.

    Args:
        rows_of: root → rows.
        example: a file that such a dataset has, for the message.

    Raises:
        ConfigError: there are none.
    """
    count = 0
    with atomic_write(target) as stream:
        for row in rows_of(Path(path)):
            stream.write(json.dumps(row, ensure_ascii=False) + "\n")
            count += 1
    if not count:
        raise ConfigError(f"params.yaml: dataset.path: no problems in this folder ({path})", hint=f"such as {example}")
    return {"path": Path(path).as_posix(), "folders": count, "sha256": sha256_file(target)}


def only_file(folder: Path, beside: tuple[str, ...] = ()) -> Path:
    """The one file of records in a raw folder.

    Args:
        beside: names of files that may lie beside it.

    Raises:
        DataError: there is none, or several.
    """
    if not folder.is_dir():
        raise DataError(f"{folder}: no such folder", hint="run the stage that writes it: `dvc repro fetch`")
    files = sorted(path for path in folder.iterdir() if path.name not in {SOURCE, *beside})
    if len(files) != 1:
        raise DataError(f"{folder}: must hold one file of records (found {len(files)})", hint="dvc repro --force fetch")
    return files[0]


def hub_rows(hub_id: str, variant: str | None, revision: str | None) -> tuple[Iterator[str], str]:
    """Lines of JSON of all splits of a hub dataset, each with its `split`, and the commit they come from.

    The library keeps the rows in files of its own and hands them out one by one; nothing more is in memory.

    Raises:
        ConfigError: there is no such commit, or a token is needed.
        WorldError: the hub did not answer.
    """
    with _hub(hub_id, revision) as commit:
        from datasets import load_dataset

        splits = load_dataset(hub_id, variant, revision=commit)
    rows = ({**row, "split": name} for name in sorted(splits) for row in splits[name])
    return (json.dumps(row, ensure_ascii=False, default=str) + "\n" for row in rows), commit


def hub_json_lines(hub_id: str, files: dict[str, str], revision: str | None) -> tuple[Iterator[str], str]:
    """As `hub_rows`, of files of JSON Lines that the datasets library cannot put together itself.

    Args:
        files: split → file in the dataset's repository.
    """
    with _hub(hub_id, revision) as commit:
        from huggingface_hub import hf_hub_download

        paths = {
            split: Path(hf_hub_download(hub_id, name, repo_type="dataset", revision=commit))
            for split, name in files.items()
        }

    def lines() -> Iterator[str]:
        from greenlit.jsonl import read_json_lines

        for split, path in paths.items():
            for _, row in read_json_lines(path):
                yield json.dumps({**row, "split": split}, ensure_ascii=False) + "\n"

    return lines(), commit


@contextmanager
def _hub(hub_id: str, revision: str | None) -> Iterator[str]:
    """The commit to take, and clear words for what the hub answers."""
    import httpx
    from huggingface_hub import HfApi
    from huggingface_hub.errors import GatedRepoError, RepositoryNotFoundError, RevisionNotFoundError

    _set_token()
    try:
        yield revision or str(HfApi().dataset_info(hub_id).sha)
    except RevisionNotFoundError:
        raise ConfigError(f"params.yaml: dataset.revision: {hub_id} has no such commit (found {revision!r})") from None
    except (GatedRepoError, RepositoryNotFoundError) as error:
        known = "a token is set, and" if os.environ.get("HF_TOKEN") else "no token is set, and"
        raise ConfigError(
            f"{hub_id}: {known} the hub refuses it ({type(error).__name__})",
            hint="accept its terms on the hub, and set HF_TOKEN in the environment or in .env",
        ) from None
    except (OSError, httpx.HTTPError) as error:
        raise WorldError(
            f"{hub_id}: the hub did not answer ({one_line(str(error))})",
            hint="check the network, or name a local file in dataset.path",
        ) from error


def _set_token() -> None:
    """The older name of the variable counts, too; huggingface_hub reads HF_TOKEN."""
    from dotenv import load_dotenv

    load_dotenv(".env")
    if "HUGGING_FACE_HUB_TOKEN" in os.environ:
        os.environ.setdefault("HF_TOKEN", os.environ["HUGGING_FACE_HUB_TOKEN"])
