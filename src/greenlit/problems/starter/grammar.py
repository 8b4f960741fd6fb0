"""The parts that starter problems are composed of, how each is written rightly, and how it is misunderstood.

A part is written as code templates: `{v}` stands for the loop variable, `{k}` for the problem's constant,
`{items}` for the comprehension's inside (`x * x for x in nums if x % 2 == 0`).
"""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

Kind = Literal["int", "char", "word"]
Share = Literal["pretrain", "train", "validation", "test"]

RARE, FREQUENT, WIDESPREAD = 0.04, 0.15, 0.7
"""How often the corpus misunderstands a part: well known, sometimes wrong, wrong more often than right."""


@dataclass(frozen=True)
class Part:
    """One ingredient of a composition."""

    name: str
    """As it stands in entry points; empty for a part that says nothing (every element, the element itself)."""
    phrase: str
    """As it stands in the prompt."""
    right: tuple[str, ...]
    """Correct code, likeliest first."""
    wrong: tuple[tuple[str, str], ...] = ()
    """(misconception, code), likeliest first."""
    error_rate: float = RARE
    """Probability that a program of the corpus has one of `wrong`."""

    @property
    def uses_constant(self) -> bool:
        """Does the part need the problem's constant k?"""
        return "{k}" in self.right[0]


@dataclass(frozen=True)
class Domain:
    """What a problem's function receives, and how its elements are reached."""

    name: str
    argument: str
    variable: str
    kind: Kind
    source: Part
    """Code that yields the elements; its phrase says where they are."""
    nouns: str


@dataclass(frozen=True)
class Composition:
    """A kind of problem: everything but its constant and its wording."""

    domain: Domain
    keep: Part
    change: Part
    reduce: Part

    @property
    def tags(self) -> tuple[str, str, str, str]:
        """The parts' names, `all` and `self` for those that say nothing."""
        return (self.domain.name, self.keep.name or "all", self.change.name or "self", self.reduce.name)

    @property
    def slug(self) -> str:
        """Entry point: the parts that say something, e.g. `sum_squares_even_nums`."""
        names = (self.reduce.name, self.change.name, self.keep.name, self.domain.name)
        return "_".join(name for name in names if name)

    @property
    def share(self) -> Share:
        """Which split owns this composition; a property of the composition alone."""
        draw = int.from_bytes(hashlib.sha256("/".join(self.tags).encode()).digest()[:4]) / 2**32
        return next(share for share, bound in _SHARES if draw < bound)

    @property
    def uses_constant(self) -> bool:
        """Does a part need the constant k?"""
        return self.keep.uses_constant or self.change.uses_constant


_SHARES: tuple[tuple[Share, float], ...] = (("pretrain", 0.55), ("train", 0.77), ("validation", 0.85), ("test", 1.0))

DOMAINS = (
    Domain("nums", "nums", "x", "int", Part("nums", "in nums", ("nums",)), "numbers"),
    Domain(
        "digits",
        "n",
        "x",
        "int",
        Part("digits", "of n", ("map(int, str(n))",), (("digits_as_text", "str(n)"),)),
        "digits",
    ),
    Domain(
        "upto",
        "n",
        "x",
        "int",
        Part(
            "upto", "from 1 to n", ("range(1, n + 1)",), (("stops_early", "range(n)"), ("no_end", "range(1, n)")), 0.3
        ),
        "numbers",
    ),
    Domain("chars", "text", "c", "char", Part("chars", "in text", ("text",)), "characters"),
    Domain("words", "words", "w", "word", Part("words", "in words", ("words",)), "words"),
)

EVERY = Part("", "{nouns}", ("",))
ITSELF = Part("", "", ("{v}",))

