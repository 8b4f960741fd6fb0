"""What does the flow cost? A cached stage through Prefect against `dvc repro -s`, one after the other in one run.

python benchmarks/orchestration.py                      # a toy project with ten stages
python benchmarks/orchestration.py --project .          # the project here, which must be up to date

Every round measures each stage with `dvc repro -s`, and then one flow run over all of them; a Prefect server of its own
is up all the time, and its start does not count. Medians of the rounds are compared, in seconds of the wall, and of the
CPU, which others on the machine disturb less.
"""

import argparse
import contextlib
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "src")]
STAGES = 10


def make_toy(folder: Path) -> None:
    """A chain of stages that copy a file."""
    (folder / "0.txt").write_text("0\n")
    stages = {
        f"copy{number}": {
            "cmd": f"cp {number}.txt {number + 1}.txt",
            "deps": [f"{number}.txt"],
            "outs": [f"{number + 1}.txt"],
        }
        for number in range(STAGES)
    }
    (folder / "dvc.yaml").write_text(json.dumps({"stages": stages}))
    subprocess.run(["git", "init", "-q"], cwd=folder, check=True)
    subprocess.run([sys.executable, "-m", "dvc", "init", "-q"], cwd=folder, check=True)
    subprocess.run([sys.executable, "-m", "dvc", "repro", "-q"], cwd=folder, check=True)


def cpu_s() -> float:
    """CPU seconds of this process and of those it has waited for."""
    return sum(os.times()[:4])


def by_dvc(stages: list[str]) -> float:
    """Seconds per stage of `dvc repro -s`."""
    from greenlit.repro import repro_command, repro_environment

    began = time.perf_counter()
    for stage in stages:
        subprocess.run(
            repro_command(["--single-item", stage]), env=repro_environment(), check=True, capture_output=True
        )
    return (time.perf_counter() - began) / len(stages)


def by_flow(stages: list[str]) -> tuple[float, float, set[str]]:
    """Seconds per stage inside a flow run, seconds of the whole run, and the states the stages ended in."""
    from prefect import flow

    from flows.stages import How, run_stage

    took: list[float] = []
    states: set[str] = set()

    @flow(name="benchmark")
    def run() -> None:
        for stage in stages:
            began = time.perf_counter()
            states.add(run_stage(stage, How()).name or "")
            took.append(time.perf_counter() - began)

    began = time.perf_counter()
    run()
    return sum(took) / len(took), time.perf_counter() - began, states


@contextlib.contextmanager
def project(given: Path | None) -> Iterator[Path]:
    """The folder to measure in."""
    if given:
        yield given
        return
    with tempfile.TemporaryDirectory() as folder:
        make_toy(Path(folder))
        yield Path(folder)


def measure(rounds: int) -> dict[str, float]:
    """The medians."""
    from prefect.testing.utilities import prefect_test_harness

    from flows.graph import stages_towards

    began = time.perf_counter()
    stages = stages_towards()
    graph_s = time.perf_counter() - began
    with prefect_test_harness(server_startup_timeout=120):
        dvc_s, flow_s, run_s, dvc_cpu, flow_cpu = [], [], [], [], []
        for number in range(rounds):
            before = cpu_s()
            dvc_s.append(by_dvc(stages))
            between = cpu_s()
            per_stage, whole, states = by_flow(stages)
            dvc_cpu.append((between - before) / len(stages))
            flow_cpu.append((cpu_s() - between) / len(stages))
            flow_s.append(per_stage)
            run_s.append(whole)
            others = states - {"Cached"}
            print(
                f"round {number + 1}: dvc repro -s {dvc_s[-1]:.2f} s, flow {per_stage:.2f} s per stage"
                + (f" (not cached, ran: {', '.join(others)})" if others else ""),
                file=sys.stderr,
            )
    by_dvc_s, by_flow_s = statistics.median(dvc_s), statistics.median(flow_s)
    return {
        "stages": len(stages),
        "dvc_s": by_dvc_s,
        "flow_s": by_flow_s,
        "extra_s": by_flow_s - by_dvc_s,
        "ratio": by_flow_s / by_dvc_s,
        "dvc_cpu_s": statistics.median(dvc_cpu),
        "flow_cpu_s": statistics.median(flow_cpu),
        "run_s": statistics.median(run_s),
        "graph_s": graph_s,
    }


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--project", type=Path, help="an up-to-date project instead of the toy")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json", type=Path, help="write the figures there, too")
    given = parser.parse_args()
    written = given.json.resolve() if given.json else None
    os.environ.setdefault("PREFECT_LOGGING_LEVEL", "WARNING")
    with project(given.project.resolve() if given.project else None) as folder:
        os.chdir(folder)
        found = measure(given.rounds)
        os.chdir(ROOT)
    print(f"{found['stages']:.0f} cached stages, medians of {given.rounds} rounds")
    print(f"  dvc repro -s   {found['dvc_s']:.3f} s per stage")
    print(f"  flow           {found['flow_s']:.3f} s per stage: {found['extra_s']:+.3f} s, ratio {found['ratio']:.2f}")
    print(f"  of the CPU     {found['dvc_cpu_s']:.3f} s and {found['flow_cpu_s']:.3f} s per stage")
    print(f"  a whole flow run {found['run_s']:.1f} s, and DVC's graph {found['graph_s']:.1f} s before it")
    if written:
        written.write_text(json.dumps(found, indent=2))


if __name__ == "__main__":
    main()
