"""Values keep their exact type on the way to the judge, and compare as Python compares them."""

import collections
import contextlib
import enum
import itertools
import json
import math
from decimal import Decimal
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from greenlit.execution import encoding, values

ROOM = 1 << 20

scalars = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(allow_nan=False),
    st.complex_numbers(allow_nan=False),
    st.text(),
    st.binary(max_size=20),
)
hashable = st.recursive(scalars, lambda inner: st.tuples(inner, inner) | st.frozensets(inner, max_size=3), max_leaves=5)
plain = st.recursive(
    scalars,
    lambda inner: st.one_of(
        st.lists(inner, max_size=4),
        st.tuples(inner, inner),
        st.sets(hashable, max_size=4),
        st.dictionaries(hashable, inner, max_size=4),
    ),
    max_leaves=12,
)


def crossed(value: object) -> object:
    """A value after its way through the pipe."""
    return values.decode(values.parse(encoding.encode(value, ROOM).encode()))


@given(plain)
def test_plain_values_arrive_as_they_left(value: object) -> None:
    arrived = crossed(value)
    assert type(arrived) is type(value)
    assert arrived == value


@given(plain, plain)
def test_comparison_is_pythons_own(found: object, expected: object) -> None:
    assert values.matches("exact", crossed(found), expected) == (found == expected)
    assert values.matches("exact", crossed(found), found) == (crossed(found) == found)


@pytest.mark.parametrize(
    ("found", "expected", "equal"),
    [
        (True, 1, True),
        (1, 1.0, True),
        (0.0, -0.0, True),
        (math.nan, math.nan, False),
        ((1, 2), [1, 2], False),
        ({1}, frozenset({1}), True),
        ("1", 1, False),
        (b"a", "a", False),
        (range(3), [0, 1, 2], False),
        (range(3), range(0, 3), True),
        ([10**5000], [10**5000], True),
        ("\ud800", "\ud800", True),
        (Decimal("1.10"), 1.1, False),
        (Fraction(1, 2), 0.5, True),
        (collections.deque([1]), [1], False),
        ({1: 2}.keys(), {1}, True),
        (bytearray(b"x"), b"x", True),
    ],
)
def test_known_pairs(found: object, expected: object, equal: bool) -> None:
    assert values.matches("exact", crossed(found), expected) is equal


class Liar(int):
    def __eq__(self, other: object) -> bool:
        return True

    __hash__ = int.__hash__


class LyingList(list):
    def __eq__(self, other: object) -> bool:
        return True

    def __iter__(self):
        return iter([4])


class LyingText(str):
    def __eq__(self, other: object) -> bool:
        return True

    __hash__ = str.__hash__


class Color(enum.IntEnum):
    RED = 1


Point = collections.namedtuple("Point", "x y")


@pytest.mark.parametrize(
    ("value", "base"),
    [
        (Liar(3), 3),
        (LyingList([1, 2]), [1, 2]),
        (LyingText("no"), "no"),
        (Color.RED, 1),
        (Point(1, 2), (1, 2)),
        (collections.Counter("aab"), {"a": 2, "b": 1}),
        (collections.OrderedDict(a=1), {"a": 1}),
        (collections.defaultdict(int, {1: 2}), {1: 2}),
    ],
)
def test_subclasses_arrive_as_the_data_they_hold(value: object, base: object) -> None:
    arrived = crossed(value)
    assert type(arrived) is type(base)
    assert arrived == base


def test_nan_arrives_and_stays_unlike_itself() -> None:
    assert math.isnan(crossed(math.nan))
    assert crossed([math.nan]) != [math.nan]


@pytest.mark.parametrize(
    "make", [lambda: (n for n in [1, 2]), lambda: map(int, "12"), lambda: itertools.chain([1], [2])]
)
def test_iterators_can_be_read_but_are_no_lists(make) -> None:
    assert crossed(make()) != [1, 2]
    assert list(crossed(make())) == [1, 2]


def test_an_endless_iterator_is_cut_off() -> None:
    with pytest.raises(encoding.TooLarge):
        encoding.encode(itertools.count(), ROOM)


def test_other_objects_equal_nothing_and_keep_their_truth() -> None:
    class Any:
        def __eq__(self, other: object) -> bool:
            return True

        def __bool__(self) -> bool:
            return False

    arrived = crossed(Any())
    assert isinstance(arrived, values.Opaque)
    assert not arrived
    assert arrived != arrived
    assert arrived != 1
    assert not values.matches("exact", arrived, None)


def test_size_depth_and_cycles_are_bounded() -> None:
    cycle: list = []
    cycle.append(cycle)
    deep: list = []
    for _ in range(10_000):
        deep = [deep]
    for value in (cycle, deep, "x" * ROOM, 1 << (8 * ROOM), list(range(ROOM)), b"x" * ROOM):
        with pytest.raises(encoding.TooLarge):
            encoding.encode(value, ROOM)


