"""A copy of the project in which a recorded run is repeated from nothing.

The copy has the recorded params and, where it can be had, the recorded commit; DVC's cache, MLflow's store and the
verdicts found before are its own, so that nothing is restored from what is there.
"""

import shutil
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from greenlit.errors import ConfigError, WorldError
from greenlit.jsonl import atomic_write, read_json, write_json
from greenlit.paths import local_data
from greenlit.repro import repro
from greenlit.runs.records import CODE, git
from greenlit.stage.workspace import ANSWERS, WORK, python_path, sha256_file, work_key

COPIES = WORK / "reproduce"


@dataclass(frozen=True)
class Copy:
    """A copy of the project, and what its code is."""

    folder: Path
    code: str
    goes_on: bool
    """It is the copy of an earlier try that did not come to its end."""

    @property
    def _note(self) -> Path:
        return self.folder.with_suffix(".json")

    def finished(self) -> None:
        """The run came through: another try starts from nothing again."""
        write_json(self._note, {**read_json(self._note), "finished": True})


def make_copy(record: dict[str, Any], file: Path) -> Copy:
    """The copy for a record, or the one of an earlier try that was stopped, if record and code are still the same.

    Args:
        record: what `file` holds.

    Raises:
        ConfigError: the project is in no git repository.
    """
    if git("rev-parse", "--git-dir") is None:
        raise ConfigError("no git repository here", hint="`git init`, and commit the project")
    folder = COPIES / file.stem
    commit, code = _code_to_use(record)
    key = work_key(commit or [sha256_file(path) for path in files_here()], [file])
    copy = Copy(folder, code, goes_on=_is_unfinished(folder, key))
    if copy.goes_on:
        return copy
    copy._note.unlink(missing_ok=True)
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    if commit:
        _check_out(commit, folder)
    else:
        copy_files(folder)
    _settle(record, folder)
    write_json(copy._note, {"key": key, "finished": False})
    return copy


def _code_to_use(record: dict[str, Any]) -> tuple[str | None, str]:
    """The recorded commit, if the run was made of it alone and it is here, else None; and the same in words."""
    state = record["git"]
    if state is None:
        reason = "the run was made outside of git"
    elif state["dirty"]:
        reason = f"the run was made with changes that were not committed ({', '.join(state['dirty'])})"
    elif git("cat-file", "-e", f"{state['commit']}^{{commit}}") is None:
        reason = f"its commit {state['commit'][:12]} is not here"
    elif git("rev-parse", "--show-prefix") != "\n":
        reason = "the project is not the repository's top folder"
    else:
        return state["commit"], f"the code of the recorded commit {state['commit'][:12]}"
    return None, f"the code as it is here now, because {reason}"


def _is_unfinished(folder: Path, key: str) -> bool:
    note = folder.with_suffix(".json")
    return folder.exists() and note.exists() and read_json(note) == {"key": key, "finished": False}


def _check_out(commit: str, folder: Path) -> None:
    cloned = git("clone", "--quiet", "--shared", "--no-checkout", str(Path.cwd()), str(folder))
    if cloned is None or git("-C", str(folder), "checkout", "--quiet", "--detach", commit) is None:
        raise WorldError(f"{folder}: commit {commit} could not be checked out", hint="see `git fsck`, and free space")


def files_here(new_in: Sequence[str] = CODE) -> list[Path]:
    """Tracked files, and those below `new_in` that git neither tracks nor ignores, as far as they are there."""
    tracked = git("ls-files", "-z") or ""
    new = git("ls-files", "-z", "--others", "--exclude-standard", "--", *new_in) or ""
    names = [name for name in sorted({*tracked.split("\0"), *new.split("\0")}) if name]
    return [Path(name) for name in names if Path(name).is_file()]


def copy_files(folder: Path) -> None:
    """The project's files, as they are here now, under a git of their own."""
    for path in files_here():
        target = folder / path
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(path, target)
    git("init", "--quiet", str(folder))


def _settle(record: dict[str, Any], folder: Path) -> None:
    """The recorded params, a cache of its own, and the local files that the params name."""
    with atomic_write(folder / "params.yaml") as stream:
        yaml.safe_dump(record["params"], stream, sort_keys=False)
    (folder / "dvc.lock").unlink(missing_ok=True)
    (folder / ".dvc/config.local").write_text("[cache]\n    dir = cache\n", encoding="utf-8")
    params = record["params"]
    data = local_data(params["dataset"]["path"], params.get("fetch", {}).get("reads", ""))
    link_local(folder, [*data, params["base"]["model"], str(ANSWERS)])


def link_local(folder: Path, names: Iterable[str | None]) -> None:
    """Files and folders here that git does not track, and that the copy needs under the same names."""
    for named in names:
        if named and not Path(named).is_absolute() and Path(named).exists() and not (folder / named).exists():
            (folder / named).parent.mkdir(parents=True, exist_ok=True)
            (folder / named).symlink_to(Path(named).resolve())


def run_again(copy: Copy, stages: Sequence[str]) -> None:
    """Run stages in the copy, their output on stderr; what is done there is not run again.

    Raises:
        StageFailedError: a stage failed.
        Stopped: a signal came; the stage has ended.
    """
    root = copy.folder.resolve()
    settings = {
        "PYTHONPATH": python_path(root / "src"),
        "MLFLOW_TRACKING_URI": f"sqlite:///{root / 'mlflow.db'}",
        "DVC_ROOT": str(root),
        "GREENLIT_CACHE": str(root / WORK / "verdicts.sqlite"),
    }
    repro(stages, force=False, cwd=root, settings=settings, stdout=sys.stderr)
