"""Each reward against what its formula gives by hand, and what a model might try against it."""

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from greenlit.config import RewardsParams
from greenlit.config.rewards import REWARD_NAMES, LengthParams, SpeedParams, StyleParams
from greenlit.errors import ConfigError, DataError
from greenlit.execution.judgement import Judgement, TestResult
from greenlit.rewards.documentation import documented
from greenlit.rewards.length import overlong
from greenlit.rewards.overlap import excess, similarity
from greenlit.rewards.rating import REWARDS, of_candidates, rate
from greenlit.rewards.sample import Sample
from greenlit.rewards.speed import speed_class
from greenlit.rewards.style import findings
from greenlit.types import Problem

ROLES = ("shown", "reward", "reward", "hidden")


def problem(**more: Any) -> Problem:
    tests = [{"kind": "assert", "code": f"assert f({n}) == {n}", "role": role} for n, role in enumerate(ROLES)]
    return Problem.model_validate({"task_id": "p", "entry_point": "f", "tests": tests, **more})


def judgement(kinds: str, cpu_s: float | None = 0.01) -> Judgement:
    """Of one letter per test: p passed, f failed, e error, t timeout, s syntax, n no_code, i infra."""
    words = {"p": "passed", "f": "failed", "e": "error", "t": "timeout", "s": "syntax", "n": "no_code", "i": "infra"}
    results = tuple(
        TestResult(place, ROLES[place], {"p": True, "i": None}.get(kind, False), words[kind])
        for place, kind in enumerate(kinds)
    )
    seen, hidden = results[:3], results[3:]

    def passed(some: tuple[TestResult, ...]) -> bool | None:
        said = [one.passed for one in some]
        return False if False in said else None if None in said or not said else True

    culprit = next(
        (one for one in seen if one.passed is False), next((one for one in seen if one.passed is None), None)
    )
    return Judgement(
        culprit.kind if culprit else "passed", passed(seen), passed(hidden), passed(results),
        sum(one.passed is True for one in seen), len(seen), None, cpu_s, cpu_s, "portable", results,
    )  # fmt: skip


RIGHT = "def f(x):\n    return x\n"


def sample(kinds: str = "pppp", code: str = RIGHT, text: str | None = None, **more: Any) -> Sample:
    given = {"problem": problem(), "text": code if text is None else text, "code": code, "judgement": judgement(kinds)}
    return Sample(**{**given, **more})


def value(name: str, *samples: Sample, **settings: Any) -> list[float | None]:
    params = RewardsParams.model_validate({"weights": {"tests": 1.0, name: 1.0}, **settings})
    return list(REWARDS[name](samples, params))


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({}, [1.0, 2 / 3, 0.0, None]),
        ({"kind": "all_or_nothing"}, [1.0, 0.0, 0.0, None]),
        ({"kind": "weighted"}, [1.0, 2 / 3, 0.0, None]),
        ({"kind": "weighted", "shown_weight": 0.5}, [1.0, 1.5 / 2.5, 0.0, None]),
        ({"all_pass_bonus": 0.5}, [1.5, 2 / 3, 0.0, None]),
    ],
)
def test_tests(settings: dict, expected: list) -> None:
    samples = [sample("pppf"), sample("pfpp"), sample("sss"), sample("ipi")]
    assert value("tests", *samples, tests=settings) == pytest.approx(expected)


def test_tests_by_weights_of_their_own() -> None:
    tests = [{"kind": "assert", "code": "assert f(0) == 0", "weight": weight} for weight in (1, 3, 4)]
    weighing = problem(tests=tests)
    asked = sample("pfp", problem=weighing)
    assert value("tests", asked, tests={"kind": "weighted"}) == [pytest.approx((1 + 4) / 8)]
    assert value("tests", asked, tests={"kind": "weighted", "shown_weight": 0.5}) == [pytest.approx(4.5 / 7.5)]
    tests[1]["weight"] = -1
    with pytest.raises(DataError, match=r"tests\.1\.weight: must be a number > 0 \(found -1\)"):
        value("tests", sample("pfp", problem=problem(tests=tests)), tests={"kind": "weighted"})


