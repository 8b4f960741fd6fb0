"""verdicts: how many verdicts a second the judge gives, next to `subprocess.run([python, "-c", code + asserts])`.

    python benchmarks/verdicts.py [--candidates 300] [--workers 2] [--rounds 3]

Programs and tests are made here, in MBPP's manner: right ones, wrong ones, broken ones. The two take turns on the same
candidates; what counts is the ratio. CPU time is that of the whole process tree, start-up of the judge included.
"""

import argparse
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

from greenlit.config import AnnotateParams
from greenlit.execution.judge import Judge
from greenlit.types import AssertTest, Problem

RIGHT = "def {name}(items, n):\n    total = 0\n    for item in items:\n        if item % n == {rest}:\n            total += item\n    return total\n"  # noqa: E501
VARIANTS = {
    "right": lambda code: code,
    "right, sum()": lambda code: (
        code.split("\n")[0]
        + "\n    return sum(item for item in items if item % n == "
        + code.split("== ")[1][0]
        + ")\n"
    ),
    "off by one": lambda code: code.replace("total = 0", "total = 1"),
    "wrong operator": lambda code: code.replace("+=", "-="),
    "unknown name": lambda code: code.replace("return total", "return totals"),
    "cut off": lambda code: code[: len(code) // 2] + "(",
    "imports": lambda code: "import math\nimport collections\nimport re\n" + code,
}


def made_problem(number: int) -> Problem:
    """Sum of the items that leave a rest; three asserts."""
    name, rest = f"sum_rest_{number}", number % 3
    code = RIGHT.format(name=name, rest=rest)
    names: dict = {}
    exec(code, names)
    inputs = [([1, 2, 3, 4, 5, number], 3), (list(range(number % 50)), 4), ([], 2)]
    tests = [AssertTest(code=f"assert {name}({items!r}, {n}) == {names[name](items, n)!r}") for items, n in inputs]
    return Problem(task_id=f"made/{number}", entry_point=name, reference=[code], tests=tests)


def made_candidates(count: int) -> list[tuple[Problem, str]]:
    """Eight candidates of each problem, each program written once."""
    jobs = []
    for index in range(count):
        problem = made_problem(index // 8)
        change = list(VARIANTS.values())[index % len(VARIANTS)]
        jobs.append((problem, f"{change(problem.reference[0])}# {index}\n"))
    return jobs


def by_judge(jobs: list[tuple[Problem, str]], workers: int) -> list[bool | None]:
    with Judge(AnnotateParams(allow_portable=True), workers) as judge:
        return [found.passed for found in judge.judge_all(jobs)]


def by_subprocess(jobs: list[tuple[Problem, str]], workers: int) -> list[bool | None]:
    def passes(job: tuple[Problem, str]) -> bool:
        problem, code = job
        program = "\n".join([code, *(test.code for test in problem.tests)])
        return subprocess.run([sys.executable, "-c", program], capture_output=True, timeout=10).returncode == 0

    with ThreadPoolExecutor(workers) as threads:
        return list(threads.map(passes, jobs))


def measured(run: Callable[[], list[bool | None]]) -> tuple[list[bool | None], float, float]:
    """Results, wall seconds, CPU seconds of this process and its children."""
    before = cpu_s()
    began = time.perf_counter()
    found = run()
    return found, time.perf_counter() - began, cpu_s() - before


def cpu_s() -> float:
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(one.ru_utime + one.ru_stime for one in used)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--candidates", type=int, default=300)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    jobs = made_candidates(options.candidates)
    walls: dict[str, list[float]] = {"judge": [], "subprocess": []}
    cpus: dict[str, list[float]] = {"judge": [], "subprocess": []}
    for _ in range(options.rounds):
        found = {}
        for name, run in (("judge", by_judge), ("subprocess", by_subprocess)):
            found[name], wall, cpu = measured(lambda run=run: run(jobs, options.workers))
            walls[name].append(wall)
            cpus[name].append(cpu)
        unlike = sum(one != other for one, other in zip(found["judge"], found["subprocess"], strict=True))
        assert unlike == 0, f"{unlike} verdicts differ"
    for name in walls:
        wall, cpu = statistics.median(walls[name]), statistics.median(cpus[name])
        print(f"{name:<12}{len(jobs) / wall:8.0f} verdicts/s {1000 * cpu / len(jobs):8.2f} CPU ms per verdict")
    ratios = {
        what: statistics.median(a / b for a, b in zip(of["subprocess"], of["judge"], strict=True))
        for what, of in (("wall", walls), ("CPU", cpus))
    }
    print(f"the judge is {ratios['wall']:.2f} times as fast, and uses 1/{ratios['CPU']:.2f} of the CPU time")


if __name__ == "__main__":
    main()
