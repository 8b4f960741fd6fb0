"""Programs for compositions: the correct one, misunderstood ones, slips and mutants; and how they are run here.

Everything rendered here is a comprehension or a `for` loop over a small input, so it ends quickly and can be run in
this process; programs that a model wrote never are.
"""

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

from greenlit.problems.starter.grammar import EVERY, ITSELF, REDUCES, Composition

Function = Callable[[Any], Any]


@dataclass(frozen=True)
class Wording:
    """Which code template each part of a program uses."""

    source: str
    keep: str
    change: str
    reduce: str


def correct_wording(composition: Composition) -> Wording:
    """The likeliest correct template of each part."""
    domain = composition.domain
    return Wording(
        domain.source.right[0], composition.keep.right[0], composition.change.right[0], composition.reduce.right[0]
    )


def render_program(composition: Composition, wording: Wording, constant: str) -> str:
    """The whole function as text, without a final newline.

    Args:
        constant: the problem's k as it stands in the code.
    """
    variable = composition.domain.variable
    value = wording.change.format(v=variable, k=constant)
    condition = wording.keep.format(v=variable, k=constant)
    test = f" if {condition}" if condition else ""
    bare = f"{variable} in {wording.source}{test}"
    body = wording.reduce.format(items=f"{value} for {bare}", bare=bare, value=value)
    if "|" in body:
        start, step, end = body.split("|")
        guarded = f"if {condition}:\n            {step}" if condition else step
        body = f"{start}\n    for {variable} in {wording.source}:\n        {guarded}\n    {end}"
    return f"def {composition.slug}({composition.domain.argument}):\n    {body}"


def misunderstandings(composition: Composition) -> Iterator[tuple[str, Wording]]:
    """(misconception, wording) with exactly one part misunderstood."""
    right = correct_wording(composition)
    for field, part in (
        ("source", composition.domain.source),
        ("keep", composition.keep),
        ("change", composition.change),
        ("reduce", composition.reduce),
    ):
        for name, code in part.wrong:
            yield name, replace(right, **{field: code})


def _missing_return(program: str) -> str:
    head, _, tail = program.rpartition("return ")
    return head + tail


def _open_bracket(program: str) -> str:
    at = max(program.rfind(")"), program.rfind("]"))
    return program[:at] + program[at + 1 :]


SLIPS: dict[str, Callable[[str], str]] = {
    "missing_return": _missing_return,
    "open_bracket": _open_bracket,
    "missing_colon": lambda program: program.replace("):\n", ")\n", 1),
    "no_indent": lambda program: program.replace("\n    ", "\n", 1),
    "dropped_filter": lambda program: re.sub(r" if [^:\]]*?(?=\]|\)+$|\),|\}|$)", "", program, count=1),
}
"""Mistakes of the hand: they know what is asked."""

_OPERATORS = (
    (" >= ", " > "), (" > ", " >= "), (" <= ", " < "), (" < ", " <= "), (" == ", " != "), (" + ", " - "),
    (" * ", " + "), (" ** ", " * "), (" // ", " % "), (" % ", " // "), ("max(", "min("), ("min(", "max("),
    ("set(", "list("), ("abs(", "("), ("[::-1]", ""), ("1, n + 1", "n + 1"), ("aeiouAEIOU", "aeiou"),
    ("default=0", "default=1"), ("islower", "isupper"), ("isupper", "islower"),
)  # fmt: skip


def mutants(composition: Composition, constant: int) -> Iterator[str]:
    """Buggy programs for one problem, each different from the correct one: its tests should tell them apart."""
    right = correct_wording(composition)
    reference = render_program(composition, right, str(constant))
    yield from _variants(composition, right, constant)
    yield _missing_return(reference)
    for old, new in _OPERATORS:
        if old in reference:
            yield reference.replace(old, new, 1)
    if composition.uses_constant:
        for near in (constant - 1, constant + 1):
            yield render_program(composition, right, str(near))


def _variants(composition: Composition, right: Wording, constant: int) -> Iterator[str]:
    wordings = [wording for _, wording in misunderstandings(composition)]
    if composition.keep is not EVERY:
        wordings.append(replace(right, keep=EVERY.right[0]))
    if composition.change is not ITSELF:
        wordings.append(replace(right, change=ITSELF.right[0]))
    wordings += [replace(right, reduce=other.right[0]) for other in REDUCES[composition.domain.kind]]
    for wording in wordings:
        if wording != right:
            yield render_program(composition, wording, str(constant))


def load_function(program: str, name: str) -> Function | None:
    """The function a program defines, or None where it does not compile."""
    scope: dict[str, Any] = {}
    try:
        exec(program, scope)
    except SyntaxError:
        return None
    return scope.get(name)


def outcome(function: Function | None, value: Any) -> Any:
    """What the function returns for one input; `FAILED` where it raises or there is none."""
    if function is None:
        return FAILED
    try:
        return function(value)
    except Exception:
        return FAILED


def same(found: Any, expected: Any) -> bool:
    """Equal and of the same type: 2.0 is not 2, True is not 1."""
    return type(found) is type(expected) and found == expected and repr(found) == repr(expected)


FAILED = object()
"""The outcome of a program that could not answer."""
