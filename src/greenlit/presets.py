"""`greenlit preset`: swap params.yaml for one of presets/*.yaml, showing what changes and losing no edit.

Any YAML file in presets/ is a preset, yours too. A params.yaml that equals a preset, or the version committed at HEAD,
can be had again; any other holds edits that are saved nowhere, and is replaced only with `--force`, which keeps it.
"""

import difflib
import shutil
import subprocess
from pathlib import Path

from greenlit.config import PARAMS, load_params
from greenlit.errors import ConfigError
from greenlit.jsonl import atomic_write

FOLDER = Path("presets")
SHOWN_LINES = 20
"""Lines of the unsaved edits that a refusal tells."""


def presets() -> dict[str, Path]:
    """The presets there are, by name."""
    return {path.stem: path for path in sorted(FOLDER.glob("*.yaml"))}


def described() -> list[str]:
    """A line for each preset: its name and its first line."""
    lines = []
    for name, path in presets().items():
        first = path.read_text(encoding="utf-8", errors="replace").partition("\n")[0]
        lines.append(f"{name:12s} {first.lstrip('# ')}".rstrip())
    return lines


def preset_file(name: str) -> Path:
    """The file of a preset, checked.

    Raises:
        ConfigError: there is none of this name, or it is no valid params file.
    """
    known = presets()
    if name not in known:
        close = difflib.get_close_matches(name, known, n=1)
        hint = f"did you mean {close[0]}?" if close else f"one of {', '.join(known)}"
        raise ConfigError(f"no preset {name!r}", hint=hint)
    load_params(known[name])
    return known[name]


def to_preset(path: Path) -> list[str]:
    """The unified diff from params.yaml to a preset, line by line; empty when they are equal."""
    return _difference(_lines(PARAMS), _lines(path), str(PARAMS), path.as_posix())


def unsaved_edits() -> list[str]:
    """What would be lost with params.yaml, as a diff: against HEAD where it is committed, else the likest preset.

    Empty when params.yaml is missing, or equals a preset or the version committed at HEAD.
    """
    if not PARAMS.exists():
        return []
    current, committed = _lines(PARAMS), _committed()
    saved = {path.as_posix(): _lines(path) for path in presets().values()}
    if committed is not None:
        saved[f"{PARAMS} (committed)"] = committed
    if current in saved.values():
        return []
    nearest = max(saved, key=lambda name: _likeness(saved[name], current), default="nothing")
    against = f"{PARAMS} (committed)" if committed is not None else nearest
    return _difference(saved.get(against, []), current, against, str(PARAMS))


def swap(path: Path, force: bool) -> Path | None:
    """Put a preset in the place of params.yaml, at once and whole; return where edits were kept, if there were any.

    Args:
        path: what `preset_file` returned.
        force: replace edits that are saved nowhere; they are kept as params.yaml.bak, or .bak.1 and so on.

    Raises:
        ConfigError: params.yaml holds unsaved edits; nothing was changed.
    """
    edits = unsaved_edits()
    if edits and not force:
        hint = f"commit it, save it as {FOLDER}/<name>.yaml, or --force (which keeps it as {_free_backup()})"
        raise would_lose(edits, hint)
    kept = _free_backup() if edits else None
    if kept:
        shutil.copyfile(PARAMS, kept)
    with atomic_write(PARAMS) as stream:
        stream.write(path.read_text(encoding="utf-8"))
    return kept


def would_lose(edits: list[str], hint: str) -> ConfigError:
    """The refusal to replace a params.yaml with unsaved edits."""
    shown = "\n".join(edits[:SHOWN_LINES])
    more = f"\n... and {len(edits) - SHOWN_LINES} lines more" if len(edits) > SHOWN_LINES else ""
    return ConfigError(f"{PARAMS}: holds edits that are saved nowhere; nothing was changed:\n{shown}{more}", hint=hint)


def _difference(before: list[str], after: list[str], before_name: str, after_name: str) -> list[str]:
    return list(difflib.unified_diff(before, after, before_name, after_name, lineterm="", n=1))


def _lines(path: Path) -> list[str]:
    """The lines of a file, without their ends; bytes that are not UTF-8 show as escapes, a missing file has none."""
    return path.read_bytes().decode("utf-8", "backslashreplace").splitlines() if path.exists() else []


def _committed() -> list[str] | None:
    """params.yaml as committed at HEAD; None outside of git, without a commit, or where it is not tracked."""
    try:
        done = subprocess.run(["git", "show", f"HEAD:./{PARAMS}"], capture_output=True)
    except FileNotFoundError:
        return None
    return done.stdout.decode("utf-8", "backslashreplace").splitlines() if done.returncode == 0 else None


def _likeness(one: list[str], other: list[str]) -> float:
    return difflib.SequenceMatcher(None, one, other).ratio()


def _free_backup() -> Path:
    """params.yaml.bak, or the first of .bak.1, .bak.2 ... that does not exist."""
    path, number = PARAMS.with_name(f"{PARAMS.name}.bak"), 0
    while path.exists():
        number += 1
        path = PARAMS.with_name(f"{PARAMS.name}.bak.{number}")
    return path
