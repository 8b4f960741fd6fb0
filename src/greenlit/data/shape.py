"""What is wrong with one record as such: its keys, and the types of its values."""

import difflib
from collections.abc import Iterator, Mapping
from typing import Any, get_args

from pydantic import ValidationError
from pydantic_core import to_json

from greenlit.data.faults import Fault
from greenlit.jsonl import one_line, shortened
from greenlit.types import AssertTest, CallTest, Checker, Problem, Role, ScriptTest, Split, StdioTest

OTHER_NAMES = {
    "id": "task_id", "problem_id": "task_id", "name": "task_id",
    "test": "tests", "test_list": "tests",
    "solution": "reference", "solutions": "reference", "references": "reference", "canonical_solution": "reference",
    "code": "reference",
    "description": "prompt", "question": "prompt", "statement": "prompt", "text": "prompt",
    "function": "entry_point", "function_name": "entry_point", "fn_name": "entry_point", "func_name": "entry_point",
    "lang": "language", "timeout": "time_limit_s", "time_limit": "time_limit_s", "memory_limit": "memory_limit_mib",
    "stub": "starter_code", "starter": "starter_code", "imports": "setup", "test_setup_code": "setup",
}  # fmt: skip
"""What other formats call our keys."""
_TEST_NAMES = {"inputs": "input", "args": "input", "expected": "output", "outputs": "output", "type": "kind"}
_KINDS: Mapping[str, type] = {"assert": AssertTest, "call": CallTest, "stdio": StdioTest, "script": ScriptTest}
_EXAMPLES = {
    "assert": '{"kind": "assert", "code": "assert inc(1) == 2"}',
    "call": '{"kind": "call", "input": [1], "output": 2}',
    "stdio": '{"kind": "stdio", "input": "1\\n", "output": "2\\n"}',
    "script": '{"kind": "script", "code": "def check(candidate): ..."}',
}
_WORDS = {"checker": get_args(Checker), "role": get_args(Role), "split": get_args(Split)}
_JSON_TYPES = {
    "string_type": "a text in double quotes", "list_type": "a list in [ ]", "dict_type": "an object in { }",
    "int_type": "a whole number", "int_parsing": "a whole number", "int_from_float": "a whole number",
    "float_type": "a number", "float_parsing": "a number", "model_type": "an object in { }",
    "model_attributes_type": "an object in { }",
}  # fmt: skip


def shaped(line: int, record: dict[str, Any]) -> tuple[Problem | None, list[Fault]]:
    """The record as a problem, where it can be one, and every fault of its keys and types."""
    faults = list(_misnamed(line, record, Problem.model_fields, OTHER_NAMES, ""))
    renamed = {_right_name(key, record, Problem.model_fields, OTHER_NAMES) or key: v for key, v in record.items()}
    if isinstance(renamed.get("reference"), str) and "reference" not in record:
        renamed["reference"] = [renamed["reference"]]  # the name is the fault; the text is one reference
    tests = renamed.get("tests")
    if isinstance(tests, list):
        renamed["tests"] = [_test_renamed(line, place, test, faults) for place, test in enumerate(tests)]
    try:
        return Problem.model_validate_json(to_json(renamed, inf_nan_mode="constants")), faults
    except ValidationError as error:
        broken = [_of_pydantic(line, fault) for fault in error.errors(include_url=False)]
    except ValueError as error:  # lone surrogates, which no JSON text may hold
        broken = [Fault(line, "", "encoding", f"a text that is no Unicode ({one_line(str(error), 120)})", "retype it")]
    return None, [*faults, *broken]


def _test_renamed(line: int, place: int, test: Any, faults: list[Fault]) -> Any:
    fields = _fields_of(test)
    if fields is None:
        return test
    faults.extend(_misnamed(line, test, fields, _TEST_NAMES, f"tests.{place}."))
    return {_right_name(key, test, fields, _TEST_NAMES) or key: value for key, value in test.items()}


def _fields_of(test: Any) -> Mapping[str, Any] | None:
    """Of the test's kind; of every kind where it has none that is known."""
    if not isinstance(test, dict):
        return None
    kind = test.get("kind")
    known = [_KINDS[kind]] if isinstance(kind, str) and kind in _KINDS else _KINDS.values()
    return {name: field for model in known for name, field in model.model_fields.items()}