def test_syntax_and_execution() -> None:
    samples = [sample("pppp"), sample("fff"), sample("eee"), sample("ttt"), sample("sss"), sample("nnn", code="")]
    samples += [sample("eef"), sample("iii"), sample("iii", code="def f(:")]
    assert value("syntax", *samples) == [1.0, 1.0, 1.0, 1.0, 0.0, 0.0, 1.0, 1.0, 0.0]
    assert value("execution", *samples) == [1.0, 1.0, 0.0, 0.0, 0.0, 0.0, 1.0, None, None]
    script = problem(language="javascript")
    assert value("syntax", sample(judgement=None, problem=script), sample("sss", problem=script)) == [None, 0.0]


def test_execution_learns_nothing_of_hidden_tests() -> None:
    assert value("execution", sample("eeep"), sample("eeee")) == [0.0, 0.0]


@pytest.mark.parametrize(
    ("cpu_s", "expected"),
    [(0.4, 1.0), (0.51, 0.5), (1.0, 0.5), (2.1, 0.5), (2.3, 0.0)],
)
def test_speed_is_a_class_beyond_all_runs_of_the_reference(cpu_s: float, expected: float) -> None:
    assert speed_class(cpu_s, (1.0, 1.1, 1.05), SpeedParams()) == expected


def test_speed_takes_milliseconds_for_noise() -> None:
    assert speed_class(0.04, (0.001,), SpeedParams()) == 0.5
    assert speed_class(0.001, (0.04,), SpeedParams()) == 0.5
    assert value("speed", sample(), sample("fff", reference_cpu_s=(1.0,))) == [None, 0.0]


def test_style_counts_findings_per_line() -> None:
    clean = sample()
    semicolon = sample(code="def f(x):\n    return x;\n")
    filthy = sample(code="import os, sys\ndef F( x ):\n    l = 1;return x;\n")
    assert value("style", clean, semicolon, sample("fff"), filthy)[:3] == [1.0, 0.5, 0.0]
    assert value("style", filthy) == [0.0]
    assert value("style", sample(problem=problem(language="q"))) == [None]


@pytest.mark.parametrize(
    "silence",
    ["# noqa\n", "# ruff: noqa\n", "# ruff: disable[E703]\n", "# ruff: file-ignore[E703]\n", "# flake8: noqa\n"],
)
def test_a_program_cannot_silence_its_findings(silence: str) -> None:
    code = f"{silence}def f(x):\n    return x;  # noqa: E703\n"
    assert findings([code], StyleParams()) == [[3]]


def test_the_datasets_prelude_is_not_the_models_style() -> None:
    prelude = "import os, sys\nfrom typing import *\n"
    code = f"{prelude.rstrip()}\n\n{RIGHT}"
    assert value("style", sample(code=code, problem=problem(prelude=prelude))) == [1.0]


def test_style_settings_are_checked() -> None:
    assert value("style", sample(code="x = 1\n" + "y = '" + 70 * "a" + "'\n"), style={"line_length": 60}) == [0.5]
    with pytest.raises(ConfigError, match="Unknown rule selector `ZZZ`"):
        value("style", sample(), style={"select": ["ZZZ"]})
    with pytest.raises(ValueError, match="prefixes of ruff's rules"):
        StyleParams(select=["--config=x"])


def test_a_batch_is_one_process(monkeypatch: pytest.MonkeyPatch) -> None:
    import subprocess

    from greenlit.rewards import style

    started = []
    run = subprocess.run
    monkeypatch.setattr(style.subprocess, "run", lambda *a, **k: started.append(a) or run(*a, **k))
    assert value("style", *[sample(code=f"{RIGHT}# {n}\n") for n in range(50)]) == [1.0] * 50
    assert len(started) == 1


