"""What a jail is built from: what jail.py binds and hides, and what its zygote is told."""

import functools
import marshal
import os
import sys
from dataclasses import dataclass
from pathlib import Path
from types import CodeType
from typing import Any

from greenlit.execution import profiles, shipping

FIRST_ID = 2_000_000_000
"""Of the two user ids that own nothing on the host."""
TMP_MIB, TMP_FILES = 32, 2000
SYSTEM = ("/lib", "/lib64", "/usr/lib", "/usr/lib64", "/usr/share/zoneinfo", "/etc/ld.so.cache")
BOOTSTRAP = (
    "import marshal,posix\n"
    "s,c,z,d=marshal.loads(posix.pread(3,posix.fstat(3).st_size,0))\n"
    "posix.close(3)\n"
    "n=[{'__name__':m} for m in ('greenlit_seccomp','greenlit_child','greenlit_zygote')]\n"
    "exec(s,n[0])\nexec(c,n[1])\nexec(z,n[2])\n"
    "n[2]['main'](d,n[1],n[0]['install'])\n"
)


@functools.cache
def _compiled(name: str) -> CodeType:
    path = Path(__file__).with_name(name)
    return compile(path.read_text(encoding="utf-8"), f"<{name}>", "exec", dont_inherit=True, optimize=2)


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

    def specification(self, root: str, control: int, program: int, cgroups: list[str]) -> dict[str, Any]:
        """What jail.py needs to know."""
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
            "cgroups": cgroups,
            "command": [command, "-s", "-S", "-P", "-B", "-c", BOOTSTRAP],
            "environment": {"PYTHONHASHSEED": "0", "MALLOC_ARENA_MAX": "1", **profiles.ONE_THREAD},
        }

    def program(self) -> bytes:
        """Code and settings of the zygote."""
        spec = {
            "two_ids": self.way == "root",
            "output_bytes": self.output_bytes + 1,
            "machine": os.uname().machine,
            "becomes": bool(self.becomes),
            "packages": ["/packages"] if self.packages else [],
            "also_loaded": list(profiles.SCIENCE) if self.packages else [],
        }
        return marshal.dumps((_compiled("seccomp.py"), shipping.child_code(), _compiled("zygote.py"), spec))


@functools.cache
def interpreter() -> str:
    """The interpreter itself, not a virtual environment's link to it."""
    return os.path.realpath(getattr(sys, "_base_executable", sys.executable))
