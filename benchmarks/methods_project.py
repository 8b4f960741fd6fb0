"""The copies of the project that methods.py runs in, one for each seed: DVC decides there what is done already.

Copies share DVC's cache, so that a placebo takes base and candidates from the real run of its seed. A copy keeps the
code that it was made with until it is updated.
"""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from greenlit.errors import WorldError
from greenlit.jsonl import read_json, write_json
from greenlit.repro import StageFailedError, repro, repro_environment
from greenlit.stage.workspace import python_path, sha256_file

CODE = ("src", "tasks", "custom", "human", "dvc.yaml", ".dvcignore", ".dvc/config", "pyproject.toml", "LICENSE")
PLACEBO = Path("custom/placebo.py")


@dataclass(frozen=True)
class Project:
    """A copy of the project for one seed."""

    folder: Path

    @classmethod
    def made(cls, folder: Path, params: Mapping[str, Any], cache: Path, update: bool) -> "Project":
        """The copy in `folder` with these params, made anew or as an earlier call left it.

        Args:
            cache: DVC's cache.
            update: take over the code as it is here, where the copy has another.
        """
        here = {name: sha256_file(Path(name)) for name in _files()}
        note = folder / ".work" / "code.json"
        if not note.exists() or update:
            for name in here:
                (folder / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(name, folder / name)
            for name in set(read_json(note) if note.exists() else ()) - set(here):
                (folder / name).unlink(missing_ok=True)
            shutil.copy2(Path(__file__).with_name("placebo.py"), folder / PLACEBO)
            subprocess.run(["git", "init", "--quiet", str(folder)], check=True)
            (folder / ".dvc/config.local").write_text(f"[cache]\n    dir = {cache.resolve()}\n", encoding="utf-8")
            write_json(note, here)
        elif read_json(note) != here:
            print(f"{folder}: other code than here; --update takes it over, and runs what it changes", file=sys.stderr)
        text = yaml.safe_dump(dict(params), sort_keys=False)
        if not (folder / "params.yaml").exists() or (folder / "params.yaml").read_text(encoding="utf-8") != text:
            (folder / "params.yaml").write_text(text, encoding="utf-8")
        return cls(folder)

    def repro(self, *stages: str) -> None:
        """Bring stages up to date, with all they need."""
        repro(stages, force=False, cwd=self.folder, settings=self._settings, stdout=sys.stderr)

    def timed(self, stage: str) -> float | None:
        """Bring one stage up to date whose inputs are, and return the CPU time that it took.

        Returns:
            CPU seconds of its processes over all tries, also where an earlier call brought it up to date; None where
            a try was killed, and nobody knows what it had used.

        Raises:
            StageFailedError: it failed.
        """
        notes = self.folder / ".work" / "cpu.json"
        spent = read_json(notes) if notes.exists() else {}
        note = spent.get(stage, {"state": "new", "cpu_s": 0.0})
        if not self._changed(stage):
            return note["cpu_s"] if note["state"] == "done" else None
        before = {"done": 0.0, "running": None}.get(note["state"], note["cpu_s"])
        write_json(notes, spent | {stage: {"state": "running", "cpu_s": None}})
        module, _, method = stage.partition("@")
        command = [sys.executable, "-m", f"tasks.{module}", *(["--method", method] if method else [])]
        child = subprocess.Popen(command, cwd=self.folder, env={**repro_environment(), **self._settings})
        try:
            code, cpu_s = _waited(child)
        except KeyboardInterrupt:
            child.terminate()
            _, cpu_s = _waited(child)
            write_json(notes, spent | {stage: {"state": "stopped", "cpu_s": _sum(before, cpu_s)}})
            raise
        state = "stopped" if code else "done"
        write_json(notes, spent | {stage: {"state": state, "cpu_s": _sum(before, cpu_s)}})
        if code:
            raise StageFailedError(code)
        self._dvc("commit", "--force", "--quiet", stage)
        return _sum(before, cpu_s)

    def json(self, file: Path) -> Any:
        """What a JSON file of the copy holds."""
        return read_json(self.folder / file)

    @property
    def _settings(self) -> dict[str, str]:
        return {"PYTHONPATH": python_path(self.folder / "src"), "DVC_NO_ANALYTICS": "1"}

    def _changed(self, stage: str) -> bool:
        return bool(json.loads(self._dvc("status", "--json", stage)))

    def _dvc(self, *arguments: str) -> str:
        command = [sys.executable, "-m", "dvc", *arguments]
        environment = {**repro_environment(), **self._settings}
        done = subprocess.run(command, cwd=self.folder, env=environment, capture_output=True, text=True)
        if done.returncode:
            raise WorldError(f"{self.folder}: dvc {' '.join(arguments)}: {done.stderr.strip()[-500:]}")
        return done.stdout


def _files() -> Sequence[str]:
    """Files of the code here, tracked or new."""
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard", "--", *CODE]
    listed = subprocess.run(command, capture_output=True, text=True, check=True).stdout.split("\0")
    return sorted(name for name in listed if name and Path(name).is_file())


def _waited(child: "subprocess.Popen[bytes]") -> tuple[int, float]:
    """Exit code of a child, and CPU seconds of it and all its descendants that were waited for."""
    _, status, usage = os.wait4(child.pid, 0)
    child.returncode = os.waitstatus_to_exitcode(status)
    return child.returncode, usage.ru_utime + usage.ru_stime


def _sum(before: float | None, cpu_s: float) -> float | None:
    return None if before is None else before + cpu_s