def _misnamed(
    line: int, record: Mapping[str, Any], fields: Mapping[str, Any], names: Mapping[str, str], inside: str
) -> Iterator[Fault]:
    for key in record:
        right = _right_name(key, record, fields, names)
        if right:
            found = f"no such key, so it is ignored; did you mean {right}?"
            yield Fault(line, f"{inside}{one_line(key, 60)}", "unknown key", found, f"call it {right}")


def _right_name(key: str, record: Mapping[str, Any], fields: Mapping[str, Any], names: Mapping[str, str]) -> str | None:
    """What an unknown key was probably meant to be; None for known keys, and for others, which a file may carry."""
    if key in fields:
        return None
    plain = key.strip().lower().replace("-", "_").replace(" ", "_")
    close = difflib.get_close_matches(plain, fields, n=1, cutoff=0.8)
    right = plain if plain in fields else close[0] if close else names.get(plain)
    return right if right in fields and right not in record else None


def _of_pydantic(line: int, fault: Any) -> Fault:
    """One of pydantic's faults, with its fix."""
    parts = [str(part) for part in fault["loc"]]
    kind = parts.pop(2) if len(parts) > 2 and parts[0] == "tests" and parts[2] in _KINDS else "assert"
    place, last, sort = one_line(".".join(parts), 80), parts[-1] if parts else "", fault["type"]
    found = f"found {shortened(fault['input'])}"
    if sort == "missing" and last == "task_id":
        return Fault(line, place, "no task_id", "task_id is missing", 'give it a name of its own: "task_id": "add-one"')
    if sort in {"missing", "too_short"} and place == "tests":
        message = "tests is missing" if sort == "missing" else "no tests"
        return Fault(line, place, "no tests", message, f"at least one: [{_EXAMPLES['assert']}]")
    if sort == "string_too_short":
        return Fault(line, place, "empty text", f"must not be empty ({found})", "give it a name of its own")
    if sort == "missing":
        return Fault(line, place, "missing key", f"{last} is missing", f"a test of this kind: {_EXAMPLES[kind]}")
    if sort in {"union_tag_invalid", "union_tag_not_found"}:
        return _wrong_kind(line, place, fault)
    if sort == "literal_error":
        words = _WORDS.get(last, ())
        close = difflib.get_close_matches(str(fault["input"]), words, n=1, cutoff=0.4)
        message = f"must be {fault['ctx']['expected']} ({found})"
        return Fault(line, place, f"unknown {last}", message, f"did you mean {close[0]}?" if close else "one of these")
    if sort in _JSON_TYPES:
        wanted = _JSON_TYPES[sort]
        return Fault(line, place, "wrong type", f"must be {wanted} ({found})", _type_fix(wanted, fault["input"]))
    message = fault["msg"][0].lower() + fault["msg"][1:]
    return Fault(line, place, "wrong value", f"{one_line(message)} ({found})", "see greenlit.types.Problem")


def _wrong_kind(line: int, place: str, fault: Any) -> Fault:
    if fault["type"] == "union_tag_not_found":
        found = f"a test without kind (found {shortened(fault['input'])})"
        return Fault(line, place, "no test kind", found, f"e.g. {_EXAMPLES['assert']} or {_EXAMPLES['call']}")
    tag = str(fault["ctx"]["tag"])
    close = difflib.get_close_matches(tag, _KINDS, n=1, cutoff=0.4)
    message = f"must be one of {', '.join(_KINDS)} (found {shortened(tag)})"
    return Fault(
        line, f"{place}.kind", "unknown test kind", message, f"e.g. {_EXAMPLES[close[0] if close else 'call']}"
    )


def _type_fix(wanted: str, value: Any) -> str:
    if wanted.startswith("a text") and isinstance(value, int | float):
        return f'in quotes: "{value}"'
    if wanted.startswith("a list") and isinstance(value, str):
        return "put it into brackets: [ ... ]"
    return f"write {wanted}"
