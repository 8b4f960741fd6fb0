"""`greenlit prefer` as a real process: keys from a pipe and from a terminal, Ctrl-C, kill, going on, importing."""

import json
import os
import pty
import select
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from faults import DATA, RIGHT, RL, WRONG, environment, lines, stage, told, write_candidates

from greenlit.errors import DataError, MismatchError
from greenlit.jsonl import read_rows
from greenlit.pairs.groups import by_problem
from greenlit.preferences.adding import HumanFile
from greenlit.preferences.importing import import_rows
from greenlit.preferences.questions import PER_PROBLEM, key_of, questions
from greenlit.preferences.records import Preference
from greenlit.preferences.terminal import printable
from greenlit.problems.files import read_problems
from greenlit.problems.prompts import prompt_hash, render
from greenlit.program_metrics import program_metrics
from greenlit.types import Annotated, AssertTest, Pair, Problem

COMMAND = [sys.executable, "-m", "greenlit.cli", "prefer"]
FILE = Path("human/file/preferences.jsonl")
PATIENCE_S = 60


def prefer(project: Path, keys: str, *arguments: str) -> Any:
    """The command with keys from a pipe."""
    return subprocess.run(
        [*COMMAND, *arguments], cwd=project, env=environment(COLUMNS="100"), input=keys, capture_output=True, text=True,
        timeout=PATIENCE_S, check=False,
    )  # fmt: skip


def answers(project: Path) -> list[Preference]:
    return list(read_rows(project / FILE, Preference)) if (project / FILE).exists() else []


def program(idx: int, code: str, task_id: str = "p", **more: Any) -> Annotated:
    fields = {
        "task_id": task_id, "candidate_idx": idx, "text": code, "code": code, "solution": code, "tokens": len(code),
        "finish_reason": "eos", "seed": 0, "prompt_hash": prompt_hash(render(PROBLEM, False)), "model": "m",
        "passed": True, "passed_hidden": None, "passed_all": True, "verdict": "passed", "tests_passed": 1,
        "tests_total": 1, "metrics": program_metrics(code, len(code)),
    }  # fmt: skip
    return Annotated(**{**fields, **more})


PROBLEM = Problem(task_id="p", prompt="Add.", tests=[AssertTest(code="assert f(1) == 2")])
MANY = [program(n, f"def f(x):\n    return x + {n}\n") for n in range(9)]


def test_answers_are_pairs_of_the_candidates_and_skips_are_not(project: Path) -> None:
    done = prefer(project, "1\n0\n2\n")
    assert done.returncode == 0, done.stderr
    assert done.stdout == ""
    assert "human/file/preferences.jsonl: 2 added; 0 questions left" in done.stderr
    first, second = answers(project)
    annotated = read_rows(project / DATA / "train/candidates_annotated.jsonl", Annotated)
    candidates = {(row.task_id, row.text) for row in annotated}
    for row in (first, second):
        assert {(row.task_id, row.chosen), (row.task_id, row.rejected)} <= candidates
    assert [row.left for row in (first, second)] == ["chosen", "rejected"]
    assert done.stderr.index(first.chosen.splitlines()[1]) < done.stderr.index(first.rejected.splitlines()[1])
    assert stage(project, "build").returncode == 0
    of_people = [pair for pair in read_rows(project / RL / "pairs.jsonl", Pair) if pair.reason == "human"]
    assert [(pair.prompt, pair.chosen) for pair in of_people] == [
        (row.prompt, f"{row.chosen}<eos>") for row in (first, second)
    ]


def test_it_goes_on_where_it_stopped(project: Path) -> None:
    whole = prefer(project, "111").stderr
    (project / FILE).unlink()
    assert "1 added; 2 questions left" in prefer(project, "1q2").stderr
    assert "1 added; 1 questions left" in prefer(project, "1").stderr  # the input ends
    assert "0 added; 0 questions left" in prefer(project, "0").stderr
    assert "0 added; 0 questions left" in prefer(project, "1").stderr
    shown = [word for word in whole.split() if word.startswith("add-")]
    assert [row.task_id for row in answers(project)] == shown[:2]


def test_verdicts_are_shown_to_who_asks_only(project: Path) -> None:
    assert "tests)" not in prefer(project, "q").stderr
    assert "failed (0 of 4 tests)" in prefer(project, "q", "--verdicts").stderr


def test_keys_of_no_meaning_change_nothing(project: Path) -> None:
    assert "0 added; 3 questions left" in prefer(project, "x3\n\n9Q \n").stderr
    assert not (project / "human").exists()


@contextmanager
def in_a_terminal(project: Path) -> Iterator[tuple[subprocess.Popen, int]]:
    """The command with a terminal of its own for stdin and stderr."""
    own, theirs = pty.openpty()
    process = subprocess.Popen(
        COMMAND, cwd=project, env=environment(COLUMNS="100", TERM="xterm"), stdin=theirs, stdout=theirs, stderr=theirs,
        start_new_session=True,
    )  # fmt: skip
    os.close(theirs)
    try:
        yield process, own
    finally:
        process.kill()
        process.wait()
        os.close(own)


