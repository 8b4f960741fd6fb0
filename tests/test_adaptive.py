"""Adaptive sampling: enough is enough, the first round is plain sampling, and what it does to figures is said."""

import itertools
import json
import random
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from generation_server import Server, serve
from hypothesis import given
from hypothesis import strategies as st

from greenlit.config import (
    AdaptiveParams,
    AnnotateParams,
    EndpointParams,
    GenerateParams,
    load_params,
    parse_params,
    read_yaml,
)
from greenlit.errors import BudgetError, ConfigError
from greenlit.evaluation.markdown import _adaptive
from greenlit.execution.cache import VerdictCache
from greenlit.execution.judges import Judge
from greenlit.generation.adaptive import by_execution, enough
from greenlit.generation.rounds import round_of
from greenlit.generation.sample import sample
from greenlit.grading import annotate
from greenlit.jsonl import read_json, read_rows, write_rows
from greenlit.pairs.groups import first_round
from greenlit.pairs.manifest import Counts, manifest
from greenlit.pairs.nbest import n_best, ranked
from greenlit.pairs.pairs import preference_pairs, shuffle_verdicts
from greenlit.pairs.rounds import RoundCounts
from greenlit.paths import Paths
from greenlit.stage.progress import Progress
from greenlit.types import Annotated, AssertTest, Candidate, Problem
from tasks import annotate as annotate_stage
from tasks import build, generate

ROOT = Path(__file__).parent.parent

LIMITS = AnnotateParams(allow_portable=True)
ADAPTIVE = AdaptiveParams(max_n=14, round=4, passes=2, fails=2, limits=LIMITS)
PARAMS = GenerateParams(
    backend="openai", n=4, max_new_tokens=24, openai=EndpointParams(model="m", chat=True), adaptive=ADAPTIVE
)
PLAIN = PARAMS.model_copy(update={"adaptive": None})
EASE = (1.0, 0.5, 0.1, 0.0)
"""Share of the samples that pass, problem by problem, in turn."""


def problems(count: int = 8) -> list[Problem]:
    return [
        Problem(task_id=f"t/{i}", prompt=f"Do {i}.", entry_point="f", tests=[AssertTest(code="assert f(1) == 2")])
        for i in range(count)
    ]


def program(prompt: str, seed: int | None) -> str:
    """A model whose programs pass or fail by chance, and mostly differ in more than names."""
    chance = random.Random(f"{prompt}|{seed}")
    number = int(prompt.rsplit("Do ", 1)[1].split(".")[0])
    passes = chance.random() < EASE[number % len(EASE)]
    return f"```python\ndef f(x):\n    return x + {1 if passes else 2} + 0 * {chance.randrange(40)}\n```"


@pytest.fixture(scope="module")
def shared(tmp_path_factory) -> Path:
    """Verdicts and what the cheats came to, found once for all tests here."""
    return tmp_path_factory.mktemp("shared")


@pytest.fixture
def server(monkeypatch, tmp_path: Path, shared: Path):
    monkeypatch.chdir(tmp_path)
    (tmp_path / ".work").mkdir()
    (shared / "cheats").mkdir(exist_ok=True)
    (tmp_path / ".work/cheats").symlink_to(shared / "cheats")
    monkeypatch.setenv("GREENLIT_CACHE", str(shared / "verdicts.sqlite"))
    for name in ("TOKENS", "MINUTES", "USD"):
        monkeypatch.delenv(f"GREENLIT_BUDGET_{name}", raising=False)
    with serve(writes=program, ends=lambda _: True) as state:
        monkeypatch.setenv("GREENLIT_ENDPOINT_URL", state.url)
        yield state


def run(work: str, params: GenerateParams = PARAMS, asked: list[Problem] | None = None) -> list[Candidate]:
    Path(work).mkdir(exist_ok=True)
    known = problems() if asked is None else asked
    go_on = by_execution(params.adaptive, known, 1) if params.adaptive else None
    arguments = {"seed": 0, "greedy": False, "work": Path(work), "workers": 1, "label": "t", "go_on": go_on}
    return list(sample(Path("m"), known, params, **arguments))


