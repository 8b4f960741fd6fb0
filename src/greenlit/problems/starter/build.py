"""Starter problems with tests that tell the misconceptions from the correct program."""

from collections.abc import Iterator, Sequence
from random import Random
from typing import Any, Protocol

from greenlit.errors import ConfigError
from greenlit.problems.starter.grammar import EVERY, ITSELF, Composition, compositions
from greenlit.problems.starter.inputs import draw_constant, draw_input, empty_input
from greenlit.problems.starter.programs import (
    FAILED,
    correct_wording,
    load_function,
    mutants,
    outcome,
    render_program,
    same,
)
from greenlit.types import SPLITS, CallTest, Problem, Role, Split

REWARD_TESTS = 2
HIDDEN_TESTS = 5
LONGEST_SHOWN = 3
"""Elements of the shown input: it is part of the prompt, and prompt tokens cost time."""
_POOL = 48
_LONGEST = 6
_LARGEST = 10**6


class Sizes(Protocol):
    """How many problems of each split; None takes all there are."""

    @property
    def train(self) -> int | None: ...
    @property
    def validation(self) -> int | None: ...
    @property
    def test(self) -> int | None: ...


def starter_problems(seed: int, limits: Sizes) -> Iterator[Problem]:
    """Yield the train, validation and test problems, the same ones for the same seed.

    The split of a composition never depends on the seed; which compositions are taken, their constants and their
    inputs do.

    Raises:
        ConfigError: more problems are asked for than there are compositions in a split.
    """
    everything = list(compositions())
    for split in SPLITS:
        owned = [composition for composition in everything if composition.share == split]
        wanted = getattr(limits, split)
        if wanted is not None and wanted > len(owned):
            raise ConfigError(f"prepare.limits.{split}: starter has {len(owned)} problems (found {wanted})")
        Random(f"{seed}/{split}").shuffle(owned)
        for composition in owned[:wanted]:
            yield build_problem(composition, split, seed)


def build_problem(composition: Composition, split: Split, seed: int) -> Problem:
    """One problem with its constant, reference solution and tests."""
    random = Random(f"{seed}/{composition.slug}")
    constant = draw_constant(composition.domain, random)
    reference = render_program(composition, correct_wording(composition), str(constant))
    return Problem(
        task_id=f"starter/{composition.slug}",
        prompt=phrase(composition, constant),
        entry_point=composition.slug,
        tests=_choose_tests(composition, constant, reference, random),
        reference=[reference + "\n"],
        split=split,
        difficulty=("easy", "medium", "hard")[(composition.keep is not EVERY) + (composition.change is not ITSELF)],
        source="starter",
        tags=list(composition.tags),
    )


def phrase(composition: Composition, constant: int) -> str:
    """What is asked, in one short sentence."""
    domain = composition.domain
    elements = composition.keep.phrase.format(nouns=domain.nouns, k=constant)
    change = composition.change.phrase.format(k=constant)
    middle = f"{change} of the {elements}" if change else elements
    return f"{composition.reduce.phrase} {middle} {domain.source.phrase}."


def draw_inputs(composition: Composition, constant: int, random: Random) -> list[Any]:
    """Different inputs, the empty one first, every other one short enough to be shown."""
    domain = composition.domain
    found = [empty_input(domain)]
    for index in range(2 * _POOL):
        value = draw_input(domain, constant, random, LONGEST_SHOWN if index % 2 else _LONGEST)
        if value not in found and len(found) < _POOL:
            found.append(value)
    return found


def is_showable(value: Any, expected: Any) -> bool:
    """Short, and with an answer that says something."""
    short = value <= 999 if isinstance(value, int) else len(value) <= LONGEST_SHOWN
    return short and bool(expected) and len(repr(expected)) <= 24


def _choose_tests(composition: Composition, constant: int, reference: str, random: Random) -> list[CallTest]:
    """Greedily the inputs that kill most mutants: one shown, then reward, then hidden ones."""
    function = load_function(reference, composition.slug)
    answers = [(value, outcome(function, value)) for value in draw_inputs(composition, constant, random)]
    answers = [(value, answer) for value, answer in answers if _is_small(answer)]
    kills = _kills(composition, constant, answers)
    showable = [index for index, (value, answer) in enumerate(answers) if is_showable(value, answer)]
    order = _greedy(kills, showable or range(len(answers)), 1, set())
    order += _greedy(kills, range(len(answers)), REWARD_TESTS + HIDDEN_TESTS, set(order))
    roles: list[Role] = ["shown"] + ["reward"] * REWARD_TESTS + ["hidden"] * HIDDEN_TESTS
    return [
        CallTest(input=[answers[index][0]], output=answers[index][1], role=role)
        for index, role in zip(order, roles, strict=False)
    ]


def _is_small(answer: Any) -> bool:
    if answer is FAILED:
        return False
    return abs(answer) <= _LARGEST if isinstance(answer, int) else len(repr(answer)) <= 80


def _kills(composition: Composition, constant: int, answers: Sequence[tuple[Any, Any]]) -> list[set[int]]:
    """For each input, the mutants that answer it wrongly."""
    programs = [load_function(program, composition.slug) for program in dict.fromkeys(mutants(composition, constant))]
    return [
        {number for number, program in enumerate(programs) if not same(outcome(program, value), answer)}
        for value, answer in answers
    ]


def _greedy(kills: Sequence[set[int]], allowed: Sequence[int], count: int, taken: set[int]) -> list[int]:
    """Up to `count` inputs, each the one that kills most of what still lives; ties go to the earlier input."""
    chosen: list[int] = []
    dead = set().union(*(kills[index] for index in taken))
    for _ in range(count):
        left = [index for index in allowed if index not in taken and index not in chosen]
        if not left:
            break
        best = max(left, key=lambda index: (len(kills[index] - dead), len(kills[index]), -index))
        chosen.append(best)
        dead |= kills[best]
        if all(kills[index] <= dead for index in left):
            dead = set()  # all that can be killed is: kill it a second time, by other inputs
    return chosen
