"""fetch: the dataset as downloaded, revision pinned.

Reads   the hub, or the file that dataset.path names
Writes  assets/raw/<ds>/            records as they came, and source.json: where from, which revision, sha256, made with
                            what (no seed: fetching depends on none)
Params  dataset
"""

from pathlib import Path

from greenlit.config import DatasetParams, load_params
from greenlit.jsonl import write_json
from greenlit.paths import Paths
from greenlit.problems.adapters import adapter_for
from greenlit.stage.entry import run_stage
from greenlit.stage.hardware import facts, quiet_libraries
from greenlit.stage.workspace import atomic_folder
from greenlit.tracking.runs import tracked


def run(params: DatasetParams, raw: Path) -> None:
    """Fetch one dataset."""
    with atomic_folder(raw) as part:
        source = adapter_for(params).fetch(params, part)
        write_json(part / "source.json", {"dataset": params.name, **source, "made_with": facts()})


def main() -> None:
    """Run as params.yaml says."""
    quiet_libraries()
    params = load_params()
    raw = Paths.of(params).raw
    with tracked(params, "fetch", "dataset") as tracker:
        run(params.dataset, raw)
        tracker.file(raw / "source.json")


if __name__ == "__main__":
    run_stage(main)
