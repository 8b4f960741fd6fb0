"""cluster: the same shards by processes of this machine and by workers on Ray; what the way there costs.

    python benchmarks/cluster.py [--problems 100] [--n 8] [--rounds 3] [--json OUT]

Run it in the project's folder after `dvc repro base prepare`. Without RAY_ADDRESS it starts a cluster of two nodes with
one CPU each on this machine, which compares two processes with two workers. Every round samples n completions of each
train problem and judges them, first locally, then on Ray, and requires the same bytes. Times are of the wall, start of
the workers included (a Python with torch on each node, every time; here they are loaded once, before the first round).
What that start costs is the difference in seconds within a round; what it costs in proportion falls with the work.
"""

import argparse
import hashlib
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from greenlit.cluster import session
from greenlit.cluster.judging import judge_of_stage
from greenlit.config import load_params
from greenlit.generation.sample import sample
from greenlit.grading import annotate
from greenlit.jsonl import to_line, write_json
from greenlit.paths import BASE, Paths
from greenlit.problems.files import read_problems
from greenlit.stage.entry import exit_cleanly
from greenlit.stage.hardware import quiet_libraries
from greenlit.stage.progress import progress
from greenlit.types import Candidate

WORKERS = 2


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--problems", type=int, default=100)
    parser.add_argument("--n", type=int, default=8)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--serve", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.serve:
        _serve()
        return
    quiet_libraries()
    with _cluster() as address:
        os.environ[session.ADDRESS] = ""
        _sampled(1, 1)  # loads torch
        rounds = [_round(address, options.problems, options.n) for _ in range(options.rounds)]
    for work in ("sampling", "judging"):
        ratios = [one[work]["ray_s"] / one[work]["local_s"] for one in rounds]
        more = [one[work]["ray_s"] - one[work]["local_s"] for one in rounds]
        print(
            f"{work:9} ray/local {statistics.median(ratios):.2f} ({min(ratios):.2f}-{max(ratios):.2f}), "
            f"Ray takes {statistics.median(more):.1f} s more ({min(more):.1f}-{max(more):.1f}); "
            f"local {statistics.median(one[work]['local_s'] for one in rounds):.1f} s"
        )
    if options.json:
        write_json(options.json, {"rounds": rounds, "load": os.getloadavg()})


def _round(address: str, problems: int, n: int) -> dict[str, dict[str, float]]:
    took: dict[str, dict[str, float]] = {"sampling": {}, "judging": {}}
    digests: dict[str, set[str]] = {"sampling": set(), "judging": set()}
    for way, where in (("local_s", ""), ("ray_s", address)):
        os.environ[session.ADDRESS] = where
        began = time.monotonic()
        candidates = _sampled(problems, n)
        sampled = time.monotonic()
        verdicts = _judged(candidates)
        took["sampling"][way], took["judging"][way] = sampled - began, time.monotonic() - sampled
        digests["sampling"].add(_digest(to_line(row) for row in candidates))
        digests["judging"].add(_digest(verdicts))
    assert all(len(one) == 1 for one in digests.values()), "Ray and this machine must give the same bytes"
    return took


def _sampled(problems: int, n: int) -> list[Candidate]:
    params = load_params()
    known = list(read_problems(Paths.of(params).problems("train")).values())[:problems]
    settings = params.generate.model_copy(update={"n": n})
    with tempfile.TemporaryDirectory() as work:
        rows = sample(BASE, known, settings, seed=0, greedy=False, work=Path(work), workers=WORKERS, label="benchmark")
        return list(rows)


def _judged(candidates: list[Candidate]) -> list[str]:
    params = load_params()
    known = read_problems(Paths.of(params).problems("train"))
    with judge_of_stage("program", params.annotate, WORKERS) as judge, progress("benchmark", len(candidates)) as bar:
        return [to_line(row) for row, _ in annotate(known, candidates, judge, bar)]


def _digest(lines: Iterator[str] | list[str]) -> str:
    return hashlib.sha256("".join(lines).encode()).hexdigest()


@contextmanager
def _cluster() -> Iterator[str]:
    """The cluster that RAY_ADDRESS names, or one of our own."""
    named = session.address()
    if named is not None:
        yield named
        return
    environment = {**os.environ, "RAY_USAGE_STATS_ENABLED": "0"}
    command = [sys.executable, __file__, "--serve"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment) as ours:
        assert ours.stdin is not None
        assert ours.stdout is not None
        yield ours.stdout.readline().strip()
        ours.stdin.close()


def _serve() -> None:
    from ray.cluster_utils import Cluster

    said = os.dup(1)
    os.dup2(2, 1)  # Ray prints too
    store = {"num_cpus": 1, "object_store_memory": 100 << 20, "include_dashboard": False}
    cluster = Cluster(initialize_head=True, head_node_args=store)
    try:
        for _ in range(WORKERS - 1):
            cluster.add_node(num_cpus=1, object_store_memory=100 << 20)
        os.write(said, f"{cluster.address}\n".encode())
        sys.stdin.read()
    finally:
        cluster.shutdown()


if __name__ == "__main__":
    exit_cleanly(main)
