"""What completions without tests earn, and what does not pay: repeating, copying, padding, going on, saying nothing."""

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from greenlit.config import AnnotateParams, RewardsParams
from greenlit.errors import ConfigError
from greenlit.execution.untested import untested
from greenlit.problems.prompts import extract
from greenlit.rewards.online import OnlineReward
from greenlit.rewards.overlap import similarity
from greenlit.rewards.rating import of_candidates, rate, require_rewards
from greenlit.rewards.sample import Rated, Sample
from greenlit.text_match import match_of
from greenlit.types import Problem

WEIGHTS = RewardsParams.model_validate({"weights": {"overlap": 0.8, "syntax": 0.2}})
WORDS = ("total", "count", "value", "items", "index", "result", "found", "name", "left", "right")


def line(number: int, words: tuple[str, ...] = WORDS) -> str:
    """Line after line with a word of its own."""
    return f"    {words[number % len(words)]}_{number} = {words[(number + 3) % len(words)]}({number})"


def problem(lines: int, head_lines: int = 5) -> Problem:
    """A function whose head and rest have no line in common."""
    head = "\n".join(["def f(x):", *(line(100 + number) for number in range(head_lines))])
    rest = "".join(f"\n{line(number)}" for number in range(lines - 1)) + "\n    return result\n"
    return Problem(task_id="p", kind="completion", starter_code=head, reference=[head + rest])


def rated(asked: Problem, text: str, params: RewardsParams = WEIGHTS) -> Rated:
    code = extract(text, asked, chat=False)
    (found,) = rate([Sample(asked, text, code, untested(asked, code))], params)
    return found


def earned(asked: Problem, text: str) -> float:
    value = rated(asked, text).reward
    assert value is not None
    return value


def lines_of(asked: Problem) -> list[str]:
    return asked.held_back[0].strip("\n").split("\n")


def text_of(lines: list[str]) -> str:
    return "".join(f"\n{one}" for one in lines)


SIZES = st.integers(2, 14)
PATIENT = settings(deadline=None, max_examples=50)


def test_the_reference_earns_all_and_nothing_nothing() -> None:
    asked = problem(6)
    assert rated(asked, asked.held_back[0]) == Rated({"overlap": 1.0, "syntax": 1.0}, 1.0)
    for nothing in ("", "\n\n", "\ndef g():\n    pass\n"):
        assert rated(asked, nothing) == Rated({"overlap": 0.0, "syntax": 0.0}, 0.0)


def test_what_compiles_and_says_nothing_right_earns_next_to_nothing() -> None:
    asked = problem(6)
    for text in ("\n    pass", "\n    # a comment", "\n    ...", "\n    return None"):
        assert earned(asked, text) < earned(asked, text_of(lines_of(asked)[:1]))
        assert earned(asked, text) < 0.02


def test_what_does_not_compile_earns_less_of_the_same() -> None:
    asked = problem(6)
    broken = rated(asked, text_of([*lines_of(asked)[:5], "    return ("]))
    assert broken.rewards["syntax"] == 0.0
    assert broken.reward == pytest.approx(0.8 * broken.rewards["overlap"])
    assert broken.rewards["overlap"] > 0.5


@PATIENT
@given(SIZES, st.data())
def test_every_right_line_more_earns_more(size: int, data: st.DataObject) -> None:
    asked = problem(size)
    count = data.draw(st.integers(1, size))
    whole = lines_of(asked)
    assert earned(asked, text_of(whole[:count])) > earned(asked, text_of(whole[: count - 1]))


@PATIENT
@given(SIZES, st.data())
def test_repeated_lines_never_beat_the_honest_part(size: int, data: st.DataObject) -> None:
    asked = problem(size)
    whole = lines_of(asked)
    count = data.draw(st.integers(1, size))
    again = data.draw(st.lists(st.sampled_from(whole[:count][: size - 1] or whole[:1]), min_size=1, max_size=40))
    assert earned(asked, text_of([*whole[:count], *again])) < earned(asked, text_of(whole[:count]))
    assert earned(asked, text_of([whole[0]] * data.draw(st.integers(2, 40)))) < earned(asked, text_of(whole[:1]))


@PATIENT
@given(SIZES, st.integers(1, 12), st.data())
def test_a_copied_head_never_beats_the_honest_part(size: int, head_lines: int, data: st.DataObject) -> None:
    asked = problem(size, head_lines)
    whole, head = lines_of(asked), asked.starter_code.split("\n")[1:]
    count = data.draw(st.integers(1, size))
    start = data.draw(st.integers(0, head_lines - 1))
    copied = head[start:]
    part = earned(asked, text_of(whole[:count]))
    assert earned(asked, text_of(copied)) == 0.0
    assert earned(asked, f"\n{asked.starter_code}") == 0.0
    assert earned(asked, text_of([*whole[:count], *copied])) < part
    assert earned(asked, text_of([*copied, *whole[:count]])) < part


