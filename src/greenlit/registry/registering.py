"""What the stage `register` does: a version with its evidence, the gate's decision, a push where one is wanted."""

import sys
from pathlib import Path

from greenlit.config import Params, method_of
from greenlit.jsonl import read_json
from greenlit.paths import Paths
from greenlit.registry.card import version_card
from greenlit.registry.evidence import audit_summary, data_hashes, leak_summary, lineage_tags, open_leaks
from greenlit.registry.hub import push_to_hub
from greenlit.registry.lineage import as_json, chain_to
from greenlit.registry.mlflow import Registered, register_model
from greenlit.registry.promotion import OPEN_LEAKS, Decision, earlier_decision, run_gate
from greenlit.registry.versions import AFTER, BEFORE, find_version
from greenlit.trackers import mlflow_store
from greenlit.tracking.spool import Header

CARD, LINEAGE = "README.md", "lineage.json"


def register(
    params: Params, name: str, paths: Paths, header: Header, parent: Header | None
) -> tuple[Registered, Decision, bool]:
    """Make a method's merged model a version, and let the gate decide about it.

    Returns:
        the version, the decision, and whether either is new.

    Args:
        header, parent: the tracked run and the one above it.

    Raises:
        WorldError: the registry, or the hub, did not answer; the same call goes on from there.
    """
    uri = mlflow_store.tracking_uri()
    merged, method = paths.method(name) / "merged", method_of(params, name)
    summary, audit = read_json(paths.report("summary.json")), read_json(paths.audit)
    figures = {"after_test": summary["after_test"][name], "delta": summary["delta"][name]}
    chain = chain_to(merged)
    tags = lineage_tags(
        {"reads": Path(method.reads), "start": Path(method.start), "test": paths.problems("test")},
        params.base.model,
        params.seed,
        figures,
        Path(),
        summary["kind"],
        experiment=params.experiment,
        method=name,
        params=method.model_dump(mode="json"),
        dataset=params.dataset.model_dump(mode="json"),
        base_revision=_revision(Path(method.start)),
        data_md5=data_hashes(chain),
        audit=audit_summary(audit),
        leaks=leak_summary(audit),
        **{OPEN_LEAKS: open_leaks(audit, Path(method.reads), paths.problems("test"))},
    )
    beside = {
        CARD: version_card(params, name, summary, audit, tags),
        LINEAGE: as_json(chain),
        AFTER: paths.evaluation(name).read_text(encoding="utf-8"),
        BEFORE: paths.evaluation(None).read_text(encoding="utf-8"),
    }
    model = params.registration.model
    version = register_model(merged, model, tags, figures, header, beside=beside, parent=parent, uri=uri)
    with mlflow_store.mlflow_faults(uri):
        client = mlflow_store.open_client(uri)
        known = None if version.created else earlier_decision(find_version(client, model, version.version))
        decision = run_gate(client, uri, model, int(version.version), params.registration.margin)
        if decision.promoted and params.registration.push_to_hub:
            pushed = _push(params, merged, beside[CARD], decision)
            client.set_model_version_tag(model, version.version, "hub", pushed)
    return version, decision, version.created or decision != known


def _revision(start: Path) -> str | None:
    """Commit of a hub model that was started from."""
    pointer = start / "pointer.json"
    return read_json(pointer).get("revision") if pointer.exists() else None


def _push(params: Params, merged: Path, card: str, decision: Decision) -> str:
    repository = params.registration.push_to_hub
    assert repository is not None
    pushed = push_to_hub(merged, card, repository, params.registration.private, decision.sentence())
    print(f"pushed to {pushed}", file=sys.stderr)
    return pushed
