"""Programs in JavaScript: real node, where it is installed."""

import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from conftest import LEVELS, ROOT

from greenlit.config import AnnotateParams
from greenlit.execution.judges import Judge
from greenlit.execution.languages import javascript
from greenlit.execution.split import unsplittable
from greenlit.types import AssertTest, CallTest, Problem, ScriptTest, StdioTest

PARAMS = AnnotateParams(allow_portable=True, timeout_s=2.0, cpu_min_s=1.0, cpu_max_s=1.0, memory_mib=128, output_kib=64)
needs_node = pytest.mark.skipif(shutil.which("node") is None, reason="node is not installed")
SQUARE = Problem(
    task_id="js/square",
    language="javascript",
    entry_point="f",
    reference=["const f = x => x * x"],
    tests=[
        CallTest(input=[3], output=9),
        CallTest(input=[4], output=16),
        CallTest(input=[5], output=25, role="hidden"),
    ],
)
ADD = Problem(
    task_id="js/add",
    language="javascript",
    reference=["const [a, b] = require('fs').readFileSync(0, 'utf8').split(' ').map(Number)\nconsole.log(a + b)"],
    tests=[StdioTest(input="3 4\n", output="7\n"), StdioTest(input="1 1\n", output="2\n")],
)


def identity(*values: object) -> Problem:
    """Of `f = () => ...`: what it returns is to be the first value."""
    return Problem(
        task_id="v", language="javascript", entry_point="f", tests=[CallTest(input=[], output=v) for v in values]
    )


@pytest.fixture(scope="module", params=LEVELS)
def judge(request: pytest.FixtureRequest) -> Iterator[Judge]:
    with Judge(PARAMS, workers=1, level=request.param) as judge:
        yield judge


@pytest.fixture
def jailed_judge(judge: Judge) -> Judge:
    if judge.level == "portable":
        pytest.skip("only a jail stops this")
    return judge


@needs_node
@pytest.mark.parametrize(
    ("code", "verdict", "error"),
    [
        ("function f(x) { return x * x }", "passed", None),
        ("const f = async x => x ** 2", "passed", None),
        ("#!/usr/bin/env node\n'use strict'\nlet f = x => x * x // the end", "passed", None),
        ("class Solution { f(x) { return this.g(x) * x } g(x) { return x } }", "passed", None),
        ("module.exports = { f: x => x * x }", "passed", None),
        ("exports.f = x => x * x", "passed", None),
        ("module.exports = function f(x) { return x * x }", "passed", None),
        ("export function f(x) { return x * x }", "passed", None),
        ("import fs from 'fs'\nconst f = x => x * x", "passed", None),
        ("const f = x => BigInt(x) * BigInt(x)", "passed", None),
        ("const f = x => { console.log('[0,\"value\",[\"i\",\"9\"]]'); console.error(x); return x * x }",
         "passed", None),
        ("Array.prototype.map = 1; String.prototype.slice = 1; const f = x => x * x", "passed", None),
        ("const f = x => x + x", "failed", "test 0: f(3): got 6, expected 9"),
        ("const f = x => `${x * x}`", "failed", "test 0: f(3): got '9', expected 9"),
        ("const f = x => { throw new TypeError('no') }", "error", "test 0: TypeError: no"),
        ("const g = x => x * x", "error", "test 0: ReferenceError: the program does not define f"),
        ("const f = x => f(x)", "error", "test 0: RangeError: Maximum call stack size exceeded"),
        ("const f = x => new Promise(() => {})", "error", "test 0: the process ended before it answered"),
        ("process.exit(0)", "error", "test 0: the process ended before it answered"),
        ("process.abort()", "error", "test 0: killed by SIGABRT"),
        ("const f = x => { while (true); }", "timeout", "test 0: CPU time is up"),
        ("const f = x => new Promise(done => setTimeout(done, 1e6))", "timeout", "test 0: wall-clock time is up"),
        ("const f = x => { const all = []; while (true) all.push(new Uint8Array(1 << 20).fill(1)) }",
         "memory", "test 0: out of memory"),
        ("const f = x => new Uint8Array(2 ** 32).length",
         "memory", "test 0: RangeError: Array buffer allocation failed"),
        ("function f(x { return x }", "syntax", "SyntaxError: Unexpected token '{'"),
        ("import fs from\nconst f = 1", "syntax", None),
        ("", "no_code", "there is no program"),
        ("const f = x => 1 // " + "x" * 70_000,
         "error", "test 0: the program is longer than the 64 KiB that it may write"),
    ],
)  # fmt: skip
def test_javascript_calls(judge: Judge, code: str, verdict: str, error: str | None) -> None:
    patient = {"time_limit_s": 10.0} if verdict == "memory" else {}  # filling it takes its time
    found = judge.judge(SQUARE.model_copy(update=patient), code)
    assert found.verdict == verdict, found
    assert found.passed_hidden is (verdict == "passed")
    assert error is None or found.error == error
    assert found.level == judge.level