def test_a_program_ruff_dies_of_takes_no_other_ones_style(monkeypatch: pytest.MonkeyPatch, tmp_path) -> None:
    fake = tmp_path / "ruff"
    fake.write_text('#!/bin/sh\nif grep -q deadly p*.py && [ "$(eval echo \\${$#})" != p0.py ]; then kill -9 $$; fi\n')
    fake.chmod(0o755)
    monkeypatch.setattr("greenlit.rewards.style._ruff", lambda: str(fake))
    found = value("style", sample(), sample(code="def f(x): return x  # deadly\n"))
    assert found[0] == 1.0 and math.isnan(found[1])


DOCUMENTED = 'def f(x: int) -> int:\n    """Give back what came in."""\n    return x\n'


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        (DOCUMENTED, 1.0),
        (RIGHT, 0.0),
        ('def f(x) -> int:\n    """Give it back again."""\n    return x\n', 0.5 * 1 + 0.5 * 0.5),
        ('def f(x):\n    """x x x x"""\n    return x\n', 0.0),
        ('class A:\n    """A class of things."""\n    def f(self, x: int, *a, **k): pass\n', 0.5 * 0.5 + 0.5 / 4),
        ("f = lambda x: x\n", 0.5),
        ("class A:\n    pass\n", 0.0),
        ("def f(x:", 0.0),
    ],
)
def test_documentation(code: str, expected: float) -> None:
    assert documented(code) == pytest.approx(expected)


def test_one_docstring_copied_documents_one_function() -> None:
    again = DOCUMENTED.replace("def f", "def g")
    assert documented(DOCUMENTED + again) == pytest.approx(0.5 * 0.5 + 0.5)


def test_complexity_is_relative_to_the_simplest_reference() -> None:
    nested = "def f(x):\n    if x:\n        if x > 1:\n            return x\n    return x\n"  # McCabe 3, depth 3
    known = problem(reference=["def f(x):\n    while x:\n        pass\n    return x\n", RIGHT])  # 1 and 1
    assert value("complexity", sample(problem=known), sample("fff", problem=known)) == [1.0, 0.0]
    assert value("complexity", sample(code=nested, problem=known)) == [pytest.approx(0.5 / 3 + 0.5 * 2 / 4)]
    absolute = {"cyclomatic": 2, "nesting": 1}
    assert value("complexity", sample(code=nested), complexity=absolute) == [pytest.approx(0.5 * 2 / 3 + 0.5 * 2 / 4)]
    endless = "def f(x):\n    return x" + " + 0" * 20_000 + "\n"
    assert value("complexity", sample(code=endless, problem=known)) == [0.0], "no way out by being unmeasurable"


BLOCK = "```python\ndef f(x): return x\n```"


@pytest.mark.parametrize(
    ("text", "think", "expected"),
    [
        (BLOCK, "none", 1.0),
        (f"Here:\n{BLOCK}\nDone.", "none", 1.0),
        (f"{BLOCK}\n{BLOCK}", "none", 0.0),
        ("```python\ndef f(x): return x", "none", 0.0),
        ("```python\n\n```", "none", 0.0),
        ("def f(x): return x", "none", 0.0),
        (f"<think>Easy.</think>\n{BLOCK}", "tags", 1.0),
        (f"<think>{BLOCK}</think>\n{BLOCK}", "tags", 1.0),
        (f"<think> </think>\n{BLOCK}", "tags", 0.5),
        (BLOCK, "tags", 0.5),
        (f"Easy.</think>\n{BLOCK}", "tags", 0.5),
        (f"Easy.</think>\n{BLOCK}", "opened", 1.0),
        (f"<think>a</think><think>b</think>\n{BLOCK}", "tags", 0.5),
        (f"<think>a</think>\n{BLOCK}</think>", "tags", 0.0),
        ("<think>Easy.</think>\ndef f(x): return x", "tags", 0.5),
        ("", "tags", 0.0),
    ],
)
def test_format(text: str, think: str, expected: float) -> None:
    assert value("format", sample("fff", text=text), format={"think": think}) == [expected]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (f"<reasoning>Easy.</reasoning><answer>{BLOCK}</answer>", 1.0),
        (f"\n<reasoning>\nEasy.\n</reasoning>\n<answer>\n{BLOCK}\n</answer>\n", 1.0),
        ("<reasoning>Easy.</reasoning><answer>def f(x): return x</answer>", 0.5),
        (f"<reasoning>{BLOCK}</reasoning><answer>{BLOCK}</answer>", 1.0),
        (f"<reasoning> </reasoning><answer>{BLOCK}</answer>", 0.5),
        (f"<reasoning>Easy.</reasoning><answer>{BLOCK}</answer> Done.", 0.5),
        (f"<reasoning>a</reasoning><reasoning>b</reasoning><answer>{BLOCK}</answer>", 0.5),
        (f"<reasoning>a</reasoning><answer>{BLOCK}</answer><answer>{BLOCK}</answer>", 0.0),
        (f"<reasoning>a</reasoning>\n{BLOCK}", 0.5),
        (f"<think>a</think>\n{BLOCK}", 0.5),
        ("", 0.0),
    ],
)
def test_format_of_reasoning_is_what_the_prompt_asks_for(text: str, expected: float) -> None:
    asked = problem().model_copy(update={"answer_format": "reasoning"})
    assert value("format", sample("fff", text=text, problem=asked)) == [expected]