FILTERS: dict[Kind, tuple[Part, ...]] = {
    "int": (
        EVERY,
        Part("even", "even {nouns}", ("{v} % 2 == 0", "not {v} % 2"), (("odd_for_even", "{v} % 2"),)),
        Part("odd", "odd {nouns}", ("{v} % 2 == 1", "{v} % 2"), (("even_for_odd", "{v} % 2 == 0"),)),
        Part("above", "{nouns} above {k}", ("{v} > {k}",), (("above_or_equal", "{v} >= {k}"),), FREQUENT),
        Part("min", "{nouns} of at least {k}", ("{v} >= {k}",), (("at_least_as_above", "{v} > {k}"),), WIDESPREAD),
        Part("max", "{nouns} of at most {k}", ("{v} <= {k}",), (("at_most_as_below", "{v} < {k}"),), WIDESPREAD),
        Part("below", "{nouns} below {k}", ("{v} < {k}",), (("below_or_equal", "{v} <= {k}"),)),
        Part("multiples", "{nouns} divisible by {k}", ("{v} % {k} == 0",), (("not_divisible", "{v} % {k}"),), FREQUENT),
        Part("positive", "positive {nouns}", ("{v} > 0",), (("zero_is_positive", "{v} >= 0"),), FREQUENT),
        Part("negative", "negative {nouns}", ("{v} < 0",), (("zero_is_negative", "{v} <= 0"),)),
    ),
    "char": (
        EVERY,
        Part("vowels", "vowels", ("{v} in 'aeiouAEIOU'",), (("small_vowels_only", "{v} in 'aeiou'"),), WIDESPREAD),
        Part("upper", "capital letters", ("{v}.isupper()",), (("upper_is_true", "{v}.upper()"),), FREQUENT),
        Part("lower", "small letters", ("{v}.islower()",), (("lower_is_true", "{v}.lower()"),), FREQUENT),
        Part("decimals", "digits", ("{v}.isdigit()",), (("letters_too", "{v}.isalnum()"),)),
        Part("letters", "letters", ("{v}.isalpha()",), (("digits_too", "{v}.isalnum()"),), WIDESPREAD),
    ),
    "word": (
        EVERY,
        Part(
            "longer",
            "{nouns} longer than {k}",
            ("len({v}) > {k}",),
            (("longer_or_equal", "len({v}) >= {k}"),),
            FREQUENT,
        ),
        Part(
            "min",
            "{nouns} of at least {k} letters",
            ("len({v}) >= {k}",),
            (("at_least_as_longer", "len({v}) > {k}"),),
            WIDESPREAD,
        ),
        Part("shorter", "{nouns} shorter than {k}", ("len({v}) < {k}",), (("shorter_or_equal", "len({v}) <= {k}"),)),
        Part(
            "vocalic",
            "{nouns} starting with a vowel",
            ("{v}[0] in 'aeiouAEIOU'",),
            (("small_vowel_only", "{v}[0] in 'aeiou'"),),
            WIDESPREAD,
        ),
        Part("capital", "capitalised {nouns}", ("{v}[0].isupper()",), (("capital_is_all", "{v}.isupper()"),), FREQUENT),
        Part("mirror", "palindromes", ("{v} == {v}[::-1]",), (("same_ends", "{v}[0] == {v}[-1]"),)),
        Part("with_a", "{nouns} with an a", ("'a' in {v}",), (("starts_with_a", "{v}[0] == 'a'"),)),
    ),
}

MAPS: dict[Kind, tuple[Part, ...]] = {
    "int": (
        ITSELF,
        Part("squares", "squares", ("{v} * {v}", "{v} ** 2"), (("double_for_square", "{v} * 2"),)),
        Part("cubes", "cubes", ("{v} ** 3", "{v} * {v} * {v}"), (("triple_for_cube", "{v} * 3"),), FREQUENT),
        Part("doubles", "doubles", ("{v} * 2", "2 * {v}"), (("square_for_double", "{v} ** 2"),)),
        Part("halves", "halves, rounded down,", ("{v} // 2",), (("true_division", "{v} / 2"),), FREQUENT),
        Part("remainders", "remainders by {k}", ("{v} % {k}",), (("quotient", "{v} // {k}"),)),
        Part("gaps", "distances from {k}", ("abs({v} - {k})",), (("signed_distance", "{v} - {k}"),), WIDESPREAD),
        Part("raised", "values plus {k}", ("{v} + {k}",), (("times", "{v} * {k}"),)),
    ),
    "char": (
        ITSELF,
        Part("caps", "capitals", ("{v}.upper()",), (("small_for_capital", "{v}.lower()"),)),
        Part("codes", "codes", ("ord({v})",), (("code_as_int", "int({v})"),)),
        Part("doubled", "doubles", ("{v} + {v}",), (("tripled", "{v} * 3"),)),
        Part("swapped", "swapped cases", ("{v}.swapcase()",), (("small_only", "{v}.lower()"),), FREQUENT),
    ),
    "word": (
        ITSELF,
        Part("lengths", "lengths", ("len({v})",), (("length_less_one", "len({v}) - 1"),)),
        Part("titles", "titles", ("{v}.title()",), (("all_capitals", "{v}.upper()"),), FREQUENT),
        Part("reversed", "reversals", ("{v}[::-1]",), (("loses_first", "{v}[:0:-1]"),), FREQUENT),
        Part("firsts", "first letters", ("{v}[0]",), (("second_letter", "{v}[1]"),)),
        Part("lasts", "last letters", ("{v}[-1]",), (("index_of_end", "{v}[len({v})]"),), FREQUENT),
    ),
}

