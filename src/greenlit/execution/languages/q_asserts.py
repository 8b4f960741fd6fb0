"""Tests written in q: `.qython.assert[candidate[x] = y]`, as github.com/gabiteodoru/human-eval-curated has them.

A test's own code decides in q, and what decides must not run in the program's process. So an assertion is judged where
it does no more than compare: one side, `candidate[...]`, is evaluated in the program's process, the other in a q that
the program does not reach, and both values are compared here. What else a test does (loops, random inputs, arithmetic
over the answer) cannot be judged, and the result is None.

    =   item by item, numbers of any type, an atom with every item of a list, as q's `=`
    ~   of the same types all through, as q's `~`
    (.Q.s candidate[...]) ~ "..."   the text that `show` prints of an answer, but for white space around it; no text and
                                    the empty text as q shows it ("") are alike

Numbers are alike within 2^-43 of their size, as in q. Both sides come as (types; value), the value as `.j.j` has it.
"""

import math
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from greenlit.execution.answers import Answers
from greenlit.execution.findings import Fault, shown
from greenlit.execution.plan import Step, TestPlan
from greenlit.execution.q_text import Unclosed, is_one, outside, parts, words
from greenlit.execution.scripts import Unsplittable

if TYPE_CHECKING:
    from greenlit.types import Problem

TOLERANCE = 2.0**-43
DEPTH = 100
_SCRIPT = re.compile(r"candidate:\s*(\.?[A-Za-z][\w.]*);\s*check:\s*\{\[candidate\](.*)\}\s*;?", re.DOTALL)
_ASSERT = re.compile(r"\.qython\.assert(2?)\[(.*)\]|\.qython\.assert() (.*)", re.DOTALL)
_TRUE = ("1b", "(1b)")
_WORD = re.compile(r"[A-Za-z.][\w.]*")
_SHOWN = ".Q.s "


@dataclass(frozen=True)
class Assertion:
    """`left operator right`: the program's side, and the test's."""

    left: str
    operator: str
    right: str


def plan(test: Any, problem: "Problem") -> dict[str, Any]:
    """The fields of a test's plan: a step for each left side; `expected`: the right sides; `stdin`: the operators.

    Raises:
        Unsplittable: it does more than compare.
    """
    try:
        return _planned(test, problem)
    except Unclosed as why:
        raise Unsplittable(str(why)) from None


def _planned(test: Any, problem: "Problem") -> dict[str, Any]:
    entry = problem.entry_point or ""
    body = test.code.strip()
    if test.kind == "script":
        found = _SCRIPT.fullmatch(body)
        if not found:
            raise Unsplittable("is not of the form `candidate: name; check:{[candidate] ...}`")
        entry, body = found.groups()
    texts = [claim for part in parts(body, ";") if part.strip() and (claim := _claim(part.strip())) not in _TRUE]
    assertions = [_assertion(text, {"candidate", entry} - {""}) for text in texts]
    if not assertions:
        raise Unsplittable("there is no assertion in it")
    return {
        "steps": tuple(Step(_question(one.left, entry), one.left) for one in assertions),
        "expected": tuple(one.right for one in assertions),
        "stdin": "".join(one.operator for one in assertions),
    }


def _claim(text: str) -> str:
    """What an assertion says has to be true; assert2 has a message beside it."""
    found = _ASSERT.fullmatch(text)
    if not found:
        return text
    two, inner, _, plain = found.groups()
    return parts(inner, ";")[0].strip() if two else (inner or plain)


def _assertion(inner: str, names: set[str]) -> Assertion:
    place = next((at for at, char in outside(inner) if char in "=~" and inner[at - 1 : at] not in {"<", ">"}), -1)
    if place < 0:
        left, right = (inner[4:].strip(), "0b") if inner.startswith("not ") else (inner.strip(), "1b")
    else:
        left, right = inner[:place].strip(), inner[place + 1 :].strip()
    if not right or right[0] in "/\\':" or {right[start:end] for start, end in words(right)} & names:
        raise Unsplittable(f"does more than compare an answer with a value: {inner[:100]}")
    bare = left[1:-1].strip() if is_one(left) and left.startswith("(") else left
    called = bare.removeprefix(_SHOWN).lstrip()
    name = _WORD.match(called)
    if (
        not name
        or name.group() not in names
        or not called[name.end() :].startswith("[")
        or not is_one(called[name.end() :])
    ):
        raise Unsplittable(f"asks for more than an answer of the program: {inner[:100]}")
    return Assertion(bare, "=" if place < 0 else inner[place], right)


def _question(left: str, entry: str) -> tuple[str, str]:
    """What the program's process is asked: an expression's value, or how q shows it."""
    if left.startswith(_SHOWN):
        return "shown", _named(left.removeprefix(_SHOWN).lstrip(), entry)
    return "expression", _named(left, entry)


def _named(left: str, entry: str) -> str:
    """With the program's own name for what the test calls `candidate`."""
    return f"{entry}{left[len('candidate') :]}" if left.startswith("candidate[") else left


def check(test: TestPlan, base: int, answers: Answers, wanted: list[Any]) -> None:
    """Compare the answers of an assert or script test; a Fault where it is not passed.

    Args:
        wanted: [types, value] of each of its right sides.
    """
    for place, (step, operator) in enumerate(zip(test.steps, test.stdin, strict=True)):
        source = f"{step.source} {operator} {test.expected[place]}"
        found = answers.value(base + place)
        if not isinstance(found, list) or len(found) != 2:
            raise Fault("error", "sent something that is no answer")
        strict = operator == "~"
        if step.content[0] == "shown":
            if _as_shown(found[1]) != _as_shown(wanted[place][1]):
                raise Fault("failed", f"{source}: got {shown(found[1])}")
        elif (strict and found[0] != wanted[place][0]) or not _alike(found[1], wanted[place][1], strict, 0):
            raise Fault("failed", f"{source}: got {shown(found[1])}")


def _as_shown(text: Any) -> Any:
    """Without white space around it; nothing at all counts as the empty text."""
    said = "" if text == [] else text
    return said.strip() or '""' if isinstance(said, str) else said


def _alike(found: Any, wanted: Any, strict: bool, depth: int) -> bool:
    if depth > DEPTH:
        return False
    if isinstance(found, list) and isinstance(wanted, list):
        return len(found) == len(wanted) and all(
            _alike(one, other, strict, depth + 1) for one, other in zip(found, wanted, strict=True)
        )
    if isinstance(found, dict) and isinstance(wanted, dict):
        return found.keys() == wanted.keys() and all(
            _alike(found[key], wanted[key], strict, depth + 1) for key in wanted
        )
    if not strict and isinstance(found, list) != isinstance(wanted, list):
        items, atom = (found, wanted) if isinstance(found, list) else (wanted, found)
        if isinstance(atom, str):
            return not items and not atom
        return all(_alike(item, atom, strict, depth + 1) for item in items)
    if isinstance(found, int | float) and isinstance(wanted, int | float):
        return found == wanted or math.isclose(found, wanted, rel_tol=TOLERANCE)
    return bool(found == wanted)
