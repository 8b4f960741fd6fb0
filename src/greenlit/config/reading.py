"""Read params.yaml: YAML 1.2 numbers, no repeated keys, and every fault as one line with its place."""

import argparse
import difflib
import re
from pathlib import Path
from types import UnionType
from typing import Any, Union, get_args, get_origin

import yaml
from pydantic import BaseModel, ValidationError

from greenlit.config.sections import DpoParams, Params, Section, SftParams
from greenlit.errors import ConfigError

PARAMS = Path("params.yaml")


class _Loader(yaml.SafeLoader):
    """YAML 1.1 with 1e-4 read as a number (YAML 1.2), and a repeated key refused."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen: set[Any] = set()
        for key_node, _ in node.value:
            key = self.construct_object(key_node, deep=True)
            if key in seen:
                raise yaml.constructor.ConstructorError(None, None, f"key {key!r} stands twice", key_node.start_mark)
            seen.add(key)
        return super().construct_mapping(node, deep=deep)


_Loader.yaml_implicit_resolvers = {
    first: [item for item in resolvers if item[0] != "tag:yaml.org,2002:float"]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float",
    re.compile(
        r"^[-+]?(?:[0-9]+\.[0-9]*(?:[eE][-+]?[0-9]+)?|[0-9]+[eE][-+]?[0-9]+|\.[0-9]+(?:[eE][-+]?[0-9]+)?)$"
        r"|^[-+]?\.(?:inf|Inf|INF)$|^\.(?:nan|NaN|NAN)$"
    ),
    list("-+0123456789."),
)


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


def method_of(params: Params, name: str) -> SftParams | DpoParams:
    """The settings of one method.

    Raises:
        ConfigError: there is none of this name.
    """
    if name not in params.methods:
        raise ConfigError(f"params.yaml: methods: no method {name!r}", hint=f"one of {', '.join(params.methods)}")
    return params.methods[name]


def read_yaml(path: Path) -> Any:
    """Read one YAML document.

    Raises:
        ConfigError: missing, not UTF-8, or not YAML.
    """
    try:
        return yaml.load(path.read_text(encoding="utf-8-sig"), Loader=_Loader)
    except FileNotFoundError:
        raise ConfigError(
            f"{path}: no such file", hint="run from the project's root, or `greenlit preset starter`"
        ) from None
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path}: not UTF-8 (byte 0x{error.object[error.start]:02x})") from None
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        place = f"{path}:{mark.line + 1}" if mark else str(path)
        raise ConfigError(f"{place}: not YAML: {getattr(error, 'problem', error)}") from None


def parse_params(content: Any, place: str) -> Params:
    """Check the content of a params file; `place` stands before every fault."""
    if not isinstance(content, dict):
        raise ConfigError(f"{place}: must be a mapping of sections (found {type(content).__name__})")
    try:
        return Params.model_validate(content)
    except ValidationError as error:
        faults = [_fault_line(place, fault) for fault in error.errors(include_url=False)]
        raise ConfigError("\n".join(faults)) from None


_COMPARISONS = {
    "greater_than": ("gt", "must be > {}"),
    "greater_than_equal": ("ge", "must be >= {}"),
    "less_than": ("lt", "must be < {}"),
    "less_than_equal": ("le", "must be <= {}"),
}
_TYPES = {
    "int_type": "must be an integer",
    "int_from_float": "must be an integer",
    "float_type": "must be a number",
    "string_type": "must be text",
    "bool_type": "must be true or false",
    "list_type": "must be a list",
    "dict_type": "must be a mapping",
    "model_type": "must be a mapping",
    "missing": "is missing",
}


def _fault_line(place: str, fault: Any) -> str:
    path = _plain_path(fault["loc"])
    where = f"{place}: {'.'.join(path)}"
    if fault["type"] == "extra_forbidden":
        close = difflib.get_close_matches(path[-1], _known_keys(path[:-1]), n=1)
        hint = (
            f"\n  hint: did you mean {close[0]}?"
            if close
            else f"\n  hint: known keys: {', '.join(_known_keys(path[:-1]))}"
        )
        return f"{where}: unknown key{hint}"
    if fault["type"] == "missing":
        return f"{where}: is missing"
    found = f" (found {fault['input']!r})"
    context = fault.get("ctx", {})
    if fault["type"] in _COMPARISONS:
        key, text = _COMPARISONS[fault["type"]]
        return f"{where}: {text.format(f'{context[key]:g}')}{found}"
    if fault["type"] == "literal_error":
        close = difflib.get_close_matches(str(fault["input"]), [str(v) for v in _literals(context["expected"])], n=1)
        hint = f"\n  hint: did you mean {close[0]}?" if close else ""
        return f"{where}: must be {context['expected']}{found}{hint}"
    if fault["type"] == "value_error":
        return f"{where}: {context['error']}"
    if fault["type"] == "union_tag_invalid":
        return f"{where}.method: must be one of {context['expected_tags']} (found {context['tag']!r})"
    if fault["type"] == "union_tag_not_found":
        return f"{where}.method: is missing"
    message = _TYPES.get(fault["type"], fault["msg"][0].lower() + fault["msg"][1:])
    return f"{where}: {message}{found}"


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
