"""`results/runs/<experiment>-<UTC time>.json`: what a `greenlit run` was made of, and the hashes of what came out.

A record is written when the run starts and again when it ends, however it ends; one that says "running" was killed.

    experiment, seed, params     the experiment, resolved
    git                          {"commit", "dirty": code files that differ from it}, null outside of git
    facts                        `hardware.facts()`
    settings, sandbox_level      the environment's settings that can change a result, and the level that was used
    started, ended               UTC
    state, exit_code             running, done, failed or stopped
    stages                       {stage: {out: {"md5", "files": {name: md5} of a folder}}} of the stages that are up to
                                 date with these params and this code, in an order in which each follows what it reads
"""

import configparser
import functools
import json
import operator
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from greenlit.config import Params, read_yaml
from greenlit.errors import GreenlitError
from greenlit.jsonl import read_json, write_json
from greenlit.locked import locked_stages, stages_in_order
from greenlit.paths import Paths
from greenlit.stage.hardware import facts

RUNS = Path("results/runs")
SETTINGS = ("GREENLIT_SANDBOX", "GREENLIT_WORKERS", "OMP_NUM_THREADS", "CUDA_VISIBLE_DEVICES", "HF_HUB_OFFLINE")
CODE = ("src", "tasks", "custom", "dvc.yaml", ".dvcignore", ".dvc/config")
"""What a stage's result depends on besides params, packages and inputs, as git knows it."""
_FORMAT = 1

Stages = dict[str, dict[str, dict[str, Any]]]


@contextmanager
def record_run(params: Params, whole: bool) -> Iterator[Path]:
    """Around a run of the pipeline in the current folder: leave a record of it, whether it comes through or not.

    Args:
        whole: all stages are run, so that all are up to date when the block ends without an error.
    """
    started = datetime.now(UTC)
    path = _free_path(params.experiment, started)
    record = _started(params, started)
    write_json(path, record)
    try:
        yield path
    except BaseException as ending:
        with suppress(OSError, GreenlitError):  # the reason why the run ends is what matters
            write_json(path, {**record, **_ended(params, ending, False)})
        raise
    write_json(path, {**record, **_ended(params, None, whole)})


def read_record(path: Path) -> dict[str, Any]:
    """A record.

    Raises:
        DataError: there is none, or it is not JSON.
    """
    return read_json(path)


def _free_path(experiment: str, started: datetime) -> Path:
    name, number = f"{experiment}-{started:%Y%m%dT%H%M%SZ}", 1
    path = RUNS / f"{name}.json"
    while path.exists():
        number += 1
        path = RUNS / f"{name}-{number}.json"
    return path


def _started(params: Params, started: datetime) -> dict[str, Any]:
    return {
        "format": _FORMAT,
        "experiment": params.experiment,
        "seed": params.seed,
        "state": "running",
        "exit_code": None,
        "started": started.isoformat(timespec="seconds"),
        "ended": None,
        "git": git_state(),
        "settings": settings(),
        "sandbox_level": None,
        "facts": facts(),
        "params": params.model_dump(mode="json", by_alias=True),
        "stages": {},
    }


def _ended(params: Params, ending: BaseException | None, whole: bool) -> dict[str, Any]:
    """What is known at the end only."""
    state, code = _state(ending)
    stages = outs_of(Path(), stage_names(params) if whole else _up_to_date(params))
    audit = Paths.of(params).audit
    return {
        "state": state,
        "exit_code": code,
        "ended": datetime.now(UTC).isoformat(timespec="seconds"),
        "sandbox_level": read_json(audit)["sandbox_level"] if "prepare" in stages and audit.exists() else None,
        "stages": stages,
    }


def _state(ending: BaseException | None) -> tuple[str, int]:
    if ending is None:
        return "done", 0
    if isinstance(ending, SystemExit):
        code = ending.code if isinstance(ending.code, int) else 1
    else:
        code = getattr(ending, "exit_code", getattr(ending, "code", 1))
    stopped = isinstance(ending, KeyboardInterrupt) or code in {130, 143}
    return ("stopped" if stopped else "failed" if code else "done"), 130 if stopped and code == 1 else code


