"""Checkpoints in a stage's work folder: when they are written, which of them count, how many stay.

`checkpoint-<step>` counts once `complete` lies in it, which is written last: the trainer writes file by file, and a
kill in between leaves a folder that looks like one. `complete` lists the files with their sizes: a folder that was
copied while a machine went away (a spot instance's checkpoints in S3) may have the last file and lack others.
"""

import json
import os
import shutil
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from greenlit.jsonl import write_json
from greenlit.training.launch import anyone, is_first, wait_for_all

COMPLETE = "complete"
SAVE_EVERY = "GREENLIT_SAVE_EVERY_S"
"""Environment variable: seconds between checkpoints; 0 writes one at every step."""
EVERY_S, SHARE = 30.0, 20
"""A checkpoint is due after 30 s, but not before 20 times what the last one took to write."""


def say_resumed(checkpoint: Path) -> None:
    """Tell people that steps need not be done again."""
    if is_first():
        print(f"going on from the checkpoint of step {_step(checkpoint)}", file=sys.stderr)


class Checkpoints:
    """The checkpoints of one run.

    Args:
        folder: where the trainer writes them.
        keep: how many stay, the newest; one always does while the run goes on.
    """

    def __init__(self, folder: Path, keep: int) -> None:
        self.folder, self._keep = folder, max(1, keep)
        said = os.environ.get(SAVE_EVERY)
        self._every_s = None if said is None else float(said)
        self._saving_since = self._saved_at = time.monotonic()
        self._took_s = 0.0

    def newest(self) -> Path | None:
        """The checkpoint to go on from; torn ones are removed."""
        for path in self.folder.glob("checkpoint-*") if is_first() else ():
            if not _is_whole(path):
                shutil.rmtree(path)
        found = self.kept()
        return found[-1] if found else None

    def kept(self) -> list[Path]:
        """The complete ones, oldest first."""
        return sorted((path for path in self.folder.glob("checkpoint-*") if _is_whole(path)), key=_step)

    def due(self) -> bool:
        """Is it time for one? Whoever asks and hears yes writes it at once."""
        now = time.monotonic()
        wait_s = max(EVERY_S, SHARE * self._took_s) if self._every_s is None else self._every_s
        if now - self._saved_at < wait_s:
            return False
        self._saving_since = now
        return True

    def saved(self, step: int) -> None:
        """The trainer has written the checkpoint of this step: it counts now, and older ones go."""
        path = self.folder / f"checkpoint-{step}"
        for file in path.iterdir():
            _to_disk(file)
        sizes = {file.relative_to(path).as_posix(): file.stat().st_size for file in _files(path)}
        write_json(path / COMPLETE, sizes)
        _to_disk(path)
        for old in self.kept()[: -self._keep]:
            (old / COMPLETE).unlink()
            shutil.rmtree(old)
        self._saved_at = time.monotonic()
        self._took_s = self._saved_at - self._saving_since

    def forget_from(self, step: int) -> None:
        """Remove the checkpoints of this step and later ones: what they hold is broken."""
        for path in self.kept():
            if _step(path) >= step:
                (path / COMPLETE).unlink()
                shutil.rmtree(path)


def checkpoint_callback(
    checkpoints: Checkpoints,
    stopping: Callable[[], bool],
    allowed: Callable[[int], bool] = lambda step: True,
    every: int | None = None,
) -> Any:
    """A transformers TrainerCallback that has checkpoints written when they are due, at a stop and at the end.

    Args:
        allowed: may there be one after this step? A stop waits for such a step, and so does what is due by steps; the
            last one always is.
        every: optimizer steps between two of them besides (`save_steps`).
    """
    from transformers import TrainerCallback

    class Save(TrainerCallback):
        wanted = False

        def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
            step, last = state.global_step, state.global_step >= state.max_steps
            self.wanted = self.wanted or (every is not None and step % every == 0)
            if not last and not allowed(step):
                return
            stopped = stopping()
            if stopped:
                control.should_training_stop = True
            if self.wanted or anyone(checkpoints.due()) or stopped or last:
                control.should_save, self.wanted = True, False

        def on_save(self, args: Any, state: Any, control: Any, **_: Any) -> None:
            wait_for_all()  # each process adds its random state
            if state.is_world_process_zero:
                checkpoints.saved(state.global_step)

    return Save()


def copy_checkpoints(checkpoints: Checkpoints, out: Path, keep: int) -> None:
    """The last `keep` checkpoints under `out`, as links where the file system has them."""
    for path in checkpoints.kept()[-keep:] if keep else []:
        shutil.copytree(path, out / path.name, copy_function=_link, ignore=shutil.ignore_patterns(COMPLETE))


def _link(source: str, target: str) -> None:
    try:
        os.link(source, target)
    except OSError:
        shutil.copyfile(source, target)


def _files(path: Path) -> list[Path]:
    return [file for file in path.rglob("*") if file.is_file() and file.name != COMPLETE]


def _is_whole(path: Path) -> bool:
    """Is everything there that was when the checkpoint was written?"""
    try:
        sizes = json.loads((path / COMPLETE).read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError, ValueError):
        return False
    return all((path / name).is_file() and (path / name).stat().st_size == size for name, size in sizes.items())


def _to_disk(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _step(path: Path) -> int:
    return int(path.name.rpartition("-")[2])
