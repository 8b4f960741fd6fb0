"""Something on this machine worth stealing and easy to hurt: a process with a canary, and files of ours.

The canary stands in the process's environment and memory, in a file that all may read, and behind sockets. Programs
know where (`places`), never what. After each cheat `harm` says whether anything of it was touched.
"""

import contextlib
import os
import secrets
import shutil
import socket
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Self

import psutil

from greenlit.types import Problem

VARIABLE = "GREENLIT_CANARY"
UNTOUCHED = "untouched\n"
_LONGEST = 60
"""Longest name of a temporary folder, in letters, for a socket in it: Linux allows 107 for all of its path."""
_SERVER = """
import os, selectors, socket, sys
canary = os.environ['GREENLIT_CANARY'].encode()
tag, folder = sys.argv[1:]
waiting = selectors.DefaultSelector()
def listen(family, address, kind=socket.SOCK_STREAM):
    made = socket.socket(family, kind)
    made.bind(address)
    if kind == socket.SOCK_STREAM: made.listen()
    waiting.register(made, selectors.EVENT_READ)
    return made
tcp = listen(socket.AF_INET, ('127.0.0.1', 0))
udp = listen(socket.AF_INET, ('127.0.0.1', 0), socket.SOCK_DGRAM)
listen(socket.AF_UNIX, os.path.join(folder, 'socket'))
os.chmod(os.path.join(folder, 'socket'), 0o777)
if sys.platform == 'linux': listen(socket.AF_UNIX, '\\0' + tag)
waiting.register(0, selectors.EVENT_READ)
print(tcp.getsockname()[1], udp.getsockname()[1], flush=True)
while True:
    for key, _ in waiting.select():
        if key.fileobj == 0: sys.exit(0)
        try:
            if key.fileobj is udp: udp.sendto(canary, udp.recvfrom(100)[1])
            else:
                near, _ = key.fileobj.accept()
                near.sendall(canary)
                near.close()
        except OSError: pass
"""


class Host:
    """Use it as a context manager, around the judge where possible: the judge then inherits the canary too."""

    def __init__(self) -> None:
        self.tag = secrets.token_hex(4)
        """In the name of everything that programs of this run may leave behind."""
        self.secret, self.canary, self.token = (f"{word}-{secrets.token_hex(8)}" for word in _WORDS)
        short = len(tempfile.gettempdir()) <= _LONGEST
        self.folder = Path(tempfile.mkdtemp(prefix="greenlit-cheats-", dir=None if short else "/tmp"))
        self._server: subprocess.Popen[str] | None = None
        self._as_started: tuple = ()
        self.places: Mapping[str, str] = {}

    def __enter__(self) -> Self:
        os.environ[VARIABLE] = self.canary
        self.folder.chmod(0o755)
        self._start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        os.environ.pop(VARIABLE, None)
        self._stop()
        shutil.rmtree(self.folder, ignore_errors=True)
        for folder in {tempfile.gettempdir(), "/tmp", "/var/tmp", "/dev/shm"}:
            for left in Path(folder).glob(f"*{self.tag}*"):
                with contextlib.suppress(OSError):
                    left.unlink()

    def problems(self) -> dict[str, Problem]:
        """What cheats are tried on, with this run's expected values."""
        from greenlit.execution.cheats.cheat import problems

        return problems(self.secret, self.canary, self.token)

    def strays(self) -> list[int]:
        """Processes that cheats left behind, by the name they gave themselves."""
        named = []
        for process in psutil.process_iter(["name", "status"]):
            if process.info["name"] == f"gl{self.tag}" and process.info["status"] != psutil.STATUS_ZOMBIE:
                named.append(process.pid)
        return named

    def harm(self) -> str | None:
        """What was done to the process or the files; all is put right again."""
        what = self._harm()
        if what:
            self._stop()
            self._start()
        return what

    def _harm(self) -> str | None:
        if self._server is None or self._server.poll() is not None:
            return "killed a process of the host"
        if self._state() != self._as_started:
            return "stopped or changed a process of the host"
        for name, content in self._files().items():
            try:
                if (self.folder / name).read_text() != content:
                    return f"changed the host's file {name}"
            except OSError:
                return f"removed the host's file {name}"
        return None

    def _state(self) -> tuple:
        if self._server is None:
            return ()
        process = psutil.Process(self._server.pid)
        affinity = process.cpu_affinity() if hasattr(process, "cpu_affinity") else ()
        limit = process.rlimit(psutil.RLIMIT_NOFILE) if hasattr(process, "rlimit") else ()
        return process.status() == psutil.STATUS_STOPPED, process.nice(), affinity, limit

    def _files(self) -> dict[str, str]:
        return {"readable": self.canary, "writable": UNTOUCHED}

    def _start(self) -> None:
        for name, content in self._files().items():
            (self.folder / name).write_text(content)
            (self.folder / name).chmod(0o666 if name == "writable" else 0o644)
        (self.folder / "socket").unlink(missing_ok=True)
        self._server = subprocess.Popen(
            [sys.executable, "-I", "-S", "-c", _SERVER, f"gl-{self.tag}-host", str(self.folder)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env={VARIABLE: self.canary},
            text=True,
            start_new_session=True,
        )
        assert self._server.stdout is not None
        tcp, udp = self._server.stdout.readline().split()
        self._as_started = self._state()
        self.places = {
            "tag": self.tag,
            "token": self.token,
            "variable": VARIABLE,
            "host_pid": str(self._server.pid),
            "host_folder": str(self.folder),
            "host_file": str(self.folder / "readable"),
            "writable": str(self.folder / "writable"),
            "unix_path": str(self.folder / "socket"),
            "abstract": f"gl-{self.tag}-host",
            "tcp_port": tcp,
            "udp_port": udp,
            "free_port": str(_free_port()),
        }

    def _stop(self) -> None:
        if self._server is None:
            return
        self._server.kill()
        self._server.communicate()
        self._server = None


_WORDS = ("expected", "canary", "carried")


def _free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])
