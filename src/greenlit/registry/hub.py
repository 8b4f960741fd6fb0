"""Push a model to the hub, where params.yaml asks for it: weights, tokenizer and the version's card."""

import tempfile
from pathlib import Path

from greenlit.errors import ConfigError, WorldError
from greenlit.stage.faults import first_line

_REFUSED = frozenset({401, 403})


def push_to_hub(merged: Path, card: str, repository: str, private: bool, message: str) -> str:
    """Upload the folder as one commit; what is there already is not sent again. Returns the commit's URL.

    Args:
        card: README.md instead of the folder's own.
        repository: `owner/name`; made where it does not exist.

    Raises:
        ConfigError: the hub knows nobody of that token, or does not allow it.
        WorldError: the hub did not answer.
    """
    import httpx
    from huggingface_hub import CommitOperationAdd, HfApi
    from huggingface_hub.errors import HfHubHTTPError

    api = HfApi()
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "README.md").write_text(card, encoding="utf-8")
        files = {path.relative_to(merged).as_posix(): path for path in sorted(merged.rglob("*")) if path.is_file()}
        files["README.md"] = Path(folder) / "README.md"
        try:
            api.create_repo(repository, private=private, exist_ok=True)
            done = api.create_commit(
                repository,
                [CommitOperationAdd(path_in_repo=name, path_or_fileobj=path) for name, path in files.items()],
                commit_message=message,
            )
        except HfHubHTTPError as error:
            if error.response is not None and error.response.status_code in _REFUSED:
                raise ConfigError(
                    f"params.yaml: register.push_to_hub: {repository}: the hub refuses it ({first_line(error)})",
                    hint="HF_TOKEN (in .env) needs write access; null pushes nothing",
                ) from error
            raise _unreachable(repository, error) from error
        except (httpx.HTTPError, OSError) as error:
            raise _unreachable(repository, error) from error
    return str(done.commit_url)


def _unreachable(repository: str, error: Exception) -> WorldError:
    return WorldError(
        f"{repository}: could not be pushed to the hub ({first_line(error)})",
        hint="the version is registered; the same command pushes it once the hub answers",
    )
