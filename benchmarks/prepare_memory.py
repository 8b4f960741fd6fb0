"""prepare_memory: does the memory of `prepare` grow with the size of the dataset?

    python benchmarks/prepare_memory.py [--mib 16 1024] [--problem-kib 64] [--limit N] [--workers 1]

Writes files of own problems (with statements, a reference and bulky tests, a fifth of them test problems), runs
`prepare` on each in a process of its own, and reads that process's resident memory twenty times a second. What counts
is the process that streams, not the judge's workers below it. `--problem-kib` says how bulky one problem is, `--limit`
sets `prepare.limits` (0: none), under which the file is streamed past and little of it judged.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import psutil
import yaml

EVERY_S = 0.05
ROOT = Path(__file__).resolve().parent.parent
_DPO = {"method": "dpo", "reads": "assets/rl/file/pairs.jsonl", "start": "base", "learning_rate": 1e-3, "epochs": 1}
_PARAMS = {
    "experiment": "memory",
    "seed": 0,
    "base": {"model": "starter"},
    "annotate": {"allow_portable": True},
    "methods": {"dpo": _DPO},
    "tracking": {"report_to": []},
}


def write_problems(path: Path, size_bytes: int, problem_bytes: int) -> int:
    """Problems that differ in statement, reference and tests; returns how many."""
    written = number = 0
    with path.open("w") as stream:
        while written < size_bytes:
            filler = "".join(chr(97 + (number + place) % 26) for place in range(26)) * (problem_bytes // 26)
            words = " ".join(f"w{number * 7919 % 99991 + place}" for place in range(12))
            line = json.dumps(
                {
                    "task_id": f"p{number}",
                    "prompt": f"Return the length of a text plus {number}. {words}",
                    "entry_point": f"f{number}",
                    "reference": [f"def f{number}(x):\n    y = len(x) + {number}\n    return y\n"],
                    "tests": [
                        {"kind": "call", "input": [filler], "output": len(filler) + number},
                        {"kind": "call", "input": ["ab"], "output": 2 + number},
                    ],
                }
            )
            written += stream.write(line + "\n")
            number += 1
    return number


def prepare_peak(folder: Path, limit: int, workers: int) -> tuple[float, float]:
    """(highest resident MiB, seconds) of `prepare` on the file `problems.jsonl` of a folder."""
    limits = dict.fromkeys(("train", "validation", "test"), limit or None)
    dataset = {"name": "file", "path": "problems.jsonl"}
    params = {**_PARAMS, "dataset": dataset, "prepare": {"limits": limits, "mutants": 0}}
    (folder / "params.yaml").write_text(yaml.safe_dump(params))
    environment = {**os.environ, "PYTHONPATH": f"{ROOT}:{ROOT / 'src'}", "GREENLIT_WORKERS": str(workers)}
    run = {"cwd": folder, "env": {**environment, "TMPDIR": str(folder)}}
    if subprocess.run([sys.executable, "-m", "tasks.fetch"], **run).returncode:
        sys.exit("fetch failed")
    began, most = time.perf_counter(), 0.0
    with (folder / "log").open("w") as log:
        child = subprocess.Popen([sys.executable, "-m", "tasks.prepare"], stderr=log, **run)
        process = psutil.Process(child.pid)
        while child.poll() is None:
            try:
                most = max(most, process.memory_info().rss / 2**20)
            except psutil.NoSuchProcess:
                break
            time.sleep(EVERY_S)
    if child.wait():
        sys.exit((folder / "log").read_text()[-4000:])
    return most, time.perf_counter() - began


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--mib", type=float, nargs="+", default=[16, 1024])
    parser.add_argument("--problem-kib", type=float, default=64)
    parser.add_argument("--limit", type=int, default=0)
    parser.add_argument("--workers", type=int, default=1)
    options = parser.parse_args()
    for mib in options.mib:
        with tempfile.TemporaryDirectory(prefix="greenlit-memory-") as name:
            folder = Path(name)
            count = write_problems(folder / "problems.jsonl", int(mib * 2**20), int(options.problem_kib * 2**10))
            most, seconds = prepare_peak(folder, options.limit, options.workers)
            print(f"{mib:g} MiB, {count} problems: highest {most:.1f} MiB in {seconds:.1f} s", flush=True)


if __name__ == "__main__":
    main()
