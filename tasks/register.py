"""register: a method's merged model becomes a version in the MLflow registry, once.

Reads   results/<e>/<m>/merged/, results/reports/<e>_summary.json
Writes  the registry at MLFLOW_TRACKING_URI (default: mlflow.db here), .work/register/<e>_<m>.json as a local note
Params  seed, methods.<m>, register
"""

import sys
from pathlib import Path

from greenlit.config import Params, load_params_and_method, method_of
from greenlit.jsonl import read_json
from greenlit.paths import Paths
from greenlit.registry.mlflow import already_registered, lineage_tags, register_model
from greenlit.stage.entry import run_stage
from greenlit.stage.hardware import quiet_libraries
from greenlit.stage.stopping import postponed
from greenlit.stage.workspace import WORK, sha256_tree
from greenlit.trackers.mlflow_store import tracking_uri
from greenlit.tracking.executions import reached_end
from greenlit.tracking.runs import tracked, untracked


def run(params: Params, name: str, paths: Paths) -> None:
    """Register, unless these very files are a version already, or test was not measured."""
    method, merged = method_of(params, name), paths.method(name) / "merged"
    record = WORK / "register" / f"{params.experiment}_{name}.json"
    if already_registered(record, params.registration.model, sha256_tree(merged), tracking_uri()):
        return
    summary = read_json(paths.report("summary.json"))
    if summary["after_test"] is None:
        print(f"{params.experiment}/{name}: not registered: evaluate.test is false in params.yaml", file=sys.stderr)
        return
    figures = {"after_test": summary["after_test"][name], "delta": summary["delta"][name]}
    inputs = {"reads": Path(method.reads), "start": Path(method.start), "test": paths.problems("test")}
    # a signal waits: raised in the middle of a transaction it would leave MLflow's database locked against ourselves
    with postponed(), tracked(params, "register", "methods", "register", method=name) as tracker:
        header, parent = tracker.headers()
        version = register_model(
            merged,
            params.registration.model,
            lineage_tags(inputs, params.base.model, params.seed, figures, Path(), summary["kind"]),
            figures,
            header or untracked(params, "register", name),
            record=record,
            parent=parent,
        )
    print(f"registered {version.name} version {version.version} ({params.experiment}/{name})", file=sys.stderr)


def main() -> None:
    """Run as params.yaml says."""
    params, name = load_params_and_method(__doc__)
    quiet_libraries()
    run(params, name, Paths.of(params))
    reached_end(params, name)


if __name__ == "__main__":
    run_stage(main, "--method")
