"""Versions of a registered model, as the registry's other parts and its commands see them."""

import json
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from greenlit.errors import DataError
from greenlit.trackers.mlflow_store import mlflow_faults, open_client, sqlite_file

if TYPE_CHECKING:
    from mlflow import MlflowClient

CHAMPION = "champion"
CANDIDATE = "candidate"
BASE = "base"
"""Stands for the base model where a version would."""
AFTER, BEFORE = "evaluation.json", "baseline.json"
"""Evaluations beside the model: its own, and that of the base model it is compared with first."""
REMEASURED = "evaluations"
"""Folder beside the model: evaluations made later, on other tests or with other settings."""


@dataclass(frozen=True)
class Version:
    """One version."""

    name: str
    number: int
    run_id: str
    source: str
    """URI of the model's folder."""
    tags: dict[str, str]
    aliases: tuple[str, ...]
    created_ms: int

    def json_tag(self, key: str) -> Any:
        """A tag that holds JSON; None where it is missing."""
        return json.loads(self.tags[key]) if key in self.tags else None

    @property
    def label(self) -> str:
        """As people name it: `v3`."""
        return f"v{self.number}"


def versions(client: "MlflowClient", name: str) -> list[Version]:
    """All versions of a registered model, oldest first; none where there is no such model."""
    aliases: dict[int, list[str]] = {}
    for alias, number in _aliases(client, name).items():
        aliases.setdefault(number, []).append(alias)
    found = [
        Version(
            name,
            int(one.version),
            one.run_id or "",
            one.source,
            dict(one.tags),
            tuple(sorted(aliases.get(int(one.version), ()))),
            int(one.creation_timestamp),
        )
        for one in _pages(client, f"name = '{name}'")
    ]
    return sorted(found, key=lambda version: version.number)


def _aliases(client: "MlflowClient", name: str) -> dict[str, int]:
    from mlflow.exceptions import MlflowException

    try:
        return {alias: int(number) for alias, number in client.get_registered_model(name).aliases.items()}
    except MlflowException as error:
        if error.error_code != "RESOURCE_DOES_NOT_EXIST":
            raise
        return {}


def _pages(client: "MlflowClient", query: str) -> Iterator[Any]:
    token = None
    while True:
        page = client.search_model_versions(query, page_token=token)
        yield from page
        token = page.token
        if not token:
            return


def count_versions(client: "MlflowClient", tag: str, value: str) -> int:
    """Versions of any model with this value of a tag."""
    return sum(1 for _ in _pages(client, f"tags.`{tag}` = '{value}'"))


def find_version(client: "MlflowClient", name: str, which: str) -> Version:
    """The version that a user means: `3`, `v3`, `champion`, `@champion`.

    Raises:
        DataError: there is none; the message names those that there are.
    """
    known = versions(client, name)
    wanted = which.removeprefix("@")
    number = wanted.removeprefix("v")
    for version in known:
        if wanted in version.aliases or (number.isdigit() and int(number) == version.number):
            return version
    if not known:
        raise DataError(f"{name}: has no versions", hint="`greenlit run` registers what it trained")
    there = ", ".join([*sorted({alias for version in known for alias in version.aliases}), *(v.label for v in known)])
    raise DataError(f"{name}: no version {which!r}", hint=f"there are {there}")


def champion_in(name: str, uri: str) -> Version | None:
    """The champion of a registered model; None where there is no registry yet, no such model, or no such alias.

    Raises:
        WorldError: the registry does not answer.
    """
    database = sqlite_file(uri)
    if database is not None and not database.exists():
        return None
    with mlflow_faults(uri):
        return champion_of(versions(open_client(uri), name))


def champion_of(known: list[Version]) -> Version | None:
    """The version with that alias."""
    return next((version for version in known if CHAMPION in version.aliases), None)


def read_file(version: Version, file: str, uri: str) -> str | None:
    """A small text file beside the model; None where it has none, as versions of other tools."""
    from mlflow.artifacts import download_artifacts
    from mlflow.exceptions import MlflowException

    with tempfile.TemporaryDirectory() as folder:
        try:
            path = download_artifacts(artifact_uri=f"{version.source}/{file}", dst_path=folder, tracking_uri=uri)
        except (MlflowException, OSError):
            return None
        return Path(path).read_text(encoding="utf-8")


def evaluations_of(client: "MlflowClient", version: Version, uri: str) -> list[dict[str, Any]]:
    """What is known of a version's figures: from its registration, and from measurements since."""
    place = version.source.rstrip("/").rpartition("/")[2]
    later = client.list_artifacts(version.run_id, f"{place}/{REMEASURED}")
    files = [AFTER, *(f"{REMEASURED}/{Path(item.path).name}" for item in later)]
    found = [read_file(version, file, uri) for file in files]
    return [json.loads(text) for text in found if text is not None]
