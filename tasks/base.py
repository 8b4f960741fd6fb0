"""base: the model to start from.

Reads   nothing (starter), the hub, or a local directory
Writes  assets/models/base/         weights and tokenizer of the starter model, or pointer.json with the pinned revision
Params  seed, base
"""

from pathlib import Path

from greenlit.config import BaseParams, load_params
from greenlit.models import write_pointer
from greenlit.paths import BASE
from greenlit.stage.entry import run_stage
from greenlit.stage.hardware import limit_threads, quiet_libraries
from greenlit.stage.progress import progress
from greenlit.stage.workspace import atomic_folder, work_dir
from greenlit.tracking.runs import tracked


def run(params: BaseParams, seed: int, out: Path) -> None:
    """Build the starter model (an interrupted run goes on where it stopped), or pin another one."""
    if params.model != "starter":
        with atomic_folder(out) as part:
            write_pointer(params.model, params.revision, part)
        return
    from greenlit.starter_model import build_starter

    settings = {"params": params.starter.model_dump(), "seed": seed}
    with work_dir("base", settings, []) as work, progress("base", params.starter.steps, "steps") as bar:
        build_starter(params.starter, seed, out, lambda step, _total, _loss: bar.advance(step - bar.done), work)


def main() -> None:
    """Run as params.yaml says."""
    quiet_libraries()
    limit_threads(1)
    params = load_params()
    with tracked(params, "base", "base"):
        run(params.base, params.seed, BASE)


if __name__ == "__main__":
    run_stage(main)
