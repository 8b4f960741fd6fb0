"""`greenlit chat` through pipes and a terminal: what is typed, written, run, rated and saved."""

import fcntl
import io
import json
import os
import pty
import select
import signal
import subprocess
import sys
import termios
import time
from pathlib import Path

import httpx
import pytest
from faults import environment as users_environment
from generation_server import written
from typer.testing import CliRunner

from greenlit.chat import command
from greenlit.chat.command import start
from greenlit.chat.problems import name_of, problem_of, save_problem
from greenlit.chat.writing import LocalWriter, _events
from greenlit.cli import app
from greenlit.config import GenerateParams, SamplingParams
from greenlit.errors import ConfigError, DataError
from greenlit.generation.request import Completion
from greenlit.generation.sample import sample
from greenlit.problems.files import read_problems
from greenlit.problems.own import load_own

RIGHT, WRONG = "def inc(x):\n    return x + 1\n", "def inc(x):\n    return x\n"


class Scripted:
    """A model that writes what it is told to, piece by piece."""

    def __init__(self, texts: list[str]) -> None:
        self.texts = texts
        self.asked: list[tuple[int, str]] = []

    def prompt(self, problem):
        return f"{problem.prompt}|{problem.tests[0].role}"

    def write(self, task_id, place, seed, prompt, show):
        self.asked.append((place, prompt))
        text = self.texts[(len(self.asked) - 1) % len(self.texts)]
        if text == "^C":
            show("def in")
            raise KeyboardInterrupt
        for at in range(0, len(text), 5):
            show(text[at : at + 5])
        return Completion(task_id, place, text, 7, True, None)


def session(monkeypatch, typed: str, texts: list[str], n: int = 2, temperature: float = 0.8) -> Scripted:
    writer = Scripted(texts)
    monkeypatch.setattr(command, "writer_of", lambda *_: writer)
    monkeypatch.setattr(sys, "stdin", io.StringIO(typed))
    sampling = {"n": n, "temperature": temperature, "top_p": 1.0, "max_new_tokens": 32}
    assert start("m", "transformers", 0, sampling, allow_portable=True) == 0
    return writer


