"""What only running tells: references that fail, and tests that let anything pass."""

import ast
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from greenlit.config import PrepareParams
from greenlit.data.faults import Fault
from greenlit.execution.judges import Judge
from greenlit.execution.languages import missing, plan_of
from greenlit.jsonl import one_line
from greenlit.problems.oracle import Case, audit_oracles
from greenlit.program_metrics import parse
from greenlit.types import Problem, StdioTest

ODD = "no such answer"
"""What a wrong program answers: nobody's expected value."""
_METHOD = re.compile(r"(\w+)\(\)\.(\w+)")


@dataclass(frozen=True)
class Numbered:
    """A problem and the line it stands on."""

    line: int
    problem: Problem


def cannot_run(problem: Problem) -> str:
    """Why no program of this problem runs on this machine; empty where one does."""
    return missing(plan_of(problem))


def run_faults(batch: Sequence[Numbered], params: PrepareParams, judge: Judge, seed: int = 0) -> Iterator[Fault]:
    """Faults of these problems, in their order; each is well-formed and its language runs here."""
    deaf = _deaf_tests(batch, judge)
    lines = {row.problem.task_id: row.line for row in batch}
    for row in batch:
        for place in deaf.get(row.problem.task_id, []):
            yield Fault(
                row.line, f"tests.{place}", "test that accepts anything",
                "passes whatever the program answers, None as well as an odd text",
                "compare what the program returns with what it should be",
            )  # fmt: skip
    heard = [("train", row.problem) for row in batch if row.problem.task_id not in deaf]
    for case in audit_oracles(heard, params, judge, seed):  # type: ignore[arg-type]
        if case.reason:
            yield _of_audit(lines[case.problem.task_id], case)


def _of_audit(line: int, case: Case) -> Fault:
    reason = case.reason or ""
    message = one_line(": ".join(filter(None, (reason, case.detail))), 400)
    if reason.startswith("its own reference"):
        fix = "correct the reference, or the test: one of them is wrong"
        return Fault(line, "reference", "reference that fails", message, fix)
    if "only sometimes" in reason:
        fix = "use no random numbers, clocks or order of sets"
        return Fault(line, "reference", "reference that fails sometimes", message, fix)
    if "every mutant" in reason:
        fix = "add tests with other inputs, above all at the edges"
        return Fault(line, "tests", "tests that accept wrong programs", message, fix)
    return Fault(line, "tests", "test that cannot be judged", message, "compare a call's value with a literal")


def _deaf_tests(batch: Sequence[Numbered], judge: Judge) -> dict[str, list[int]]:
    """Of each problem, the tests that every wrong program passes."""
    jobs = [(row.problem, code) for row in batch for code in wrong_programs(row.problem)]
    passed: dict[str, list[set[int]]] = {}
    for (problem, _), found in zip(jobs, judge.judge_all(iter(jobs)), strict=True):
        passed.setdefault(problem.task_id, []).append({test.index for test in found.tests if test.passed})
    deaf = {task_id: sorted(set.intersection(*sets)) for task_id, sets in passed.items()}
    return {task_id: places for task_id, places in deaf.items() if places}


def wrong_programs(problem: Problem) -> list[str]:
    """Two programs that answer alike to everything, None and an odd text; none where we can't write them."""
    if problem.language != "python":
        return []
    if all(isinstance(test, StdioTest) for test in problem.tests):
        return ["pass\n", f"print({ODD!r})\n"]
    for code in problem.reference[:1]:
        return [hollow for value in (None, ODD) if (hollow := hollowed(code, problem.prelude, value))]
    name = problem.entry_point or ""
    method = _METHOD.fullmatch(name)
    if method:
        form = f"class {method[1]}:\n    def {method[2]}(self, *args, **kwargs): return "
    elif name.isidentifier():
        form = f"def {name}(*args, **kwargs): return "
    else:
        return []
    return [f"{problem.prelude}\n{form}{value!r}\n" for value in (None, ODD)]


def hollowed(code: str, prelude: str, value: str | None) -> str:
    """The program with every function, but for `__init__` and its like, returning one value; empty if it is broken."""
    own = code.removeprefix(prelude)
    tree = parse(own)
    if tree is None:
        return ""
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and not node.name.startswith("__"):
            node.body = [ast.Return(ast.Constant(value))]
    return code[: len(code) - len(own)] + ast.unparse(ast.fix_missing_locations(tree)) + "\n"
