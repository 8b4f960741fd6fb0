"""A check of whole programs in the manner of LiveCodeBench, to measure against; written anew, after its description.

LiveCodeBench (https://github.com/LiveCodeBench/LiveCodeBench, lcb_runner/evaluation) is not on PyPI. What costs time
there is the same here: a manager process and a process for each candidate, started from a pool; in it the program,
wrapped in a function behind a long list of imports, called once per input with standard input and output replaced; an
alarm of 6 s per input; outputs compared line by line; dangerous functions taken away beforehand. numpy, which
LiveCodeBench imports in the parent, is left out: that makes this one lighter.

Like the original it is no jail: use it on programs of your own only.
"""

import ast
import builtins
import contextlib
import faulthandler
import io
import os
import shutil
import signal
import subprocess
import sys
from decimal import Decimal, InvalidOperation
from multiprocessing import Manager, Process
from types import ModuleType
from typing import Any
from unittest.mock import mock_open, patch

Tests = list[tuple[str, str]]
LIMIT_S = 6
OPEN = (
    "string", "re", "datetime", "collections", "heapq", "bisect", "copy", "math", "random", "statistics", "itertools",
    "functools", "operator", "io", "sys", "json", "builtins", "typing",
)  # fmt: skip
BY_NAME = OPEN[:-2]
PRELUDE = "".join(
    [
        *(f"from {module} import *\n" for module in OPEN),
        *(f"import {module}\n" for module in BY_NAME),
        "sys.setrecursionlimit(50000)\n",
    ]
)
TAKEN = {
    builtins: ("exit", "quit", "help"),
    os: (
        "kill", "system", "putenv", "remove", "removedirs", "rmdir", "fchdir", "setuid", "fork", "forkpty", "killpg",
        "rename", "renames", "truncate", "replace", "unlink", "fchmod", "fchown", "chmod", "chown", "chroot",
        "lchown", "getcwd", "chdir",
    ),
    shutil: ("rmtree", "move", "chown"),
    subprocess: ("Popen",),
}  # fmt: skip


class OverTimeError(Exception):
    """The alarm went off."""


def check(tests: Tests, code: str) -> bool:
    """Does the program print what it should, for each input?"""
    with Manager() as manager:
        results = manager.list()
        process = Process(target=_run, args=(tests, code, results))
        process.start()
        process.join((LIMIT_S + 1) * len(tests) + 5)
        if process.is_alive():
            process.kill()
        return bool(results) and all(one is True for one in results[0])


def _run(tests: Tests, code: str, results: Any) -> None:
    signal.signal(signal.SIGALRM, _alarm)
    faulthandler.disable()
    for module, names in TAKEN.items():
        for name in names:
            setattr(module, name, None)
    try:
        results.append(_graded(tests, _function_of(code)))
    except Exception:  # the program does not compile, or needs what is not there
        results.append([False])


def _alarm(*_: object) -> None:
    raise OverTimeError


def _function_of(code: str) -> Any:
    """The program as a function; its imports stay outside."""
    tree = ast.parse(code)
    last = tree.body[-1]
    if isinstance(last, ast.If) and ast.unparse(last.test) == "__name__ == '__main__'":
        tree.body[-1:] = last.body
    imports = [node for node in tree.body if isinstance(node, ast.Import | ast.ImportFrom)]
    rest = [node for node in tree.body if not isinstance(node, ast.Import | ast.ImportFrom)]
    head = ast.parse("def program(): pass").body[0]
    assert isinstance(head, ast.FunctionDef)
    head.body = rest
    text = PRELUDE + "\n".join(map(ast.unparse, [*imports, head]))
    module = ModuleType("program")
    signal.alarm(LIMIT_S)
    try:
        exec(text, module.__dict__)
    finally:
        signal.alarm(0)
    return module.__dict__["program"]


def _graded(tests: Tests, program: Any) -> list[bool]:
    """One result per input, up to the first failure."""
    graded: list[bool] = []
    for given, expected in tests:
        signal.alarm(LIMIT_S)
        try:
            graded.append(_same(_printed(program, given), expected))
        except Exception:  # LiveCodeBench does the same: whatever the program raises is a wrong answer
            graded.append(False)
        finally:
            signal.alarm(0)
        if not graded[-1]:
            break
    return graded


def _printed(program: Any, given: str) -> str:
    """What it prints, with standard input and `open` replaced."""
    lines = iter(given.split("\n"))
    stdin = io.StringIO(given)
    before, sys.stdout = sys.stdout, io.StringIO()
    try:
        with (
            patch("builtins.open", mock_open(read_data=given)),
            patch("sys.stdin", stdin),
            patch("sys.stdin.readline", lambda *_: next(lines)),
            patch("sys.stdin.readlines", lambda *_: given.split("\n")),
            patch("sys.stdin.read", lambda *_: given),
            contextlib.suppress(SystemExit),
        ):
            program()
        return sys.stdout.getvalue()
    finally:
        sys.stdout = before


def _same(printed: str, expected: str) -> bool:
    """Line by line: the same text, or the same numbers."""
    left, right = ([line.strip() for line in text.strip().split("\n")] for text in (printed, expected))
    return len(left) == len(right) and all(
        a == b or _numbers(a) == _numbers(b) for a, b in zip(left, right, strict=True)
    )


def _numbers(line: str) -> Any:
    """Something unlike itself where the line has no numbers only."""
    try:
        return [Decimal(part) for part in line.split()]
    except InvalidOperation:
        return object()