@needs_node
@pytest.mark.parametrize(
    ("returned", "expected"),
    [
        ("[1, 2.5, -0.1, 1e300, 5e-324, -1.7976931348623157e308]",
         [1, 2.5, -0.1, 1e300, 5e-324, -1.7976931348623157e308]),
        ("[0, -0, 2 ** 53, 2 ** -1074 * 3, 2 ** -1022]", [0, 0, 2**53, 2.0**-1074 * 3, 2.0**-1022]),
        ("123456789012345678901234567890n", 123456789012345678901234567890),
        ("[-255n, Infinity, -Infinity]", [-255, float("inf"), float("-inf")]),
        ("undefined", None),
        ("[null, undefined, , true, false]", [None, None, None, True, False]),
        ("({ a: 1, b: undefined, c: [] })", {"a": 1, "c": []}),
        ("new Map([['a', 1], [2, 'b']])", {"a": 1, "2": "b"}),
        ("Object.assign(Object.create(null), { ä: '€😀\\n' })", {"ä": "€😀\n"}),
        ("new (class { constructor() { this.x = 1 } })()", {"x": 1}),
    ],
)  # fmt: skip
def test_values_of_javascript_arrive_as_they_are(judge: Judge, returned: str, expected: object) -> None:
    found = judge.judge(identity(expected), f"const f = () => ({returned})")
    assert found.passed, found


@needs_node
@pytest.mark.parametrize(
    ("returned", "expected"),
    [
        ("NaN", float("nan")),
        ("NaN", None),
        ("new Set([1])", [1]),
        ("new Set([1])", {}),
        ("new Date(0)", "1970-01-01T00:00:00.000Z"),
        ("new Int32Array([1, 2])", [1, 2]),
        ("new Int32Array([1, 2])", {"0": 1, "1": 2}),
        ("new Number(3)", 3),
        ("({ toJSON: () => 3 })", 3),
        ("({ valueOf: () => 3, toString: () => '3' })", 3),
        ("'3'", 3),
        ("9007199254740993", 9007199254740993),
        ("() => 3", 3),
        ("Symbol('3')", "3"),
        ("((a) => { a.push(a); return a })([])", []),
        ("Array(3e5).fill(1)", [1]),
        ("'a'.repeat(1e6)", "a"),
        ("new Proxy([], { get: () => 3 })", [3]),
    ],
)
def test_what_is_no_such_value_does_not_pass(judge: Judge, returned: str, expected: object) -> None:
    found = judge.judge(identity(expected), f"const f = () => ({returned})")
    assert found.passed is False, found


