"""params.yaml as Params: every fault at once, each as one line with its place, what was found and what is expected."""

import argparse
import difflib
from pathlib import Path
from types import UnionType
from typing import Any, Union, get_args, get_origin

from pydantic import BaseModel, ValidationError

from greenlit.config.section import Section
from greenlit.config.sections import Params
from greenlit.config.training import DpoParams, MethodParams
from greenlit.config.yaml_file import read_yaml
from greenlit.errors import ConfigError
from greenlit.jsonl import one_line, shortened

PARAMS = Path("params.yaml")
MOST_FAULTS = 40
"""Faults of a file that are told."""


def load_params(path: Path = PARAMS) -> Params:
    """Read and check params.yaml.

    Raises:
        ConfigError: one line per fault, `params.yaml: annotate.timeout_s: must be > 0 (found -1)`.
    """
    return parse_params(read_yaml(path), str(path))


def load_params_and_method(description: str) -> tuple[Params, str]:
    """params.yaml, and the `--method NAME` of a stage's command line, which must stand in it.

    Raises:
        ConfigError: as `load_params`, or there is no such method.
    """
    parser = argparse.ArgumentParser(description=description.splitlines()[0])
    parser.add_argument("--method", required=True, help="name under `methods` in params.yaml")
    name = parser.parse_args().method
    params = load_params()
    method_of(params, name)
    return params, name


def method_of(params: Params, name: str) -> MethodParams:
    """The settings of one method.

    Raises:
        ConfigError: there is none of this name.
    """
    if name not in params.methods:
        raise ConfigError(
            f"params.yaml: methods: no method {shortened(name)}", hint=f"one of {', '.join(params.methods)}"
        )
    return params.methods[name]


def parse_params(content: Any, place: str) -> Params:
    """Check the content of a params file; `place` stands before every fault."""
    if not isinstance(content, dict):
        found = "nothing" if content is None else type(content).__name__
        raise ConfigError(f"{place}: must be a mapping of sections (found {found})", hint="`greenlit preset starter`")
    try:
        return Params.model_validate(content)
    except ValidationError as error:
        faults = error.errors(include_url=False)
        lines = [_fault_line(place, fault) for fault in faults[:MOST_FAULTS]]
        if len(faults) > MOST_FAULTS:
            lines.append(f"{place}: and {len(faults) - MOST_FAULTS} more")
        raise ConfigError("\n".join(lines)) from None


_COMPARISONS = {
    "greater_than": ("gt", "must be > {}"),
    "greater_than_equal": ("ge", "must be >= {}"),
    "less_than": ("lt", "must be < {}"),
    "less_than_equal": ("le", "must be <= {}"),
}
_TYPES = {
    "finite_number": "must be a finite number",
    "int_type": "must be an integer",
    "int_from_float": "must be an integer",
    "float_type": "must be a number",
    "invalid_key": "a key must be text",
    "too_short": "must not be empty",
    "string_type": "must be text",
    "bool_type": "must be true or false",
    "list_type": "must be a list",
    "dict_type": "must be a mapping",
    "model_type": "must be a mapping",
    "missing": "is missing",
}


def _fault_line(place: str, fault: Any) -> str:
    path = _plain_path(fault["loc"])
    where = one_line(f"{place}: {'.'.join(path)}", len(place) + 120)
    if fault["type"] == "extra_forbidden":
        close = difflib.get_close_matches(path[-1][:60], _known_keys(path[:-1]), n=1)
        hint = (
            f"\n  hint: did you mean {close[0]}?"
            if close
            else f"\n  hint: known keys: {', '.join(_known_keys(path[:-1]))}"
        )
        return f"{where}: unknown key{hint}"
    if fault["type"] == "missing":
        return f"{where}: is missing"
    found = f" (found {shortened(fault['input'])})"
    context = fault.get("ctx", {})
    if fault["type"] in _COMPARISONS:
        key, text = _COMPARISONS[fault["type"]]
        return f"{where}: {text.format(f'{context[key]:g}')}{found}"
    if fault["type"] == "literal_error":
        close = difflib.get_close_matches(shortened(fault["input"]), _literals(context["expected"]), n=1)
        hint = f"\n  hint: did you mean {close[0]}?" if close else ""
        return f"{where}: must be {context['expected']}{found}{hint}"
    if fault["type"] == "value_error":
        return f"{where}: {one_line(str(context['error']))}"
    if fault["type"] == "union_tag_invalid":
        return f"{where}.method: must be one of {context['expected_tags']} (found {shortened(context['tag'])})"
    if fault["type"] == "union_tag_not_found":
        return f"{where}.method: is missing"
    if fault["type"] == "string_pattern_mismatch":
        return f"{where}: must be letters, digits, `_`, `.` and `-`, a letter or digit first{found}"
    message = _TYPES.get(fault["type"], fault["msg"][0].lower() + fault["msg"][1:])
    return f"{where}: {one_line(message)}{found}"


def _literals(expected: str) -> list[str]:
    return [part.strip(" '") for part in expected.replace(" or ", ",").split(",")]


def _plain_path(loc: tuple[Any, ...]) -> list[str]:
    """A pydantic location as the user's keys: the tag of a union is no key of theirs."""
    path = [str(part) for part in loc]
    if len(path) > 2 and path[0] == "methods":
        del path[2:3]
    return [part for part in path if part not in {"[key]"}]


def _known_keys(path: list[str]) -> list[str]:
    section: Any = Params
    for index, key in enumerate(path):
        if path[0] == "methods" and index == 1:
            section = DpoParams
            continue
        field = section.model_fields.get(key) if isinstance(section, type) else None
        section = _section_of(field.annotation) if field else None
        if section is None:
            return []
    if not (isinstance(section, type) and issubclass(section, BaseModel)):
        return []
    return [field.alias or key for key, field in section.model_fields.items()]


def _section_of(annotation: Any) -> Any:
    if get_origin(annotation) in {Union, UnionType}:
        return next(
            (part for part in get_args(annotation) if isinstance(part, type) and issubclass(part, Section)), None
        )
    return dict if get_origin(annotation) is dict else annotation
