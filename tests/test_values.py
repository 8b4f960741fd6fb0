"""Values keep their exact type on the way to the judge, and compare as Python compares them."""

import ast
import collections
import contextlib
import enum
import itertools
import json
import marshal
import math
import subprocess
import sys
from collections.abc import Iterator
from decimal import Decimal
from fractions import Fraction
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from greenlit.execution import decoding, encoding, shipping, values

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


def naturals() -> Iterator[int]:
    yield from itertools.count()


@pytest.mark.parametrize(
    "make", [itertools.count, naturals, lambda: itertools.cycle("ab"), lambda: map(abs, naturals())]
)
def test_an_endless_iterator_is_cut_off(make) -> None:
    with pytest.raises(encoding.TooLarge):
        encoding.encode(make(), ROOM)
    with pytest.raises(encoding.TooLarge):
        encoding.encode([1, {"a": make()}], ROOM)


@given(
    st.lists(plain, max_size=6),
    st.sampled_from([iter, reversed, enumerate, lambda x: map(repr, x), lambda x: zip(x, x, strict=True)]),
)
def test_iterators_arrive_with_what_was_left_in_them(items: list, make) -> None:
    used, kept = make(items), make(items)
    next(used, None), next(kept, None)
    assert list(crossed(used)) == list(kept)


@pytest.mark.parametrize(
    ("found", "expected", "equal"),
    [([True], [1], True), (True, 2, False), ({True: 1}, {1: True}, True), (False, None, False), ([0], [False], True)],
)
def test_a_bool_is_the_number_it_is_in_python(found: object, expected: object, equal: bool) -> None:
    assert values.matches("exact", crossed(found), expected) is equal
    assert type(crossed(True)) is bool
    assert type(crossed(1)) is int


@given(plain)
def test_a_subclass_anywhere_inside_arrives_as_its_base(value: object) -> None:
    assert crossed([Liar(3), {LyingText("a"): LyingList([value])}]) == [3, {"a": [value]}]


def chain(items: list, kind=decoding.ListNode) -> object:
    first = None
    for item in reversed(items):
        first = kind(item, first)
    return first


def along(node) -> list:
    found = []
    while node:
        found.append(node.val)
        node = node.next
    return found


@given(st.lists(plain, min_size=1, max_size=5))
def test_linked_lists_arrive_node_by_node(items: list) -> None:
    class ListNode(decoding.ListNode):
        def __eq__(self, other: object) -> bool:
            return True

    arrived = crossed(chain(items, ListNode))
    assert type(arrived) is decoding.ListNode
    assert along(arrived) == items
    assert arrived != chain(items)


trees = st.recursive(
    st.just(None), lambda inner: st.builds(decoding.TreeNode, scalars, inner, inner), max_leaves=12
).filter(bool)


def shape(tree) -> object:
    return tree and (tree.val, shape(tree.left), shape(tree.right))


@given(trees)
def test_trees_arrive_node_by_node(tree: decoding.TreeNode) -> None:
    assert shape(crossed(tree)) == shape(tree)


def test_long_lists_and_deep_trees_arrive_and_endless_ones_do_not() -> None:
    assert along(crossed(chain(list(range(20_000))))) == list(range(20_000))
    deep = decoding.TreeNode(0)
    for number in range(5_000):
        deep = decoding.TreeNode(number, None, deep)
    assert crossed(deep).right.right.val == 4_997
    ring, knot, half = decoding.ListNode(1), decoding.TreeNode(1), decoding.TreeNode(1)
    ring.next = ring
    knot.left = knot.right = knot
    for _ in range(60):
        half = decoding.TreeNode(1, half, half)
    for endless in (ring, knot, half):
        with pytest.raises(encoding.TooLarge):
            encoding.encode(endless, ROOM)


def test_what_only_looks_like_a_node_is_no_value() -> None:
    class ListNode:
        val = 1

    assert isinstance(crossed(ListNode()), values.Opaque)


@given(st.lists(st.booleans(), max_size=9))
def test_any_tree_frame_is_a_finite_tree_or_a_bad_frame(there: list[bool]) -> None:
    with contextlib.suppress(values.BadFrame):
        shape(values.decode(["T", [["n"], *(["n"] if part else 0 for part in there)]]))


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
    inside: dict = {}
    inside[1] = ({2: [inside]},)
    for value in (cycle, inside, deep, "x" * ROOM, 1 << (8 * ROOM), list(range(ROOM)), b"x" * ROOM):
        with pytest.raises(encoding.TooLarge):
            encoding.encode(value, ROOM)


@pytest.mark.parametrize(
    "frame",
    [
        b"", b"1", b"{}", b"[", b"\xff", b'["i"]', b'["i",1]', b'["?",1]', b'["l",1]', b'["l",[1]]',
        b'["S",[["l",[]]]]',
        b'["d",[[["i","1"]]]]', b'["s","zz"]', b'["s","ff"]', b'["f","x"]', b'["b",[]]', b"[" * 100_000, b'["D","00"]',
        b'["r","1","2","0"]', b'["Q","312f30"]', b'["n",1]', b'["N",[]]', b'["N",1]', b'["T",[]]',
        b'["T",[0]]', b'["T",1]',
        b'["T",[["n"],["n"],0,["n"]]]', b'["T",[["n"],0,0,["n"]]]', b"[[]]", b"[[],1]", b"[null]",
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


def test_the_parts_of_the_childs_code_do_not_overwrite_each_other() -> None:
    """They are shipped as one module."""
    names: list[str] = []
    for part in shipping.PARTS:
        tree = ast.parse(Path(shipping.__file__).with_name(f"{part}.py").read_text())
        names += [node.name for node in tree.body if isinstance(node, ast.FunctionDef | ast.ClassDef)]
        for node in tree.body:
            targets = node.targets if isinstance(node, ast.Assign) else [getattr(node, "target", None)]
            names += [target.id for target in targets if isinstance(target, ast.Name)]
    assert [name for name, count in collections.Counter(names).items() if count > 1] == []


def test_the_childs_code_loads_no_module_from_disk() -> None:
    probe = (
        "import marshal, sys\nbefore = set(sys.modules)\nspace = {'__name__': 'child'}\n"
        "exec(marshal.loads(sys.stdin.buffer.read()), space)\nprint(sorted(set(sys.modules) - before))"
    )
    code = marshal.dumps(shipping.child_code())
    out = subprocess.run([sys.executable, "-S", "-c", probe], input=code, capture_output=True, check=True)
    assert out.stdout.strip() == b"[]"


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