@pytest.fixture
def here(tmp_path: Path, monkeypatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


TYPED = "Add one to a number.\n\nassert inc(1) == 2\nassert inc(5) == 6\n\n"


def test_programs_are_shown_run_and_rated(here, monkeypatch, capsys) -> None:
    writer = session(monkeypatch, TYPED, [WRONG, RIGHT])
    out = capsys.readouterr().out
    assert out == (
        f"--- program 1 of 2\n{WRONG}=> failed: 0 of 2 tests; test 0: assert inc(1) == 2: got 1\n"
        "   reward 0.000 (tests 0.000)\n"
        f"--- program 2 of 2\n{RIGHT}=> passed: 2 of 2 tests\n   reward 1.000 (tests 1.000)\n"
    )
    assert writer.asked == [(0, "Add one to a number.|shown"), (1, "Add one to a number.|shown")]


def test_a_problem_is_saved_once_as_one_of_your_own(here, monkeypatch, capsys) -> None:
    session(monkeypatch, f"{TYPED}/save\n/save own/p.jsonl\n/save\n", [WRONG, RIGHT])
    said = capsys.readouterr().err
    assert "my_problems.jsonl: added add-one-to-a-" in said
    assert "stands there already" in said
    for path in (here / "my_problems.jsonl", here / "own/p.jsonl"):
        (problem,) = load_own(path)
        assert (problem.prompt, problem.entry_point) == ("Add one to a number.", "inc")
        assert problem.reference == [RIGHT]
        assert [test.code for test in problem.tests] == ["assert inc(1) == 2", "assert inc(5) == 6"]
    assert read_problems(here / "my_problems.jsonl")


def test_without_tests_a_program_only_has_to_run_and_is_not_saved(here, monkeypatch, capsys) -> None:
    session(monkeypatch, "Add one.\n\n\n/save\n", [RIGHT, "1 / 0\n"])
    out, err = capsys.readouterr()
    assert "=> it runs (there are no tests)\n" in out
    assert "ZeroDivisionError" in out
    assert "reward" not in out
    assert "nothing to save" in err
    assert not list(here.glob("*.jsonl"))


def test_again_samples_others_and_help_and_quit_are_commands(here, monkeypatch, capsys) -> None:
    writer = session(monkeypatch, f"/again\n/help\n{TYPED}/again\n/quit\nnot asked\n\n", [RIGHT])
    assert [place for place, _ in writer.asked] == [0, 1, 2, 3]
    said = capsys.readouterr().err
    assert "there is no problem yet" in said
    assert "/save [FILE]" in said


def test_temperature_zero_is_one_greedy_program(here, monkeypatch) -> None:
    assert session(monkeypatch, TYPED, [RIGHT], temperature=0.0).asked == [(-1, "Add one to a number.|shown")]


def test_ctrl_c_stops_a_program_and_the_session_goes_on(here, monkeypatch, capsys) -> None:
    before = signal.getsignal(signal.SIGINT)
    session(monkeypatch, TYPED * 2, ["^C", RIGHT, RIGHT])
    out, err = capsys.readouterr()
    assert "stopped" in err
    assert out.count("=> passed") == 2
    assert signal.getsignal(signal.SIGINT) is before


def test_a_test_that_is_none_is_told_and_the_session_goes_on(here, monkeypatch, capsys) -> None:
    session(monkeypatch, f"Add one.\n\nimport os\n\n{TYPED}", [RIGHT])
    out, err = capsys.readouterr()
    assert "error: tests: must be asserts, one a line (found import os)" in err
    assert out.count("=> passed") == 2


def test_what_a_model_writes_does_not_steer_the_terminal(here, monkeypatch, capsys) -> None:
    session(monkeypatch, "Draw.\n\n\n", ["print('\x1b[2J')\n"], n=1)
    assert "\x1b" not in capsys.readouterr().out


@pytest.mark.parametrize(
    ("tests", "name"),
    [("assert inc(1) == 2", "inc"), ("assert sorted(f(1)) == [1]", "f"), ("assert x == 1", None), ("", None)],
)
def test_the_function_is_the_one_that_the_first_test_calls(tests: str, name: str | None) -> None:
    assert problem_of("Do.", tests).problem.entry_point == name


def test_names_are_of_words_and_tell_problems_apart() -> None:
    assert name_of("Füge 1 hinzu, bitte!", ()).startswith("f-ge-1-hinzu-")
    assert name_of("Add.", ("assert f()",)) != name_of("Add.", ("assert g()",))


def test_a_file_of_something_else_is_not_added_to(here) -> None:
    (here / "p.jsonl").write_text("not json\n")
    with pytest.raises(DataError, match=r"p\.jsonl:1: not JSON"):
        save_problem(here / "p.jsonl", problem_of("Do.", "assert f()"), None)
    assert (here / "p.jsonl").read_text() == "not json\n"


def test_what_is_watched_is_what_the_backend_samples(tiny_model: Path, tmp_path: Path) -> None:
    params = GenerateParams(n=2, max_new_tokens=24, temperature=0.9, top_p=0.9)
    problem = problem_of("Add one.", "assert inc(1) == 2").problem
    writer = LocalWriter(tiny_model, params)
    (tmp_path / "w").mkdir()
    rows = sample(tiny_model, [problem], params, seed=3, greedy=True, work=tmp_path / "w", workers=1, label="t")
    for row in rows:
        pieces: list[str] = []
        found = writer.write(problem.task_id, row.candidate_idx, 3, writer.prompt(problem), pieces.append)
        assert "".join(pieces) == found.text == row.text
        assert (found.tokens, found.ended) == (row.tokens, row.finish_reason == "eos")
        assert found.logprob == pytest.approx(row.logprob, abs=2e-3)
        assert len(pieces) > 1


def test_backends_that_show_nothing_are_refused(here, monkeypatch) -> None:
    monkeypatch.setattr(sys, "stdin", io.StringIO(""))
    sampling = {"n": 1, "temperature": 1.0, "top_p": 1.0, "max_new_tokens": 8}
    with pytest.raises(ConfigError, match="--backend vllm: writes many programs at once"):
        start("m", "vllm", 0, sampling, allow_portable=True)
    with pytest.raises(ConfigError, match="--backend: must be transformers or openai"):
        start("m", "gpt", 0, sampling, allow_portable=True)


def test_an_endpoint_is_watched_by_its_events(monkeypatch) -> None:
    from greenlit.chat.writing import EndpointWriter

    seen: list[dict] = []

    def answer(request: httpx.Request) -> httpx.Response:
        body = json.loads(request.content)
        seen.append(body)
        prompt = body["messages"][-1]["content"]
        parts = [written(prompt, body.get("seed"))[start : start + 4] for start in range(0, 12, 4)]
        events = [{"model": "served", "choices": [{"delta": {"content": part}}]} for part in parts]
        events.append({"choices": [{"delta": {}, "finish_reason": "stop"}]})
        lines = ["", ": keep-alive", "data: {broken", *(f"data: {json.dumps(one)}\n" for one in events), "data: [DONE]"]
        return httpx.Response(200, text="\n".join(lines))

    monkeypatch.setenv("GREENLIT_ENDPOINT_URL", "http://h/v1")
    transport = httpx.Client(transport=httpx.MockTransport(answer))
    monkeypatch.setattr(httpx, "stream", transport.stream)
    writer = EndpointWriter("hosted", SamplingParams(backend="openai", max_new_tokens=8))
    prompt = writer.prompt(problem_of("Add one.", "assert inc(1) == 2").problem)
    pieces: list[str] = []
    found = writer.write("t", 0, 0, prompt, pieces.append)
    assert found.text == "".join(pieces) == written(prompt[0]["content"], seen[0]["seed"])
    assert (found.ended, found.served_by, len(pieces)) == (True, "served", 4)
    assert list(_events(iter(["event: x", "data: 3", "data: [DONE]", 'data: {"a": 1}']))) == []


def test_evaluate_interactive_is_chat_with_all_its_options(monkeypatch) -> None:
    asked = []
    monkeypatch.setattr(command, "start", lambda *given: asked.append(given) or 0)
    options = ["--model", "m", "-n", "5", "--temperature", "0.3", "--top-p", "0.7", "--max-new-tokens", "9",
               "--seed", "4", "--backend", "openai", "--allow-portable"]  # fmt: skip
    for given in ([], options):
        for name in (["chat"], ["evaluate", "--interactive"]):
            assert CliRunner().invoke(app, [*name, *given]).exit_code == 0
    assert asked[0] == asked[1] != asked[2] == asked[3]
    assert asked[2] == (
        "m", "openai", 4, {"n": 5, "temperature": 0.3, "top_p": 0.7, "max_new_tokens": 9}, True,
    )  # fmt: skip
    refused = CliRunner().invoke(app, ["evaluate"])
    assert isinstance(refused.exception, ConfigError)
    assert "--interactive" in (refused.exception.hint or "")


@pytest.mark.slow
def test_a_session_in_a_terminal_with_the_starter_model(tiny: Path) -> None:
    """A terminal of its own that can do nothing: a problem, its tests, programs as they are written, what became of
    them, a stop by Ctrl-C, the problem saved, Ctrl-D."""
    parent, child = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "greenlit.cli", "evaluate", "--interactive", "-n", "40", "--max-new-tokens", "64"],
        cwd=tiny, stdin=child, stdout=child, stderr=child, start_new_session=True,
        env=users_environment() | {"TERM": "dumb"},
        preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),  # Ctrl-C reaches who reads from it
    )  # fmt: skip
    os.close(child)
    pieces: list[str] = []

    def until(words: str, seconds: float = 120) -> str:
        end = time.monotonic() + seconds
        while words not in "".join(pieces):
            assert time.monotonic() < end, pieces
            if select.select([parent], [], [], 0.2)[0]:
                pieces.append(os.read(parent, 65536).decode(errors="replace"))
        return "".join(pieces)

    def type_in(text: str) -> None:
        pieces.clear()
        os.write(parent, text.encode())

    try:
        until("problem> ")
        type_in("Return the sum of two numbers.\n\n")
        until("tests (one assert a line, or an empty line)> ")
        type_in("assert add(1, 2) == 3\n\n")
        until("--- program 1 of 40")
        pieces.clear()
        until("=> ")
        assert len(pieces) >= 3  # it is shown while it is written
        screen = until("--- program 3 of 40")
        assert screen.count("=> ") == screen.count("   reward ") == 2
        assert "\x1b" not in screen
        type_in("\x03")
        screen = until("problem> ")
        assert "stopped" in screen
        assert "--- program 40 of 40" not in screen
        type_in("/save\n")
        until("my_problems.jsonl: added return-the-sum-of-")
        type_in("\x04")
        assert process.wait(30) == 0
    finally:
        if process.poll() is None:
            process.kill()
        process.wait()
        os.close(parent)
    assert len(read_problems(tiny / "my_problems.jsonl")) == 1
