"""An AI judge behind a real HTTP server: retries, budget, silence, refusals. No fault is ever a score of 0."""

import email.utils
import json
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from ai_server import Answer, Server, by_rule, serve
from faults import environment as users_environment

from greenlit.config import JudgeParams
from greenlit.endpoints import trying
from greenlit.errors import ConfigError, WorldError
from greenlit.feedback import endpoint
from greenlit.feedback.budget import Budget
from greenlit.feedback.endpoint import GIVES_UP_AFTER, address, in_threads
from greenlit.feedback.judge import AiJudge
from greenlit.types import AssertTest, Problem

KEY = "sk-canaryViolet0001"
PROBLEM = Problem(task_id="p", prompt="Add one.", tests=[AssertTest(code="assert f(1) == 2")])
PROGRAMS = [(PROBLEM, f"def f(x):\n    return x + {n}\n") for n in range(10)]


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Server]:
    """A judge that gives `x + n` the score n/10, in a folder and environment of its own."""
    monkeypatch.chdir(tmp_path)
    for place, key in endpoint.URLS:
        monkeypatch.delenv(place, raising=False)
        monkeypatch.delenv(key, raising=False)
    monkeypatch.setattr(trying, "FIRST_WAIT_S", 0.01)
    with serve(by_rule(lambda program: int(program.split("+")[1]))) as state:
        monkeypatch.setenv("GREENLIT_JUDGE_URL", state.url)
        monkeypatch.setenv("GREENLIT_JUDGE_API_KEY", KEY)
        yield state


def scores(programs=PROGRAMS, **settings) -> list[float | None]:
    with AiJudge(JudgeParams(model="m", **settings)) as judge:
        return judge.scores(programs)


def test_scores_come_in_order_from_several_requests_at_once(server: Server) -> None:
    server.after_s = 0.1
    assert scores(concurrency=4) == pytest.approx([n / 10 for n in range(10)])
    assert 2 <= server.most_at_once <= 4
    (first, *_) = server.requests
    assert first.path == "/v1/chat/completions"
    assert first.headers["Authorization"] == f"Bearer {KEY}"
    assert {key: first.body[key] for key in ("model", "temperature", "max_tokens")} == {
        "model": "m", "temperature": 0.0, "max_tokens": 512,
    }  # fmt: skip


def test_a_busy_endpoint_is_asked_again_when_it_says(server: Server) -> None:
    server.faults = [Answer(b"{}", 429, {"Retry-After": "1"})]
    assert scores(PROGRAMS[7:8]) == [0.7]
    first, second = server.requests
    assert second.at - first.at >= 1.0


def test_a_date_to_wait_for_is_understood_and_a_long_one_is_cut(server: Server, monkeypatch) -> None:
    then, now = (email.utils.formatdate(1_800_000_000 + seconds, usegmt=True) for seconds in (100, 0))
    assert trying.retry_after({"retry-after": then, "date": now}) == 100
    assert trying.retry_after({"retry-after": then}) is None
    assert trying.retry_after({"retry-after": "soon"}) is None
    assert trying.retry_after({"retry-after": "-3"}) == 0
    monkeypatch.setattr(trying, "LONGEST_WAIT_S", 0.05)
    server.faults = [Answer(b"{}", 429, {"Retry-After": "3600"})]
    assert scores(PROGRAMS[7:8]) == [0.7]


def test_a_failing_endpoint_is_asked_again_and_then_there_is_no_score(server: Server, capsys) -> None:
    server.faults = [Answer(b"oops", status) for status in (500, 503)]
    assert scores(PROGRAMS[7:8]) == [0.7]
    server.always = Answer(b"oops", 500)
    assert scores(PROGRAMS[6:7], attempts=3) == [None]
    assert len(server.requests) == 6
    assert capsys.readouterr().err == "warning: judge m: HTTP 500 (oops): null, not 0\n"


def test_a_refusal_is_not_repeated_and_tells_no_secret(server: Server, capsys) -> None:
    server.always = Answer(json.dumps({"error": {"message": f"Incorrect API key provided: {KEY}"}}).encode(), 401)
    assert scores(PROGRAMS[:2]) == [None, None]
    assert len(server.requests) == 2
    said = capsys.readouterr().err
    assert said == "warning: judge m: HTTP 401 (Incorrect API key provided: ***): null, not 0\n"
    assert "canary" not in "".join(path.read_text() for path in Path().rglob("*") if path.is_file())


