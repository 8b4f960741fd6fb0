"""The warm process: has imported what stages wait for, and forks for each stage that it is asked to run.

Starting a stage with a model takes 4 to 8 s of CPU time for imports alone, and the tests start hundreds. A stage run
here has everything else of its own: arguments, folder, environment, standard streams, the project's code of its own
folder, exit code. A process that is killed takes its stage along. What a cold start does is shown by the tests that
run stages as a user does (the fixture `tiny`, and what test_interruption.py stops and kills).
"""

import atexit
import ctypes
import gc
import importlib
import json
import os
import random
import runpy
import selectors
import signal
import socket
import sys
import threading
from contextlib import suppress
from pathlib import Path

PRELOADED = (
    "torch", "transformers", "transformers.trainer", "transformers.models.llama.modeling_llama",
    "transformers.models.auto.modeling_auto", "transformers.generation", "peft", "datasets",
    "accelerate.commands.launch",
    "trl.trainer.dpo_trainer", "trl.trainer.sft_trainer", "trl.trainer.grpo_trainer", "trl.trainer.rloo_trainer",
    "trl.trainer.reward_trainer", "mlflow", "mlflow.tracking", "mlflow.store.tracking.sqlalchemy_store",
    "mlflow.store.model_registry.sqlalchemy_store", "matplotlib.pyplot", "scipy.stats", "pydantic", "yaml", "dotenv",
    "rich.console", "rapidfuzz", "tokenizers", "safetensors.torch", "jinja2",
)  # fmt: skip
"""Nothing of ours: a copy of the project brings its own code."""
_UNUSED = ("sklearn", "wandb")
"""Hidden from transformers and TRL, as `quiet_libraries` does in every stage."""


def load() -> None:
    """Import what stages wait for."""
    for name in _UNUSED:
        sys.modules[name] = None  # type: ignore[assignment]
    for name in PRELOADED:
        importlib.import_module(name)
    for name in _UNUSED:
        del sys.modules[name]
    gc.collect()
    gc.freeze()


class Server:
    """Forks for each request; tells who asked the pid, and later the exit status."""

    def __init__(self, address: str) -> None:
        self._listening = socket.socket(socket.AF_UNIX)
        self._listening.bind(address)
        self._listening.listen()
        self._ended, self._wake = socket.socketpair()
        self._wake.setblocking(False)
        self._selector = selectors.DefaultSelector()
        self._selector.register(self._listening, selectors.EVENT_READ)
        self._selector.register(self._ended, selectors.EVENT_READ)
        self._running: dict[int, socket.socket] = {}
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.set_wakeup_fd(self._wake.fileno())

    def next_stage(self) -> dict:
        """In a fork for it, the stage to run; the server itself never returns."""
        while True:
            for key, _ in self._selector.select():
                if key.fileobj is self._listening:
                    stream, _ = self._listening.accept()
                    if asked := self._fork(stream):
                        return asked
                elif key.fileobj is self._ended:
                    self._ended.recv(4096)
                    self._tell_ends()
                else:  # who asked is gone: killed
                    for pid in [pid for pid, stream in self._running.items() if stream is key.fileobj]:
                        os.kill(pid, signal.SIGKILL)
                    self._selector.unregister(key.fileobj)

    def _fork(self, stream: socket.socket) -> dict | None:
        _, streams, _, _ = socket.recv_fds(stream, 1, 3)
        line = stream.makefile("rb").readline()
        if len(streams) != 3 or not line:
            stream.close()
            return None
        pid = os.fork()
        if pid == 0:
            self._leave()
            stream.close()
            for number, given in enumerate(streams):
                os.dup2(given, number)
                os.close(given)
            return json.loads(line)
        for given in streams:
            os.close(given)
        self._running[pid] = stream
        self._selector.register(stream, selectors.EVENT_READ)
        stream.sendall(f"{pid}\n".encode())
        return None

    def _leave(self) -> None:
        """In a fork: let go of what is the server's."""
        os.setsid()
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        self._selector.close()
        for one in (self._listening, self._ended, self._wake, *self._running.values()):
            one.close()

    def _tell_ends(self) -> None:
        while self._running:
            pid, status = os.waitpid(-1, os.WNOHANG)
            if not pid:
                return
            stream = self._running.pop(pid)
            with suppress(KeyError):
                self._selector.unregister(stream)
            with suppress(OSError):
                stream.sendall(f"{status}\n".encode())
            stream.close()


def run(asked: dict, search_path: list[str]) -> None:
    """Run the stage as `python -m` would, but for what Python does last: taking all modules apart takes 0.7 s of CPU
    time where torch is among them, and nobody looks at it.
    """
    os.environ.clear()
    os.environ.update(asked["environment"])
    os.chdir(asked["folder"])
    given = filter(None, os.environ.get("PYTHONPATH", "").split(os.pathsep))
    sys.path[:] = [asked["folder"], *given, *search_path]
    sys.argv[:] = [sys.argv[0], *asked["arguments"]]
    importlib.invalidate_caches()
    random.seed()
    if os.environ.get("PYTHONUNBUFFERED"):
        sys.stdout.reconfigure(write_through=True)
    code = 0
    try:
        runpy.run_module(asked["module"], run_name="__main__", alter_sys=True)
    except SystemExit as end:
        if not isinstance(end.code, int | None):
            raise
        code = end.code or 0
    threading._shutdown()
    atexit._run_exitfuncs()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


def main() -> None:
    pr_set_pdeathsig = 1
    ctypes.CDLL(None).prctl(pr_set_pdeathsig, signal.SIGKILL)
    ours = {str(Path(__file__).resolve().parent), *os.environ.get("PYTHONPATH", "").split(os.pathsep)}
    search_path = [one for one in sys.path if one not in ours]
    load()
    server = Server(sys.argv[1])
    print("warm", flush=True)
    run(server.next_stage(), search_path)


if __name__ == "__main__":
    main()
