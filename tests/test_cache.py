"""The verdict cache: gives back what was put in, under a key that misses whenever a verdict may change."""

import itertools
import multiprocessing
import sqlite3
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from greenlit.config import AnnotateParams
from greenlit.execution import cache as cache_module
from greenlit.execution.cache import VerdictCache, default_path, judged, limits_key, problem_key
from greenlit.execution.judgement import Judgement, TestResult
from greenlit.jsonl import write_rows
from greenlit.types import AssertTest, CallTest, Candidate, Problem
from tasks import annotate

PARAMS = AnnotateParams()
PROBLEM = Problem(task_id="a", entry_point="f", tests=[AssertTest(code="assert f(1) == 2")])
FOUND = Judgement(
    "failed", False, None, False, 1, 2, "test 1: öß\ud800", 0.25, None, "portable",
    (TestResult(0, "shown", True, "passed"), TestResult(1, "hidden", False, "failed", "test 1: öß\ud800")),
)  # fmt: skip
OPEN = replace(FOUND, tests=(TestResult(0, "reward", None, "infra", "the worker died"),))


class Recorder:
    """Stands in for a Judge: answers with the program's own number, remembers what it was asked."""

    level = "portable"
    params = PARAMS

    def __init__(self, ahead: int = 8) -> None:
        self.asked: list[str] = []
        self.ahead = ahead

    def judge_all(self, jobs: Iterable[tuple[Problem, str]]) -> Iterator[Judgement]:
        source = iter(jobs)
        waiting: list[str] = []
        while True:
            fresh = [code for _, code in itertools.islice(source, self.ahead - len(waiting))]
            self.asked += fresh
            waiting += fresh
            if not waiting:
                return
            yield replace(FOUND, error=waiting.pop(0))


def test_a_judgement_comes_back_as_it_was(tmp_path: Path) -> None:
    file = tmp_path / "deep" / "v.sqlite"
    with VerdictCache(file) as cache:
        cache.keep(b"k", FOUND)
        cache.keep(b"open", OPEN)
    with VerdictCache(file) as cache:
        assert cache.find(b"k") == FOUND
        assert cache.find(b"open") is None
        assert (cache.hits, cache.misses) == (1, 1)


def test_the_key_misses_when_a_verdict_may_change() -> None:
    def changed(**update: object) -> bytes:
        return problem_key(PROBLEM.model_copy(update=update))

    same = problem_key(PROBLEM)
    assert problem_key(Problem.model_validate_json(PROBLEM.model_dump_json())) == same
    assert changed(prompt="other", tags=["x"], split="test", difficulty="hard", source="there") == same
    others = [
        changed(tests=[AssertTest(code="assert f(1) == 3")]),
        changed(tests=[*PROBLEM.tests, *PROBLEM.tests]),
        changed(tests=[AssertTest(code="assert f(1) == 2", role="hidden")]),
        changed(tests=[CallTest(input=[1], output=2, checker="float")]),
        changed(tests=[CallTest(input=[1], output=2)]),
        changed(setup="x = 1"), changed(entry_point="g"), changed(reference=["def f(x): return 2"]),
        changed(starter_code="class A: pass"), changed(time_limit_s=3.0), changed(memory_limit_mib=99),
        changed(language="q"), changed(task_id="b"),
    ]  # fmt: skip
    assert len({same, *others}) == 1 + len(others)
    limits = [limits_key(PARAMS.model_copy(update={"cpu_max_s": value}), level) for value in (5, 6) for level in "ab"]
    assert len(set(limits)) == 4
    assert limits_key(PARAMS, "a") == limits_key(PARAMS.model_copy(update={"allow_portable": True}), "a")


def test_another_engine_misses(monkeypatch: pytest.MonkeyPatch) -> None:
    before = limits_key(PARAMS, "portable")
    monkeypatch.setattr(cache_module, "engine_version", lambda: "another")
    assert limits_key(PARAMS, "portable") != before


@given(known=st.lists(st.booleans(), max_size=60), hits_ahead=st.integers(1, 9), ahead=st.integers(1, 9))
def test_order_holds_and_only_what_is_unknown_is_run(
    tmp_path_factory: pytest.TempPathFactory, known: list[bool], hits_ahead: int, ahead: int
) -> None:
    file = tmp_path_factory.mktemp("cache") / "v.sqlite"
    jobs = [(PROBLEM, str(number)) for number in range(len(known))]
    limits = limits_key(PARAMS, "portable")
    with pytest.MonkeyPatch.context() as patch, VerdictCache(file) as cache:
        patch.setattr(cache_module, "HITS_AHEAD", hits_ahead)
        for (problem, code), is_known in zip(jobs, known, strict=True):
            if is_known:
                cache.keep(cache.key(limits, problem, code), replace(FOUND, error=code))
        cache._commit()
        recorder, pulled, done = Recorder(ahead), 0, 0

        def counted() -> Iterator[tuple[Problem, str]]:
            nonlocal pulled
            for job in jobs:
                pulled += 1
                assert pulled - done <= hits_ahead + ahead + 1
                yield job

        for place, found in enumerate(judged(recorder, counted(), cache)):
            assert found.error == str(place)
            done += 1
    assert done == len(jobs)
    assert recorder.asked == [code for (_, code), is_known in zip(jobs, known, strict=True) if not is_known]


