"""What leetcode.com says about one question -> a Problem, or the reason why it gives none.

metaData tells the signature, the python3 stub where a program starts, exampleTestcases the arguments of the statement's
examples, and the statement alone what should come out. All four must agree.
"""

import ast
import json
import re
from typing import Any

from pydantic import BaseModel, Field, ValidationError

from greenlit.jsonl import first_fault, one_line
from greenlit.problems.contest import PRELUDE
from greenlit.problems.leetcode import checker_of
from greenlit.problems.records import Dropped, plain_lines
from greenlit.scraping.statement import arguments_in, examples_in, text_of
from greenlit.types import CallTest, Problem


class _Tag(BaseModel):
    name: str


class _Snippet(BaseModel):
    language: str = Field(alias="langSlug")
    code: str


class Question(BaseModel):
    """`data.question` of an answer."""

    number: str = Field(alias="questionFrontendId")
    title: str
    slug: str = Field(alias="titleSlug")
    paid_only: bool = Field(alias="isPaidOnly")
    difficulty: str
    content: str | None
    tags: list[_Tag] = Field(alias="topicTags", default=[])
    snippets: list[_Snippet] | None = Field(alias="codeSnippets")
    examples: str | None = Field(alias="exampleTestcases")
    meta: str | None = Field(alias="metaData")


class _Parameter(BaseModel):
    name: str
    type: str


class _Returned(BaseModel):
    type: str


class Signature(BaseModel):
    """What metaData says about the function to write."""

    name: str
    params: list[_Parameter] = Field(min_length=1)
    returned: _Returned = Field(alias="return")
    manual: bool = False

    def __str__(self) -> str:
        listed = ", ".join(f"{one.name}: {one.type}" for one in self.params)
        return f"{self.name}({listed}) -> {self.returned.type}"


class _UnusableError(Exception):
    """The question gives no problem: reason, detail."""


def task_id_of(slug: str) -> str:
    """The problem's name, the same as LeetCodeDataset's."""
    return f"leetcode/{one_line(slug, 200)}"


def problem_of(question: Question) -> Problem | Dropped:
    """The problem, without a reference; its split is drawn from its name when it is loaded."""
    task_id = task_id_of(question.slug)
    try:
        if question.paid_only or not question.content:
            raise _UnusableError("paid only" if question.paid_only else "it has no statement", "")
        signature = _signature(question)
        starter = _starter(question, signature)
        text = text_of(question.content)
        return Problem(
            task_id=task_id,
            prompt=text,
            entry_point=f"Solution().{signature.name}",
            starter_code=starter,
            prelude=PRELUDE,
            tests=_tests(text, question.examples or "", signature),
            difficulty=question.difficulty,
            source="leetcode",
            tags=[tag.name for tag in question.tags],
            **{"number": question.number, "title": question.title, "signature": str(signature)},
        )
    except _UnusableError as why:
        reason, detail = why.args
        return Dropped(task_id, reason, one_line(detail))


def _signature(question: Question) -> Signature:
    """The function to write.

    Raises:
        _UnusableError: there is none, or one that calls with plain values cannot test.
    """
    try:
        told = json.loads(question.meta or "")
    except (ValueError, RecursionError) as error:
        raise _UnusableError("its metaData cannot be read", str(error)) from None
    if isinstance(told, dict) and (told.get("systemdesign") or "classname" in told):
        raise _UnusableError("a class to design, not a function", str(told.get("classname", "")))
    if not isinstance(told, dict) or "name" not in told or not told.get("params"):
        raise _UnusableError("no function to write", "")
    try:
        signature = Signature.model_validate(told)
    except ValidationError as error:
        raise _UnusableError("its metaData cannot be read", first_fault(error)) from None
    if signature.manual:
        raise _UnusableError("the site judges it by a program of its own", "")
    if signature.returned.type == "void":
        raise _UnusableError("changes its argument instead of returning a value", "")
    for kind in (*(one.type for one in signature.params), signature.returned.type):
        if _base_and_depth(kind)[0] not in _PLAIN:
            raise _UnusableError("arguments or answers that are no plain values", kind)
    return signature