def asked_for(server: Server) -> list[tuple[str, int]]:
    """(prompt, seed) of every sample that the server wrote."""
    return [
        (body["messages"][-1]["content"], body["seed"] + place)
        for body in server.bodies
        for place in range(body.get("n", 1))
    ]


def without_round(row: Candidate) -> Candidate:
    return row.model_copy(update={"round": None})


def judged(rows: list[Candidate]) -> list[Annotated]:
    known = {problem.task_id: problem for problem in problems()}
    with Judge(LIMITS, 1) as judge, VerdictCache() as cache:
        return [row for row, _ in annotate(known, rows, judge, Progress("t", len(rows), ""), cache)]


def of_problem(rows: list[Annotated]) -> dict[str, list[Annotated]]:
    return {task_id: list(group) for task_id, group in itertools.groupby(rows, key=lambda row: row.task_id)}


def test_the_first_round_is_plain_sampling_and_the_rest_what_plain_sampling_goes_on_with(server: Server) -> None:
    rows = run("a")
    assert [without_round(row) for row in first_round(rows)] == run("b", PLAIN)
    more = {(row.task_id, row.candidate_idx): row for row in run("c", PLAIN.model_copy(update={"n": 14}))}
    assert all(without_round(row) == more[row.task_id, row.candidate_idx] for row in rows)
    assert all(row.round == (0 if row.candidate_idx < 4 else 1 + (row.candidate_idx - 4) // 4) for row in rows)
    taken = [row.candidate_idx for row in rows if row.task_id == "t/3"]
    assert taken == list(range(14))  # the last round is a shorter one


def test_a_problem_stops_as_soon_as_its_pairs_have_enough_and_never_sooner(server: Server) -> None:
    rows = of_problem(judged(run("a")))
    ends = Counter()
    for taken in rows.values():
        for round_ in range(taken[-1].round + 1):
            passing, failing = ranked([row for row in taken if row.round <= round_])
            done = len(passing) >= 2 and len(failing) >= 2
            last = round_ == taken[-1].round
            assert done <= last
            assert not last or done or len(taken) == 14
            ends["enough" if last and done else "max" if last else "on"] += 1
    assert ends["enough"] >= 2
    assert ends["max"] >= 2
    assert {len(taken) for taken in rows.values()} >= {8, 14}


def test_a_run_that_ends_anywhere_goes_on_to_the_same_end_and_samples_nothing_twice(server, monkeypatch) -> None:
    monkeypatch.setenv("GREENLIT_ENDPOINT_CONCURRENCY", "1")
    whole = run("a")
    requests, every = len(server.bodies), sorted(asked_for(server))
    for allowed in (8, 11, requests - 1):  # with 8 between the first round and the second
        server.bodies.clear()
        left = iter(range(allowed))
        server.refuse = lambda _, left=left: (401, {}) if next(left, None) is None else None
        with pytest.raises(ConfigError, match="refuses the key"):
            run(f"w{allowed}")
        server.refuse = None
        server.bodies.pop()  # the refused one
        assert run(f"w{allowed}") == whole
        assert sorted(asked_for(server)) == every


def test_a_kill_between_sampling_and_verdicts_loses_nothing(server: Server, monkeypatch) -> None:
    whole = run("a")
    every = len(server.bodies)

    def killed(*_: object) -> list[str]:
        raise KeyboardInterrupt

    Path("w").mkdir()
    arguments = {"seed": 0, "greedy": False, "work": Path("w"), "workers": 1, "label": "t"}
    with pytest.raises(KeyboardInterrupt):
        list(sample(Path("m"), problems(), PARAMS, go_on=killed, **arguments))
    assert run("w") == whole
    assert len(server.bodies) == 2 * every


def test_what_was_decided_stays_so_whatever_the_verdicts_are_later(server: Server) -> None:
    whole = run("w")
    asked = len(server.bodies)
    arguments = {"seed": 0, "greedy": False, "work": Path("w"), "workers": 1, "label": "t"}
    lines = Path("w/candidates.jsonl").read_text().splitlines(keepends=True)
    Path("w/candidates.jsonl").write_text("".join(lines[:-1]))
    again = list(sample(Path("m"), problems(), PARAMS, go_on=lambda *_: pytest.fail("asked again"), **arguments))
    assert again == whole
    assert len(server.bodies) == asked + 1


def test_order_of_problems_and_single_problems_change_no_sample(server: Server) -> None:
    whole = {(row.task_id, row.candidate_idx): row for row in run("a")}
    backwards = run("b", asked=problems()[::-1])
    assert {(row.task_id, row.candidate_idx): row for row in backwards} == whole
    assert run("c", asked=problems()[2:3]) == [row for row in whole.values() if row.task_id == "t/2"]


def test_annotate_runs_none_of_the_programs_again(server: Server, monkeypatch, tmp_path: Path) -> None:
    monkeypatch.setenv("GREENLIT_CACHE", str(tmp_path / "own.sqlite"))
    rows = run("a")
    known = {problem.task_id: problem for problem in problems()}
    with Judge(LIMITS, 1) as judge, VerdictCache() as cache:
        found = list(annotate(known, rows, judge, Progress("t", len(rows), ""), cache))
        of_last_round = {
            row.solution
            for row in rows
            if row.candidate_idx >= 12  # max_n is reached: nobody asked
        }
        assert cache.misses <= len(of_last_round)
    assert len(found) == len(rows)


def test_a_budget_ends_between_and_within_rounds_and_a_larger_one_goes_on(server: Server, monkeypatch) -> None:
    whole = run("a")
    used = json.loads(Path("a/spent.json").read_text())
    total = used["tokens_asked"] + used["tokens_written"]
    for share in (0.3, 0.7):
        monkeypatch.setenv("GREENLIT_BUDGET_TOKENS", str(int(total * share)))
        with pytest.raises(BudgetError):
            run(f"w{share}")
        assert 0 < Path(f"w{share}/candidates.jsonl").read_bytes().count(b"\n") < len(whole)
        monkeypatch.delenv("GREENLIT_BUDGET_TOKENS")
        assert run(f"w{share}") == whole


def test_transformers_goes_on_with_the_model_that_is_loaded(server, tiny_model: Path, monkeypatch) -> None:
    """A model that writes gibberish: of the decision only what goes on matters, so it is made without a judge."""
    from greenlit.generation import transformers as backend

    loads = []
    monkeypatch.setattr(backend, "_load", lambda *given, real=backend._load: loads.append(given) or real(*given))
    local = GenerateParams(n=3, max_new_tokens=12, batch_size=4, adaptive=ADAPTIVE.model_copy(update={"max_n": 8}))

    def some(_bar, number: int, asked: list[Problem], rows_of) -> list[str]:
        assert all(len(list(rows_of(one.task_id))) == 3 + 4 * number for one in asked)
        return [one.task_id for one in asked if one.task_id != f"t/{number}"]

    def sampled(work: str, params: GenerateParams, workers: int) -> list[Candidate]:
        Path(work).mkdir()
        go_on = some if params.adaptive else None
        arguments = {"seed": 0, "greedy": False, "work": Path(work), "workers": workers, "label": "t", "go_on": go_on}
        return list(sample(tiny_model, problems(4), params, **arguments))

    rows = sampled("a", local, 1)
    assert len(loads) == 1
    assert Counter(row.task_id for row in rows) == {"t/0": 3, "t/1": 7, "t/2": 8, "t/3": 8}
    assert sampled("b", local, 2) == rows
    assert [without_round(row) for row in first_round(rows)] == sampled(
        "c", local.model_copy(update={"adaptive": None}), 1
    )


def test_problems_without_tests_and_a_sandbox_that_is_not_allowed_are_refused_before_anything_is_sampled(
    server: Server, monkeypatch
) -> None:
    untested = Problem(task_id="c", prompt="", kind="completion", starter_code="a = 1\n", reference=["a = 1\nb = 2\n"])
    with pytest.raises(ConfigError, match=r"generate\.adaptive: these problems have no tests"):
        run("a", asked=[untested])
    monkeypatch.setenv("GREENLIT_SANDBOX", "portable")
    strict = PARAMS.model_copy(update={"adaptive": ADAPTIVE.model_copy(update={"limits": AnnotateParams()})})
    with pytest.raises(ConfigError, match="allow_portable"):
        run("b", strict)
    assert not server.bodies


def test_the_stages_pass_it_on_to_the_manifest_and_the_report(server: Server, tiny_chat_model: Path, capsys) -> None:
    raw = read_yaml(ROOT / "presets/tiny.yaml")
    raw["annotate"] = LIMITS.model_dump()
    raw["generate"] = PARAMS.model_dump()
    params = parse_params(raw, "params.yaml")
    paths = Paths.of(params)
    write_rows(paths.problems("train"), problems(4))
    count = generate.run(params.generate, 0, paths.problems("train"), tiny_chat_model, paths.candidates)
    files = (paths.problems("train"), paths.candidates, paths.annotated, paths.timings)
    earned = annotate_stage.run(params.annotate, *files, params.rewards)["earned"]
    build.run(params, paths, tiny_chat_model)
    said = capsys.readouterr().err
    made = read_json(paths.rl / "manifest.json")
    rows = list(read_rows(paths.annotated, Annotated))
    first = first_round(rows)
    assert count == made["candidates"] == len(rows) > len(first) == 16
    rate = sum(bool(one.passed) for one in first) / 16
    assert made["train_pass@k"]["1"] == pytest.approx(rate, abs=1e-6)
    assert earned["pass/visible"] == pytest.approx(rate)
    assert rate != pytest.approx(sum(bool(one.passed) for one in rows) / len(rows))
    told = made["adaptive"]
    assert told["saved"] == 4 * 14 - count
    assert sum(told["stopped"].values()) == sum(told["samples"].values()) == 4
    assert told["stopped"]["other_verdicts"] == 0
    assert f"adaptive sampling: {told['saved']} of 56 samples saved; " in said
    (title, _, table) = _adaptive({"adaptive": told})
    assert title == "## generate: adaptive sampling"
    assert f"| samples saved | {told['saved']}, against 14 of every problem |" in table
    assert _adaptive({}) == []


def faults_of(**adaptive: Any) -> str:
    raw = read_yaml(ROOT / "presets/starter.yaml")
    raw["generate"]["adaptive"] = adaptive
    with pytest.raises(ConfigError) as error:
        parse_params(raw, "params.yaml")
    return str(error.value)


def test_settings_that_cannot_be_are_told_and_an_alias_spells_the_limits_once(tmp_path: Path) -> None:
    limits = {"allow_portable": True}
    assert "generate.adaptive.max_n: is missing" in faults_of(limits=limits)
    assert "adaptive.max_n must be above n = 12, the samples of the first round (found 12)" in faults_of(max_n=12)
    assert "generate.adaptive.fails: must be >= 1 (found 0)" in faults_of(max_n=32, fails=0, limits=limits)
    unlike = faults_of(max_n=32, limits={"allow_portable": True, "timeout_s": 3.0})
    assert "generate.adaptive.limits: must be the same as annotate (found timeout_s 3.0 and 10.0)" in unlike
    text = (ROOT / "presets/starter.yaml").read_text()
    text = text.replace(
        "  n: 12 ", "  adaptive: {max_n: 32, limits: &limits {timeout_s: 7, allow_portable: true}}\n  n: 12 "
    )
    start, end = text.index("annotate:"), text.index("rewards:")
    (tmp_path / "params.yaml").write_text(f"{text[:start]}annotate: *limits\n\n{text[end:]}")
    params = load_params(tmp_path / "params.yaml")
    assert params.annotate == params.generate.adaptive.limits == AnnotateParams(timeout_s=7, allow_portable=True)
    raw = read_yaml(tmp_path / "params.yaml")
    raw["dataset"]["name"] = "completion"
    with pytest.raises(ConfigError, match=r"generate\.adaptive: completion has no tests"):
        parse_params(raw, "params.yaml")


def test_adaptive_sampling_without_anyone_who_decides_is_no_plain_sampling(tiny_model: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="go_on is missing"):
        sample(tiny_model, problems(1), PARAMS, seed=0, greedy=False, work=tmp_path, workers=1, label="t")


def row(index: int, code: str, passed: bool | None, finish: str = "eos", round_: int | None = 0) -> Annotated:
    from greenlit.program_metrics import program_metrics

    return Annotated(
        task_id="t/0", candidate_idx=index, text=code, code=code, solution=code, tokens=3, finish_reason=finish,
        seed=0, prompt_hash="h", model="m", round=round_, passed=passed, passed_hidden=None, passed_all=passed,
        verdict={True: "passed", False: "failed", None: "infra"}[passed], tests_passed=int(bool(passed)),
        tests_total=1, metrics=program_metrics(code, 3),
    )  # fmt: skip


CODES = ["def f(x): return x + 1", "def f(y): return y + 1", "def f(x): return 2", "x = (", "", "def f(x): pass"]


@given(
    st.lists(
        st.tuples(st.sampled_from(CODES), st.sampled_from([True, False, None]), st.sampled_from(["eos", "length"])),
        max_size=8,
    ),
    st.integers(1, 3),
    st.integers(1, 3),
)
def test_enough_is_what_the_pairs_find(found: list[tuple], passes: int, fails: int) -> None:
    rows = [row(index, *one) for index, one in enumerate(found)]
    wanted = ADAPTIVE.model_copy(update={"passes": passes, "fails": fails})
    passing, failing = ranked(rows)
    expected = len(passing) >= passes and len(failing) >= fails
    assert enough(wanted, [(one, one.passed) for one in rows]) == expected


def hard_and_easy() -> list[list[Annotated]]:
    """A problem that passes in half of its first round, and one that needed all rounds for its first passes."""
    easy = [row(index, f"def f(x): return x + {index}", index < 2) for index in range(4)]
    hard = [
        row(index, f"def f(x): return x + {index}", index > 11, round_=round_of(PARAMS, index)) for index in range(14)
    ]
    return [easy, hard]


def test_figures_of_the_train_split_are_of_the_first_round_and_say_so(tmp_path: Path) -> None:
    source = tmp_path / "x"
    source.write_text("")
    counts, sampled = Counts(), RoundCounts(PARAMS)
    problem = problems(1)[0]
    for rows in hard_and_easy():
        counts.add(rows, list(preference_pairs(problem, "p", rows, 4, "")))
        sampled.add(rows)
    told = {**manifest(counts, {}, {"x": source}, "portable"), **sampled.figures()}
    assert told["train_pass@k"]["1"] == pytest.approx((2 / 4 + 0 / 4) / 2)
    assert set(told["train_pass@k"]) == {"1", "2", "4"}
    assert (told["problems_none_passes"], told["candidates"], told["problems_with_pairs"]) == (1, 18, 2)
    assert told["adaptive"] == {
        "n": 4, "max_n": 14, "round": 4, "passes": 2, "fails": 2, "rounds": 4, "samples": {"4": 1, "14": 1},
        "stopped": {"enough": 2, "max_n": 0, "other_verdicts": 0}, "saved": 10,
        "of_the_first_round": ["train_pass@k", "problems_all_pass", "problems_none_passes", "diversity"],
    }  # fmt: skip
    assert set(told["adaptive"]["of_the_first_round"]) <= set(told)
    best = n_best(problem, "p", hard_and_easy()[1], 3, 5)
    assert [one.passed for one in best.best_list] == [True, True, False, False, False, False, False]
    assert (best.num_pass, best.num_uniq, best.num_fail, best.fail_uniq) == (0, 0, 4, 4)


def test_a_problem_that_was_done_by_other_verdicts_is_counted_and_told() -> None:
    sampled = RoundCounts(PARAMS)
    sampled.add([row(index, f"def f(x): return {index}", None) for index in range(4)])
    assert sampled.figures()["adaptive"]["stopped"]["other_verdicts"] == 1
    assert "warning: 1 problems were done while they were sampled" in sampled.told()
    assert RoundCounts(PLAIN).figures() == {}
    assert RoundCounts(PLAIN).told() == ""


@given(st.integers(0, 50))
def test_a_placebo_keeps_the_pass_rate_of_every_round(seed: int) -> None:
    _, hard = hard_and_easy()
    dealt = shuffle_verdicts(hard, seed)
    assert [one.solution for one in dealt] == [one.solution for one in hard]
    for round_ in range(4):
        rate = [sum(bool(one.passed) for one in rows if one.round == round_) for rows in (dealt, hard)]
        assert rate[0] == rate[1]
