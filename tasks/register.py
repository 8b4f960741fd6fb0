"""register: a method's merged model becomes a version in the MLflow registry, once, and champion if it got better.

Reads   results/<e>/<m>/merged/, results/reports/<e>_summary.json, the evaluations of the test split, audit.json,
        methods.<m>.reads, dvc.lock for the lineage
Writes  the registry at MLFLOW_TRACKING_URI (default: mlflow.db here), .work/register/<e>_<m>.json as a local note
Params  seed, methods.<m>, register
"""

import sys

from greenlit.config import Params, load_params_and_method
from greenlit.jsonl import read_json
from greenlit.paths import Paths
from greenlit.registry.mlflow import already_registered, remember
from greenlit.stage.entry import NOTHING_NEW, run_stage
from greenlit.stage.hardware import quiet_libraries
from greenlit.stage.stopping import postponed
from greenlit.stage.workspace import WORK, sha256_file, sha256_tree
from greenlit.trackers.mlflow_store import tracking_uri
from greenlit.tracking.executions import reached_end
from greenlit.tracking.runs import tracked, untracked


def run(params: Params, name: str, paths: Paths) -> None:
    """Register, unless these very files are a version already, or test was not measured."""
    record = WORK / "register" / f"{params.experiment}_{name}.json"
    model, sha256 = params.registration.model, sha256_tree(paths.method(name) / "merged")
    note = {"margin": params.registration.margin, "push_to_hub": params.registration.push_to_hub}
    note["test_sha256"] = sha256_file(paths.problems("test"))
    if already_registered(record, model, sha256, tracking_uri(), **note):
        print(f"{NOTHING_NEW}{params.experiment}/{name} is a version of {model} already", file=sys.stderr)
        return
    if read_json(paths.report("summary.json"))["after_test"] is None:
        print(f"{params.experiment}/{name}: not registered: evaluate.test is false in params.yaml", file=sys.stderr)
        return
    from greenlit.registry.registering import register

    # a signal waits: raised in the middle of a transaction it would leave MLflow's database locked against ourselves
    with postponed(), tracked(params, "register", "methods", "register", method=name) as tracker:
        header, parent = tracker.headers()
        version, decision, new = register(params, name, paths, header or untracked(params, "register", name), parent)
        remember(record, version, tracking_uri(), promoted=decision.promoted, decision=decision.sentence(), **note)
    begins = "registered " if new else f"{NOTHING_NEW}registered before: "
    print(f"{begins}{version.name} version {version.version} ({params.experiment}/{name})", file=sys.stderr)
    print(f"{version.name} {decision.sentence()}", file=sys.stderr)


def main() -> None:
    """Run as params.yaml says."""
    params, name = load_params_and_method(__doc__)
    quiet_libraries()
    run(params, name, Paths.of(params))
    reached_end(params, name)


if __name__ == "__main__":
    run_stage(main, "--method")
