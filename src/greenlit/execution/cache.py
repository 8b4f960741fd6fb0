"""Judgements found before, in one SQLite file, so that nothing runs twice: not after a kill, not for a second table.

    key    sha256 of the program, all of the problem that a verdict can depend on, the limits, the sandbox level, the
           Python version and the source of this folder
    value  the judgement as it was found, its measured times included

A judgement with an `infra` test is never kept: another time may find out more. The file is a convenience: a broken one
is set aside, and one that cannot be read or written is done without, each with a warning. Several processes may share
it. It can be trusted as far as the folder it lies in; at the `portable` level a hostile program can write there, as in
every other file of the user.
"""

import hashlib
import json
import os
import platform
import sqlite3
import sys
import time
import weakref
import zlib
from collections import deque
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, suppress
from dataclasses import fields
from functools import cache
from pathlib import Path
from typing import Any

from pydantic_core import to_jsonable_python

from greenlit.config import AnnotateParams
from greenlit.execution.judgement import AnyJudge, Judgement, TestResult
from greenlit.execution.untested import Untested
from greenlit.stage.workspace import WORK, sha256_tree
from greenlit.types import Problem

ENGINE = 1
"""Raise it when verdicts may change without a change of the source in this folder."""
ROWS = 1_000_000
"""Judgements kept; the oldest go first."""
PER_COMMIT, COMMIT_EVERY_S = 1024, 0.1
"""A row costs 55 us committed alone and 24 us in blocks of 64: often enough that a kill loses next to none."""
HITS_AHEAD = 1024
"""Known judgements that may wait behind one that is still being found."""
_NO_PART_OF_A_VERDICT = {"prompt", "answer_format", "split", "difficulty", "source", "tags"}
_FORMAT = 1
_BUSY_S = 30.0


def default_path() -> Path:
    """`GREENLIT_CACHE`, else `.work/verdicts.sqlite` below the current folder."""
    return Path(os.environ.get("GREENLIT_CACHE") or WORK / "verdicts.sqlite")


@cache
def engine_version() -> str:
    """What judges: this folder's source and the Python that runs the programs."""
    source = sha256_tree(Path(__file__).parent)
    return f"{ENGINE}-{platform.python_implementation()}-{platform.python_version()}-{source[:16]}"


def limits_key(params: AnnotateParams, level: str) -> bytes:
    """Hash of everything a verdict depends on besides problem and program."""
    limits = params.model_dump(exclude={"allow_portable"})
    text = json.dumps([engine_version(), level, limits], sort_keys=True)
    return hashlib.sha256(text.encode()).digest()


def problem_key(problem: Problem) -> bytes:
    """Hash of all that a verdict can depend on, keys that Greenlit does not know included."""
    content = to_jsonable_python(problem.model_dump(exclude=_NO_PART_OF_A_VERDICT), inf_nan_mode="constants")
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).digest()


