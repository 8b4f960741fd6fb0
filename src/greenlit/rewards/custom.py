"""custom: a reward of your own, `rewards.custom: path.py:function` in params.yaml.

    def shortness(completions, passed, **columns):
        return [1 / (1 + len(text)) if right else 0.0 for text, right in zip(completions, passed)]

It is called for a batch as TRL calls reward functions, by keyword, with those columns that it names (all of them, if it
takes `**`): `prompts`, `completions` (texts), `code`, `task_id`, `entry_point`, `language`, `reference`, `verdict`,
`passed`, `tests_passed`, `tests_total`, `tokens`, `truncated`; of hidden tests it learns nothing. It returns one number
per completion, or None for what it has nothing to say about.

It runs in a process of its own, which is ended when it takes longer than `custom_timeout_s`. What goes wrong (it
raises, hangs, dies, returns NaN, an infinite number, something else, or another count) is told on stderr, once for each
way, and makes NaN, never 0: the sample is left out. If a whole batch goes wrong, its samples are asked for one by one,
for twice that time at most, so that one bad sample costs no other its reward; so a value should not depend on the rest
of the batch.

A file below `custom/` is a dependency of the stages that use it; DVC does not see when one elsewhere changes.
"""

import json
import math
import os
import selectors
import subprocess
import sys
import threading
import time
import weakref
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import greenlit
from greenlit.config import RewardsParams
from greenlit.errors import ConfigError
from greenlit.jsonl import shortened
from greenlit.rewards.sample import Sample

START_S = 120.0
"""For the file to be imported: it may load a model."""
FOLDER = Path("custom")
"""Where DVC sees changes."""


def custom(samples: Sequence[Sample], params: RewardsParams) -> list[float | None]:
    """What the function returns; NaN where it went wrong.

    Raises:
        ConfigError: there is no such file or function, or it does not load.
    """
    if not samples:
        return []
    return _function(params.custom or "", params.custom_timeout_s).values(columns(samples))


def columns(samples: Sequence[Sample]) -> dict[str, list[Any]]:
    """What the function may ask for, by name."""
    judgements = [sample.judgement for sample in samples]
    return {
        "prompts": [sample.prompt for sample in samples],
        "completions": [sample.text for sample in samples],
        "code": [sample.code for sample in samples],
        "task_id": [sample.problem.task_id for sample in samples],
        "entry_point": [sample.problem.entry_point for sample in samples],
        "language": [sample.problem.language for sample in samples],
        "reference": [sample.problem.reference for sample in samples],
        "verdict": [one.verdict if one else None for one in judgements],
        "passed": [sample.passed for sample in samples],
        "tests_passed": [one.tests_passed if one else None for one in judgements],
        "tests_total": [one.tests_total if one else None for one in judgements],
        "tokens": [sample.tokens for sample in samples],
        "truncated": [sample.truncated for sample in samples],
    }


@cache
def _function(place: str, timeout_s: float) -> "CustomFunction":
    return CustomFunction(place, timeout_s)