def read_until(terminal: int, words: str) -> str:
    """What the terminal shows up to these words."""
    shown, until = "", time.monotonic() + PATIENCE_S
    while words not in shown:
        assert time.monotonic() < until, shown
        if select.select([terminal], [], [], 0.2)[0]:
            try:
                shown += os.read(terminal, 65536).decode(errors="replace")
            except OSError:  # Linux, when the other side has gone
                break
    return shown


def press(terminal: int, key: bytes) -> None:
    os.write(terminal, key)


def test_one_key_in_a_terminal_is_an_answer_and_ctrl_c_loses_none(project: Path) -> None:
    with in_a_terminal(project) as (process, terminal):
        read_until(terminal, "q quit")
        press(terminal, b"2")
        read_until(terminal, "q quit")
        assert len(answers(project)) == 1, "kept before the next question"
        press(terminal, b"\x03")
        assert "1 added; 2 questions left" in read_until(terminal, "questions left")
        assert process.wait(PATIENCE_S) == 130
    assert [row.left for row in answers(project)] == ["rejected"]


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGKILL, -9)])
def test_a_kill_loses_no_answer(project: Path, number: int, code: int) -> None:
    with in_a_terminal(project) as (process, terminal):
        read_until(terminal, "q quit")
        press(terminal, b"1")
        read_until(terminal, "q quit")
        process.send_signal(number)
        assert process.wait(PATIENCE_S) == code
    assert len(answers(project)) == 1
    assert "1 added; 1 questions left" in prefer(project, "1q").stderr


def test_two_sessions_at_once_are_refused(project: Path) -> None:
    with in_a_terminal(project) as (_, terminal):
        read_until(terminal, "q quit")
        told(prefer(project, "1"), 75, "greenlit prefer file is at work here already")


def test_a_line_written_by_hand_without_its_end_is_kept(project: Path) -> None:
    (project / FILE).parent.mkdir(parents=True)
    (project / FILE).write_text('{"prompt": "p", "chosen": "a", "rejected": "b"}')
    prefer(project, "1q")
    assert [row.prompt == "p" for row in answers(project)] == [True, False]
    (project / FILE).write_text('{"prompt": "p", "chosen": "a", "rejec')
    told(prefer(project, "1q"), 2, "human/file/preferences.jsonl:1: invalid JSON")
    assert (project / FILE).read_text().endswith("rejec"), "not ours to cut"


def test_candidates_of_another_run_are_told(project: Path) -> None:
    problems = project / DATA / "train/problems.jsonl"
    problems.write_text(problems.read_text().replace("Add ", "Sum "))
    told(prefer(project, "1"), 2, "its candidates were sampled with another prompt", "hint: dvc repro annotate")
    (project / DATA / "train/candidates_annotated.jsonl").unlink()
    told(prefer(project, "1"), 2, "candidates_annotated.jsonl: no such file", "hint: run the stage that writes it")


def test_an_import_is_checked_whole_and_adds_what_is_new(project: Path) -> None:
    rows = [
        {"prompt": "p", "chosen": "a", "rejected": "b", "by": "ann"},
        {"task_id": "add-1", "completion": RIGHT.replace("{n}", "1")},
    ]
    (project / "theirs.jsonl").write_text(lines([*rows, rows[0]]))
    done = prefer(project, "", "--import", "theirs.jsonl")
    assert done.returncode == 0, done.stderr
    assert "human/file/preferences.jsonl: 1 added, 1 were there already" in done.stderr
    assert "human/file/demonstrations.jsonl: 1 added\n" in done.stderr
    assert [json.loads(line) for line in (project / FILE).read_text().splitlines()] == rows[:1]
    done = prefer(project, "", "--import", "theirs.jsonl")
    assert "preferences.jsonl: 0 added, 2 were there already" in done.stderr
    (project / "theirs.jsonl").write_text(
        lines([{"prompt": "q", "chosen": "a", "rejected": "b"}, {"task_id": "add-5"}])
    )
    told(prefer(project, "", "--import", "theirs.jsonl"), 2, "theirs.jsonl:2: must be a preference or a demonstration")
    assert len(answers(project)) == 1


BAD_IMPORTS = {
    "a test problem": (lines([{"task_id": "add-5", "completion": "x"}]), "theirs.jsonl:1: task_id: 'add-5' is a prob"),
    "both kinds": (
        lines([{"task_id": "add-1", "chosen": "a", "rejected": "b", "completion": "c"}]),
        "theirs.jsonl:1: must be a preference or a demonstration (found the keys task_id, chosen, rejected, compl",
    ),
    "no rejected": (lines([{"task_id": "add-1", "chosen": "a"}]), "theirs.jsonl:1: rejected: field required"),
    "empty": ("\n", "theirs.jsonl: no rows in it"),
    "not JSON": ("[1]\n", "theirs.jsonl:1: must be a JSON object (found list)"),
}


