"""What the `greenlit models` commands do. Data to stdout, all else to stderr."""

import json
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from greenlit.config import load_params
from greenlit.errors import ConfigError, DataError, WorldError
from greenlit.registry import promotion, showing
from greenlit.registry.versions import Version, champion_of, evaluations_of, find_version, read_file, versions
from greenlit.trackers import mlflow_store

if TYPE_CHECKING:
    from mlflow import MlflowClient


@contextmanager
def _registry(model: str | None) -> Iterator[tuple["MlflowClient", str, str]]:
    """Client, URI and the registered model's name; MLflow's faults become ours."""
    name = model or load_params().registration.model
    uri = mlflow_store.tracking_uri()
    client = mlflow_store.open_client(uri)
    with mlflow_store.mlflow_faults(uri):
        yield client, uri, name


def list_command(model: str | None, as_json: bool) -> int:
    """All versions."""
    with _registry(model) as (client, _, name):
        found = versions(client, name)
    if as_json:
        print(json.dumps([showing.as_json(version) for version in found], indent=2))
    elif not found:
        print(f"{name}: no versions yet; `greenlit run` registers what it trained", file=sys.stderr)
    else:
        showing.print_table(name, found)
    return 0


def show_command(which: str, model: str | None, as_json: bool) -> int:
    """One version."""
    with _registry(model) as (client, _, name):
        version = find_version(client, name, which)
    if as_json:
        print(json.dumps(showing.as_json(version), indent=2))
    else:
        showing.print_version(version)
    return 0


def compare_command(before: str, after: str, model: str | None, measure: bool, as_json: bool) -> int:
    """Two versions on the same test problems."""
    with _registry(model) as (client, uri, name):
        old, new = (find_version(client, name, which) for which in (before, after))
        _measured(client, uri, measure, old, new)
        found = promotion.compared(evaluations_of(client, old, uri), evaluations_of(client, new, uri))
    if as_json:
        print(json.dumps({"before": old.label, "after": new.label, **found}, indent=2))
    else:
        showing.print_comparison(old, new, found)
    return 0


def promote_command(which: str, model: str | None, measure: bool, as_json: bool) -> int:
    """Ask the gate."""
    margin = load_params().registration.margin
    with _registry(model) as (client, uri, name):
        version = find_version(client, name, which)
        champion = champion_of(versions(client, name))
        _measured(client, uri, measure, version, *([champion] if champion else []))
        decision = promotion.run_gate(client, uri, name, version.number, margin, by_hand=True)
    print(json.dumps(asdict(decision), indent=2) if as_json else f"{name} {decision.sentence()}")
    return 0 if decision.promoted else 1


def _measured(client: "MlflowClient", uri: str, wanted: bool, *those: Version) -> None:
    if not wanted:
        return
    from dotenv import load_dotenv

    from greenlit.registry.measuring import measure_version
    from greenlit.stage.hardware import limit_threads, quiet_libraries

    load_dotenv(".env")
    quiet_libraries()
    limit_threads(1)
    params = load_params()
    for version in {version.number: version for version in those}.values():
        measure_version(client, version, params, uri)


def rollback_command(reason: str, model: str | None) -> int:
    """Undo the last promotion."""
    if not reason.strip():
        raise ConfigError("--reason: is empty", hint="it is written on the version that loses the alias")
    with _registry(model) as (client, uri, name):
        was, now = promotion.rollback(client, uri, name, reason.strip())
    there = f"{now.label} is champion again" if now else "nobody is: before it came the base model"
    print(f"{name}: {was.label} was champion; {there}")
    return 0


def lineage_command(which: str, model: str | None, as_json: bool) -> int:
    """Where a version came from."""
    with _registry(model) as (client, uri, name):
        version = find_version(client, name, which)
        text = read_file(version, "lineage.json", uri)
    chain = json.loads(text) if text else []
    if not chain:
        raise DataError(
            f"{name} {version.label}: no lineage was written",
            hint="only what `greenlit run` or `dvc repro` made has one; its tags (`greenlit models show`) hold hashes",
        )
    if as_json:
        print(json.dumps({"version": version.number, "tags": version.tags, "chain": chain}, indent=2))
    else:
        showing.print_lineage(version, chain)
    return 0


def download_command(which: str, out: Path, model: str | None) -> int:
    """The model directory."""
    from greenlit.registry.measuring import same_files, weights_of

    if out.exists():
        raise ConfigError(f"{out}: is there already", hint="name a folder that is not there yet")
    with _registry(model) as (client, uri, name):
        version = find_version(client, name, which)
        folder = weights_of(version, uri)
    if not same_files(version, folder):
        shutil.rmtree(folder)
        raise WorldError(
            f"{name} {version.label}: what came is not what was registered (another sha256)", hint="try again"
        )
    shutil.copytree(folder, out)
    print(out)
    return 0
