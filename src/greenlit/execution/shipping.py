"""How a candidate's process gets its first code and its task: one file on descriptor 3, marshalled by the judge.

`child.py` is compiled once per worker. Only the judge's own data is unmarshalled, and only in the candidate's process.
"""

import functools
import marshal
from pathlib import Path
from types import CodeType
from typing import Any

from greenlit.execution import values

BOOTSTRAP = (
    "import marshal,posix\n"
    "c,s=marshal.loads(posix.read(3,posix.fstat(3).st_size))\n"
    "d={'__name__':'greenlit_child'}\n"
    "exec(c,d)\n"
    "del c\n"
    "d['run'](s)\n"
)


@functools.cache
def child_code() -> CodeType:
    """`child.py`, compiled."""
    path = Path(__file__).with_name("child.py")
    return compile(path.read_text(encoding="utf-8"), "<judge>", "exec", dont_inherit=True, optimize=2)


def packed(spec: dict[str, Any]) -> bytes:
    """The content of descriptor 3."""
    return marshal.dumps((child_code(), spec))


def ready_cpu_s(line: bytes) -> float:
    """CPU time the process had used when it said that it was ready."""
    try:
        frame = values.parse(line)
        return float(frame[1]) if frame[0] == "ready" and len(frame) == 2 else 0.0
    except (values.BadFrame, TypeError, ValueError, IndexError):
        return 0.0