def test_overlap_by_hand() -> None:
    assert similarity("a b c", "a b c") == 1.0
    edit, rouge, precision, over = 1 - 1 / 4, 2 * 3 / (4 + 3), 3 / 4, 1 / 3
    assert similarity("a b c d", "a b c") == pytest.approx((1 - over) * precision**2 * (edit + rouge) / 2)
    edit, rouge = 1 - 1 / 3, 2 * 2 / (2 + 3)
    assert similarity("a b", "a b c") == pytest.approx((edit + rouge) / 2)
    assert similarity("", "a b c") == similarity("a", " \n") == 0.0


def test_overlap_leaves_out_what_was_given() -> None:
    given = problem(starter_code="def f(x):\n", prelude="import os\n", reference=["def f(x):\n    return x * 2 + 1\n"])
    nothing_new = sample("iii", code="import os\n\ndef f(x):\n", problem=given)
    right = sample("iii", code="import os\n\ndef f(x):\n    return x * 2 + 1\n", problem=given)
    assert value("overlap", nothing_new, right) == [0.0, 1.0]
    assert value("overlap", sample()) == [None], "no reference"


@given(st.integers(2, 30), st.integers(0, 3))
def test_saying_a_good_line_again_never_pays(times: int, good: int) -> None:
    lines = ["total = total + x", "result = total * 2", "count = count + 1", "return result, count"]
    reference = "\n".join(lines)
    once = "\n".join(lines[: good + 1])
    again = "\n".join([*lines[: good + 1], *[lines[good]] * times])
    assert excess(once, reference) == excess("else:\nelse:\nelse:", reference) == 0
    assert similarity(again, reference) < similarity(once, reference)


def test_length_falls_over_the_buffer_as_in_dapo() -> None:
    params = LengthParams(max_tokens=100, buffer_tokens=20)
    assert [overlong(n, params) for n in (0, 80, 85, 90, 100, 200)] == [0.0, 0.0, -0.25, -0.5, -1.0, -1.0]
    assert value("length", sample(tokens=None)) == [None]
    shaped = {"weights": {"tests": 1.0, "length": 0.5}, "length": {"max_tokens": 100, "buffer_tokens": 20}}
    found = rate([sample(tokens=90), sample(tokens=10), sample()], RewardsParams.model_validate(shaped))
    assert [one.reward for one in found] == [1.0 - 0.5 * 0.5, 1.0, 1.0]


def total(samples: list[Sample], **settings: Any) -> list[float | None]:
    return [found.reward for found in rate(samples, RewardsParams.model_validate(settings))]


def test_the_default_is_the_share_of_tests() -> None:
    samples = [sample("pppf"), sample("pfpp"), sample("sss"), sample("iii")]
    found = rate(samples, RewardsParams())
    assert [dict(one.rewards) for one in found] == [{"tests": v} for v in (1.0, 2 / 3, 0.0, None)]
    assert [one.reward for one in found] == [1.0, 2 / 3, 0.0, None]