@pytest.mark.parametrize(
    "frame",
    [
        b"", b"1", b"{}", b"[", b"\xff", b'["i"]', b'["i",1]', b'["?",1]', b'["l",1]', b'["l",[1]]',
        b'["S",[["l",[]]]]',
        b'["d",[[["i","1"]]]]', b'["s","zz"]', b'["s","ff"]', b'["f","x"]', b'["b",[]]', b"[" * 100_000, b'["D","00"]',
        b'["r","1","2","0"]', b'["Q","312f30"]', b'["n",1]', b"[[]]", b"[[],1]", b"[null]",
    ],
)  # fmt: skip
def test_bad_frames_are_refused_cleanly(frame: bytes) -> None:
    with pytest.raises(values.BadFrame):
        values.decode(values.parse(frame))


@given(st.recursive(st.none() | st.integers() | st.text() | st.floats(), st.lists, max_leaves=20))
def test_any_json_is_a_value_or_a_bad_frame(content: object) -> None:
    with contextlib.suppress(values.BadFrame):
        values.decode(values.parse(json.dumps(content).encode()))


@pytest.mark.parametrize(
    ("checker", "found", "expected", "equal"),
    [
        ("exact", [2, 1], [1, 2], False),
        ("unordered", [2, 1], [1, 2], True),
        ("unordered", [1, 1, 2], [1, 2, 2], False),
        ("unordered", [[2, 1]], [[1, 2]], False),
        ("unordered", [1, 2, 2], [1, 2], False),
        ("float", 0.1 + 0.2, 0.3, True),
        ("float", [1.0000001, {"a": 2.0}], [1, {"a": 2}], True),
        ("float", [1.1], [1], False),
        ("float", (1.0,), [1.0], False),
        ("float", math.nan, math.nan, False),
        ("float", 10**400, 1.0, False),
        ("case_insensitive", ["Yes"], ["YES"], True),
        ("case_insensitive", "a b", "a  b", False),
    ],
)
def test_checkers_apply_only_their_own_rule(checker: str, found: object, expected: object, equal: bool) -> None:
    assert values.matches(checker, found, expected) is equal


@pytest.mark.parametrize(
    ("checker", "found", "expected", "equal"),
    [
        ("exact", "7\r\n", "7", True),
        ("exact", "a  \nb\n\n\n", "a\nb", True),
        ("exact", "YES", "YES\n1\n2", False),
        ("exact", "", "\nYES", False),
        ("exact", "YES\nextra", "YES", False),
        ("exact", " a", "a", True),
        ("exact", "x\n  a\t\n", "x\na", True),
        ("exact", "a\n\nb", "a\nb", False),
        ("exact", "1  2.50", "1 2.5", True),
        ("exact", "1e2 +3", "100 3", True),
        ("exact", "1 2", "1 2 3", False),
        ("exact", "0.30000001", "0.3", False),
        ("exact", "50000000000000001", "50000000000000000", False),
        ("exact", "x 1.0", "x 1", False),
        ("exact", "nan", "NaN", False),
        ("exact", "sNaN", "1", False),
        ("exact", "1_0", "10", False),
        ("exact", "1e99999999", "1e99999998", False),
        ("exact", "1e999999", "10e999998", True),
        ("exact", "9" * 50_000 + ".0", "9" * 50_000, True),
        ("exact", "a  b", "a b", False),
        ("exact", "yes", "YES", False),
        ("case_insensitive", "yes", "YES", True),
        ("unordered", "b\na\n", "a\nb", True),
        ("unordered", "a\na\nb", "a\nb\nb", False),
        ("unordered", "b a", "a b", False),
        ("float", "0.3333333", "0.33333333", True),
        ("float", "1 2", "1", False),
        ("float", "x", "y", False),
        ("float", "nan", "1.0", False),
    ],
)
def test_outputs_compare_line_by_line(checker: str, found: str, expected: str, equal: bool) -> None:
    assert values.output_matches(checker, found, expected) is equal


def test_call_tests_see_what_json_sees() -> None:
    assert values.as_json((1, [(2,)], {1: (3,), None: 4})) == [1, [[2]], {"1": [3], "null": 4}]


@pytest.mark.parametrize(
    "text",
    ["1e99999999", "1e-3000000", "1/0", " 1", "1.5", "nan"],
    ids=["exponent", "small", "zero", "blank", "point", "nan"],
)
def test_only_what_a_fraction_looks_like_is_one(text: str) -> None:
    with pytest.raises(values.BadFrame):
        values.decode(["Q", text.encode().hex()])


def test_values_that_are_small_to_send_and_endless_to_use_do_not_cross() -> None:
    for tagged in (["r", "0", "e8d4a51000", "1"], ["r", "0", f"{10**30:x}", "1"], ["D", b"1E+99999999".hex()]):
        with pytest.raises(values.BadFrame):
            values.decode(tagged)
    assert values.decode(["D", b"Infinity".hex()]) == Decimal("Infinity")
    assert values.decode(["D", b"0E-9".hex()]) == 0