def _starter(question: Question, signature: Signature) -> str:
    """The python3 stub.

    Raises:
        _UnusableError: there is none, or it is of another function than metaData.
    """
    stubs = [snippet.code for snippet in question.snippets or [] if snippet.language == "python3"]
    if not stubs:
        raise _UnusableError("no python3 stub", "")
    starter = f"{plain_lines(stubs[0]).rstrip()}\n        "
    wanted = ["self", *(one.name for one in signature.params)]
    try:
        classes = {node.name: node for node in ast.parse(f"{starter}pass\n").body if isinstance(node, ast.ClassDef)}
        functions = {node.name: node for node in classes["Solution"].body if isinstance(node, ast.FunctionDef)}
        found = [one.arg for one in functions[signature.name].args.args]
    except (SyntaxError, ValueError, KeyError, RecursionError, MemoryError):
        raise _UnusableError("its python3 stub and its metaData disagree", f"no Solution.{signature.name}") from None
    if len(found) != len(wanted):
        raise _UnusableError("its python3 stub and its metaData disagree", f"{found} and {wanted}")
    return starter


def _tests(text: str, example_testcases: str, signature: Signature) -> list[CallTest]:
    """One test per example of the statement.

    Raises:
        _UnusableError: there is none, or the statement and the example test cases cannot be brought together.
    """
    checker = checker_of(text)
    if checker is None:
        raise _UnusableError("several answers may be right", "")
    if _base_and_depth(signature.returned.type)[0] == "double" and checker == "exact":
        checker = "float"
    extra: dict[str, Any] = {} if checker == "exact" else {"checker": checker}
    written = examples_in(text)
    if not written:
        raise _UnusableError("no example in its statement", "")
    given = _given(example_testcases, signature)
    told = [arguments_in(arguments) for arguments, _ in written]
    tests = []
    for place, (_, output) in enumerate(written):
        arguments = _arguments(place, told, given if len(given) == len(written) else None, signature)
        wanted = _value(output, signature.returned.type, "what should come out of an example")
        tests.append(CallTest(input=arguments, output=wanted, **extra))
    return tests


def _given(example_testcases: str, signature: Signature) -> list[list[Any]]:
    """The arguments of the example test cases, which are one value per line.

    Raises:
        _UnusableError: these are not as many as the function takes, or not of its types.
    """
    lines = [line for line in plain_lines(example_testcases).split("\n") if line.strip()]
    count = len(signature.params)
    if len(lines) % count:
        raise _UnusableError("its example test cases cannot be read", f"{len(lines)} values, {count} arguments")
    values = [_value(line, signature.params[place % count].type, "an example") for place, line in enumerate(lines)]
    return [values[start : start + count] for start in range(0, len(values), count)]


def _arguments(
    place: int, told: list[dict[str, Any] | None], given: list[list[Any]] | None, signature: Signature
) -> list[Any]:
    """The arguments of one example: as the statement writes them, and as the example test cases do.

    Raises:
        _UnusableError: neither does, or they disagree.
    """
    here, names = told[place], [one.name for one in signature.params]
    if here is not None and set(here) != set(names):
        here = None
    if here is None and given is None:
        raise _UnusableError("an example whose arguments cannot be read", f"example {place + 1}")
    if here is None or given is None:
        arguments = given[place] if given is not None else [(here or {})[name] for name in names]
    else:
        arguments = given[place]
        if arguments != [here[name] for name in names]:
            raise _UnusableError("its statement and its example test cases disagree", f"example {place + 1}")
    for value, one in zip(arguments, signature.params, strict=True):
        if not _fits(value, one.type):
            raise _UnusableError("an example whose arguments are of other types", f"example {place + 1}: {one.name}")
    return arguments


def _value(written: str, kind: str, what: str) -> Any:
    try:
        value = json.loads(written)
    except (ValueError, RecursionError):
        raise _UnusableError(f"{what} is no plain value", written) from None
    if not _fits(value, kind):
        raise _UnusableError(f"{what} is not of its type", f"{kind}: {written}")
    return value


_PLAIN: dict[str, type | tuple[type, ...]] = {
    "integer": int, "long": int, "double": (int, float), "boolean": bool, "string": str, "character": str,
}  # fmt: skip
_LIST = re.compile(r"list<(.*)>")


def _base_and_depth(kind: str) -> tuple[str, int]:
    """`integer[][]`, and `list<list<integer>>` alike, as ("integer", 2)."""
    kind, depth = kind.strip(), 0
    while True:
        inner = _LIST.fullmatch(kind)
        if inner:
            kind, depth = inner[1].strip(), depth + 1
        elif kind.endswith("[]"):
            kind, depth = kind[:-2].strip(), depth + 1
        else:
            return kind, depth


def _fits(value: Any, kind: str) -> bool:
    base, depth = _base_and_depth(kind)
    return _fits_at(value, base, depth)


def _fits_at(value: Any, base: str, depth: int) -> bool:
    if depth:
        return isinstance(value, list) and all(_fits_at(item, base, depth - 1) for item in value)
    if isinstance(value, bool) != (base == "boolean"):
        return False
    return isinstance(value, _PLAIN[base]) and (base != "character" or len(value) == 1)
