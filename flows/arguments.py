"""The parameters of a flow on the command line of `python -m flows.<name>`."""

import argparse
import inspect
from typing import Any, get_args, get_origin

from prefect import Flow

from flows.flow import main
from greenlit.config import parse_yaml
from greenlit.errors import ConfigError
from greenlit.stage.entry import exit_cleanly


def run_from_command_line(called: Flow[Any, Any]) -> None:
    """Parse the command line into the flow's parameters, run it, and exit as it ended."""
    description = (inspect.getdoc(called.fn) or "").partition("\n\n")[0]
    parser = argparse.ArgumentParser(prog=f"python -m flows.{called.name}", description=description, allow_abbrev=False)
    helps = {name: found.get("description") for name, found in called.parameters.properties.items()}
    for name, parameter in inspect.signature(called.fn).parameters.items():
        flag = f"--{name.replace('_', '-')}"
        text = (helps.get(name) or "").replace("%", "%%")
        if parameter.default is False:
            parser.add_argument(flag, dest=name, action="store_true", default=None, help=text)
        elif parameter.default is True:
            parser.add_argument(flag, dest=name, action=argparse.BooleanOptionalAction, default=None, help=text)
        elif kinds := _kinds(parameter.annotation) & {list, dict}:
            word = "KEY=VALUE" if dict in kinds else name.upper().removesuffix("S")
            parser.add_argument(flag, dest=name, nargs="+", metavar=word, help=text)
        else:
            parser.add_argument(flag, dest=name, metavar=name.upper(), help=text)
    given = {name: value for name, value in vars(parser.parse_args()).items() if value is not None}
    kinds_of = {name: _kinds(one.annotation) for name, one in inspect.signature(called.fn).parameters.items()}
    exit_cleanly(
        lambda: main(called, {name: _pairs(name, v) if dict in kinds_of[name] else v for name, v in given.items()})
    )


def _kinds(annotation: Any) -> set[Any]:
    """list, dict and so on, wherever they stand in a type."""
    inner = [get_origin(annotation) or annotation]
    return set(inner).union(*(_kinds(one) for one in get_args(annotation) if not isinstance(one, str)))


def _pairs(name: str, words: list[str]) -> dict[str, Any]:
    pairs = {}
    for word in words:
        key, equals, value = word.partition("=")
        if not equals:
            raise ConfigError(f"--{name.replace('_', '-')} {word}: must be key=value")
        pairs[key.strip()] = parse_yaml(value, f"--{name} {key}")
    return pairs
