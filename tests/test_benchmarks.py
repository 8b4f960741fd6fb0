"""The benchmarks still run: small, without a network, figures not asserted."""

import json
import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent
SECTIONS = {"assert", "stdio", "loops"}


def test_the_executor_benchmark_runs_and_its_executors_agree(tmp_path: Path) -> None:
    command = [sys.executable, str(ROOT / "benchmarks" / "executor.py"), "--candidates", "24", "--rounds", "1"]
    command += ["--executors", "greenlit,subprocess", "--workers", "1", "--json", str(tmp_path / "out.json")]
    path = os.pathsep.join([str(ROOT / "src"), str(ROOT)])
    done = subprocess.run(
        command, cwd=tmp_path, env={**os.environ, "PYTHONPATH": path}, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr
    report = json.loads((tmp_path / "out.json").read_text())
    assert set(report) == SECTIONS
    for section, costs in report.items():
        ours, *others = [cost["passed"] for cost in costs if cost["share"] == "all"]
        assert None not in ours.values()
        for theirs in others:
            assert theirs == {job: ours[job] for job in theirs}, section
        assert all(cost["cpu_s"] > 0 and cost["wall_s"] > 0 for cost in costs)
    assert "CPU ms marginal" in done.stdout
    loops = next(cost["passed"] for cost in report["loops"])
    assert False in loops.values()
