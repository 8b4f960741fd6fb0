"""train: one training method.

Reads   methods.<m>.reads, methods.<m>.start
Writes  results/<e>/<m>/adapter/       LoRA adapter, or full weights
        results/<e>/<m>/checkpoints/   the last ones, with the optimizer's state
        results/<e>/<m>/metrics.json   what the run came to
        results/<e>/<m>/logs/          training_log.jsonl (every step), training_log.txt (to read), training.png,
                                       eval_log.jsonl (held-out rows), rewards.{json,jsonl}
        results/<e>/<m>/config.yaml    resolved settings, hashes of what was read and started from
Params  seed, methods.<m>
"""

from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

import yaml

from greenlit.config import DpoParams, SftParams, load_params_and_method, method_of
from greenlit.jsonl import atomic_write, write_json
from greenlit.models import load_tokenizer, resolve, weights_sha256
from greenlit.paths import Paths
from greenlit.stage.entry import run_stage
from greenlit.stage.hardware import limit_threads, made_with, quiet_libraries
from greenlit.stage.workspace import atomic_folder, sha256_file, work_dir
from greenlit.tracking.runs import Run, tracked
from greenlit.training.callbacks import TrainingLog
from greenlit.training.checkpoints import Checkpoints, copy_checkpoints
from greenlit.training.methods import METHODS, REWARDS_MEAN
from greenlit.training.rows import training_rows

LOGS = tuple(f"logs/{name}" for name in TrainingLog.FILES)


def run(
    params: DpoParams | SftParams,
    name: str,
    experiment: str,
    seed: int,
    out: Path,
    open_run: Callable[[Path], AbstractContextManager[Run]],
) -> None:
    """Train one method; an interrupted run goes on from its last checkpoint.

    Args:
        open_run: opens the tracked run, given the folder of unfinished results.
    """
    start = resolve(Path(params.start))
    settings = {"experiment": experiment, "name": name, "seed": seed, **params.model_dump()}
    rows = training_rows(params, load_tokenizer(start).eos_token)
    with (
        work_dir("train", settings, [Path(params.reads), start]) as work,
        open_run(work) as tracker,
        atomic_folder(out / "adapter") as adapter,
        TrainingLog(out / "logs") as log,
    ):

        def log_step(step: int, metrics: dict[str, float]) -> None:
            log(step, metrics)
            tracker.log(step, metrics)

        result = METHODS[params.method](params, rows, start, work, adapter, seed, log_step)
        inputs = {"reads": sha256_file(Path(params.reads)), "start": weights_sha256(start)}
        (adapter / "start.sha256").write_text(inputs["start"] + "\n")
        log.write_rewards(REWARDS_MEAN[params.method])
        log.draw()
        with atomic_folder(out / "checkpoints") as kept:
            copy_checkpoints(Checkpoints(work, 1), kept, params.keep_checkpoints)
        write_json(out / "metrics.json", {"method": params.method, **result, "made_with": made_with(seed)})
        with atomic_write(out / "config.yaml") as stream:
            yaml.safe_dump({**settings, "inputs_sha256": inputs, "made_with": made_with(seed)}, stream, sort_keys=False)
        tracker.figures(result)
        for file in ("config.yaml", "metrics.json", *LOGS):
            tracker.file(out / file)


def main() -> None:
    """Run as params.yaml says."""
    params, name = load_params_and_method(__doc__)
    quiet_libraries()
    limit_threads(1)

    def open_run(work: Path) -> AbstractContextManager[Run]:
        return tracked(params, "train", "methods", method=name, work=work, live=True)

    run(method_of(params, name), name, params.experiment, params.seed, Paths.of(params).method(name), open_run)


if __name__ == "__main__":
    run_stage(main)