class VerdictCache(AbstractContextManager):
    """The open file. A context manager, for one thread; `hits` and `misses` count what it was asked."""

    def __init__(self, path: Path | None = None, rows: int = ROWS) -> None:
        self.path = path or default_path()
        self.rows = rows
        self.hits = self.misses = 0
        self._problems: dict[int, tuple[weakref.ref[Problem], bytes]] = {}
        self._new: list[tuple[bytes, bytes]] = []
        self._committed = time.monotonic()
        self._file = _opened(self.path)

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Write what is left and close the file."""
        self._commit()
        if self._file is not None:
            self._file.close()
            self._file = None

    def key(self, limits: bytes, problem: Problem, program: str) -> bytes:
        """Key of one candidate; `limits` is a `limits_key`."""
        text = program.encode("utf-8", "surrogatepass")
        return hashlib.sha256(limits + self._problem_key(problem) + text).digest()

    def _problem_key(self, problem: Problem) -> bytes:
        """As `problem_key`, once per object: tests can be megabytes."""
        place = id(problem)
        seen = self._problems.get(place)
        if seen is not None and seen[0]() is problem:
            return seen[1]
        found = problem_key(problem)
        self._problems[place] = (weakref.ref(problem, lambda _: self._problems.pop(place, None)), found)
        return found

    def find(self, key: bytes) -> Judgement | None:
        """The judgement kept under this key."""
        found = None
        if self._file is not None:
            try:
                row = self._file.execute("SELECT judgement FROM verdicts WHERE key = ?", (key,)).fetchone()
                found = None if row is None else _unpacked(row[0])
            except sqlite3.Error as error:
                self._do_without(error)
        self.hits, self.misses = self.hits + (found is not None), self.misses + (found is None)
        return found

    def keep(self, key: bytes, judgement: Judgement) -> None:
        """Remember a judgement, unless it leaves something open that another run may find out."""
        if self._file is None or judgement.verdict == "infra" or any(test.kind == "infra" for test in judgement.tests):
            return
        self._new.append((key, _packed(judgement)))
        if len(self._new) >= PER_COMMIT or time.monotonic() - self._committed > COMMIT_EVERY_S:
            self._commit()

    def _commit(self) -> None:
        new, self._new = self._new, []
        self._committed = time.monotonic()
        if self._file is None or not new:
            return
        try:
            with self._file:
                self._file.executemany("INSERT OR IGNORE INTO verdicts (key, judgement) VALUES (?, ?)", new)
                self._file.execute("DELETE FROM verdicts WHERE id <= (SELECT max(id) FROM verdicts) - ?", (self.rows,))
        except sqlite3.Error as error:
            self._do_without(error)

    def _do_without(self, error: sqlite3.Error) -> None:
        _warn(f"{self.path}: going on without the verdict cache ({error})")
        if self._file is not None:
            with suppress(sqlite3.Error):
                self._file.close()
            self._file = None


def judged(judge: AnyJudge, jobs: Iterable[tuple[Problem, str]], cache: VerdictCache | None) -> Iterator[Judgement]:
    """As `judge.judge_all`, but only what the cache does not know is run; without a cache, everything.

    Of problems without tests nothing is run, and nothing kept.

    The order is that of the jobs. Read ahead is what the judge reads ahead, and at most HITS_AHEAD known ones: at such
    a long run of them the judge is let run empty, which costs nothing while nothing is to be run.
    """
    if cache is None or isinstance(judge, Untested):
        yield from judge.judge_all(jobs)
        return
    source = iter(jobs)
    limits = limits_key(judge.params, judge.level)
    waiting: deque[tuple[bytes, Judgement | None]] = deque()
    hits, more = 0, True

    def unknown() -> Iterator[tuple[Problem, str]]:
        nonlocal hits, more
        while hits < HITS_AHEAD:
            job = next(source, None)
            if job is None:
                more = False
                return
            key = cache.key(limits, *job)
            known = cache.find(key)
            waiting.append((key, known))
            hits += known is not None
            if known is None:
                yield job

    while more or waiting:
        for found in judge.judge_all(unknown()):
            while (known := waiting[0][1]) is not None:
                waiting.popleft()
                hits -= 1
                yield known
            key, _ = waiting.popleft()
            cache.keep(key, found)
            yield found
        while waiting and (known := waiting[0][1]) is not None:
            waiting.popleft()
            hits -= 1
            yield known


_JUDGEMENT = tuple(one.name for one in fields(Judgement) if one.name != "tests")
_TEST = tuple(one.name for one in fields(TestResult))


def _packed(judgement: Judgement) -> bytes:
    own = {name: getattr(judgement, name) for name in _JUDGEMENT}
    tests = [[getattr(test, name) for name in _TEST] for test in judgement.tests]
    return zlib.compress(json.dumps([own, tests]).encode(), level=1)


def _unpacked(content: Any) -> Judgement | None:
    """The judgement; None where the bytes are none, however they came there."""
    try:
        own, tests = json.loads(zlib.decompress(content))
        results = tuple(TestResult(**dict(zip(_TEST, test, strict=True))) for test in tests)
        return Judgement(**own, tests=results)
    except (zlib.error, ValueError, TypeError):
        return None


def _opened(path: Path) -> sqlite3.Connection | None:
    """The file, made where it is missing; a broken one makes room for a new one."""
    for _ in range(2):
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            return _connected(path)
        except (OSError, sqlite3.OperationalError) as error:
            _warn(f"{path}: going on without the verdict cache ({error})")
            return None
        except sqlite3.DatabaseError as error:
            aside = path.with_name(f"{path.name}.broken")
            _warn(f"{path}: no verdict cache ({error}); set aside as {aside.name}")
            with suppress(OSError):
                path.replace(aside)
            for rest in ("-wal", "-shm"):
                with suppress(OSError):
                    path.with_name(path.name + rest).unlink()
    return None


def _connected(path: Path) -> sqlite3.Connection:
    file = sqlite3.connect(path, timeout=_BUSY_S)
    try:
        file.execute("PRAGMA journal_mode = WAL")
        file.execute("PRAGMA synchronous = NORMAL")
        found = file.execute("PRAGMA user_version").fetchone()[0]
        if found not in {0, _FORMAT}:
            raise sqlite3.DatabaseError(f"format {found}, expected {_FORMAT}")
        with file:
            file.execute(
                "CREATE TABLE IF NOT EXISTS verdicts (id INTEGER PRIMARY KEY, key BLOB UNIQUE, judgement BLOB)"
            )
            file.execute(f"PRAGMA user_version = {_FORMAT}")
        file.execute("SELECT id, key, judgement FROM verdicts LIMIT 1").fetchone()
    except sqlite3.Error:
        file.close()
        raise
    return file


def _warn(message: str) -> None:
    print(f"warning: {message}", file=sys.stderr)
