"""params.yaml as a flow was asked for it: a preset, some values changed, some of the methods.

Edits that are saved nowhere are not overwritten, as `greenlit preset` has it. What was written here before and not
touched since is no such edit: whoever asked for it can ask again.
"""

import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from greenlit import presets
from greenlit.config import PARAMS, Params, parse_params, parse_yaml
from greenlit.config.machine import require_machine
from greenlit.errors import ConfigError
from greenlit.jsonl import atomic_write
from greenlit.stage.workspace import WORK, sha256_file

Changes = dict[tuple[str, ...], Any]
"""Paths in params.yaml, and what is to stand there."""
NOTE = WORK / "applied.sha256"
"""Hash of params.yaml as it was left here."""


def apply(preset: str | None, settings: Sequence[str], methods: Sequence[str] | None) -> Params:
    """Bring params.yaml to what was asked for, checked before anything is written.

    Args:
        settings: `key=value` words, keys as they stand in params.yaml.
        methods: those to keep; None keeps all.

    Raises:
        ConfigError: there is no such preset or method, the result is not valid, or unsaved edits would be lost.
    """
    source = presets.preset_file(preset) if preset else PARAMS
    text, params = changed(source, changes_of(settings), methods)
    if not PARAMS.exists() or text != PARAMS.read_text(encoding="utf-8"):
        _write(text, loses=preset is not None or methods is not None)
    return params


def changes_of(settings: Sequence[str]) -> Changes:
    """`key=value` words as paths in params.yaml and values; DVC's `+key=value` means the same.

    Raises:
        ConfigError: a word without `=`, or a value that is no YAML.
    """
    changes: Changes = {}
    for word in settings:
        key, equals, value = word.partition("=")
        key = key.strip().lstrip("+")
        if not equals or not key:
            raise ConfigError(f"settings: {word}: must be key=value", hint="e.g. methods.dpo.beta=0.5 or seed=1")
        changes[tuple(key.split("."))] = parse_yaml(value, f"settings: {key}")
    return changes


def changed(source: Path, changes: Changes, methods: Sequence[str] | None = None) -> tuple[str, Params]:
    """The text of a params file with these changes, its comments kept, and what it says.

    Raises:
        ConfigError: it is not valid with them, or has no such method.
    """
    place = f"{source} with the settings of this run" if changes else str(source)
    text = source.read_text(encoding="utf-8") if source.exists() else ""
    params = parse_params(parse_yaml(text, source), str(source))
    if unknown := sorted(set(methods or ()) - set(params.methods)):
        raise ConfigError(
            f"methods: {source} has no method {', '.join(unknown)}",
            hint=f"one of {', '.join(params.methods)}" if params.methods else "it has none",
        )
    dropped = [] if methods is None else [name for name in params.methods if name not in methods]
    if changes or dropped:
        text = _edited(text, changes, dropped)
        params = parse_params(parse_yaml(text, place), place)
    require_machine(params, place)
    return text, params


def _edited(text: str, changes: Changes, dropped: Sequence[str]) -> str:
    from ruamel.yaml import YAML

    editor = YAML()
    editor.preserve_quotes = True
    editor.width = 4096
    content = editor.load(text)
    for name in dropped:
        del content["methods"][name]
    for path, value in changes.items():
        place = content
        for key in path[:-1]:
            if not isinstance(place.get(key), dict):
                place[key] = {}
            place = place[key]
        place[path[-1]] = value
    out = io.StringIO()
    editor.dump(content, out)
    return out.getvalue()


def _write(text: str, loses: bool) -> None:
    """Args:
    loses: what stands in params.yaml is replaced, and not only added to.
    """
    edits = [] if _is_ours() else presets.unsaved_edits()
    if edits and loses:
        raise presets.would_lose(edits, hint=f"commit it, or save it as {presets.FOLDER}/<name>.yaml")
    with atomic_write(PARAMS) as stream:
        stream.write(text)
    if edits:
        NOTE.unlink(missing_ok=True)
    else:
        with atomic_write(NOTE) as stream:
            stream.write(sha256_file(PARAMS))


def _is_ours() -> bool:
    return PARAMS.exists() and NOTE.exists() and NOTE.read_text(encoding="utf-8") == sha256_file(PARAMS)
