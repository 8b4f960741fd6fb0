"""A worker on a node of the cluster, as Ray runs it: one process, one shard at a time, one thread.

It starts with the node's environment, not the driver's.
"""

import os
import platform
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import greenlit
from greenlit.cluster import parcel
from greenlit.stage.hardware import facts, limit_threads
from greenlit.stage.workspace import sha256_tree


@dataclass(frozen=True)
class Place:
    """Where a member is, and what it computes with."""

    node: str
    """For people: the machine's name and the beginning of Ray's id of the node."""
    machine: str
    """Members of one machine share its cores."""
    pid: int
    code: str
    """Hash of Greenlit's code there."""
    facts: dict[str, Any] = field(compare=False)
    """As `hardware.facts`."""


def code_version() -> str:
    """Hash of the code that this process runs."""
    return sha256_tree(Path(greenlit.__file__).parent)


class Member:
    """What all members have in common."""

    def __init__(self) -> None:
        import ray

        limit_threads(1)
        if not ray.get_gpu_ids():
            os.environ["CUDA_VISIBLE_DEVICES"] = ""  # the node's GPUs are others'
        home = parcel.cache() / "ray"
        home.mkdir(parents=True, exist_ok=True)
        os.chdir(home)  # no `.env` and no project lies here

    def place(self) -> Place:
        """Where this is."""
        import ray

        node = f"{platform.node()} {ray.get_runtime_context().get_node_id()[:8]}"
        return Place(node, platform.node(), os.getpid(), code_version(), facts())
