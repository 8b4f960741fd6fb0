"""A Ray cluster of two nodes with one CPU each on this machine, and what tests look at in it.

Run as a program (by the fixture) it starts the cluster, prints its address, and ends it when its standard input ends:
so the cluster cannot outlive the tests, whatever ends them.
"""

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil

STORE_BYTES = 100 << 20
SECRET = "canaryTurquoiseRay0001"


@contextmanager
def running_cluster(folder: Path, **variables: str) -> Iterator[str]:
    """Yield the address of a cluster that lives in `folder`."""
    kept = {key: value for key, value in os.environ.items() if not key.startswith(("GREENLIT_", "RAY_"))}
    process = subprocess.Popen(
        [sys.executable, __file__],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=(folder / "cluster.log").open("w"),
        text=True,
        env={
            **kept,
            "RAY_USAGE_STATS_ENABLED": "0",
            "GREENLIT_NODE_CACHE": str(folder / "nodes"),
            **variables,
        },
    )
    assert process.stdin is not None
    assert process.stdout is not None
    started = psutil.Process(process.pid)
    try:
        address = process.stdout.readline().strip()
        assert address, (folder / "cluster.log").read_text()
        yield address
    finally:
        tree = [started, *started.children(recursive=True)]
        process.stdin.close()
        _, left = psutil.wait_procs(tree, timeout=20)
        for one in left:
            one.kill()
        process.wait(5)


def members(kind: str) -> list[psutil.Process]:
    """Processes of Ray workers of a kind, e.g. `Sampler`, of any cluster on this machine that runs below us."""
    mine = psutil.Process().children(recursive=True)
    found = []
    for process in mine:
        try:
            if process.cmdline()[:1] and process.cmdline()[0].startswith(f"ray::{kind}"):
                found.append(process)
        except psutil.NoSuchProcess:
            continue
    return found


def wait_until(holds, seconds: float, what: str) -> None:
    """Until a condition holds; a test that waits in vain fails."""
    until = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < until, what
        time.sleep(0.1)


def main() -> None:
    """Start, say where, wait, end."""
    from ray.cluster_utils import Cluster

    said = os.dup(1)
    os.dup2(2, 1)  # Ray prints too
    node = {"num_cpus": 1, "object_store_memory": STORE_BYTES, "include_dashboard": False}
    cluster = Cluster(initialize_head=True, head_node_args=node)
    try:
        cluster.add_node(num_cpus=1, object_store_memory=STORE_BYTES)
        os.write(said, f"{cluster.address}\n".encode())
        sys.stdin.read()
    finally:
        cluster.shutdown()


if __name__ == "__main__":
    main()