@pytest.mark.parametrize(
    "body",
    [b"<html>busy</html>", b"[]", b"{}", b'{"choices": []}', b'{"choices": [{"message": {"content": null}}]}', b"\xff",
     b"[" * 100_000, b'{"choices": [{"message": 7}]}'],
)  # fmt: skip
def test_garbage_is_no_chat_completion(server: Server, body: bytes) -> None:
    server.faults = [Answer(body)]
    assert scores(PROGRAMS[7:8]) == [0.7]
    server.always = Answer(body)
    assert scores(PROGRAMS[6:7], attempts=2) == [None]


def test_an_endless_answer_is_cut(server: Server, monkeypatch) -> None:
    monkeypatch.setattr(endpoint, "LARGEST_ANSWER", 10_000)
    server.always = Answer(b" " * 20_000)
    assert scores(PROGRAMS[:1], attempts=1) == [None]


@pytest.mark.parametrize("answer", [Answer(b"{}", after_s=2.0), Answer(b" " * 200, drip_s=0.05)])
def test_a_slow_endpoint_is_given_up_in_time(server: Server, answer: Answer, capsys) -> None:
    server.always = answer
    started = time.monotonic()
    assert scores(PROGRAMS[:1], attempts=1, timeout_s=0.3) == [None]
    assert time.monotonic() - started < 1.5
    assert "no answer in time (judge.timeout_s 0.3)" in capsys.readouterr().err


def test_nobody_at_the_address_is_no_score(monkeypatch, tmp_path, capsys) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("GREENLIT_JUDGE_URL", "http://127.0.0.1:9/v1")
    monkeypatch.setattr(trying, "FIRST_WAIT_S", 0.01)
    assert scores(PROGRAMS[:2], attempts=2) == [None, None]
    assert capsys.readouterr().err.count("no connection") == 1


def test_an_endpoint_that_stays_away_costs_no_more_waiting(server: Server) -> None:
    server.always = Answer(b"", 500)
    assert scores(attempts=4, concurrency=1) == [None] * 10
    assert len(server.requests) == 4 * GIVES_UP_AFTER + (10 - GIVES_UP_AFTER)


def test_one_that_comes_back_is_waited_for_again(server: Server) -> None:
    server.faults = [Answer(b"", 500)] * (2 * GIVES_UP_AFTER)
    with AiJudge(JudgeParams(model="m", attempts=2, concurrency=1)) as judge:
        assert judge.scores(PROGRAMS[:5]) == [None, None, None, 0.3, 0.4]
        server.faults = [Answer(b"", 500)]
        assert judge.scores(PROGRAMS[5:6]) == [0.5]


def test_a_budget_of_calls_ends_the_scores_and_is_said_once(server: Server, capsys) -> None:
    found = scores(max_calls=4, concurrency=1)
    assert found == pytest.approx([0.0, 0.1, 0.2, 0.3] + [None] * 6)
    assert len(server.requests) == 4
    said = capsys.readouterr().err
    assert said.count("its budget is used up (judge.max_calls 4, judge.max_tokens 10000000): null, not 0") == 1


def test_retries_are_paid_from_the_budget(server: Server) -> None:
    server.always = Answer(b"", 500)
    assert scores(PROGRAMS[:1], max_calls=2, attempts=10) == [None]
    assert len(server.requests) == 2


@pytest.mark.parametrize("usage", [10, 600, None])
def test_a_budget_of_tokens_is_never_exceeded(server: Server, usage: int | None) -> None:
    server.usage = usage
    with AiJudge(JudgeParams(model="m", max_tokens=5_000, max_new_tokens=100, concurrency=4)) as judge:
        found = judge.scores(PROGRAMS)
        assert judge.budget.tokens <= 5_000
        if usage is not None:
            assert judge.budget.tokens == usage * len(server.requests)
        assert (None in found) == judge.budget.exhausted == (usage != 10)
        assert [score for score in found if score is not None]


def test_reservations_of_several_threads_stay_within_the_budget() -> None:
    budget = Budget(calls=1000, tokens=105)
    results = in_threads(lambda _: budget.reserve(10), range(100), 16)
    assert sum(results) == 10
    budget.settle(10, 4)
    assert (budget.tokens, budget.calls) == (94, 10)
    assert budget.reserve(11)