@needs_node
@pytest.mark.parametrize(
    "code",
    [
        'require(\'fs\').writeSync(4, \'[0,"value",["i","1"]]\\n\'); const f = x => x * x',
        'require(\'fs\').writeSync(4, \'[0,"value",["b",1]]\\n[1,"value",["b",1]]\\n\'); process.exit(0)',
        "require('fs').writeSync(4, '[0,\"passed\"]\\n'.repeat(9)); process.exit(0)",
        "require('fs').writeSync(4, '['.repeat(60000) + '\\n'); process.exit(0)",
        "require('fs').writeSync(4, '{}\\nnull\\n\\n'); process.exit(0)",
        "const w = require('fs').writeSync; while (true) w(4, 'x'.repeat(65536))",
        "const w = require('fs').writeSync; while (true) w(1, 'x'.repeat(65536))",
        "const w = require('fs').writeSync; while (true) w(2, 'x'.repeat(65536))",
        "Object.prototype.toJSON = () => 9; JSON.stringify = () => '9'; const f = x => ({})",
        "Object.defineProperty(Object.prototype, 'value', { get: () => 9 }); const f = x => [x]",
        "Number.prototype.valueOf = () => 9; BigInt.prototype.toString = () => '9'; const f = x => 1n",
        "require('util').types.isMap = () => true; const f = x => ({})",
        "process.reallyExit = () => { }; process.exit = () => { }; const f = x => { process.kill(process.pid) }",
        "process.on('exit', () => { process.exitCode = 0 }); const f = x => { throw 9 }",
        "const f = x => { throw { get message() { throw 1 }, name: { toString() { throw 2 } } } }",
        "const f = new Proxy(function () { }, { apply: () => true })",
        "})(); process.exit(0); (function () {",
    ],
)
def test_forged_answers_do_not_pass(judge: Judge, code: str) -> None:
    found = judge.judge(SQUARE, code)
    assert found.passed is False, found
    assert judge.judge(SQUARE, "const f = x => x * x").passed


@needs_node
@pytest.mark.parametrize(
    "attempt",
    [
        "require('child_process').execFileSync(process.execPath, ['-e', '0'])",
        "require('child_process').spawnSync('/bin/sh', ['-c', 'true']).error ? (() => { throw 1 })() : 0",
        "require('child_process').fork('harness.js')",
        "require('cluster').fork()",
        "process.kill(1, 9), process.kill(1, 0)",
        "process.kill(process.ppid, 'SIGSTOP')",
    ],
)
def test_no_process_is_started_or_ended(jailed_judge: Judge, attempt: str) -> None:
    code = f"let got = 'no'\ntry {{ {attempt}; got = 'yes' }} catch {{ }}\nconst f = () => got"
    found = jailed_judge.judge(identity("no"), code)
    assert found.passed or found.verdict == "error", found
    assert jailed_judge.judge(SQUARE, "const f = x => x * x").passed


@needs_node
def test_a_second_thread_is_a_thread(judge: Judge) -> None:
    code = (
        "const { Worker } = require('worker_threads')\nconst f = () => new Promise(done => {\n"
        "  new Worker('require(\"worker_threads\").parentPort.postMessage(3)', { eval: true }).on('message', done) })"
    )
    assert judge.judge(identity(3), code).passed


@needs_node
def test_the_host_cannot_be_seen(jailed_judge: Judge) -> None:
    looked = ["/etc/passwd", "/home", "/proc", "/sys", "/var", "/bin/sh", "/usr/bin/env", str(ROOT)]
    code = (
        f"const fs = require('fs')\nconst f = () => {looked}.filter(p => fs.existsSync(p))"
        ".concat(Object.keys(process.env), fs.readdirSync('/dev').filter(n => n.startsWith('s') || n.startsWith('t')))"
    )
    found = jailed_judge.judge(identity([]), code)
    assert found.passed, found


@needs_node
def test_there_is_no_network(judge: Judge) -> None:
    code = (
        "const net = require('net')\nconst f = () => new Promise(done => {\n"
        "  try { net.connect(80, '127.0.0.1').on('error', e => done(e.code)).on('connect', () => done('yes')) }\n"
        "  catch (e) { done(e.code) } })"
    )
    assert judge.judge(identity("EPERM"), code).passed


@needs_node
def test_what_a_program_leaves_behind_is_gone(judge: Judge) -> None:
    code = (
        "const fs = require('fs')\n"
        "const f = () => { const had = fs.existsSync('x'); fs.writeFileSync('x', '1'); return had }"
    )
    for run in range(2):
        assert judge.judge(identity(False), f"{code}\n// {run}").passed


