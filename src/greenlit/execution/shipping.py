"""How a candidate's process gets its first code and its task: one file on descriptor 3, marshalled by the judge.

`child.py` and its parts are compiled once per worker, as one module, since a candidate's process can import nothing of
ours. Only the judge's own data is unmarshalled, and only in the candidate's process.
"""

import __future__

import ast
import functools
import marshal
from pathlib import Path
from types import CodeType
from typing import Any

from greenlit.execution import decoding, seccomp
from greenlit.execution.level import Request
from greenlit.execution.precompiled import precompiled

BOOTSTRAP = (
    "import marshal,posix\n"
    "c,s=marshal.loads(posix.read(3,posix.fstat(3).st_size))\n"
    "d={'__name__':'greenlit_child'}\n"
    "exec(c,d)\n"
    "del c\n"
    "d['run'](s)\n"
)


REMEMBERED = 256
PARTS = ("encoding", "decoding", "child_calls", "child_stdio", "child_dialogue", "child_exec", "child")


@functools.cache
def child_code() -> CodeType:
    """`child.py` and its parts, compiled."""
    body: list[ast.stmt] = []
    for part in PARTS:
        text = Path(__file__).with_name(f"{part}.py").read_text(encoding="utf-8")
        body += [node for node in ast.parse(text).body if not _stays_here(node)]
    return compile(
        ast.Module(body, []), "<judge>", "exec", __future__.annotations.compiler_flag, dont_inherit=True, optimize=2
    )


def _stays_here(node: ast.stmt) -> bool:
    """Imports of a part by another, which become one module, and of what only annotations use."""
    module = node.module or "" if isinstance(node, ast.ImportFrom) else ""
    return module.startswith("greenlit.") or module in {"typing", "collections.abc"}


def task(request: Request) -> dict[str, Any]:
    """What `child.run` is to do, at any level; a level adds how it confines (`child._confine`)."""
    return {
        "code": precompiled(request.code),
        "random": "random" in request.code,
        "steps": _packed_steps(request.steps),
        "setup": request.setup,
        "stdio": request.stdin is not None,
        "entry": request.entry,
        "room": 2 * request.output_bytes,
        "command": _command(request),
    }


def _command(request: Request) -> dict[str, Any] | None:
    command = request.command
    if command is None:
        return None
    return {
        "words": command.words,
        "files": command.files,
        "environment": dict(command.environment),
        "answers_on": command.answers_on,
        "prints": command.prints,
        "data_bytes": command.own_bytes + (request.memory_mib << 20),
        "filter": seccomp.for_other_interpreters(),
    }


_packed: dict[int, tuple[tuple[Any, ...], bytes]] = {}


def _packed_steps(steps: tuple[Any, ...]) -> bytes:
    """Marshalled once for all candidates of a problem, which share the object."""
    if steps and steps[0][0] == "stdio":
        return marshal.dumps(steps)  # made anew for each candidate
    kept = _packed.get(id(steps))
    if kept is None or kept[0] is not steps:
        if len(_packed) >= REMEMBERED:
            _packed.clear()
        kept = _packed[id(steps)] = (steps, marshal.dumps(steps))
    return kept[1]


def packed(spec: dict[str, Any]) -> bytes:
    """The content of descriptor 3."""
    return marshal.dumps((child_code(), spec))


def ready_cpu_s(line: bytes) -> float:
    """CPU time the process had used when it said that it was ready."""
    try:
        frame = decoding.parse(line)
        return float(frame[1]) if frame[0] == "ready" and len(frame) == 2 else 0.0
    except (decoding.BadFrame, TypeError, ValueError, IndexError):
        return 0.0