def test_newer_models_are_asked_by_the_name_they_take(server: Server) -> None:
    told = "Unsupported parameter: 'max_tokens'. Use 'max_completion_tokens' instead."
    server.faults = [Answer(json.dumps({"error": {"message": told}}).encode(), 400)]
    assert scores(PROGRAMS[7:9], concurrency=1) == [0.7, 0.8]
    assert ["max_completion_tokens" in request.body for request in server.requests] == [False, True, True]


@pytest.mark.parametrize(
    ("environment", "expected"),
    [
        ({"GREENLIT_JUDGE_URL": "http://h:80", "OPENAI_API_KEY": "theirs"}, ("http://h:80/v1/chat/completions", None)),
        ({"GREENLIT_JUDGE_URL": "http://h/v1/", "GREENLIT_JUDGE_API_KEY": "k"}, ("http://h/v1/chat/completions", "k")),
        ({"GREENLIT_JUDGE_URL": "http://h/a/chat/completions"}, ("http://h/a/chat/completions", None)),
        (
            {"OPENAI_BASE_URL": "https://h/v1", "OPENAI_API_KEY": "k", "GREENLIT_JUDGE_API_KEY": "ours"},
            ("https://h/v1/chat/completions", "k"),
        ),
    ],
)  # fmt: skip
def test_a_key_goes_to_its_own_address_only(environment: dict, expected: tuple) -> None:
    assert address(environment) == expected


@pytest.mark.parametrize(
    ("environment", "words"),
    [
        ({}, "GREENLIT_JUDGE_URL: is not set"),
        ({"GREENLIT_JUDGE_URL": "localhost:8000"}, "GREENLIT_JUDGE_URL: must be an http"),
        ({"GREENLIT_JUDGE_URL": "http://h:port/v1"}, "GREENLIT_JUDGE_URL: must be an http"),
        ({"OPENAI_BASE_URL": "ftp://h/v1"}, "OPENAI_BASE_URL: must be an http"),
    ],
)
def test_no_address_is_told(environment: dict, words: str) -> None:
    with pytest.raises(ConfigError, match=words) as error:
        address(environment)
    assert error.value.hint


def test_no_answer_at_all_is_the_worlds_fault(server: Server) -> None:
    server.always = Answer(b"no such model", 404)
    with AiJudge(JudgeParams(model="m")) as judge:
        judge.scores(PROGRAMS[:2])
        judge.require_answers(2, 1)
        judge.require_answers(0, 0)
        with pytest.raises(WorldError, match=r"judge m: no answer to any of 2 questions \(HTTP 404: 2\)"):
            judge.require_answers(2, 0)


def test_ctrl_c_does_not_wait_for_an_answer(server: Server) -> None:
    server.always = Answer(b"{}", after_s=20)
    code = (
        "from greenlit.stage.entry import exit_cleanly\n"
        "from greenlit.config import JudgeParams\n"
        "from greenlit.feedback.judge import AiJudge\n"
        "from greenlit.types import Problem\n"
        "problem = Problem(task_id='p', tests=[{'kind': 'assert', 'code': 'assert 1'}])\n"
        "def main():\n"
        "    with AiJudge(JudgeParams(model='m')) as judge:\n"
        "        judge.scores([(problem, 'x = 1')])\n"
        "exit_cleanly(main)\n"
    )
    variables = {**users_environment(), "GREENLIT_JUDGE_URL": server.url}
    process = subprocess.Popen([sys.executable, "-c", code], env=variables, stderr=subprocess.PIPE, text=True)
    until = time.monotonic() + 30
    while not server.requests and time.monotonic() < until:
        time.sleep(0.05)
    started = time.monotonic()
    process.send_signal(2)
    _, said = process.communicate(timeout=15)
    assert time.monotonic() - started < 5
    assert process.returncode == 130
    assert said.startswith("stopped by SIGINT")


def test_a_fault_in_a_thread_is_raised_where_it_was_asked() -> None:
    def work(item: int) -> int:
        if item == 3:
            raise RuntimeError("in a thread")
        return item

    with pytest.raises(RuntimeError, match="in a thread"):
        in_threads(work, range(5), 2)
    assert in_threads(work, [], 2) == []
    assert in_threads(work, [2, 1], 8) == [2, 1]
    assert threading.current_thread() is threading.main_thread()


def test_what_the_endpoint_calls_the_model_is_noted(server: Server) -> None:
    with AiJudge(JudgeParams(model="m")) as judge:
        judge.scores(PROGRAMS[:1])
        assert judge.served_by == {"served"}