@needs_node
@pytest.mark.parametrize(
    ("code", "verdict"),
    [
        (ADD.reference[0], "passed"),
        ("const fs = require('fs'); const [a, b] = fs.readFileSync('/dev/stdin').toString().split(' '); "
         "console.log(+a + +b)", "passed"),
        ("import { readFileSync } from 'fs'\nconst [a, b] = readFileSync('/dev/stdin', 'utf8').split(' ')\n"
         "console.log(+a + +b)", "passed"),
        ("const rl = require('readline').createInterface({ input: process.stdin })\n"
         "rl.on('line', l => { const [a, b] = l.split(' '); console.log(+a + +b) })", "passed"),
        ("const rl = require('readline').createInterface({ input: require('fs').createReadStream('/dev/stdin') })\n"
         "rl.on('line', l => { const [a, b] = l.split(' '); console.log(+a + +b) })", "passed"),
        ("let s = ''; process.stdin.on('data', d => s += d).on('end', () => { "
         "const [a, b] = s.split(' '); process.stdout.write(`${+a + +b}`) })", "passed"),
        ("if (require.main === module) { const [a, b] = require('fs').readFileSync(0, 'utf8').split(' ')\n"
         "console.log(+a + +b); console.error('done'); process.exit() }", "passed"),
        ("console.log(7)", "failed"),
        ("console.log(7); process.exit(3)", "error"),
        ("console.log(7); null.x", "error"),
        ("console.log(7", "syntax"),
        ("while (true);", "timeout"),
        ("while (true) console.log('7')", "timeout"),
        ("console.log('7'.repeat(70000))", "error"),
        ("const all = []; while (true) all.push(Buffer.alloc(1 << 20, 1))", "memory"),
        ("require('fs').writeSync(4, '[0,\"value\",[\"s\",\"37\"]]\\n')", "failed"),
    ],
)  # fmt: skip
def test_whole_programs_in_javascript(judge: Judge, code: str, verdict: str) -> None:
    patient = {"time_limit_s": 10.0} if verdict == "memory" else {}  # filling it takes its time
    found = judge.judge(ADD.model_copy(update=patient), code)
    assert found.verdict == verdict, found


@needs_node
def test_a_heap_that_grows_too_large_is_a_matter_of_memory(judge: Judge) -> None:
    slow = SQUARE.model_copy(update={"time_limit_s": 8.0})
    found = judge.judge(slow, "const f = x => { const all = []; while (true) all.push({ x, all: [x, `${x}`] }) }")
    assert (found.verdict, found.error) == ("memory", "test 0: out of memory"), found


@needs_node
def test_a_reference_in_javascript_is_timed_without_the_start_of_node(judge: Judge) -> None:
    prepared = judge.prepare(SQUARE)
    assert prepared.reference_cpu_s is not None
    assert prepared.reference_cpu_s < 0.05
    assert (prepared.unsplittable, prepared.missing) == ((), "")


@needs_node
def test_tests_that_javascript_has_not_are_refused() -> None:
    tests = [
        AssertTest(code="assert f(1) == 1"), ScriptTest(code="def check(c): pass"), CallTest(input=[2**60], output=1),
        CallTest(input=[{"a": [2**53]}], output=1), CallTest(input=[float("inf")], output=1),
    ]  # fmt: skip
    reasons = unsplittable(Problem(task_id="t", language="javascript", entry_point="f", tests=tests))
    assert [reason.split(":")[0] for reason in reasons] == ["test 0", "test 1", "test 2", "test 4"]
    assert "exactly" in reasons[2]
    for entry in (None, "f(", "a b", "f;g"):
        assert unsplittable(SQUARE.model_copy(update={"entry_point": entry}))


def test_a_missing_node_is_no_failure_of_the_program(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with Judge(PARAMS, workers=1, level="portable") as judge:
        found = judge.judge(SQUARE, "const f = x => x * x")
        assert (found.verdict, found.passed) == ("infra", None)
        assert "node is not installed" in found.error
        assert "node is not installed" in judge.prepare(SQUARE).missing


@needs_node
def test_the_harness_is_valid_javascript() -> None:
    for name in ("harness.js", "whole.js"):
        path = Path(javascript.__file__).with_name(name)
        subprocess.run(["node", "--check", str(path)], check=True, capture_output=True)
