"""A control group for one jail, where this user may make one: what all its processes use together.

RLIMIT_AS bounds one process; sixty-four of them could take sixty-four times as much. Both versions of the interface
are known. Where the group cannot be made, `Group.note` says why, and everything else works without it.
"""

import contextlib
import itertools
import os
import time
from pathlib import Path

ROOT = Path("/sys/fs/cgroup")
_numbers = itertools.count()


class Group:
    """One jail's group; does nothing where there is none."""

    def __init__(self, name: str) -> None:
        self.folder: Path | None = None
        self.note = ""
        self._limit = 0
        self._killed = 0
        try:
            folder = _parent() / f"{_label()}-{os.getpid()}-{next(_numbers)}-{name}"
            folder.mkdir()
            self.folder = folder
            self.limit(1 << 30)
        except OSError as error:
            self.note = f"no control group ({error.strerror}: {error.filename})"
            self.close()

    @property
    def door(self) -> str:
        """File that a process writes its id to, to come in; empty where there is no group."""
        return str(self.folder / "cgroup.procs") if self.folder else ""

    def limit(self, memory: int) -> None:
        """Bytes that all processes together may use."""
        if memory == self._limit or self.folder is None:
            return
        name = "memory.max" if (self.folder / "memory.max").exists() else "memory.limit_in_bytes"
        (self.folder / name).write_text(str(memory), encoding="ascii")
        self._limit = memory

    def killed(self) -> bool:
        """Has the kernel ended a process of this group for want of memory since we asked last?"""
        if self.folder is None:
            return False
        path = self.folder / "memory.events"
        path = path if path.exists() else self.folder / "memory.oom_control"
        counts = dict(line.split() for line in path.read_text(encoding="ascii").splitlines())
        before, self._killed = self._killed, int(counts.get("oom_kill", 0))
        return self._killed > before

    def close(self) -> None:
        """Remove it; its processes must be gone, which they are a moment after their namespace's first process."""
        folder, self.folder = self.folder, None
        if folder is None:
            return
        for _ in range(200):
            try:
                folder.rmdir()
                return
            except FileNotFoundError:
                return
            except OSError:
                time.sleep(0.005)


def _label() -> str:
    """Process ids mean something only within their namespace, which groups do not know."""
    return f"greenlit-{Path('/proc/self/ns/pid').stat().st_ino}"


def remove_stale_groups() -> None:
    """Remove empty groups of workers of this process namespace that were killed before they could."""
    with contextlib.suppress(OSError):
        for folder in _parent().glob(f"{_label()}-*"):
            if not Path("/proc", folder.name.split("-")[2]).exists():
                with contextlib.suppress(OSError):
                    folder.rmdir()


def _parent() -> Path:
    """Where groups for the memory controller can be made: below our own group.

    Raises:
        OSError: nowhere.
    """
    own = [line.split(":", 2) for line in Path("/proc/self/cgroup").read_text(encoding="ascii").splitlines()]
    for _, controllers, path in own:
        if "memory" in controllers.split(","):
            return ROOT / "memory" / path.lstrip("/")
    unified = next((path for _, controllers, path in own if not controllers), None)
    if unified is None:
        raise FileNotFoundError(2, "no memory controller", str(ROOT))
    parent = ROOT / unified.lstrip("/")
    with contextlib.suppress(OSError):
        (parent / "cgroup.subtree_control").write_text("+memory", encoding="ascii")
    if "memory" not in (parent / "cgroup.subtree_control").read_text(encoding="ascii").split():
        raise PermissionError(1, "memory is not handed down to groups here", str(parent))
    return parent
