"""Small inputs for starter problems: short lists, words and numbers around the problem's constant."""

from random import Random
from typing import Any

from greenlit.problems.starter.grammar import Domain

CONSTANTS = {"nums": (3, 9), "digits": (3, 7), "upto": (3, 6), "chars": (3, 3), "words": (3, 5)}
"""Smallest and largest k of each domain; never 2, so that `divisible by k` is never `even`."""

_LETTERS = "aeiouAEIObcdfXYZ019 "
_WORDS = (
    "an", "Ivy", "eve", "Bob", "kayak", "Otto", "noon", "lamp", "Under", "apple", "level", "Arena", "cat", "owl", "sky",
    "Tree", "iron", "DAD", "banana", "Eagle", "mom", "fig", "stars", "OX", "dodo", "ink",
    "rotator", "orange", "guitar", "Indigo", "anna", "eleven",
)  # fmt: skip
_EMPTY = {"nums": [], "digits": 0, "upto": 0, "chars": "", "words": []}


def draw_constant(domain: Domain, random: Random) -> int:
    """The constant k of one problem."""
    return random.randint(*CONSTANTS[domain.name])


def draw_input(domain: Domain, constant: int, random: Random, longest: int) -> Any:
    """One input of at most `longest` elements, digits or letters; some elements are repeated."""
    if domain.name == "upto":
        return random.randint(1, 3 * longest)
    elements = [_draw_element(domain, constant, random) for _ in range(random.randint(1, longest))]
    if random.random() < 0.3:
        elements[-1] = elements[0]
    if domain.name == "digits":
        return int("".join(elements))
    return "".join(elements) if domain.name == "chars" else elements


def empty_input(domain: Domain) -> Any:
    """The input with nothing in it."""
    return _EMPTY[domain.name]


def _draw_element(domain: Domain, constant: int, random: Random) -> Any:
    near = random.random() < 0.5
    match domain.name:
        case "nums":
            edges = (constant - 1, constant, constant + 1, 2 * constant, 0)
            return random.choice(edges) if near else random.randint(-9, 12)
        case "digits":
            return str(random.choice((constant - 1, constant, constant + 1)) if near else random.randint(0, 9))
        case "chars":
            return random.choice(_LETTERS)
        case _:
            return random.choice(_WORDS)
