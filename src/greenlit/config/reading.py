"""params.yaml as Params: every fault at once, each as one line with its place, what was found and what is expected."""

import argparse
import difflib
from pathlib import Path
from types import UnionType
from typing import Any, TypeVar, Union, get_args, get_origin

from pydantic import BaseModel, ValidationError

from greenlit.config.machine import require_machine
from greenlit.config.misplaced import ELSEWHERE_SAMPLING, KINDS, REWARD_MODEL, why_not
from greenlit.config.section import Section
from greenlit.config.sections import Params
from greenlit.config.training import MethodParams, RewardModelParams
from greenlit.config.yaml_file import read_yaml
from greenlit.errors import ConfigError
from greenlit.jsonl import one_line, shortened

PARAMS = Path("params.yaml")
MOST_FAULTS = 40
"""Faults of a file that are told."""
S = TypeVar("S", bound=Section)


def load_params(path: Path = PARAMS) -> Params:
    """Read and check params.yaml.

    Raises:
        ConfigError: one line per fault, `params.yaml: annotate.timeout_s: must be > 0 (found -1)`; also for what this
            machine cannot run.
    """
    params = parse_params(read_yaml(path), str(path))
    require_machine(params, str(path))
    return params


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


def load_params_and_reward_model(description: str) -> tuple[Params, str]:
    """params.yaml, and the `--name NAME` of a stage's command line, which must stand in it.

    Raises:
        ConfigError: as `load_params`, or there is no such reward model.
    """
    parser = argparse.ArgumentParser(description=description.splitlines()[0])
    parser.add_argument("--name", required=True, help="name under `reward_models` in params.yaml")
    name = parser.parse_args().name
    params = load_params()
    if name not in params.reward_models:
        raise ConfigError(
            f"params.yaml: reward_models: no reward model {shortened(name)}",
            hint=f"one of {', '.join(params.reward_models)}" if params.reward_models else "there is none",
        )
    return params, name


def load_params_and_source(description: str) -> tuple[Params, str]:
    """params.yaml, and the `--source NAME` of a stage's command line, which must stand in it.

    Raises:
        ConfigError: as `load_params`, or there is no such source.
    """
    parser = argparse.ArgumentParser(description=description.splitlines()[0])
    parser.add_argument("--source", required=True, help="name under `scrape.sources` in params.yaml")
    name = parser.parse_args().source
    params = load_params()
    known = params.scrape.sources.names()
    if name not in known:
        raise ConfigError(
            f"params.yaml: scrape.sources: no source {shortened(name)}",
            hint=f"one of {', '.join(known)}" if known else "there is none",
        )
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
    return _checked(Params, content, place, ())


def parse_reward_model(content: Any, place: str) -> RewardModelParams:
    """Check the settings of one reward model that stand outside of a params file."""
    return _checked(RewardModelParams, content, place, ("reward_models", ""))


def _checked(kind: type[S], content: Any, place: str, inside: tuple[str, ...]) -> S:
    """Args:
    inside: keys of params.yaml below which this would stand.
    """
    try:
        return kind.model_validate(content)
    except ValidationError as error:
        faults = error.errors(include_url=False)
        lines = [_fault_line(place, fault, inside) for fault in faults]
        lines = list(dict.fromkeys(lines))  # of a setting of two types, each tells its fault
        if len(lines) > MOST_FAULTS:
            lines[MOST_FAULTS:] = [f"{place}: and {len(lines) - MOST_FAULTS} more"]
        raise ConfigError("\n".join(lines)) from None


_EITHER = {"str", "list[str]"}
"""What pydantic puts into the place of a setting that may be text or a list of texts."""
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


def _fault_line(place: str, fault: Any, inside: tuple[str, ...] = ()) -> str:
    if not fault["loc"]:  # a rule between sections
        return f"{place}: {one_line(str(fault['ctx']['error']), 400)}"
    loc = (*inside, *fault["loc"])
    path = _plain_path(loc)
    where = one_line(f"{place}: {'.'.join(path[len(inside) :])}", len(place) + 120)
    if fault["type"] == "extra_forbidden":
        return f"{where}: {_unknown_key(loc, path)}"
    if loc[-1] in _EITHER:
        return f"{where}: must be text or a list of texts (found {shortened(fault['input'])})"
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


def _unknown_key(loc: tuple[Any, ...], path: list[str]) -> str:
    """What to say of a key that is not known where it stands."""
    kind = _kind_of(loc)
    told = why_not(path[-1], kind) if kind and len(path) == 3 else None
    if told:
        return f"{told[0]}\n  hint: {told[1]}"
    if len(path) == 2 and path[0] in {"generate", "evaluate"} and path[1] in ELSEWHERE_SAMPLING:
        return f"unknown key\n  hint: here it is {ELSEWHERE_SAMPLING[path[1]]}"
    known = _known_keys(path[:-1], kind)
    close = difflib.get_close_matches(path[-1][:60], known, n=1)
    return f"unknown key\n  hint: {f'did you mean {close[0]}?' if close else 'known keys: ' + ', '.join(known)}"


def _kind_of(loc: tuple[Any, ...]) -> str | None:
    """The method that a place in the file belongs to: pydantic puts the union's tag after its name."""
    if loc[0] == "reward_models":
        return REWARD_MODEL
    return str(loc[2]) if loc[0] == "methods" and len(loc) > 3 else None


def _literals(expected: str) -> list[str]:
    return [part.strip(" '") for part in expected.replace(" or ", ",").split(",")]


def _plain_path(loc: tuple[Any, ...]) -> list[str]:
    """A pydantic location as the user's keys: the tag of a union is no key of theirs."""
    path = [str(part) for part in loc]
    if len(path) > 2 and path[0] == "methods":
        del path[2:3]
    return [part for part in path if part not in {"[key]", *_EITHER}]


def _known_keys(path: list[str], kind: str | None) -> list[str]:
    section: Any = Params
    for index, key in enumerate(path):
        if kind and index == 1:
            section = KINDS[kind]
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
