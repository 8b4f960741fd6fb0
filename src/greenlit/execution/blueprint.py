"""What a jail is built from: what jail.py binds and hides, and what its zygote is told."""

import functools
import marshal
import os
import sys
from dataclasses import dataclass
from pathlib import Path
from types import CodeType
from typing import Any

from greenlit.execution import profiles, seccomp, shipping
from greenlit.execution.level import PATIENCE, STARVED

FIRST_ID = 2_000_000_000
"""Of the two user ids that own nothing on the host."""
TMP_MIB, TMP_FILES = 32, 2000
SYSTEM = ("/lib", "/lib64", "/usr/lib", "/usr/lib64", "/usr/share/zoneinfo", "/etc/ld.so.cache")
BOOTSTRAP = (
    "import marshal,posix\n"
    "c,z,d=marshal.loads(posix.pread(3,posix.fstat(3).st_size,0))\n"
    "posix.close(3)\n"
    "n=[{'__name__':m} for m in ('greenlit_child','greenlit_zygote')]\n"
    "exec(c,n[0])\nexec(z,n[1])\n"
    "n[1]['main'](d,n[0])\n"
)


class NoJail(Exception):
    """This way of building a jail does not work on this machine; the message says why."""


@functools.cache
def _zygote_code() -> CodeType:
    text = Path(__file__).with_name("zygote.py").read_text(encoding="utf-8")
    return compile(text, "<zygote.py>", "exec", dont_inherit=True, optimize=2)


@dataclass(frozen=True)
class Blueprint:
    """What a jail is built from."""

    way: str
    """`root` or `user`, see jail.py; `bubblewrap`."""
    profile: str = "plain"
    """`plain`, or `science`: with numpy, pandas and sympy loaded before the fork."""
    output_bytes: int = 1 << 20
    """Largest file a candidate may write, its standard output included."""
    becomes: tuple[str, ...] = ()
    """Files of another interpreter that candidates become; each then takes the filter of system calls on by itself."""

    @property
    def packages(self) -> list[tuple[str, str]]:
        """Files of the preloaded packages → where they lie inside."""
        return [(str(place), f"/packages/{place.name}") for place in profiles.files(self.profile)]

    def specification(self, root: str, control: int, program: int, cgroup: str) -> dict[str, Any]:
        """What jail.py needs to know.

        Args:
            control, program: descriptors that the zygote gets.
            cgroup: file to write its process id to; empty where there is no group.
        """
        prefix = sys.base_prefix.rstrip("/")
        command = interpreter()
        version = f"python{sys.version_info.major}.{sys.version_info.minor}"
        library = f"{prefix}/lib"
        binds = [(path, path) for path in dict.fromkeys((*SYSTEM, library, command, *self.becomes))]
        hidden = [f"{library}/{version}/site-packages", "/usr/lib/python3/dist-packages"]
        hidden += [f"/usr/local/lib/{version}/{name}-packages" for name in ("site", "dist")]
        return {
            "way": self.way,
            "root": root,
            "binds": binds + self.packages,
            "hidden": list(dict.fromkeys(hidden)),
            "tmp_mib": TMP_MIB,
            "tmp_files": TMP_FILES,
            "first_id": FIRST_ID,
            "control": control,
            "program": program,
            "cgroup": cgroup,
            "command": [command, "-s", "-S", "-P", "-B", "-c", BOOTSTRAP],
            "environment": {"PYTHONHASHSEED": "0", "MALLOC_ARENA_MAX": "1", **profiles.ONE_THREAD},
        }

    def program(self) -> bytes:
        """Code and settings of the zygote.

        Raises:
            NoJail: a machine whose system calls we have no table for.
        """
        machine = os.uname().machine
        if machine not in seccomp.ARCHITECTURES:
            raise NoJail(f"no list of system calls for {machine}")
        spec = {
            "two_ids": self.way == "root",
            "output_bytes": self.output_bytes + 1,
            "filter": b"" if self.becomes else seccomp.program(machine),
            "patience": PATIENCE,
            "starved": STARVED,
            "packages": ["/packages"] if self.packages else [],
            "also_loaded": list(profiles.SCIENCE) if self.packages else [],
        }
        return marshal.dumps((shipping.child_code(), _zygote_code(), spec))


@functools.cache
def interpreter() -> str:
    """The interpreter itself, not a virtual environment's link to it."""
    return os.path.realpath(getattr(sys, "_base_executable", sys.executable))
