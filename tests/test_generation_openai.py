"""The openai backend against a real HTTP server that fails in every way: nothing is lost, nothing comes twice."""

import asyncio
import errno
import json
import threading
import time
from collections import Counter
from pathlib import Path

import pytest
from generation_server import FAULTS, Server, serve, written
from hypothesis import given
from hypothesis import strategies as st

from greenlit.appending import Appending
from greenlit.config import EndpointParams, EvaluateParams, GenerateParams
from greenlit.endpoints import trying
from greenlit.errors import BudgetError, ConfigError, DataError, GreenlitError, MismatchError, WorldError
from greenlit.evaluation.measure import _require_two_models
from greenlit.generation.budget import Budget, Caps, caps_of
from greenlit.generation.request import Request
from greenlit.generation.runs import Run, runs_of
from greenlit.generation.sample import sample
from greenlit.generation.seeds import request_seed
from greenlit.generation.wire import Dialect, body_of, read_answer
from greenlit.problems.prompts import render
from greenlit.types import AssertTest, Candidate, Problem

KEY = "sk-canaryIndigo0001"
PARAMS = GenerateParams(
    backend="openai", n=4, max_new_tokens=16, openai=EndpointParams(model="m", chat=False), temperature=0.7, top_p=0.9
)


def problems(count: int) -> list[Problem]:
    return [
        Problem(task_id=f"t/{i}", prompt=f"Do {i}.", entry_point="f", tests=[AssertTest(code="assert f() == 1")])
        for i in range(count)
    ]


