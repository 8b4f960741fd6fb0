"""JavaScript: https://nodejs.org - `node` on PATH.

Kinds of tests
    call    the entry point (a function, `Solution.prototype.f`, or something exported) with JSON arguments
    stdio   a whole program; `/dev/stdin` works, CommonJS and modules do

How values count (harness.js writes them, `values.matches` compares): a number is a number, whole or not, as JavaScript
has one type; a BigInt is one too, so that large integers can be exact. `undefined` is null; a property that is
undefined is left out. NaN equals nothing, Infinity itself. A Map is an object; a Set, a Date, a typed array, a function
equal nothing. A promise is waited for.
"""

import functools
import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Any

from greenlit.execution.findings import Fault, Limits
from greenlit.execution.languages.command import ISOLATION, Interpreter, Runner, call_plan, judging_with, plan_with
from greenlit.execution.languages.language import Language
from greenlit.execution.level import Command
from greenlit.execution.plan import Plan
from greenlit.execution.scripts import Unsplittable

if TYPE_CHECKING:
    from greenlit.types import Problem

SAFE = 2**53
"""Integers up to here are exact as JavaScript's numbers."""
HEADROOM = 128 << 20
"""Bytes beside the heap, so that V8 meets its own limit first and says so: a page refused makes it crash.

With 64 MiB it crashed in 1 of 15 runs of programs that fill the heap in different ways, with 128 MiB in none.
"""
PROBE_S = 30.0
_ENTRY = re.compile(r"[A-Za-z_$][\w$]*(\.[A-Za-z_$][\w$]*)*", re.ASCII)
_ERROR = re.compile(r"^(?:Uncaught )?(\w*(?:Error|Exception)(?: \[\w+\])?: .*)$", re.MULTILINE)
_PROBE = """
const fs = require('fs')
let bytes = process.memoryUsage().rss
try { bytes = 1024 * /VmData:\\s*(\\d+)/.exec(fs.readFileSync('/proc/self/status', 'utf8'))[1] } catch { }
console.log(JSON.stringify([process.execPath, bytes]))
"""


@functools.cache
def _find() -> Interpreter | str:
    path = shutil.which("node")
    if path is None:
        return "node is not installed: programs in JavaScript need it on PATH (https://nodejs.org)"
    try:
        done = subprocess.run([path, "-e", _PROBE], capture_output=True, check=True, timeout=PROBE_S, text=True)
        executable, own_bytes = json.loads(done.stdout)
    except (OSError, subprocess.SubprocessError, ValueError) as error:
        return f"node at {path} does not work ({type(error).__name__})"
    return Interpreter((str(Path(executable).resolve()),), own_bytes=own_bytes + HEADROOM)


@functools.cache
def _source(name: str) -> str:
    return Path(__file__).with_name(name).read_text(encoding="utf-8")


def _heap(limits: Limits) -> str:
    return f"--max-old-space-size={limits.memory_mib}"


def _call(node: Interpreter, code: str, plan: Plan, limits: Limits) -> tuple[Command, str]:
    steps = [step.content for test in plan.called for step in test.steps]
    task = {
        "program": code,
        "entry": steps[0][1],
        "calls": [step[2] for step in steps],
        "room": 2 * limits.output_bytes,
    }
    files = {"harness.js": _source("harness.js")}
    return node.command(_heap(limits), "harness.js", files=files, prints=False), json.dumps(task)


def _whole(node: Interpreter, code: str, limits: Limits) -> Command:
    files = {"whole.js": _source("whole.js"), "program.js": code}
    return node.command(_heap(limits), "whole.js", files=files)


def _said(stderr: bytes) -> Fault | None:
    text = stderr.decode("utf-8", "replace")
    if "out of memory" in text:
        return Fault("memory", "out of memory")
    found = _ERROR.search(text)
    return Fault("error", found.group(1)) if found else None


def _plan_test(test: Any, problem: "Problem") -> dict[str, Any]:
    if test.kind != "call":
        raise Unsplittable(f"{test.kind} tests are Python; for JavaScript there are call and stdio")
    if not problem.entry_point or not _ENTRY.fullmatch(problem.entry_point):
        raise Unsplittable("a call test needs the problem's entry_point, the name of a function")
    if problem.setup.strip():
        raise Unsplittable("set-up code is not run for JavaScript")
    _check_exact(test.input)
    try:
        json.dumps(test.input, allow_nan=False)
    except (ValueError, TypeError):
        raise Unsplittable("its input is not JSON") from None
    return call_plan(test, problem, json.dumps)


def _check_exact(value: Any) -> None:
    """Refuse integers that a program in JavaScript would not be given as they are."""
    if isinstance(value, int) and not isinstance(value, bool) and abs(value) > SAFE:
        raise Unsplittable("its input has an integer that JavaScript's numbers do not hold exactly")
    for item in value.values() if isinstance(value, dict) else value if isinstance(value, list | tuple) else ():
        _check_exact(item)


RUNNER = Runner("javascript", _find, _call, _whole, _said)
JAVASCRIPT = Language(
    isolation=ISOLATION.format("node"),
    kinds=("call", "stdio"),
    missing=RUNNER.missing,
    plan=functools.partial(plan_with, "javascript", _plan_test),
    judging=functools.partial(judging_with, RUNNER),
)