@pytest.mark.parametrize("fault", BAD_IMPORTS)
def test_a_bad_import_adds_nothing(project: Path, fault: str) -> None:
    content, words = BAD_IMPORTS[fault]
    (project / "theirs.jsonl").write_text(content)
    told(prefer(project, "", "--import", "theirs.jsonl"), 2, words)
    assert not (project / "human").exists()


def test_an_import_before_prepare_is_checked_by_build(project: Path) -> None:
    (project / "theirs.jsonl").write_text(lines([{"task_id": "add-5", "chosen": "a", "rejected": "b"}]))
    done = prefer(project, "", "--import", "theirs.jsonl", "--dataset", "other")
    assert "no problems of other here yet: `build` will check the rest" in done.stderr
    assert len(list(read_rows(project / "human/other/preferences.jsonl", Preference))) == 1


def test_questions_are_drawn_by_seed_unlike_and_one_per_problem_first() -> None:
    others = [program(n, f"def f(x):\n    return x * {n}\n", "q") for n in range(3)]
    twins = [program(20 + n, f"def f(y{n}):\n    return y{n}\n") for n in range(3)]
    cut_off = [program(30, "def f(x):\n    return 77\n", finish_reason="length"), program(31, "")]
    groups = [(PROBLEM, [*MANY, *twins, *cut_off]), (PROBLEM.model_copy(update={"task_id": "q"}), others)]
    asked = list(questions(groups, 0))
    assert len({question.key for question in asked}) == len(asked) == PER_PROBLEM * (PER_PROBLEM - 1) // 2 + 3
    assert [question.problem.task_id for question in asked[:6]] in (["p", "q"] * 3, ["q", "p"] * 3)
    shown = [side for question in asked for side in (question.left, question.right)]
    assert len({row.solution for row in shown if row.task_id == "p"}) == PER_PROBLEM
    assert not {row.candidate_idx for row in shown} & {21, 22, 30, 31}
    assert [question.key for question in questions(groups, 0)] == [question.key for question in asked]
    assert [question.key for question in questions(groups, 1)] != [question.key for question in asked]
    done = {key_of(question.answer(left_is_better=False)) for question in asked[:4]}
    assert [question.key for question in questions(groups, 0, done)] == [question.key for question in asked[4:]]


def test_either_side_is_as_likely() -> None:
    sides = [question.left.candidate_idx < question.right.candidate_idx for seed in range(100) for question in
             questions([(PROBLEM, MANY)], seed)]  # fmt: skip
    assert 600 < sum(sides) < 900  # of 1500, standard deviation 19


def test_a_chat_models_answers_are_messages() -> None:
    rows = [row.model_copy(update={"prompt_hash": prompt_hash(render(PROBLEM, True))}) for row in MANY[:2]]
    question = next(questions([(PROBLEM, rows)], 0))
    answer = question.answer(left_is_better=True)
    assert answer.prompt[0].role == "user"
    assert answer.chosen[0].content == question.left.text
    assert key_of(answer) == question.key
    other = [row.model_copy(update={"prompt_hash": "x"}) for row in rows]
    with pytest.raises(MismatchError, match="p: its candidates were sampled with another prompt"):
        next(questions([(PROBLEM, other)], 0)).answer(left_is_better=True)


def test_what_a_model_wrote_does_not_steer_the_terminal() -> None:
    assert printable("a\x1b[2J\tb\nc\x07\u202e") == "a\\x1b[2J\tb\nc\\x07\\u202e"


def test_rows_that_cannot_be_written_leave_the_file_as_it_was(tmp_path: Path, monkeypatch) -> None:
    row = Preference(prompt="p", chosen="a", rejected="b")
    with HumanFile(tmp_path / "x" / "preferences.jsonl") as file:
        assert not file.path.exists()
        file.add([row])
        before = file.path.read_bytes()
        written = os.write

        def half(handle: int, content: Any) -> int:
            if len(content) > 20:
                return written(handle, content[:20])
            raise OSError(28, "No space left on device")

        monkeypatch.setattr(os, "write", half)
        with pytest.raises(OSError, match="No space left"):
            file.add([row, row])
        assert file.path.read_bytes() == before


def test_an_import_of_nothing_known_is_by_form_only(tmp_path: Path) -> None:
    (tmp_path / "in.jsonl").write_text('{"prompt": "p", "completion": " "}\n')
    with pytest.raises(DataError, match=r"in.jsonl:1: completion: must not be empty"):
        import_rows(tmp_path / "in.jsonl", tmp_path / "human", None)


def test_the_candidates_of_a_project_give_a_question_each(project: Path) -> None:
    write_candidates(project, [WRONG, RIGHT, "def f(x):\n    return {n} + x\n"])
    assert stage(project, "annotate").returncode == 0
    problems = read_problems(project / DATA / "train/problems.jsonl")
    asked = list(questions(by_problem(project / DATA / "train/candidates_annotated.jsonl", problems), 0))
    assert len(asked) == 9
    assert len({question.problem.task_id for question in asked[:3]}) == 3