class CustomFunction:
    """A function of the user's, in a process of its own."""

    def __init__(self, place: str, timeout_s: float) -> None:
        """
        Args:
            place: `path.py:function`.

        Raises:
            ConfigError: there is no such file.
        """
        self.place, self.timeout_s = place, timeout_s
        self.path, _, self.name = place.rpartition(":")
        self._told: set[str] = set()
        self._loaded = False
        self._lock = threading.Lock()
        self._process: _Process | None = None
        if not Path(self.path).is_file():
            raise ConfigError(f"params.yaml: rewards.custom: no file {self.path}")
        if FOLDER.resolve() not in Path(self.path).resolve().parents:
            self._tell("place", f"not below {FOLDER}/, so DVC does not see when it changes")

    def values(self, given: Mapping[str, list[Any]]) -> list[float | None]:
        """One value per sample, NaN where it went wrong.

        Raises:
            ConfigError: the function does not load.
        """
        count = len(given["completions"])
        with self._lock:
            values, why = self._asked(given, count, self.timeout_s)
            if not why or count == 1:
                return self._checked(values, why)
            until = time.monotonic() + 2 * self.timeout_s
            found: list[float | None] = []
            for place in range(count):
                left_s = until - time.monotonic()
                alone = {name: column[place : place + 1] for name, column in given.items()}
                one, fault = self._asked(alone, 1, min(self.timeout_s, left_s)) if left_s > 0 else ([], why)
                found += self._checked(one, fault, f"sample {place} of {count}: ")
            return found

    def close(self) -> None:
        """End the process; the next call starts a new one."""
        if self._process is not None:
            self._process.end()
            self._process = None

    def _asked(self, given: Mapping[str, list[Any]], count: int, timeout_s: float) -> tuple[list[Any], str]:
        """What the function returned for a batch; and why that is nothing, where it is."""
        if self._process is None or not self._process.alive:
            try:
                self._process = _Process(self.path, self.name)
            except ConfigError as error:
                if not self._loaded:
                    raise
                return [], f"reloading: {error}"
            self._loaded = True
        answer = self._process.ask(given, timeout_s)
        if isinstance(answer, str):
            self.close()
            return [], answer
        if "raised" in answer:
            return [], f"raised {answer['raised']}"
        values = answer["values"]
        if not isinstance(values, list):
            return [], f"returned {answer['type']}, not a list"
        return (values, "") if len(values) == count else ([], f"returned {len(values)} values for {count} samples")

    def _checked(self, values: Sequence[Any], why: str, where: str = "") -> list[float | None]:
        if why:
            self._tell(why.split()[0], f"{where}{why}; left out")
            return [math.nan]
        found: list[float | None] = []
        for value in values:
            if value is not None and not (isinstance(value, int | float) and abs(value) <= sys.float_info.max):
                self._tell("value", f"{where}returned {shortened(value)}, which is no finite number; left out")
                value = math.nan
            found.append(None if value is None else float(value))
        return found

    def _tell(self, kind: str, what: str) -> None:
        if kind not in self._told:
            self._told.add(kind)
            print(f"warning: rewards.custom: {self.place}: {what} (told once)", file=sys.stderr, flush=True)


class _Process:
    """One `custom_process`, from its start to its end."""

    def __init__(self, path: str, name: str) -> None:
        source = str(Path(greenlit.__file__).resolve().parents[1])
        paths = os.pathsep.join(filter(None, (source, os.environ.get("PYTHONPATH"))))
        self.owner = os.getpid()
        self.process = subprocess.Popen(
            [sys.executable, "-m", "greenlit.rewards.custom_process", path, name],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env={**os.environ, "PYTHONPATH": paths},
            start_new_session=True,
        )
        self.end = weakref.finalize(self, _end, self.process, self.owner)
        hello = self._answer(START_S)
        if isinstance(hello, str) or "fault" in hello:
            self.end()
            why = hello if isinstance(hello, str) else hello["fault"]
            raise ConfigError(f"params.yaml: rewards.custom: {path}:{name}: {why}", hint="see rewards/custom.py")

    @property
    def alive(self) -> bool:
        """Can it be asked? A fork of ours must not share it."""
        return self.owner == os.getpid() and self.process.poll() is None

    def ask(self, given: Mapping[str, list[Any]], timeout_s: float) -> dict[str, Any] | str:
        """The answer, or why there is none."""
        try:
            self.process.stdin.write(json.dumps(given).encode() + b"\n")  # type: ignore[union-attr]
            self.process.stdin.flush()  # type: ignore[union-attr]
        except OSError:
            return "died"
        return self._answer(timeout_s)

    def _answer(self, timeout_s: float) -> dict[str, Any] | str:
        until = time.monotonic() + timeout_s
        stream = self.process.stdout.fileno()  # type: ignore[union-attr]
        data = b""
        with selectors.DefaultSelector() as selector:
            selector.register(stream, selectors.EVENT_READ)
            while not data.endswith(b"\n"):
                if not selector.select(max(0.0, until - time.monotonic())):
                    return f"hung: no answer within {timeout_s:g} s"
                part = os.read(stream, 1 << 16)
                if not part:
                    return "died"
                data += part
        return json.loads(data)


def _end(process: "subprocess.Popen[bytes]", owner: int) -> None:
    if os.getpid() != owner:
        return
    process.kill()
    process.wait()
    for stream in (process.stdin, process.stdout):
        if stream:
            stream.close()
