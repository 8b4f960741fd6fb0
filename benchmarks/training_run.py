"""One training for training.py, as a process of its own in a copy of the project.

    python training_run.py (ours|bare) METHOD OUT

Ours is the stage as it is. In both the trainer notes when each of its steps ended, by a callback that knows of neither.
"""

import json
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from training_bare import BARE

from greenlit.config import load_params
from greenlit.stage.hardware import limit_threads, quiet_libraries


def note_steps() -> list[tuple[float, float]]:
    """Wall and CPU time of this process at the end of every step to come, in seconds."""
    from transformers import TrainerCallback, trainer

    ends: list[tuple[float, float]] = []

    class Ends(TrainerCallback):
        def on_step_end(self, *_: Any, **__: Any) -> None:
            ends.append((time.perf_counter(), time.process_time()))

    trainer.DEFAULT_CALLBACKS.append(Ends)
    return ends


def main() -> None:
    side, name, out = sys.argv[1:]
    quiet_libraries()
    limit_threads(1)
    ends = note_steps()
    params = load_params()
    method = params.methods[name]
    if side == "ours":
        from greenlit.stage.entry import exit_cleanly
        from tasks import train

        sys.argv = ["train", "--method", name]
        exit_cleanly(train.main)
    else:
        with tempfile.TemporaryDirectory() as folder:
            BARE[method.method](method.model_dump(), params.annotate.model_dump(), params.seed, Path(folder))
    Path(out).write_text(json.dumps(ends))


if __name__ == "__main__":
    main()
