"""How a process of ours ends: one message, the right exit code, no trace unless asked for, no secret anywhere."""

import errno
import os
import sqlite3
import subprocess
import sys
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path

import pytest
from faults import environment, told

from greenlit.errors import ConfigError, DataError, GreenlitError, MismatchError, SandboxError, WorldError
from greenlit.stage.entry import EXIT_CODE_FILE, TRACE
from greenlit.stage.faults import as_known


def system(number: int, *names: str | None) -> OSError:
    return OSError(number, os.strerror(number), *names)


@pytest.mark.parametrize(
    ("fault", "kind", "words"),
    [
        (system(errno.ENOSPC, "a.jsonl"), WorldError, "a.jsonl: the disk is full"),
        (system(errno.ENOSPC, "from", None, "to"), WorldError, "to: the disk is full"),
        (system(errno.EDQUOT), WorldError, "the disk is full"),
        (sqlite3.OperationalError("database or disk is full"), WorldError, "the disk is full"),
        (RuntimeError("Error while serializing: I/O error: No space left on device (os error 28)"), WorldError, "full"),
        (system(errno.EROFS, "a"), ConfigError, "a: no right to do that (Read-only file system)"),
        (system(errno.EACCES, "a"), ConfigError, "a: no right to do that (Permission denied)"),
        (sqlite3.OperationalError("attempt to write a readonly database"), ConfigError, "no right to do that"),
        (sqlite3.OperationalError("database is locked"), WorldError, "another process holds a database"),
        (system(errno.ENOENT, "a"), DataError, "a: no such file"),
        (system(errno.EISDIR, "a"), DataError, "a: cannot be used (Is a directory)"),
        (system(errno.ENOTDIR, "a/b"), DataError, "a/b: cannot be used (Not a directory)"),
        (system(errno.EEXIST, "a"), DataError, "a: cannot be used (File exists)"),
        (system(errno.ENAMETOOLONG, "a"), DataError, "a: cannot be used (File name too long)"),
        (system(errno.EMFILE), WorldError, "the system refuses (Too many open files)"),
        (system(errno.ENOMEM), WorldError, "not enough memory (Cannot allocate memory)"),
        (system(errno.EIO, "a"), WorldError, "a: the disk fails (Input/output error)"),
        (MemoryError(), WorldError, "not enough memory (MemoryError)"),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried"), WorldError, "not enough memory"),
        (RuntimeError("CUDA out of memory. Tried to allocate 20 GiB"), WorldError, "not enough memory"),
        (RuntimeError("std::bad_alloc"), WorldError, "not enough memory"),
        (BrokenProcessPool("A process ended abruptly"), WorldError, "a process of ours died"),
        (ConnectionRefusedError(errno.ECONNREFUSED, "Connection refused"), WorldError, "no connection"),
        (TimeoutError("timed out"), WorldError, "no connection (timed out)"),
    ],
)
def test_what_the_system_says_becomes_one_of_our_errors(fault: Exception, kind: type, words: str) -> None:
    known = as_known(fault)
    assert type(known) is kind
    assert words in str(known)
    assert known.hint


@pytest.mark.parametrize("fault", [KeyError("x"), RecursionError(), FileNotFoundError("gone"), ValueError()])
def test_what_nobody_foresaw_is_not_guessed_at(fault: Exception) -> None:
    assert as_known(fault) is None


def test_our_errors_stay_and_decide_the_exit_code() -> None:
    codes = {GreenlitError: 1, ConfigError: 2, DataError: 2, MismatchError: 2, WorldError: 75, SandboxError: 75}
    for kind, code in codes.items():
        error = kind("what", hint="do")
        assert as_known(error) is error
        assert (str(error), error.exit_code) == ("what\nhint: do", code)


def process(folder: Path, code: str, *arguments: str, run: str = "exit_cleanly(main)", **variables: str):
    """A process of ours whose main does that."""
    script = folder / "work.py"
    body = "\n    ".join(code.splitlines())
    script.write_text(
        "from greenlit.stage.entry import exit_cleanly, run_stage\nfrom greenlit.errors import *\n"
        f"def main():\n    {body}\n{run}\n"
    )
    command = [sys.executable, str(script), *arguments]
    return subprocess.run(
        command, cwd=folder, env=environment(**variables), capture_output=True, text=True, timeout=100, check=False
    )


def test_a_fault_nobody_foresaw_is_one_line_and_its_trace_is_kept(tmp_path: Path) -> None:
    done = process(tmp_path, "raise KeyError('hunter22')", MY_TOKEN="hunter22")
    told(
        done,
        1,
        "error: KeyError: '***' (at work.py:4)",
        f"hint: a fault of Greenlit or of a library; its trace lies in {TRACE}",
    )
    trace = (tmp_path / TRACE).read_text()
    assert "Traceback" in trace
    assert "hunter22" not in trace + done.stderr