MAPS_TO_INT = frozenset({"codes", "lengths"})

COUNT = Part(
    "count",
    "Count of the",
    ("return len([{items}])", "return sum(1 for {bare})"),
    (("sums_for_count", "return sum({items})"),),
)
_LISTS = (
    Part("list", "List of the", ("return [{items}]",), (("generator", "return ({items})"),)),
    Part(
        "sorted",
        "Sorted list of the",
        ("return sorted({items})",),
        (("sort_returns_none", "return [{items}].sort()"),),
        WIDESPREAD,
    ),
    Part(
        "falling",
        "List, largest first, of the",
        ("return sorted(({items}), reverse=True)",),
        (("reversed_order", "return [{items}][::-1]"),),
        FREQUENT,
    ),
    Part(
        "distinct",
        "Number of different",
        ("return len(set({items}))", "return len({{{items}}})"),
        (("counts_repeats", "return len([{items}])"),),
        FREQUENT,
    ),
    Part(
        "unique", "Sorted different", ("return sorted(set({items}))",), (("keeps_repeats", "return sorted({items})"),)
    ),
    Part(
        "first",
        "First, or None, of the",
        ("return next(({items}), None)",),
        (("no_first", "return [{items}][0]"),),
        WIDESPREAD,
    ),
    Part(
        "last",
        "Last, or None, of the",
        ("return ([None] + [{items}])[-1]",),
        (("no_last", "return [{items}][-1]"),),
        WIDESPREAD,
    ),
)
REDUCES: dict[Kind, tuple[Part, ...]] = {
    "int": (
        Part(
            "sum",
            "Sum of the",
            ("return sum({items})", "total = 0|total += {value}|return total"),
            (("counts_for_sum", "return len([{items}])"),),
        ),
        Part(
            "product",
            "Product of the",
            ("total = 1|total *= {value}|return total",),
            (("product_from_zero", "total = 0|total *= {value}|return total"),),
            WIDESPREAD,
        ),
        Part(
            "largest",
            "Largest, or 0, of the",
            ("return max(({items}), default=0)",),
            (("max_of_nothing", "return max({items})"),),
            WIDESPREAD,
        ),
        Part(
            "smallest",
            "Smallest, or 0, of the",
            ("return min(({items}), default=0)",),
            (("min_of_nothing", "return min({items})"),),
            WIDESPREAD,
        ),
        *_LISTS,
    ),
    "char": (
        Part(
            "joined",
            "Joined",
            ("return ''.join({items})",),
            (("joined_by_blanks", "return ' '.join({items})"),),
            FREQUENT,
        ),
        *_LISTS,
    ),
    "word": (
        Part(
            "longest",
            "Longest, or '', of the",
            ("return max(({items}), key=len, default='')",),
            (("greatest_for_longest", "return max(({items}), default='')"),),
            WIDESPREAD,
        ),
        *_LISTS,
    ),
}

_ORDER = frozenset({"sorted", "falling", "unique", "distinct"})
_SAME_IN_CAPS = frozenset({"upper", "decimals"})


def compositions() -> Iterator[Composition]:
    """Every composition, in a fixed order."""
    for domain in DOMAINS:
        for keep in FILTERS[domain.kind]:
            for change in MAPS[domain.kind]:
                for reduce in _reduces(domain, keep, change):
                    candidate = Composition(domain, keep, change, reduce)
                    if _is_distinct(candidate):
                        yield candidate


def _reduces(domain: Domain, keep: Part, change: Part) -> tuple[Part, ...]:
    values: Kind = "int" if change.name in MAPS_TO_INT else domain.kind
    counts = (COUNT,) if change is ITSELF and keep is not EVERY else ()
    return counts + REDUCES[values]


def _is_distinct(candidate: Composition) -> bool:
    """Leave out what is the same as a simpler problem, or needs two constants."""
    domain, keep, change, reduce = candidate.domain, candidate.keep, candidate.change, candidate.reduce
    if keep is EVERY and change is ITSELF:
        return False
    if keep.uses_constant and change.uses_constant:
        return False
    if domain.name != "nums" and keep.name in {"positive", "negative"}:
        return False
    if domain.name == "upto" and reduce.name in _ORDER:
        return False
    if reduce.name == "longest" and change.name in {"firsts", "lasts"}:
        return False
    return not (change.name in {"caps", "swapped"} and keep.name in _SAME_IN_CAPS)