def test_the_mean_is_over_what_has_something_to_say() -> None:
    weights = {"tests": 1.0, "overlap": 3.0, "syntax": 0.0}
    known = problem(reference=[RIGHT])
    assert total([sample("pfpp"), sample("pfpp", problem=known)], weights=weights) == [
        pytest.approx(2 / 3), pytest.approx((2 / 3 + 3) / 4),
    ]  # fmt: skip
    (found,) = rate([sample("pfpp")], RewardsParams(weights=weights))
    assert found.rewards == {"tests": 2 / 3, "syntax": 1.0, "overlap": None}


def test_scale_and_clip() -> None:
    samples = [sample("pppp"), sample("pffp"), sample("fff")]
    assert total(samples, scale=3.0, clip=[0.5, 2.0]) == [2.0, 1.0, 0.5]


def test_an_unknown_verdict_earns_none_however_good_it_looks() -> None:
    looks = sample("iii", code=DOCUMENTED, text=BLOCK)
    weights = {"tests": 1.0, "syntax": 1.0, "format": 1.0, "documentation": 1.0}
    assert total([looks], weights=weights) == [None]
    assert total([looks], weights={"syntax": 1.0, "documentation": 1.0}) == [None]
    assert total([looks], weights={"syntax": 1.0, "format": 1.0, "tests": 0.0}) == [1.0]


SOUP = '''def f(x: int) -> int:
    """Efficient, clean, well documented, optimal, correct, tested solution."""
    return 0
'''


def test_keyword_soup_earns_less_than_an_ugly_program_that_passes() -> None:
    ugly = "def f( x ):\n  if x:\n    if x:\n      l = x;return l;\n  return x;\n"
    known = problem(reference=[RIGHT])
    weights = {"tests": 1.0, "style": 9.0, "documentation": 9.0, "complexity": 9.0}
    near, passing = total([sample("ppfp", SOUP, problem=known), sample("pppp", ugly, problem=known)], weights=weights)
    assert near == pytest.approx(2 / 3 / 28)
    assert passing > 1 / 28


SHARE = st.floats(0, 1)
WEIGHT = st.floats(0.01, 100)
QUALITIES = ("speed", "style", "documentation", "complexity")
KINDS = st.text("pfets", min_size=3, max_size=3)


@given(
    failing=KINDS.filter(lambda kinds: kinds != "ppp"),
    said=st.lists(st.tuples(*[st.none() | SHARE] * 4), min_size=2, max_size=2),
    weights=st.tuples(WEIGHT, *[WEIGHT] * 4),
    bonus=st.floats(0, 2),
    kind=st.sampled_from(["fraction", "all_or_nothing", "weighted"]),
)
def test_no_failing_program_earns_as_much_as_a_passing_one(failing, said, weights, bonus, kind) -> None:
    """Whatever the quality rewards say of either, None included, and whatever they weigh."""
    names = ("tests", *QUALITIES)
    params = RewardsParams.model_validate(
        {"weights": dict(zip(names, weights, strict=True)), "tests": {"kind": kind, "all_pass_bonus": bonus}}
    )
    fails, passes = rated_as([sample(failing), sample("ppp")], said, QUALITIES, params)
    assert fails < passes


@given(
    failing=KINDS.filter(lambda kinds: kinds != "ppp"),
    others=st.tuples(SHARE, SHARE, SHARE),
    less=st.tuples(SHARE, SHARE, SHARE),
    quality=st.lists(st.tuples(*[SHARE] * 4), min_size=2, max_size=2),
    weights=st.tuples(*[WEIGHT] * 8),
)
def test_quality_never_lifts_a_failing_program_above_a_passing_one_that_others_value_as_high(
    failing, others, less, quality, weights
) -> None:
    names = ("tests", "format", "overlap", "model", *QUALITIES)
    params = RewardsParams.model_validate({"weights": dict(zip(names, weights, strict=True))})
    worse = tuple(value * share for value, share in zip(others, less, strict=True))
    said = [(*worse, *quality[0]), (*others, *quality[1])]
    fails, passes = rated_as([sample(failing), sample("ppp")], said, names[1:], params)
    assert fails <= passes