def settings() -> dict[str, str | None]:
    """The environment's settings that can change a result, or how fast it comes."""
    return {name: os.environ.get(name) for name in SETTINGS}


def git_state() -> dict[str, Any] | None:
    """The commit checked out here, and the files of `CODE` that differ from it or are new; None outside of git."""
    commit = git("rev-parse", "HEAD")
    changes = git("status", "--porcelain", "--no-renames", "--untracked-files=all", "-z", "--", *CODE)
    if commit is None or changes is None:
        return None
    return {"commit": commit.strip(), "dirty": sorted(line[3:] for line in changes.split("\0") if line)}


def git(*arguments: str) -> str | None:
    """What git prints; None when it fails or is not there."""
    try:
        done = subprocess.run(["git", *arguments], capture_output=True, text=True)
    except FileNotFoundError:
        return None
    return done.stdout if done.returncode == 0 else None


def stage_names(params: Params) -> list[str]:
    """The stages of dvc.yaml as these params make them: `train@dpo` and so on."""
    content = params.model_dump(mode="json", by_alias=True)
    names: list[str] = []
    for name, stage in read_yaml(Path("dvc.yaml"))["stages"].items():
        section = stage["foreach"].strip("${}").split(".") if "foreach" in stage else None
        keys = functools.reduce(operator.getitem, section, content) if section else None
        names += [name] if keys is None else [f"{name}@{key}" for key in keys]
    return names


def _up_to_date(params: Params) -> list[str]:
    """The stages that DVC would not run again, and whose inputs none would make anew; empty when DVC cannot say."""
    if not Path("dvc.lock").exists():
        return []
    done = subprocess.run([sys.executable, "-m", "dvc", "status", "--json"], capture_output=True, text=True)
    try:
        changed = json.loads(done.stdout)
    except ValueError:
        return []
    locked, names = locked_stages(Path()), stage_names(params)
    fine: list[str] = []
    for name, producers in stages_in_order(locked).items():
        if name in names and name not in changed and all(producer in fine for producer in producers):
            fine.append(name)
    return fine


def outs_of(root: Path, names: list[str]) -> Stages:
    """The outs that dvc.lock in a project's folder notes for these stages, each stage after those it reads from."""
    locked, cache = locked_stages(root), cache_dir(root)
    return {
        name: {out["path"]: _out(out, cache) for out in locked[name]["outs"]}
        for name in stages_in_order(locked)
        if name in names and locked[name].get("outs")
    }


def stages_outs(root: Path) -> set[str]:
    """Paths of all outs that dvc.lock in a project's folder notes."""
    return {out["path"] for stage in locked_stages(root).values() for out in stage.get("outs", [])}


def _out(out: Mapping[str, Any], cache: Path) -> dict[str, Any]:
    """A file's hash, or a folder's with that of every file in it, which DVC's cache lists."""
    listing = cached(cache, out["md5"])
    if not out["md5"].endswith(".dir") or not listing.exists():
        return {"md5": out["md5"]}
    return {"md5": out["md5"], "files": {row["relpath"]: row["md5"] for row in read_json(listing)}}


def cache_dir(root: Path) -> Path:
    """DVC's cache of a project: `cache.dir` of its configuration, else `.dvc/cache`."""
    parser = configparser.ConfigParser(interpolation=None, strict=False)
    parser.read([root / ".dvc/config", root / ".dvc/config.local"], encoding="utf-8")
    said = parser.get("cache", "dir", fallback="cache").strip("'\" ")
    return root / ".dvc" / said


def cached(cache: Path, md5: str) -> Path:
    """Where DVC's cache keeps the content with this hash."""
    return cache / "files/md5" / md5[:2] / md5[2:]