@pytest.mark.parametrize(("arguments", "variables"), [(["--debug"], {}), ([], {"GREENLIT_DEBUG": "1"})])
def test_the_trace_is_shown_when_asked_for(tmp_path: Path, arguments: list[str], variables: dict[str, str]) -> None:
    code = "import sys\nassert sys.argv[1:] == []\nraise DataError('x.jsonl:1: bad', hint='mend it')"
    done = process(tmp_path, code, *arguments, run="run_stage(main)", **variables)
    assert done.returncode == 2
    assert "Traceback" in done.stderr
    assert done.stderr.endswith("error: x.jsonl:1: bad\nhint: mend it\n")
    without = process(tmp_path, code, run="run_stage(main)")
    assert (without.returncode, without.stderr) == (2, "error: x.jsonl:1: bad\nhint: mend it\n")


def test_a_trace_that_cannot_be_kept_is_no_second_fault(tmp_path: Path) -> None:
    (tmp_path / ".work").write_text("in the way")
    told(process(tmp_path, "raise KeyError('x')"), 1, "no trace could be kept: File exists", "with --debug")


def test_the_exit_code_is_left_for_a_caller_that_cannot_see_it(tmp_path: Path) -> None:
    left = tmp_path / "left"
    process(tmp_path, "raise WorldError('later')", **{EXIT_CODE_FILE: str(left)})
    assert left.read_text() == "75"
    done = process(tmp_path, "raise WorldError('later')", **{EXIT_CODE_FILE: str(tmp_path / "gone" / "left")})
    told(done, 75, "error: later")


def test_a_reader_that_leaves_is_no_fault(tmp_path: Path) -> None:
    (tmp_path / "work.py").write_text(
        "from greenlit.stage.entry import exit_cleanly\n"
        "def main():\n    for number in range(10**6): print(number)\nexit_cleanly(main)\n"
    )
    script = f"{sys.executable} work.py | head -1; exit ${{PIPESTATUS[0]}}"
    done = subprocess.run(
        ["bash", "-c", script], cwd=tmp_path, env=environment(), capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout, done.stderr) == (141, "0\n", "")


def test_a_tensor_that_does_not_fit_is_told_as_memory(tmp_path: Path) -> None:
    told(process(tmp_path, "import torch\ntorch.empty(2**50)"), 75, "error: not enough memory (", "lower batch_size")


HOLD = "print('in', flush=True)\ninput()"


@pytest.mark.parametrize(
    ("first", "second", "code"),
    [
        (["--method", "dpo"], ["--method", "dpo"], 75),
        (["--method", "dpo"], ["--method=dpo"], 75),
        (["--method", "dpo"], ["--method", "sft"], 0),
        ([], [], 75),
    ],
)
def test_one_stage_and_method_runs_once_at_a_time(tmp_path: Path, first: list, second: list, code: int) -> None:
    process(
        tmp_path, HOLD, run="run_stage(main, '--method')" if first else "run_stage(main)"
    )  # writes work.py; without input it ends at once
    held = subprocess.Popen(
        [sys.executable, "work.py", *first], cwd=tmp_path, env=environment(), text=True,
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip
    try:
        assert held.stdout.readline() == "in\n"
        other = subprocess.run(
            [sys.executable, "work.py", *second], cwd=tmp_path, env=environment(), input="\n", capture_output=True,
            text=True, timeout=60, check=False,
        )  # fmt: skip
        assert other.returncode == code, other.stderr
        if code:
            told(other, 75, f"is at work here already (process {held.pid})", "hint: wait for it, or end it")
        held.communicate("\n", timeout=60)
    finally:
        held.kill()
    assert held.returncode == 0


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (["fetch", "--help"], 0, "Writes  assets/raw/<ds>/"),
        (["fetch", "--what"], 2, "unrecognized arguments: --what"),
        (["fetch", "--method", "dpo"], 2, "unrecognized arguments: --method dpo"),
        (["evaluate"], 2, "required: --method"),
        (["evaluate", "--meth", "dpo"], 2, "required: --method"),
    ],
)
def test_a_word_that_a_stage_does_not_know_runs_nothing(tmp_path: Path, words: list, code: int, said: str) -> None:
    command = [sys.executable, "-m", f"tasks.{words[0]}", *words[1:]]
    done = subprocess.run(command, cwd=tmp_path, env=environment(), capture_output=True, text=True)
    assert (done.returncode, list(tmp_path.iterdir())) == (code, [])
    assert said in done.stdout + done.stderr