@pytest.fixture
def environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> pytest.MonkeyPatch:
    """A folder of its own, no address, short waits."""
    monkeypatch.chdir(tmp_path)
    for name in ("URL", "API_KEY", "CONCURRENCY", "TIMEOUT_S", "ATTEMPTS"):
        monkeypatch.delenv(f"GREENLIT_ENDPOINT_{name}", raising=False)
    for name in ("OPENAI_BASE_URL", "OPENAI_API_KEY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(trying, "FIRST_WAIT_S", 0.005)
    return monkeypatch


@pytest.fixture
def server(environment: pytest.MonkeyPatch):
    with serve() as state:
        environment.setenv("GREENLIT_ENDPOINT_URL", state.url)
        environment.setenv("GREENLIT_ENDPOINT_API_KEY", KEY)
        yield state


def run(count: int = 5, params: GenerateParams = PARAMS, greedy: bool = False, work: str = "w") -> list[Candidate]:
    Path(work).mkdir(exist_ok=True)
    rows = sample(
        Path("assets/models/base"),
        problems(count),
        params,
        seed=0,
        greedy=greedy,
        work=Path(work),
        workers=1,
        label="t",
    )
    return list(rows)


def expected(count: int, n: int = 4, greedy: bool = False) -> dict[tuple[str, int], str]:
    found = {}
    for problem in problems(count):
        prompt = str(render(problem, chat=False))
        for index in range(-greedy, n):
            seed = None if index < 0 else request_seed(0, problem.task_id, index)
            found[problem.task_id, index] = written(prompt, seed)
    return found


def texts(rows: list[Candidate]) -> dict[tuple[str, int], str]:
    assert max(Counter((row.task_id, row.candidate_idx) for row in rows).values()) == 1
    return {(row.task_id, row.candidate_idx): row.text for row in rows}


def test_a_request_says_what_is_sampled_and_the_answer_what_came(server: Server) -> None:
    rows = run(greedy=True)
    assert texts(rows) == expected(5, greedy=True)
    assert len(server.bodies) == 10  # all samples of a problem by one request, the greedy one by another
    sampled = next(body for body in server.bodies if body["temperature"])
    assert {key: sampled[key] for key in ("model", "n", "temperature", "top_p", "max_tokens")} == {
        "model": "m", "n": 4, "temperature": 0.7, "top_p": 0.9, "max_tokens": 16,
    }  # fmt: skip
    assert not {"top_k", "min_p", "stop"} & set(sampled)
    assert set(server.paths) == {"/v1/completions"}
    assert server.headers[0]["Authorization"] == f"Bearer {KEY}"
    for row in rows:
        assert (row.backend, row.dtype, row.served_by, row.tokens, row.logprob) == ("openai", None, "served", 6, -3.0)
        assert row.finish_reason == ("eos" if int(row.text, 16) % 4 else "length")
    assert KEY not in "".join(path.read_text() for path in Path().rglob("*") if path.is_file())


def test_settings_beyond_the_standard_are_sent_where_they_are_set(server: Server) -> None:
    run(1, PARAMS.model_copy(update={"top_k": 5, "min_p": 0.1, "stop": ["\n\n"]}))
    assert {key: server.bodies[0][key] for key in ("top_k", "min_p", "stop")} == {
        "top_k": 5, "min_p": 0.1, "stop": ["\n\n"],
    }  # fmt: skip


def test_messages_go_to_chat_completions(server: Server) -> None:
    rows = run(2, PARAMS.model_copy(update={"openai": EndpointParams(model="m", chat=True)}))
    prompt = render(problems(1)[0], chat=True)[0]["content"]
    assert rows[0].text == written(prompt, request_seed(0, "t/0", 0))
    assert (rows[0].logprob, rows[0].tokens) == (-3.0, 6)
    assert set(server.paths) == {"/v1/chat/completions"}


def test_a_thousand_requests_survive_every_fault_without_loss_or_copy(server: Server, environment, capsys) -> None:
    environment.setenv("GREENLIT_ENDPOINT_TIMEOUT_S", "5")
    environment.setenv("GREENLIT_ENDPOINT_CONCURRENCY", "16")
    environment.setenv("GREENLIT_ENDPOINT_ATTEMPTS", "20")
    server.fault_share, server.slow_s = 0.3, 8.0
    rows = run(1000, PARAMS.model_copy(update={"n": 1}))
    assert texts(rows) == expected(1000, 1)
    assert len(server.bodies) >= 1000 + sum(server.met.values())
    assert set(server.met) == set(FAULTS)
    assert server.most_at_once <= 16 + server.met["slow"]  # one that is given up is still at it
    lines = Path("w/candidates.jsonl").read_text().splitlines()
    assert len(lines) == len({(row["task_id"], row["candidate_idx"]) for row in map(json.loads, lines)}) == 1000
    told = [line for line in capsys.readouterr().err.splitlines() if line.startswith("warning: ")]
    assert 5 <= len(told) <= 12  # each kind once
    assert all(line.startswith("warning: endpoint for m: ") for line in told)


def test_what_is_there_is_not_asked_for_again(server: Server) -> None:
    rows = run(6)
    lines = Path("w/candidates.jsonl").read_text().splitlines(keepends=True)
    kept = [line for line in lines if json.loads(line)["candidate_idx"] != 1]
    Path("w/candidates.jsonl").write_text("".join(kept) + '{"task_id": "t/')
    server.bodies.clear()
    assert run(6) == rows
    assert [body["n"] for body in server.bodies] == [1] * 6


@pytest.mark.parametrize("most", [1, 3])
def test_a_server_that_gives_fewer_than_asked_for_is_asked_one_by_one(server: Server, most: int) -> None:
    server.most_choices = most
    assert texts(run(8)) == expected(8)


def refusing(status: int, message: str, key: str, bad=lambda value: True):
    def refuse(body):
        return (status, {"error": {"message": message}}) if key in body and bad(body[key]) else None

    return refuse


@pytest.mark.parametrize(
    ("refuse", "change"),
    [
        (refusing(400, "n must be 1", "n", lambda n: n > 1), {}),
        (refusing(422, "Input validation error: `best_of` != 1 is not supported", "n", lambda n: n > 1), {}),
        (refusing(400, "This model does not support logprobs.", "logprobs"), {"logprob": None}),
        (refusing(400, "Use 'max_completion_tokens' instead of 'max_tokens'.", "max_tokens"), {}),
    ],
)
def test_what_changes_no_sample_is_given_up_where_a_server_refuses_it(server: Server, refuse, change) -> None:
    server.refuse = refuse
    rows = run(4)
    assert texts(rows) == expected(4)
    assert {row.logprob for row in rows} == {change.get("logprob", -3.0)}


def test_tokens_are_counted_by_usage_or_else_by_length(server: Server) -> None:
    server.logprobs = False
    assert {row.tokens for row in run(2, PARAMS.model_copy(update={"n": 1}))} == {6}
    server.usage = False
    assert {row.tokens for row in run(2, PARAMS.model_copy(update={"n": 1}), work="v")} == {12 // 4}


@pytest.mark.parametrize(
    ("status", "body", "error", "words"),
    [
        (401, {"error": {"message": f"Incorrect API key: {KEY}"}}, ConfigError, "refuses the key"),
        (404, {"error": {"message": "The model `m` does not exist."}}, ConfigError, r"no model 'm'.*\n.*served, other"),
        (400, {"error": {"message": "maximum context length is 8 tokens"}}, DataError, r"t/\d: prompt and max_new_tok"),
        (400, {"error": {"message": "seed is not supported"}}, ConfigError, r"t/\d: the endpoint refuses.*seed is not"),
        (429, {"error": {"code": "insufficient_quota", "message": "pay"}}, WorldError, "account is used up"),
    ],
)
def test_what_cannot_heal_ends_at_once_with_one_message(
    server: Server, environment, status, body, error, words
) -> None:
    environment.setenv("GREENLIT_ENDPOINT_CONCURRENCY", "2")
    server.refuse = lambda _: (status, body)
    with pytest.raises(error, match=words):
        run(50)
    assert len(server.bodies) <= 4


def test_what_came_before_the_end_is_kept(server: Server, environment) -> None:
    environment.setenv("GREENLIT_ENDPOINT_CONCURRENCY", "1")
    server.refuse = lambda body: (401, {}) if "Do 3." in body["prompt"] else None
    with pytest.raises(ConfigError):
        run(6)
    assert len(Path("w/candidates.jsonl").read_text().splitlines()) == 12
    server.refuse = None
    assert texts(run(6)) == expected(6)
    assert len(server.bodies) == 3 + 1 + 3


def test_an_endpoint_that_stays_away_is_given_up_with_exit_code_75(environment) -> None:
    environment.setenv("GREENLIT_ENDPOINT_URL", "http://127.0.0.1:9")
    environment.setenv("GREENLIT_ENDPOINT_ATTEMPTS", "3")
    with pytest.raises(WorldError, match=r"no answer from the endpoint after 3 attempts \(no connection") as fault:
        run(2)
    assert fault.value.exit_code == 75


def test_all_requests_heed_what_one_is_told_to_wait(server: Server, environment) -> None:
    environment.setenv("GREENLIT_ENDPOINT_CONCURRENCY", "1")
    first = iter([(429, {})])
    server.refuse = lambda _: next(first, None)
    original = trying.retry_after
    environment.setattr(trying, "retry_after", lambda headers: 0.5 if not server.at[1:] else original(headers))
    run(3)
    assert server.at[1] - server.at[0] >= 0.5


def test_no_address_and_wrong_settings_are_told(environment) -> None:
    with pytest.raises(ConfigError, match="GREENLIT_ENDPOINT_URL: is not set"):
        run(1)
    environment.setenv("GREENLIT_ENDPOINT_URL", "http://h")
    environment.setenv("GREENLIT_ENDPOINT_CONCURRENCY", "many")
    with pytest.raises(ConfigError, match="GREENLIT_ENDPOINT_CONCURRENCY: must be a number above 0"):
        run(1)
    with pytest.raises(ConfigError, match="no tokenizer here, which would say"):
        run(1, PARAMS.model_copy(update={"openai": EndpointParams(model="m")}))


@pytest.mark.parametrize("said", ["inf", "nan", "-1", "1.5"])
def test_a_setting_that_is_no_number_is_told(environment, said: str) -> None:
    environment.setenv("GREENLIT_ENDPOINT_URL", "http://h")
    environment.setenv("GREENLIT_ENDPOINT_ATTEMPTS", said)
    with pytest.raises(ConfigError, match="GREENLIT_ENDPOINT_ATTEMPTS: must be a number above 0"):
        run(1)


def test_one_name_for_the_model_before_and_after_is_refused() -> None:
    params = EvaluateParams(backend="openai", openai=EndpointParams(model="m"))
    _require_two_models(params, None)
    with pytest.raises(ConfigError, match=r"evaluate\.openai\.model: names 'm' for dpo's model too"):
        _require_two_models(params, "dpo")
    _require_two_models(EvaluateParams(backend="openai"), "dpo")


def test_counts_of_tokens_are_divided_by_length_where_they_are_told_together() -> None:
    choices = [{"index": place, "text": "x" * size, "finish_reason": "stop"} for place, size in enumerate((9, 29))]
    content = json.dumps({"choices": choices, "usage": {"prompt_tokens": 3, "completion_tokens": 20}}).encode()
    answer = read_answer(content, Run("t", "p", 0, 0, 2))
    assert [choice.tokens for choice in answer.choices] == [5, 15]
    assert (answer.asked, answer.written) == (3, 20)


def test_a_stop_text_is_told_from_an_end_token_where_the_server_does() -> None:
    choices = [
        {"index": 0, "text": "a", "finish_reason": "stop", "stop_reason": "\n"},
        {"index": 1, "text": "b", "finish_reason": "stop", "stop_reason": None},
        {"index": 2, "text": "c", "finish_reason": "length"},
    ]
    answer = read_answer(json.dumps({"choices": choices}).encode(), Run("t", "p", 0, 0, 3))
    assert [(choice.ended, choice.stopped) for choice in answer.choices] == [
        (True, True),
        (True, False),
        (False, False),
    ]


def test_a_name_is_where_the_weights_come_from_unless_it_is_said(server: Server, tmp_path: Path) -> None:
    base = tmp_path / "assets/models/base"
    base.mkdir(parents=True)
    run(1, PARAMS.model_copy(update={"openai": EndpointParams(chat=False)}))
    assert server.bodies[-1]["model"] == "assets/models/base"
    (base / "pointer.json").write_text('{"source": "org/model", "revision": "abc"}')
    run(1, PARAMS.model_copy(update={"openai": EndpointParams(chat=False)}), work="v")
    assert server.bodies[-1]["model"] == "org/model"


def test_results_of_another_backend_are_not_mixed_in(server: Server) -> None:
    run(1)
    text = Path("w/candidates.jsonl").read_text()
    Path("w/candidates.jsonl").write_text(text.replace('"backend":"openai"', '"backend":"vllm"'))
    with pytest.raises(MismatchError, match="was begun with the backend vllm, and openai would go on"):
        run(1)


def test_a_budget_of_tokens_ends_in_order_is_never_exceeded_and_a_larger_one_goes_on(server, environment) -> None:
    environment.setenv("GREENLIT_BUDGET_TOKENS", "400")
    with pytest.raises(BudgetError, match=r"the budget is used up \(GREENLIT_BUDGET_TOKENS 400; spent: \d+") as fault:
        run(20)
    assert fault.value.exit_code == 75
    done = Path("w/candidates.jsonl").read_text().splitlines()
    spent = json.loads(Path("w/spent.json").read_text())
    assert 0 < spent["tokens_asked"] + spent["tokens_written"] <= 400
    assert spent["tokens_written"] == 6 * len(done) > 0  # nothing that was paid for is lost
    asked = len(server.bodies)
    with pytest.raises(BudgetError):  # trying again is no way around it
        run(20)
    assert len(server.bodies) == asked
    environment.setenv("GREENLIT_BUDGET_TOKENS", "100000")
    assert texts(run(20)) == expected(20)
    assert len(server.bodies) == 20


def test_a_budget_of_dollars_needs_prices_and_counts_by_them(server, environment) -> None:
    environment.setenv("GREENLIT_BUDGET_USD", "0.5")
    with pytest.raises(ConfigError, match="GREENLIT_BUDGET_USD: needs prices"):
        run(1)
    environment.setenv("GREENLIT_PRICE_INPUT", "1")
    environment.setenv("GREENLIT_PRICE_OUTPUT", "2")
    with pytest.raises(BudgetError, match=r"spent: \d+ tokens, 0.0 minutes, 0\.\d+ USD"):
        run(20)
    spent = json.loads(Path("w/spent.json").read_text())
    assert 0.1 < (spent["tokens_asked"] + 2 * spent["tokens_written"]) / 1000 <= 0.5


def test_a_budget_of_minutes_ends_in_order(server, environment) -> None:
    server.after_s = 0.05
    environment.setenv("GREENLIT_BUDGET_MINUTES", "0.005")
    environment.setenv("GREENLIT_ENDPOINT_CONCURRENCY", "2")
    with pytest.raises(BudgetError, match=r"GREENLIT_BUDGET_MINUTES 0\.005"):
        run(200)
    assert len(Path("w/candidates.jsonl").read_text().splitlines()) == 4 * len(server.bodies)


def test_a_budget_holds_for_models_that_run_here_too(environment, tiny_model: Path) -> None:
    environment.setenv("GREENLIT_BUDGET_TOKENS", "60")
    local = GenerateParams(n=4, max_new_tokens=16, batch_size=4)
    arguments = {"seed": 0, "greedy": False, "work": Path("w"), "workers": 1, "label": "t"}
    Path("w").mkdir()
    with pytest.raises(BudgetError, match="GREENLIT_BUDGET_TOKENS 60"):
        list(sample(tiny_model, problems(6), local, **arguments))
    tokens = [json.loads(line)["tokens"] for line in Path("w/candidates.jsonl").read_text().splitlines()]
    assert len(tokens) % 4 == 0
    assert sum(tokens[:-4]) < 60 <= sum(tokens)  # it ended with the batch that reached it
    assert json.loads(Path("w/spent.json").read_text())["tokens_written"] == sum(tokens)
    environment.delenv("GREENLIT_BUDGET_TOKENS")
    assert len(list(sample(tiny_model, problems(6), local, **arguments))) == 24


@pytest.mark.parametrize("said", ["-1", "0", "much", "inf", "nan"])
def test_a_budget_that_is_no_number_is_refused(said: str) -> None:
    with pytest.raises(ConfigError, match=r"GREENLIT_BUDGET_TOKENS: must be a number > 0 \(found"):
        caps_of({"GREENLIT_BUDGET_TOKENS": said})


@given(
    costs=st.lists(st.tuples(st.integers(0, 50), st.integers(0, 50), st.floats(0, 1)), max_size=30),
    cap=st.integers(1, 400),
)
def test_reservations_and_what_they_cost_never_exceed_a_budget(costs, cap, tmp_path_factory) -> None:
    budget = Budget(Caps(tokens=cap), tmp_path_factory.getbasetemp() / "never-written.json")
    open_: list[tuple[tuple[int, int], tuple[int, int]]] = []
    for asked, wrote, share in costs:
        if budget.reserve(asked, wrote):
            open_.append(((asked, wrote), (asked, int(wrote * share))))
        if share < 0.5 and open_:
            budget.settle(*open_.pop(0))
        assert budget.asked + budget.written <= cap


@given(content=st.binary() | st.recursive(st.none() | st.booleans() | st.floats() | st.text(), lambda inner: st.lists(inner) | st.dictionaries(st.sampled_from(["choices", "text", "message", "content", "finish_reason", "logprobs", "token_logprobs", "index", "usage", "model"]), inner), max_leaves=20).map(lambda value: json.dumps(value).encode()))  # fmt: skip  # noqa: E501
def test_no_answer_of_a_server_breaks_the_reader(content: bytes) -> None:
    answer = read_answer(content, Run("t", "p", 0, 0, 3))
    assert answer is None or all(0 <= choice.place < 3 for choice in answer.choices)


@given(done=st.lists(st.booleans(), min_size=1, max_size=12), longest=st.integers(1, 5))
def test_runs_hold_what_is_not_done_once_and_in_order(done: list[bool], longest: int) -> None:
    requests = [Request("t", index, "p", 0, is_done) for index, is_done in enumerate(done)]
    found = [index for run in runs_of(requests, longest) for index in range(run.first, run.first + run.count)]
    assert found == [index for index, is_done in enumerate(done) if not is_done]
    assert all(run.count <= longest for run in runs_of(requests, longest))


def test_runs_are_of_one_problem_and_one_prompt_and_greedy_alone() -> None:
    requests = [Request("a", -1, "p", 0), Request("a", 0, "p", 0), Request("a", 1, "p", 0), Request("a", 2, "q", 0),
                Request("b", 3, "q", 0), Request("b", 5, "q", 0)]  # fmt: skip
    assert [(run.task_id, run.first, run.count) for run in runs_of(requests)] == [
        ("a", -1, 1), ("a", 0, 2), ("a", 2, 1), ("b", 3, 1), ("b", 5, 1),
    ]  # fmt: skip
    assert Run("a", "p", 0, 4, 5).rest({4, 5, 8}) == [Run("a", "p", 0, 4, 2), Run("a", "p", 0, 8, 1)]


def test_no_two_seeds_are_alike() -> None:
    seeds = [request_seed(seed, f"task/{i}", index) for seed in (0, 1) for i in range(2000) for index in range(64)]
    assert len(set(seeds)) == len(seeds)
    assert request_seed(0, "task/1", 5) == request_seed(0, "task/1", 0) + 5
    assert max(seeds) < 2**53
    assert min(seeds) >= 0


def test_a_server_without_seeds_is_not_asked_without_them() -> None:
    dialect = Dialect()
    body = body_of(Run("t", "p", 0, 0, 2), "m", PARAMS, dialect)
    assert not dialect.adapt("Unknown parameter: seed", body)
    assert not dialect.adapt("temperature must be within 0 and 2", body)
    assert dialect.adapt("Unknown field: n", body)


def test_it_works_where_an_event_loop_runs_already_as_in_a_notebook(server: Server) -> None:
    async def cell() -> list[Candidate]:
        return run(6)

    before = set(threading.enumerate())
    assert texts(asyncio.run(cell())) == expected(6)
    assert not [thread for thread in set(threading.enumerate()) - before if "portal" in thread.name]


def test_nothing_goes_on_behind_the_back_of_a_fault(server: Server, environment) -> None:
    """A full disk while requests are under way: they end with us, not some time later."""
    server.after_s = 0.05

    def full(*_: object) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    environment.setattr(Appending, "append", full)
    with pytest.raises(OSError, match="No space left") as fault:
        run(60)
    asked = len(server.bodies)
    time.sleep(0.3)
    assert len(server.bodies) == asked < 60
    assert fault.value.errno == errno.ENOSPC


def test_errors_are_ours() -> None:
    assert issubclass(BudgetError, WorldError)
    assert issubclass(BudgetError, GreenlitError)
