"""Programs of mixed quality: what the starter model is warm-started on.

Prompts are rendered by the one prompt module, over compositions that no split owns but `pretrain`. Each part of a
program is misunderstood at its own rate (grammar.RARE, FREQUENT, WIDESPREAD), and one program in twelve has a slip.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from random import Random

from greenlit.problems.prompts import render
from greenlit.problems.starter.build import LONGEST_SHOWN, is_showable, phrase
from greenlit.problems.starter.grammar import Composition, Part, compositions
from greenlit.problems.starter.inputs import draw_constant, draw_input
from greenlit.problems.starter.programs import (
    SLIPS,
    Wording,
    correct_wording,
    load_function,
    outcome,
    render_program,
)
from greenlit.types import CallTest, Problem

SLIP_RATE = 0.08
LIKELIEST = 0.7
"""Probability of the first of several templates."""


@dataclass(frozen=True)
class Row:
    """One prompt and what somebody of mixed ability wrote below it."""

    prompt: str
    completion: str
    faults: tuple[str, ...]
    """Misconceptions and slips in the completion; empty for a correct one."""
    tags: tuple[str, ...]
    """The composition's parts."""


def corpus(seed: int, rows: int) -> Iterator[Row]:
    """Yield `rows` rows over the pretrain compositions, the same ones for the same seed."""
    random = Random(f"{seed}/corpus")
    owned = [composition for composition in compositions() if composition.share == "pretrain"]
    order: list[Composition] = []
    for _ in range(rows):
        if not order:
            order = random.sample(owned, len(owned))
        yield _write_row(order.pop(), random)


def _write_row(composition: Composition, random: Random) -> Row:
    constant = draw_constant(composition.domain, random)
    faults: list[str] = []
    wording = Wording(
        _pick(composition.domain.source, random, faults),
        _pick(composition.keep, random, faults),
        _pick(composition.change, random, faults),
        _pick(composition.reduce, random, faults),
    )
    program = render_program(composition, wording, str(constant))
    if random.random() < SLIP_RATE:
        slip = random.choice(list(SLIPS))
        slipped = SLIPS[slip](program)
        if slipped != program:
            faults.append(slip)
            program = slipped
    prompt = _write_prompt(composition, constant, random)
    return Row(prompt, program, tuple(faults), composition.tags)


def _pick(part: Part, random: Random, faults: list[str]) -> str:
    if part.wrong and random.random() < part.error_rate:
        name, code = part.wrong[_first_or_other(len(part.wrong), random)]
        faults.append(name)
        return code
    return part.right[_first_or_other(len(part.right), random)]


def _first_or_other(count: int, random: Random) -> int:
    return 0 if count == 1 or random.random() < LIKELIEST else random.randrange(1, count)


def _write_prompt(composition: Composition, constant: int, random: Random) -> str:
    reference = render_program(composition, correct_wording(composition), str(constant))
    function = load_function(reference, composition.slug)
    for _ in range(8):
        value = draw_input(composition.domain, constant, random, LONGEST_SHOWN)
        answer = outcome(function, value)
        if is_showable(value, answer):
            break
    shown = CallTest(input=[value], output=answer, role="shown")
    problem = Problem(
        task_id=composition.slug, prompt=phrase(composition, constant), entry_point=composition.slug, tests=[shown]
    )
    return str(render(problem, chat=False))
