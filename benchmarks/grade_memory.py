"""grade_memory: does the memory of `greenlit grade` grow with the number of candidates?

    python benchmarks/grade_memory.py [--candidates 200000] [--from 20000] [--workers 2] [--problems 200]
                                      [--no-cache] [--again] [-- options of grade]

Makes distinct programs for made problems, grades them in a process of its own, reads the resident memory of the process
and of its whole tree twenty times a second, and prints the slope over all that was seen from the first mark on. What
counts is the process that streams (`main`); the tree shows the workers. `--again` grades twice: the second time all
verdicts come from the cache.
"""

import argparse
import itertools
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import psutil
from made import assert_problems, programs

EVERY_S = 0.05


def write_inputs(folder: Path, candidates: int, problems: int) -> None:
    made = list(itertools.islice(assert_problems(), problems))
    spellings = [[code for kind in ("right", "broken") for code in programs(problem)[kind]] for problem in made]
    with (folder / "problems.jsonl").open("w") as stream:
        stream.writelines(problem.model_dump_json() + "\n" for problem in made)
    with (folder / "samples.jsonl").open("w") as stream:
        for number in range(candidates):
            place = number * problems // candidates
            program = f"{spellings[place][number % len(spellings[place])]}# {number}\n"
            stream.write(json.dumps({"task_id": made[place].task_id, "solution": program}) + "\n")


def rows_in(path: Path, state: dict) -> int:
    """Lines written so far, reading only what is new."""
    if path.exists():
        with path.open("rb") as stream:
            stream.seek(state["place"])
            while piece := stream.read(1 << 20):
                state["place"] += len(piece)
                state["rows"] += piece.count(b"\n")
    return state["rows"]


def resident_mib(process: psutil.Process) -> tuple[float, float]:
    """Of the process, and of it with all its descendants."""
    own = process.memory_info().rss
    total = own
    for child in process.children(recursive=True):
        try:
            total += child.memory_info().rss
        except psutil.NoSuchProcess:
            continue
    return own / 2**20, total / 2**20


def watch(command: list[str], folder: Path) -> tuple[list[tuple[int, float, float]], float]:
    """(rows, main MiB, tree MiB) over the run, and its wall seconds."""
    seen: list[tuple[int, float, float]] = []
    state = {"place": 0, "rows": 0}
    began = time.perf_counter()
    with (folder / "log").open("w") as log:
        child = subprocess.Popen(command, cwd=folder, stdout=log, stderr=log)
        process = psutil.Process(child.pid)
        while child.poll() is None:
            try:
                memory = resident_mib(process)
            except psutil.NoSuchProcess:
                break
            if (folder / "out.jsonl.partial").exists():  # before it there is start-up, after it the libraries of pass@k
                seen.append((rows_in(folder / "out.jsonl.partial", state), *memory))
            time.sleep(EVERY_S)
    if child.wait():
        sys.exit((folder / "log").read_text()[-4000:])
    return seen, time.perf_counter() - began


def slope_kib_per_1000(seen: list[tuple[int, float, float]], column: int) -> float:
    """Least squares."""
    points = np.array([(row[0], row[column]) for row in seen], dtype=float)
    return float(np.polyfit(points[:, 0], points[:, 1], 1)[0] * 1024 * 1000)


def tell(seen: list[tuple[int, float, float]]) -> None:
    if len({row[0] for row in seen}) < 3:
        print("  too short for a slope: more --candidates, or a smaller --from")
        return
    for column, part in ((1, "main"), (2, "tree")):
        first, last, most = seen[0], seen[-1], max(row[column] for row in seen)
        print(
            f"  {part}: {first[column]:.1f} MiB at {first[0]} rows, {last[column]:.1f} MiB at {last[0]}, highest "
            f"{most:.1f}; slope {slope_kib_per_1000(seen, column):+.2f} KiB per 1000 candidates"
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--candidates", type=int, default=200_000)
    parser.add_argument("--from", dest="start", type=int, default=20_000)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--problems", type=int, default=200)
    parser.add_argument("--no-cache", action="store_true")
    parser.add_argument("--again", action="store_true")
    parser.add_argument("rest", nargs="*", help="options of grade, after --")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="greenlit-memory-") as name:
        folder = Path(name)
        write_inputs(folder, options.candidates, options.problems)
        command = [sys.executable, "-m", "greenlit.cli", "grade", "--problems", "problems.jsonl"]
        command += ["--samples", "samples.jsonl", "--out", "out.jsonl", "--workers", str(options.workers)]
        command += ["--no-cache"] * options.no_cache + options.rest
        for what in ["judged", "from the cache"][: 2 if options.again else 1]:
            seen, wall_s = watch(command, folder)
            print(f"{what}: {options.candidates} candidates in {wall_s:.1f} s")
            tell([row for row in seen if row[0] >= options.start])


if __name__ == "__main__":
    main()
