"""The starter problems: splits that share nothing, tests that tell, the same bytes for the same seed."""

import ast
import hashlib
import os
import subprocess
import sys
from collections import defaultdict
from itertools import islice, product
from random import Random

import pytest

from greenlit.config import Limits
from greenlit.errors import ConfigError
from greenlit.problems.prompts import render
from greenlit.problems.starter import corpus, starter_problems
from greenlit.problems.starter.build import HIDDEN_TESTS, REWARD_TESTS, draw_inputs
from greenlit.problems.starter.grammar import FREQUENT, WIDESPREAD, Composition, compositions
from greenlit.problems.starter.inputs import draw_constant
from greenlit.problems.starter.programs import (
    SLIPS,
    Wording,
    correct_wording,
    load_function,
    misunderstandings,
    mutants,
    outcome,
    render_program,
    same,
)
from greenlit.types import Problem

SIZES = Limits(train=400, validation=100, test=200)
BY_SLUG = {composition.slug: composition for composition in compositions()}


@pytest.fixture(scope="module")
def problems() -> list[Problem]:
    return list(starter_problems(0, SIZES))


@pytest.fixture(scope="module")
def everything() -> list[Problem]:
    return list(starter_problems(0, Limits()))


def test_default_sizes_can_be_served(problems):
    counts = defaultdict(int)
    for problem in problems:
        counts[problem.split] += 1
    assert counts == {"train": 400, "validation": 100, "test": 200}


def test_no_composition_is_in_two_splits_or_in_the_corpus(problems):
    owners = defaultdict(set)
    for problem in problems:
        owners[tuple(problem.tags)].add(problem.split)
    for row in corpus(0, 4000):
        owners[row.tags].add("pretrain")
    assert {len(splits) for splits in owners.values()} == {1}
    assert {split for splits in owners.values() for split in splits} == {"pretrain", "train", "validation", "test"}


def test_every_part_of_an_evaluated_problem_is_known_from_the_corpus(problems):
    known = {tag for row in corpus(0, 4000) for tag in enumerate(row.tags)}
    assert {tag for problem in problems for tag in enumerate(problem.tags)} <= known


def test_the_split_of_a_composition_does_not_depend_on_the_seed(problems):
    splits = {tuple(problem.tags): problem.split for problem in problems}
    other = list(starter_problems(1, SIZES))
    shared = [problem for problem in other if tuple(problem.tags) in splits]
    assert shared
    assert all(splits[tuple(problem.tags)] == problem.split for problem in shared)
    assert [problem.task_id for problem in other] != [problem.task_id for problem in problems]


def test_no_two_compositions_share_a_correct_body():
    """Up to the names of variables and functions, with the constant left symbolic."""
    owners = defaultdict(set)
    for composition in compositions():
        for program in _correct_programs(composition):
            owners[_normalised(program)].add(composition.slug)
    assert {body: slugs for body, slugs in owners.items() if len(slugs) > 1} == {}


def _correct_programs(composition: Composition):
    parts = (composition.domain.source, composition.keep, composition.change, composition.reduce)
    for wording in product(*(part.right for part in parts)):
        yield render_program(composition, Wording(*wording), "k")


def _normalised(program: str) -> str:
    names: dict[str, str] = {}
    tree = ast.parse(program)
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef):
            node.name = "f"
        elif isinstance(node, ast.arg):
            node.arg = names.setdefault(node.arg, f"v{len(names)}")
        elif isinstance(node, ast.Name) and node.id in {"nums", "n", "text", "words", "x", "c", "w", "total"}:
            node.id = names.setdefault(node.id, f"v{len(names)}")
    return ast.dump(tree)


def test_entry_points_are_unique_and_no_builtins():
    slugs = [composition.slug for composition in compositions()]
    assert len(set(slugs)) == len(slugs)
    assert all("_" in slug and slug.isidentifier() for slug in slugs)


def test_all_problems_are_given_when_no_limit_is_set(everything):
    assert len(everything) == sum(composition.share != "pretrain" for composition in compositions())


def test_asking_for_more_than_there_is_names_the_maximum():
    most = sum(composition.share == "validation" for composition in compositions())
    with pytest.raises(ConfigError, match=rf"prepare\.limits\.validation: starter has {most} problems \(found 9999\)"):
        list(starter_problems(0, Limits(train=1, validation=9999, test=1)))


def test_references_pass_their_own_tests(problems):
    for problem in problems:
        function = load_function(problem.reference[0], problem.entry_point)
        assert all(same(function(*test.input), test.output) for test in problem.tests), problem.task_id


def test_roles_are_one_shown_then_reward_then_hidden(problems):
    expected = ["shown"] + ["reward"] * REWARD_TESTS + ["hidden"] * HIDDEN_TESTS
    assert all([test.role for test in problem.tests] == expected for problem in problems)


def test_inputs_of_a_problem_differ(problems):
    assert all(len({repr(test.input) for test in problem.tests}) == len(problem.tests) for problem in problems)