@given(said=st.lists(st.tuples(SHARE, SHARE), min_size=2, max_size=2), weights=st.tuples(WEIGHT, WEIGHT, WEIGHT))
def test_only_passing_rules_others_out_too(said, weights) -> None:
    params = RewardsParams.model_validate(
        {
            "weights": dict(zip(("tests", "format", "overlap"), weights, strict=True)),
            "only_passing": ["format", "overlap"],
        }
    )
    fails, passes = rated_as([sample("ppf"), sample("ppp")], said, ("format", "overlap"), params)
    assert fails < passes


def rated_as(samples: list[Sample], said: list[tuple], names: tuple[str, ...], params: RewardsParams) -> list[float]:
    """Totals, were these rewards to say so: the rule is to hold for all they might say."""
    from greenlit.rewards.hybrid import counted, hybrid

    tests = REWARDS["tests"](samples, params)
    totals = []
    for one, test, values in zip(samples, tests, said, strict=True):
        parts = {"tests": test, **dict(zip(names, values, strict=True))}
        totals.append(hybrid({n: counted(n, v, one, params) for n, v in parts.items()}, one, params))
    return totals


def test_a_reward_that_went_wrong_takes_the_sample_out_and_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    from greenlit.rewards import rating

    values = [math.nan, 1.0, None, math.inf]
    monkeypatch.setattr(rating, "REWARDS", {**REWARDS, "format": lambda samples, params: values})
    found = rate([sample("fff")] * 4, RewardsParams(weights={"tests": 1.0, "format": 1.0}))
    assert [one.reward for one in found] == [None, 0.5, 0.0, None]
    assert [one.rewards["format"] for one in found] == [None, 1.0, None, None]
    assert [one.faults for one in found] == [("format",), (), (), ("format",)]
    measured = rate([sample("ppp")] * 4, RewardsParams(weights={"tests": 1.0, "format": 0.0}))
    assert [one.reward for one in measured] == [1.0] * 4, "what is only measured takes nothing out"


def test_every_reward_of_the_table_is_a_setting_and_says_its_formula() -> None:
    import sys

    assert set(REWARDS) <= set(REWARD_NAMES)
    for name, function in REWARDS.items():
        text = sys.modules[function.__module__].__doc__
        assert text.startswith(f"{name}: "), name
        assert "None" in text or name in {"format", "custom"}, name


def test_annotate_leaves_out_what_is_learnt_from_it() -> None:
    both = RewardsParams(weights={"tests": 0.5, "model": 1.0})
    assert of_candidates(both).weights == {"tests": 0.5}
    assert of_candidates(RewardsParams(weights={"model": 1.0, "style": 0.0})).weights == {"style": 0.0, "tests": 1.0}


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"weights": {"tests": -1.0}}, "tests: must be >= 0 .found -1."),
        ({"weights": {"tests": 0.0}}, "at least one weight besides length must be > 0"),
        ({"weights": {"length": 1.0}}, "at least one weight besides length must be > 0"),
        ({"weights": {"testz": 1.0}}, "'tests', 'speed'"),
        ({"weights": {"tests": 1.0, "custom": 1.0}}, "weights.custom needs `custom: path.py:function`"),
        ({"custom": "a.py:f"}, "custom has no weight"),
        ({"custom": "a.py"}, r"must be path\.py:function .found 'a\.py'."),
        ({"clip": [1.0, 0.0]}, r"must be \[low, high\]"),
        ({"format": {"code_block": False}}, "asks for nothing"),
        ({"length": {"max_tokens": 10}}, "buffer_tokens must be <= max_tokens .found 128 and 10."),
    ],
)
def test_settings_that_make_no_sense(settings: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        RewardsParams.model_validate(settings)