@PATIENT
@given(SIZES, st.integers(2, 30), st.data())
def test_going_on_after_the_end_never_beats_the_honest_part(size: int, more: int, data: st.DataObject) -> None:
    asked = problem(size)
    whole = lines_of(asked)
    words = tuple(f"other{word}" for word in WORDS)
    junk = [line(1000 + number, words) for number in range(more * size)]
    count = data.draw(st.integers(1, size))
    part = earned(asked, text_of(whole[:count]))
    assert earned(asked, text_of([*whole, *junk[: size * 2]])) == 0.0, "twice as long or more"
    assert earned(asked, text_of([*whole[:count], *junk[:1]])) < part
    assert earned(asked, text_of(junk)) < part
    assert earned(asked, text_of([*whole[:1], f"    x = '{'long ' * 500}'"])) == 0.0
    assert earned(asked, text_of([*whole, "    y = " + "y" * 5000])) == 0.0


@PATIENT
@given(SIZES, st.text(max_size=80))
def test_rewards_lie_between_none_and_all_whatever_is_written(size: int, text: str) -> None:
    asked = problem(size)
    assert 0.0 <= earned(asked, text) <= 1.0
    assert 0.0 <= similarity(text, asked.held_back[0], asked.starter_code) <= 1.0
    found = match_of(extract(text, asked, chat=False), asked)
    assert found is not None
    assert 0.0 <= found.edit_similarity <= 1.0


def test_what_is_told_of_a_model_is_the_plain_measure() -> None:
    asked = problem(3)
    code = f"{asked.starter_code}{asked.held_back[0]}"
    assert match_of(code.replace("\n    return", "   \n    return") + "\n\n", asked).exact
    other = match_of(code.replace("result\n", "resulT\n"), asked)
    assert (other.exact, other.edit_similarity) == (False, round(1 - 1 / len(asked.held_back[0].strip("\n")), 6))
    assert match_of("", asked).edit_similarity == 0.0


@pytest.mark.parametrize("name", ["tests", "execution", "speed", "style", "documentation", "complexity"])
def test_rewards_that_ask_for_a_pass_are_refused(name: str) -> None:
    params = RewardsParams.model_validate({"weights": {"overlap": 1.0, name: 0.5}})
    message = rf"rewards\.weights\.{name}: asks whether a program passes, and these problems \(kind: completion\)"
    with pytest.raises(ConfigError, match=message):
        require_rewards("completion", params)
    require_rewards("program", params)
    with pytest.raises(ConfigError, match=message):
        OnlineReward([problem(3)], AnnotateParams(), params)
    require_rewards("completion", RewardsParams.model_validate({"weights": {"overlap": 1.0, name: 0.0}}))


def test_candidates_earn_by_overlap_where_only_a_learned_reward_counts() -> None:
    learned = RewardsParams.model_validate({"weights": {"model": 1.0}})
    assert of_candidates(learned, "completion").weights == {"overlap": 1.0}
    assert of_candidates(learned).weights == {"tests": 1.0}


@pytest.mark.parametrize("more", [{}, {"length": 0.5, "format": 0.0}])
def test_the_online_reward_runs_nothing(more: dict[str, Any]) -> None:
    asked = problem(4)
    params = RewardsParams.model_validate({"weights": {"overlap": 0.8, "syntax": 0.2, **more}})
    texts = [asked.held_back[0], "", text_of(lines_of(asked)[:2]), "\n    import os; os.abort()"]
    with OnlineReward([asked], AnnotateParams(), params) as reward:
        found = reward(["p"] * 4, texts, [[1]] * 4, task_id=["p"] * 4)
        figures = reward.measured()
        rows = reward.last
    assert found[0] == 1.0
    assert found[1] == 0.0
    assert 0.0 < found[2] < 1.0
    assert found[3] < 0.05
    assert {row["passed"] for row in rows} == {None}
    assert [row["verdict"] for row in rows] == ["untested", "no_code", "untested", "untested"]
    assert not any(name.startswith(("pass/", "gap")) for name in figures)
    assert {name: value for name, value in figures.items() if name.startswith("verdict/")} == {
        "verdict/untested": 0.75, "verdict/no_code": 0.25, "verdict/syntax": 0.0,
    }  # fmt: skip