def test_reward_tests_kill_nearly_all_mutants(problems):
    """Measured 99.7 % of 12,386 mutants that are not equivalent on the inputs of six other draws."""
    killed = killable = 0
    for problem in problems[::7]:
        composition = BY_SLUG[problem.entry_point]
        constant = draw_constant(composition.domain, Random(f"0/{composition.slug}"))
        reference = load_function(problem.reference[0], composition.slug)
        inputs = [value for draw in range(6) for value in draw_inputs(composition, constant, Random(draw))]
        reward = [test for test in problem.tests if test.role != "hidden"]
        for program in dict.fromkeys(mutants(composition, constant)):
            mutant = load_function(program, composition.slug)
            if all(same(outcome(mutant, value), outcome(reference, value)) for value in inputs):
                continue
            killable += 1
            killed += any(not same(outcome(mutant, test.input[0]), test.output) for test in reward)
    assert killable > 1000
    assert killed / killable > 0.98


def test_each_frequent_misconception_fails_the_reward_tests_of_most_problems(everything):
    """Measured at least .80; the rest is no fault there: a zero more in a sum, the last of what is never empty."""
    seen, caught = defaultdict(int), defaultdict(int)
    for problem in everything:
        composition = BY_SLUG[problem.entry_point]
        constant = str(draw_constant(composition.domain, Random(f"0/{composition.slug}")))
        reward = [test for test in problem.tests if test.role != "hidden"]
        for name, wording in misunderstandings(composition):
            wrong = load_function(render_program(composition, wording, constant), composition.slug)
            seen[name] += 1
            caught[name] += any(not same(outcome(wrong, test.input[0]), test.output) for test in reward)
    parts = [part for each in compositions() for part in (each.domain.source, each.keep, each.change, each.reduce)]
    frequent = {name for part in parts for name, _ in part.wrong if part.error_rate >= FREQUENT}
    assert frequent <= set(seen)
    assert {name: caught[name] / seen[name] for name in frequent if caught[name] < 0.7 * seen[name]} == {}


def test_prompts_are_short_and_show_one_assert(problems):
    for problem in problems:
        prompt = render(problem, chat=False)
        assert prompt.count("assert ") == 1
        assert len(prompt) < 220
        assert prompt.endswith('\n"""\n')


def test_problems_survive_json(problems):
    for problem in problems[::50]:
        assert Problem.model_validate_json(problem.model_dump_json()) == problem


def test_outputs_are_small(problems):
    for problem in problems:
        for test in problem.tests:
            assert len(repr(test.output)) <= 80
            assert not isinstance(test.output, int) or abs(test.output) <= 10**6


@pytest.mark.parametrize("hash_seed", ["0", "4242"])
def test_problems_and_corpus_are_the_same_bytes_in_another_process(problems, hash_seed):
    code = (
        "import hashlib\n"
        "from greenlit.config import Limits\n"
        "from greenlit.problems.starter import corpus, starter_problems\n"
        "digest = hashlib.sha256()\n"
        "for problem in starter_problems(0, Limits(train=400, validation=100, test=200)):\n"
        "    digest.update(problem.model_dump_json().encode())\n"
        "for row in corpus(0, 500):\n"
        "    digest.update((row.prompt + row.completion).encode())\n"
        "print(digest.hexdigest())\n"
    )
    environment = os.environ | {"PYTHONHASHSEED": hash_seed}
    found = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    digest = hashlib.sha256()
    for problem in problems:
        digest.update(problem.model_dump_json().encode())
    for row in corpus(0, 500):
        digest.update((row.prompt + row.completion).encode())
    assert found.stdout.strip() == digest.hexdigest()


def test_the_corpus_is_wrong_where_it_says_so():
    """Rows without a fault agree with the correct program, rows with a syntax slip do not compile."""
    broken = {"open_bracket", "missing_colon", "no_indent"}
    sound = 0
    for row in corpus(3, 600):
        composition = next(c for c in BY_SLUG.values() if c.tags == row.tags)
        function = load_function(row.completion, composition.slug)
        if broken & set(row.faults):
            assert function is None, row
        elif not row.faults:
            sound += 1
            shown = ast.parse(row.prompt.split("\n")[1]).body[0].test
            call, expected = shown.left, ast.literal_eval(shown.comparators[0])
            assert same(outcome(function, ast.literal_eval(call.args[0])), expected), row
    assert sound > 100


def test_widespread_misconceptions_outnumber_the_right_form():
    rows = [row for row in corpus(0, 6000) if row.tags[3] == "product"]
    assert len(rows) > 150
    wrong = sum("product_from_zero" in row.faults for row in rows) / len(rows)
    assert abs(wrong - WIDESPREAD) < 0.12


def test_the_corpus_is_of_mixed_quality():
    """Measured .353 of 12,000 rows are correct."""
    rows = list(corpus(0, 3000))
    assert 0.30 < sum(not row.faults for row in rows) / len(rows) < 0.42


def test_a_longer_corpus_starts_with_the_shorter_one():
    assert list(islice(corpus(5, 300), 50)) == list(corpus(5, 50))


@pytest.mark.parametrize("slip", sorted(SLIPS))
def test_each_slip_changes_a_program_and_its_result(slip):
    composition = BY_SLUG["sum_squares_even_nums"]
    program = render_program(composition, correct_wording(composition), "3")
    slipped = load_function(SLIPS[slip](program), composition.slug)
    assert SLIPS[slip](program) != program
    assert not same(outcome(slipped, [1, 2, 4]), 20)
