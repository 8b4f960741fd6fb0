"""What is otherwise than when a run was recorded: what it was made of, and what came out."""

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from greenlit.config import load_params
from greenlit.errors import ConfigError
from greenlit.jsonl import shortened
from greenlit.locked import md5_file
from greenlit.runs.comparing import first_difference
from greenlit.runs.records import CODE, cache_dir, cached, git, git_state, settings
from greenlit.stage.hardware import facts
from greenlit.tracking.values import flatten

NOT_REPEATED = {"timings.jsonl": "measured times"}
"""Files that are known to differ from run to run, and why."""


@dataclass(frozen=True)
class Change:
    """Something that is otherwise than when the run was recorded."""

    area: Literal["params", "code", "packages", "hardware", "settings"]
    what: str
    then: str
    now: str


@dataclass(frozen=True)
class Compared:
    """One out of a stage: is it the same?"""

    stage: str
    out: str
    state: Literal["identical", "differs", "not compared"]
    where: str = ""


def changes_since(record: dict[str, Any]) -> list[Change]:
    """What differs between then and now: params, code, packages, hardware, settings."""
    return [*_params_changed(record), *_code_changed(record), *_facts_changed(record)]


def _params_changed(record: dict[str, Any]) -> Iterator[Change]:
    try:
        now = load_params().model_dump(mode="json", by_alias=True)
    except ConfigError as error:
        yield Change("params", "params.yaml", "valid", shortened(str(error).splitlines()[0], 100))
        return
    yield from _changed("params", record["params"], now)


def _code_changed(record: dict[str, Any]) -> Iterator[Change]:
    then, now = record["git"], git_state()
    if then is None or now is None:
        if then != now:
            yield Change("code", "git", "none" if then is None else then["commit"], "none" if now is None else "there")
        return
    if then["commit"] != now["commit"]:
        files = git("diff", "--name-only", then["commit"], now["commit"], "--", *CODE)
        which = "not known here" if files is None else f"{len(files.split())} files of code differ"
        yield Change("code", "commit", then["commit"][:12], f"{now['commit'][:12]} ({which})")
    if then["dirty"] or now["dirty"]:
        yield Change(
            "code", "not committed", ", ".join(then["dirty"]) or "nothing", ", ".join(now["dirty"]) or "nothing"
        )


def _facts_changed(record: dict[str, Any]) -> Iterator[Change]:
    then, now = dict(record["facts"]), facts()
    for place in (then, now):
        place.pop("threads", None)  # OMP_NUM_THREADS stands among the settings
    yield from _changed("packages", then.pop("packages"), now.pop("packages"))
    yield from _changed("hardware", then, now)
    yield from _changed("settings", record["settings"], settings())


def _changed(area: Any, then: dict[str, Any], now: dict[str, Any]) -> Iterator[Change]:
    before, after = flatten(then), flatten(now)
    for key in dict.fromkeys([*before, *after]):
        if before.get(key) != after.get(key):
            yield Change(area, key, _said(before, key), _said(after, key))


def _said(values: dict[str, Any], key: str) -> str:
    return "not set" if values.get(key) is None else shortened(values[key])


def compare_with(record: dict[str, Any], folder: Path) -> Iterator[Compared]:
    """Compare what lies in a project's folder now with the recorded outs, stage by stage.

    Where the recorded content is still to be had, in the workspace or DVC's cache, the first difference is named.
    """
    for stage, outs in record["stages"].items():
        for out, noted in outs.items():
            path = Path(out)
            if path.name in NOT_REPEATED:
                yield Compared(stage, out, "not compared", NOT_REPEATED[path.name])
                continue
            where = _difference(path, noted, folder)
            yield Compared(stage, out, "differs" if where else "identical", where or "")


def _difference(out: Path, noted: dict[str, Any], folder: Path) -> str | None:
    now = folder / out
    if not now.exists():
        return "missing now"
    if not noted["md5"].endswith(".dir"):
        return None if now.is_file() and md5_file(now) == noted["md5"] else _in_file(out, noted["md5"], now)
    files = {path.relative_to(now).as_posix(): md5_file(path) for path in sorted(now.rglob("*")) if path.is_file()}
    if "files" not in noted:
        return None if _folder_md5(files) == noted["md5"] else "another content"
    for name in sorted({*noted["files"], *files}):
        if name not in files:
            return f"{name}: missing now"
        if name not in noted["files"]:
            return f"{name}: missing then"
        if files[name] != noted["files"][name]:
            return f"{name}: {_in_file(out / name, noted['files'][name], now / name)}"
    return None


def _in_file(path: Path, md5: str, now: Path) -> str:
    """Where a file differs from the recorded one, as long as that one is anywhere."""
    for then in (path, cached(cache_dir(Path()), md5)):
        if then.is_file() and now.is_file() and md5_file(then) == md5:
            return first_difference(then, now) or "nowhere"
    return "another content (the recorded one is no longer here)"


def _folder_md5(files: dict[str, str]) -> str:
    """The hash that DVC gives a folder: of its listing as JSON."""
    rows = sorted(({"md5": md5, "relpath": name} for name, md5 in files.items()), key=lambda row: row["relpath"])
    return hashlib.md5(json.dumps(rows, sort_keys=True).encode()).hexdigest() + ".dir"
