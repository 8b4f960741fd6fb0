"""One YAML document from a file: scalars as DVC reads them, no repeated keys, no bombs, every fault with its line."""

import re
from collections.abc import Hashable
from pathlib import Path
from typing import Any

import yaml

from greenlit.errors import ConfigError
from greenlit.jsonl import UTF8_HINT, not_utf8, one_line, shortened

LARGEST = 256 << 10
"""Bytes of the largest file that is read."""
MOST_VALUES = 10_000
"""Values that a document may come to, each alias counted as what it stands for."""
LARGEST_NUMBER = 2**63 - 1
_MERGE = "tag:yaml.org,2002:merge"


class _Loader(yaml.SafeLoader):
    """YAML 1.2's scalars: `010` is ten, `1e-4` a number, `yes` is text; dates and repeated keys are refused."""

    def construct_object(self, node: yaml.Node, deep: bool = False) -> Any:
        try:
            return super().construct_object(node, deep=deep)
        except (ValueError, TypeError, AttributeError, LookupError, ArithmeticError):  # e.g. `!!int x`
            said = shortened(node.value) if isinstance(node, yaml.ScalarNode) else "this"
            message = f"{said} is no {node.tag.rpartition(':')[2]}"
            raise yaml.constructor.ConstructorError(None, None, message, node.start_mark) from None

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen: set[Any] = set()
        for key_node, _ in node.value:
            if key_node.tag == _MERGE:
                continue
            key = self.construct_object(key_node, deep=True)
            problem = None
            if not isinstance(key, Hashable):
                problem = "a key must be text"
            elif key in seen:
                problem = f"key {shortened(key)} stands twice"
            if problem:
                raise yaml.constructor.ConstructorError(None, None, problem, key_node.start_mark)
            seen.add(key)
        return super().construct_mapping(node, deep=deep)


def _whole_number(loader: _Loader, node: yaml.ScalarNode) -> int:
    text = str(loader.construct_scalar(node)).replace("_", "")
    number = int(text[:100], {"0x": 16, "0o": 8, "0b": 2}.get(text[:2], 10))
    if abs(number) > LARGEST_NUMBER:
        message = f"{shortened(text)} is too large (at most 2^63 - 1)"
        raise yaml.constructor.ConstructorError(None, None, message, node.start_mark)
    return number


def _no_date(loader: _Loader, node: yaml.ScalarNode) -> None:
    message = f"{shortened(node.value)} reads as a date: put it in quotes"
    raise yaml.constructor.ConstructorError(None, None, message, node.start_mark)


_Loader.yaml_implicit_resolvers = {}
for _tag, _pattern, _first in (
    ("bool", r"true|True|TRUE|false|False|FALSE", "tTfF"),
    ("int", r"[-+]?[0-9][0-9_]*|0o[0-7]+|0x[0-9a-fA-F]+|0b[01]+", "-+0123456789"),
    (
        "float",
        r"[-+]?(?:\.[0-9]+|[0-9][0-9_]*\.[0-9]*)(?:[eE][-+]?[0-9]+)?|[-+]?[0-9]+[eE][-+]?[0-9]+"
        r"|[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN)",
        "-+0123456789.",
    ),
    ("null", r"~|null|Null|NULL|", "~nN\0"),
    ("timestamp", r"[0-9]{4}-[0-9]{2}-[0-9]{2}|[0-9]{4}-[0-9]{1,2}-[0-9]{1,2}(?:[Tt]|[ \t]+)[0-9].*", "0123456789"),
    ("merge", r"<<", "<"),
):
    _Loader.add_implicit_resolver(
        f"tag:yaml.org,2002:{_tag}", re.compile(f"^(?:{_pattern})$"), ["" if char == "\0" else char for char in _first]
    )
_Loader.add_constructor("tag:yaml.org,2002:int", _whole_number)
_Loader.add_constructor("tag:yaml.org,2002:timestamp", _no_date)


def read_yaml(path: Path) -> Any:
    """Read one YAML document.

    Raises:
        ConfigError: missing, a folder, too large, not UTF-8, not YAML, or nested without end; `file:line` where known.
    """
    return parse_yaml(_text(path), path)


def parse_yaml(text: str, path: Path | str) -> Any:
    """Read one YAML document, or one value, from text; `path` stands before every fault.

    Raises:
        ConfigError: not YAML, or nested without end.
    """
    loader = None
    try:
        loader = _Loader(text)
        node = loader.get_single_node()
        if node is None:
            return None
        if _values(node, {}) > MOST_VALUES:
            raise ConfigError(f"{path}: more than {MOST_VALUES:,} values once its aliases (*) are filled in")
        return loader.construct_document(node)
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        raise ConfigError(f"{path}:{line}: not YAML: {error.reason} (found U+{error.character:04X})") from None
    except yaml.YAMLError as error:
        raise _fault(path, error) from None
    except RecursionError:
        raise ConfigError(f"{path}: nested too deeply") from None
    finally:
        if loader is not None:
            loader.dispose()


def _text(path: Path) -> str:
    try:
        with path.open("rb") as stream:
            content = stream.read(LARGEST + 1)
    except FileNotFoundError:
        raise ConfigError(
            f"{path}: no such file", hint="run from the project's root, or `greenlit preset starter`"
        ) from None
    except IsADirectoryError:
        raise ConfigError(f"{path}: a folder, where a file is expected") from None
    if len(content) > LARGEST:
        raise ConfigError(f"{path}: larger than {LARGEST >> 10} KiB: no file of settings")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path}: {not_utf8(error)}", hint=UTF8_HINT) from None


def _fault(path: Path | str, error: yaml.YAMLError) -> ConfigError:
    mark = getattr(error, "problem_mark", None)
    place = f"{path}:{mark.line + 1}" if mark else str(path)
    problem = one_line(getattr(error, "problem", None) or str(error))
    hint = "indent with spaces, never with tabs" if "'\\t'" in problem else None
    return ConfigError(f"{place}: not YAML: {problem}", hint=hint)


def _values(node: yaml.Node, known: dict[yaml.Node, int]) -> int:
    """How many values a node comes to, each alias counted as what it stands for.

    Raises:
        ConstructorError: an alias stands inside what it stands for.
    """
    if isinstance(node, yaml.ScalarNode):
        return 1
    if node not in known:
        known[node] = -1
        inner = (part for pair in node.value for part in (pair if isinstance(pair, tuple) else (pair,)))
        known[node] = 1 + sum(_values(part, known) for part in inner)
    elif known[node] < 0:
        raise yaml.constructor.ConstructorError(None, None, "an alias (*) of what it stands in", node.start_mark)
    return known[node]