def test_it_stays_bounded_and_the_oldest_go_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cache_module, "PER_COMMIT", 4)
    with VerdictCache(tmp_path / "v.sqlite", rows=10) as cache:
        for number in range(100):
            cache.keep(b"%d" % number, FOUND)
            cache.keep(b"%d" % number, FOUND)
    with VerdictCache(tmp_path / "v.sqlite") as cache:
        assert [number for number in range(100) if cache.find(b"%d" % number)] == list(range(90, 100))


@pytest.mark.parametrize("content", [b"no database at all" * 100, b"SQLite format 3\0" + b"\xff" * 5000])
def test_a_broken_file_is_set_aside(tmp_path: Path, content: bytes, capsys: pytest.CaptureFixture) -> None:
    file = tmp_path / "v.sqlite"
    file.write_bytes(content)
    with VerdictCache(file) as cache:
        cache.keep(b"k", FOUND)
    assert "set aside as v.sqlite.broken" in capsys.readouterr().err
    assert (tmp_path / "v.sqlite.broken").read_bytes() == content
    with VerdictCache(file) as cache:
        assert cache.find(b"k") == FOUND


def test_a_file_of_a_later_format_is_set_aside(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    file = sqlite3.connect(tmp_path / "v.sqlite")
    file.execute("PRAGMA user_version = 99")
    file.close()
    VerdictCache(tmp_path / "v.sqlite").close()
    assert "format 99, expected 1" in capsys.readouterr().err


def test_without_a_place_to_write_it_is_done_without(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    (tmp_path / "file").write_text("")
    with VerdictCache(tmp_path / "file" / "v.sqlite") as cache:
        cache.keep(b"k", FOUND)
        assert cache.find(b"k") is None
    assert "going on without the verdict cache" in capsys.readouterr().err


def test_damage_found_on_the_way_is_done_without(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    with VerdictCache(tmp_path / "v.sqlite") as cache:
        cache.keep(b"k", FOUND)
        cache._commit()
        cache._file.execute("DROP TABLE verdicts")
        assert cache.find(b"k") is None
        cache.keep(b"k", FOUND)
    assert capsys.readouterr().err.count("warning") == 1


def test_bytes_that_are_no_judgement_are_a_miss(tmp_path: Path) -> None:
    with VerdictCache(tmp_path / "v.sqlite") as cache:
        for key, content in ((b"1", b"x"), (b"2", cache_module.zlib.compress(b"[1, 2]")), (b"3", "text"), (b"4", None)):
            with cache._file:
                cache._file.execute("INSERT INTO verdicts (key, judgement) VALUES (?, ?)", (key, content))
            assert cache.find(key) is None


def fill(file: Path, start: int) -> None:
    with VerdictCache(file) as cache:
        for number in range(start, start + 500):
            cache.keep(b"%d" % number, FOUND)


def test_several_processes_share_it(tmp_path: Path) -> None:
    file = tmp_path / "v.sqlite"
    context = multiprocessing.get_context("spawn")
    processes = [context.Process(target=fill, args=(file, start)) for start in (0, 250)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    assert [process.exitcode for process in processes] == [0, 0]
    with VerdictCache(file) as cache:
        assert all(cache.find(b"%d" % number) for number in range(750))


def test_annotate_takes_up_what_was_judged_before(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("GREENLIT_CACHE", raising=False)
    monkeypatch.chdir(tmp_path)
    params = AnnotateParams(allow_portable=True)
    codes = ["def f(x): return 2", "def f(x): return 3", "def f("]
    rows = [
        Candidate(
            task_id="a", candidate_idx=place, text=code, code=code, solution=code, tokens=1, finish_reason="eos",
            seed=0, prompt_hash="", model="",
        )
        for place, code in enumerate(codes)
    ]  # fmt: skip
    paths = [tmp_path / name for name in ("problems", "candidates", "annotated", "timings")]
    write_rows(paths[0], [PROBLEM])
    write_rows(paths[1], rows)
    outputs = []
    for _ in range(2):
        annotate.run(params, *paths)
        outputs.append([path.read_bytes() for path in paths])
    assert outputs[0] == outputs[1]  # the measured times too: nothing was run again
    assert b'"verdict":"failed"' in outputs[0][2]


def test_where_it_lies(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("GREENLIT_CACHE", raising=False)
    assert default_path() == Path(".work/verdicts.sqlite")
    monkeypatch.setenv("GREENLIT_CACHE", "elsewhere.sqlite")
    assert default_path() == Path("elsewhere.sqlite")
