"""train: one training method.

Reads   methods.<m>.reads, methods.<m>.start; online methods rewards.model too, where it has a weight
Writes  results/<e>/<m>/adapter/       LoRA adapter, or full weights
        results/<e>/<m>/checkpoints/   the last ones, with the optimizer's state
        results/<e>/<m>/metrics.json   what the run came to
        results/<e>/<m>/logs/          training_log.jsonl (every step), training_log.txt (to read), training.png,
                                       eval_log.jsonl (held-out rows), rewards.{json,jsonl}; completions.jsonl (some
                                       of every batch) and timings.jsonl (seconds by step), which are empty where
                                       the method samples nothing
        results/<e>/<m>/config.yaml    resolved settings, hashes of what was read and started from
Params  seed, methods.<m>; online methods annotate and rewards too
"""

import shutil
from collections.abc import Callable
from contextlib import AbstractContextManager
from functools import partial
from pathlib import Path
from typing import Any

import yaml

from greenlit.config import OnlineParams, Params, load_params_and_method, method_of
from greenlit.jsonl import atomic_write, write_json
from greenlit.models import load_tokenizer, resolve, weights_sha256
from greenlit.paths import Paths
from greenlit.rewards.judge import require_permitted
from greenlit.stage.entry import run_stage
from greenlit.stage.hardware import limit_threads, made_with, quiet_libraries
from greenlit.stage.workspace import atomic_folder, part_of, sha256_file, sha256_path, work_dir, work_folder
from greenlit.tracking.runs import Run, tracked
from greenlit.training.callbacks import TrainingLog
from greenlit.training.checkpoints import Checkpoints, copy_checkpoints
from greenlit.training.launch import is_first, launch, processes, shared_out, to_launch
from greenlit.training.methods import METHODS, REWARDS_MEAN
from greenlit.training.online import reads_besides, train_online
from greenlit.training.rows import training_rows
from greenlit.training.step_files import COMPLETIONS, TIMINGS

LOGS = tuple(f"logs/{name}" for name in TrainingLog.FILES)


def run(params: Params, name: str, out: Path, open_run: Callable[[Path], AbstractContextManager[Run]]) -> None:
    """Train one method; an interrupted run goes on from its last checkpoint.

    Args:
        open_run: opens the tracked run, given the folder of unfinished results.
    """
    method = method_of(params, name)
    share = shared_out(method, processes())
    start, reads = resolve(Path(method.start)), Path(method.reads)
    settings = {"experiment": params.experiment, "name": name, "seed": params.seed, **method.model_dump()}
    besides: list[Path] = []
    train: Callable[..., dict[str, Any]]
    if isinstance(method, OnlineParams):
        require_permitted(params.rewards, params.dataset.name)
        settings |= {"annotate": params.annotate.model_dump(), "rewards": params.rewards.model_dump()}
        besides = reads_besides(params.rewards)
        train = partial(train_online, METHODS[method.method], share, params.annotate, params.rewards)
    else:
        rows = training_rows(method, load_tokenizer(start).eos_token)
        train = partial(METHODS[method.method], share, rows)
    inputs = [reads, start, *besides]
    if not is_first():  # the first of several processes writes
        train(start, work_folder("train", settings, inputs), part_of(out / "adapter"), params.seed, lambda *_: None)
        return
    with (
        work_dir("train", settings, inputs) as work,
        open_run(work) as tracker,
        atomic_folder(out / "adapter") as adapter,
        TrainingLog(out / "logs") as log,
    ):

        def log_step(step: int, metrics: dict[str, float]) -> None:
            log(step, metrics)
            tracker.log(step, metrics)

        result = train(start, work, adapter, params.seed, log_step)
        hashes = {"reads": sha256_file(reads), "start": weights_sha256(start)}
        hashes |= {path.as_posix(): sha256_path(path) for path in besides}
        (adapter / "start.sha256").write_text(hashes["start"] + "\n")
        log.write_rewards(REWARDS_MEAN[method.method])
        log.draw()
        for file in (COMPLETIONS, TIMINGS):
            keep_file(work / file, out / "logs" / file)
        with atomic_folder(out / "checkpoints") as kept:
            copy_checkpoints(Checkpoints(work, 1), kept, method.keep_checkpoints)
        facts = made_with(params.seed)
        write_json(out / "metrics.json", {"method": method.method, **result, "made_with": facts})
        with atomic_write(out / "config.yaml") as stream:
            yaml.safe_dump({**settings, "inputs_sha256": hashes, "made_with": facts}, stream, sort_keys=False)
        tracker.figures(result)
        for file in ("config.yaml", "metrics.json", *LOGS, f"logs/{COMPLETIONS}", f"logs/{TIMINGS}"):
            tracker.file(out / file)


def keep_file(found: Path, out: Path) -> None:
    """A file of the work folder beside the results; an empty one where the method wrote none."""
    if found.exists():
        shutil.copyfile(found, out)
    else:
        out.write_bytes(b"")


def main() -> None:
    """Run as params.yaml says."""
    params, name = load_params_and_method(__doc__)
    if to_launch():
        launch("tasks.train", "--method", name)
        return
    quiet_libraries()
    limit_threads(1)
    online = isinstance(method_of(params, name), OnlineParams)

    def open_run(work: Path) -> AbstractContextManager[Run]:
        if online:
            return tracked(params, "train", "methods", "annotate", "rewards", method=name, work=work, live=True)
        return tracked(params, "train", "methods", method=name, work=work, live=True)

    run(params, name, Paths.of(params).method(name), open_run)


if __name__ == "__main__":
    run_stage(main, "--method")
