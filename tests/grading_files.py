"""Small problems and samples files, and `greenlit grade` over them in a process of its own."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent
PROBLEMS = [
    {
        "task_id": "square",
        "entry_point": "f",
        "prompt": 'def f(x):\n    """x times x"""\n',
        "tests": [
            {"kind": "assert", "code": "assert f(2) == 4", "role": "shown"},
            {"kind": "assert", "code": "assert f(3) == 9", "role": "hidden"},
        ],
    },
    {"task_id": "Sum", "prompt": "Add the numbers.", "tests": [{"kind": "stdio", "input": "3 4\n", "output": "7\n"}]},
]
SAMPLES = [
    {"task_id": "square", "completion": "    return x * x\n"},
    {"task_id": "square", "solution": "def f(x): return 4", "_identifier": "square/1"},
    {"task_id": "sum", "solution": "print(sum(map(int, input().split())))"},
    {"task_id": "Sum", "solution": "print(7"},
    {"task_id": "square", "solution": "def f(x):\n  while True: pass"},
    {"task_id": "sum", "solution": ""},
]


def write_jsonl(path: Path, rows: Iterable[dict]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def write_files(folder: Path, samples: Iterable[dict] = SAMPLES, problems: Iterable[dict] = PROBLEMS) -> Path:
    """`p.jsonl` and `s.jsonl` in the folder."""
    write_jsonl(folder / "p.jsonl", problems)
    write_jsonl(folder / "s.jsonl", samples)
    return folder


def command(*options: str) -> list[str]:
    start = [sys.executable, "-m", "greenlit.cli", "grade", "--samples", "s.jsonl", "--out", "v.jsonl"]
    source = [] if "--dataset" in options else ["--problems", "p.jsonl"]
    return [*start, *source, "--allow-portable", "--timeout-s", "0.5", *options]


def environment(level: str = "") -> dict[str, str]:
    """Of a user: no cache elsewhere; the level named, or the best there is."""
    kept = {name: value for name, value in os.environ.items() if name != "GREENLIT_CACHE"}
    return {**kept, "PYTHONPATH": str(ROOT / "src"), "GREENLIT_SANDBOX": level}


def started(folder: Path, *options: str, level: str = "") -> subprocess.Popen:
    return subprocess.Popen(
        command(*options), cwd=folder, env=environment(level), text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )


def graded(folder: Path, *options: str, code: int = 0) -> subprocess.CompletedProcess:
    """The finished command; its exit code is checked."""
    done = subprocess.run(command(*options), cwd=folder, env=environment(), capture_output=True, text=True, check=False)
    assert done.returncode == code, done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    return done


def figures(folder: Path, *options: str) -> dict[str, Any]:
    return json.loads(graded(folder, "--json", *options).stdout)


def rows(folder: Path, name: str = "v.jsonl") -> list[dict]:
    return [json.loads(line) for line in (folder / name).read_text().splitlines()]


def without_times(folder: Path, name: str = "v.jsonl") -> str:
    """The output as it must repeat."""
    kept = [{key: value for key, value in row.items() if key not in {"cpu_s", "wall_s"}} for row in rows(folder, name)]
    return "".join(json.dumps(row) + "\n" for row in kept)


def wait_until(condition: Any, seconds: float) -> bool:
    deadline = time.monotonic() + seconds
    while not (met := condition()) and time.monotonic() < deadline:
        time.sleep(0.02)
    return bool(met)
