"""Mutants: one change each, never the same program again, the same choice every time."""

import ast

import pytest

from greenlit.problems.mutants import mutants
from greenlit.program_metrics import ast_hash

CODE = '''
def clamp(values, low=0):
    """Sum of what is above low, 10 at most."""
    total = 0
    for value in values:
        if value > low and value != 7:
            total = total + value
    return min(total, 10)
'''


def changes(code: str, count: int = 50, **more) -> list[str]:
    return [mutant.change for mutant in mutants(code, 0, "t", count, **more)]


def test_each_mutant_has_one_change_and_is_another_program() -> None:
    made = mutants(CODE, 0, "t", 50)
    assert len({ast_hash(mutant.code) for mutant in made} | {ast_hash(CODE)}) == len(made) + 1
    for mutant in made:
        ast.parse(mutant.code)
    original = ast.unparse(ast.parse(CODE)).splitlines()
    for mutant in made:
        lines = mutant.code.rstrip("\n").splitlines()
        assert len(lines) == len(original)
        assert sum(one != other for one, other in zip(lines, original, strict=True)) == 1, mutant.change


@pytest.mark.parametrize(
    ("code", "change", "mutated"),
    [
        ("def f(a): return a < 1", "comparison turned", "return a >= 1"),
        ("def f(a): return a < 1", "comparison off by one", "return a <= 1"),
        ("def f(a): return a in 'x'", "comparison turned", "return a not in 'x'"),
        ("def f(a): return a + 1", "constant 1 changed", "return a + 2"),
        ("def f(a): return a + 1", "Add became Sub", "return a - 1"),
        ("def f(a, b): return a and b", "And became Or", "return a or b"),
        ("def f(a): return a if a else 'b'", "condition negated", "return a if not a else 'b'"),
        ("def f(a):\n    a.sort()\n    return a", "statement dropped", "pass"),
        ("def f(a): return a", "returns None", "return None"),
        ("def f(a): return True", "constant True changed", "return False"),
    ],
)
def test_kinds_of_change(code: str, change: str, mutated: str) -> None:
    found = {mutant.change.split(": ")[1]: mutant.code for mutant in mutants(code, 0, "t", 50)}
    assert mutated in found[change]


def test_the_choice_repeats_and_depends_on_seed_and_problem() -> None:
    assert mutants(CODE, 3, "t", 4) == mutants(CODE, 3, "t", 4)
    drawn = {tuple(mutants(CODE, seed, name, 4)) for seed in range(3) for name in ("a", "b")}
    assert len(drawn) > 1


def test_few_mutants_differ_in_kind() -> None:
    kinds = [change.split(": ")[1].split()[0] for change in changes(CODE, 6)]
    assert len(set(kinds)) >= 5


def test_assignments_inside_while_stay_since_each_endless_mutant_costs_a_time_limit() -> None:
    code = "def f(n):\n    count = 0\n    while n != 1:\n        n = n // 2\n        count += 1\n    return count"
    lines = {int(change.split(":")[0].removeprefix("line ")) for change in changes(code)}
    assert lines == {2, 3, 6}


def test_the_prelude_is_not_the_programs_own() -> None:
    prelude = "import math\ninf = 10 + 1\n"
    made = mutants(f"{prelude}\nclass Solution:\n    def f(self): return 2", 0, "t", 50, prelude)
    assert made
    assert all(mutant.code.startswith(prelude) for mutant in made)


def test_nothing_to_change_gives_none() -> None:
    assert mutants("def f(): pass", 0, "t", 5) == []
    assert mutants("def f(:", 0, "t", 5) == []
    assert mutants(CODE, 0, "t", 0) == []
