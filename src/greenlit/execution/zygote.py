"""Process 1 of a jail: forks one process per candidate, watches its time, ends everything it left behind.

Shipped as a code object and run by a fresh interpreter inside the jail, with `child.py`. The other end is `lane.py`,
which imports the words of their protocol from here. The zygote never sees what a candidate reads or writes: each
candidate gets a socket of its own, which the zygote only hands on, so nothing of one candidate is in the memory that
the next one inherits.

kill(-1) ENDS EVERY PROCESS THAT THE CALLER MAY SIGNAL. Here that is everything in the jail's process namespace, which
is the point: no fork bomb outruns it. Outside a namespace it would be the whole machine. So this program exits at once
unless it is process 1, and looks again before each call; there is no other mode.

A raw fork (libc's, not Python's) skips the interpreter's after-fork hooks, which cost twice what everything else here
does. What that means: every candidate starts with the same `random` state, and there must be no second thread.
"""

import _signal
import _socket
import ctypes
import gc
import marshal
import posix
import resource
import struct
import sys
import time
from collections.abc import Callable

CONTROL = 20
REQUEST, ANSWERS, CALLS = 3, 4, 5
ORDER = struct.Struct("=ddqqq")
"""CPU seconds, wall seconds, address space in bytes (0: no limit), size of the request, what is handed over."""
STREAMS, LARGE, ERRORS = 1, 2, 4
"""Handed over after the socket: standard input and output, the request in a file, standard error."""
ANCILLARY = _socket.CMSG_SPACE(5 * 4)
REPORT = struct.Struct("=8siidd")
"""How it ended, signal, exit status, CPU seconds, wall seconds."""
TICK_S, SLICE_S = 0.005, 0.25
"""How often at most, and at least, to look at what a candidate has used."""
CHILD = (_signal.SIGCHLD,)
OPEN_FILES = 64
PROCESSES = 64
STACK_BYTES = 64 << 20
PRELOADED = (
    "bisect", "collections", "copy", "functools", "heapq", "itertools", "math", "operator", "re", "string", "typing",
)  # fmt: skip
"""What programs import most. Each module makes every fork a little dearer, so no more than that."""


def kill_all_others() -> bool:
    """End every other process of this jail; False when there was none."""
    if posix.getpid() != 1:
        posix._exit(70)
    try:
        posix.kill(-1, _signal.SIGKILL)
    except ProcessLookupError:
        return False
    return True


def reap() -> None:
    """Take leave of all that has ended."""
    try:
        while True:
            posix.waitpid(-1, 0)
    except ChildProcessError:
        pass


def wipe(folder: str) -> None:
    """Empty the only folder that can be written. What resists ends the jail; a new one is built."""
    if posix.listdir(folder):
        import shutil

        for name in posix.listdir(folder):
            path = f"{folder}/{name}"
            try:
                posix.unlink(path)
            except IsADirectoryError:
                shutil.rmtree(path)


WARM_UP = """
import math, re, collections
from typing import List, Dict, Optional
class Point:
    def __init__(self, x, y=0, *rest, **named):
        self.x, self.y = x, y
    def __repr__(self):
        return f"Point({self.x!r}, {self.y:>{3}})"
def solve(items: List[int], n: int = 3) -> Dict[str, int]:
    'docstring'
    global seen
    seen, total, i = set(), 0, 0
    try:
        for index, item in enumerate(sorted(items, key=lambda one: -one)):
            if item % n == 1 and not item in seen or index > 10 ** 6:
                seen.add(item)
                continue
            elif isinstance(item, str):
                break
            else:
                total += item if item > 0 else -item
        while i < n:
            i += 1
        with memoryview(b"abc") as view:
            total |= view[0] << 1
    except (ValueError, KeyError) as error:
        raise RuntimeError("no") from error
    finally:
        assert total is not None, "text"
    first, *others = [*map(str, items)] or ["a"]
    squares = {str(x): x * x for x in items if x}
    unique = {x // 2 for x in items}
    words = re.findall(r"[a-z]+", "some words " + ",".join(others).upper().lower())
    counted = collections.Counter(words).most_common(2)
    found = any(x == 5 for x in range(len(items))), all([True]), max(items), min(items), sum(items)
    return {"a": total, **squares, "b": [unique, counted, found, items[::-1], items[1:-1], math.sqrt(4), Point(1)]}
def numbers(n):
    a, b = 0, 1
    while a < n:
        yield a
        a, b = b, a + b
result = [solve([3, 1, 2], n=2), list(numbers(50)), "%d %s" % (3, "x"), "{}".format(1.5), (1, 2.5, None, True, "x")]
print(repr(result)[:0], end="")
"""
"""What a program of the kind we run makes the interpreter set up once: done before the fork, it is never done again.

Without it each candidate pays for it anew, in page faults: twice the time of all the rest.
"""


WARM_UP_SCIENCE = """
import numpy as np, pandas as pd, sympy
a = np.arange(12, dtype=float).reshape(3, 4)
result = [(a @ a.T).sum(), np.linalg.det(a[:, :3]), np.sort(a, axis=0).tolist(), np.int64(3), a[a > 3].mean()]
frame = pd.DataFrame({"a": ["x", "y", "x"], "b": [1, 2, 3]})
result += [frame.groupby("a")["b"].sum().to_dict(), frame.merge(frame, on="a").sort_values("b_x").values.tolist()]
x = sympy.Symbol("x")
result += [str(sympy.solve(x ** 2 - 4, x)), str(sympy.diff(sympy.sin(x) * x)), str(sympy.simplify(x / x ** 2))]
"""


def warm_up(encode: Callable[[object, int], str]) -> None:
    """Compile, run, fail and answer once."""
    for _ in range(3):
        names: dict = {"__name__": "candidate"}
        exec(compile(WARM_UP, "<candidate>", "exec", dont_inherit=True), names)
        marshal.loads(marshal.dumps({"code": WARM_UP, "steps": [("eval", compile("solve([1])", "<test>", "eval"))]}))
        eval(compile("solve([1, 2], n=3)", "<test>", "eval"), names)
        encode([names["result"][1:], {"a": {1}, "b": range(3)}, b"x", 1.5, -3], 1 << 20)
        for broken in ("def f(:", "return", "x = (", "f = '"):
            try:
                compile(broken, "<candidate>", "exec", dont_inherit=True)
            except SyntaxError as error:
                str(error)
        try:
            names["solve"](None)
        except TypeError as error:
            str(error)


class Zygote:
    """Forks and watches."""

    def __init__(self, spec: dict, serve: Callable[[dict], None]) -> None:
        self.serve = serve
        self.two_ids = spec["two_ids"]
        self.patience, self.starved = spec["patience"], spec["starved"]
        self.control = _socket.socket(_socket.AF_UNIX, _socket.SOCK_SEQPACKET, 0, CONTROL)
        self.raw_fork = ctypes.PyDLL(None).fork  # PyDLL: the interpreter's lock stays ours, there is one thread

    def work(self) -> None:
        """Serve until the other end of the control socket closes."""
        self.control.send(b"ready")
        while True:
            message, ancillary, _, _ = self.control.recvmsg(ORDER.size, ANCILLARY)
            if not message:
                posix._exit(0)
            if len(message) < ORDER.size:
                continue  # an order to stop what has just ended by itself
            order = ORDER.unpack(message)
            handed = memoryview(ancillary[0][2]).cast("i")
            begun = time.monotonic()
            pid = self.raw_fork()
            if pid == 0:
                try:
                    self.become_candidate(order, handed)
                finally:
                    posix._exit(99)
            for descriptor in handed:
                posix.close(descriptor)
            report = self.watch(pid, order, begun) if pid > 0 else (b"nofork", 0, 0, 0.0, 0.0)
            self.control.send(REPORT.pack(*report))
            wipe("/tmp")

    def become_candidate(self, order: tuple, handed: memoryview) -> None:
        """In the child: give up what is left to give up, then run the request. Never returns into the loop.

        Capabilities go with the user id; where there is one id for all, the zygote has none to begin with.
        """
        _, _, memory, size, what = order
        data, *others = handed
        if what & STREAMS:
            posix.dup2(others.pop(0), 0)
            posix.dup2(others.pop(0), 1)
        posix.dup2(others.pop(0) if what & LARGE else data, REQUEST)
        if what & ERRORS:
            posix.dup2(others.pop(0), 2)
        posix.dup2(data, ANSWERS)
        posix.dup2(data, CALLS)
        posix.closerange(6, OPEN_FILES)
        if self.two_ids:
            posix.setresgid(1, 1, 1)
            posix.setresuid(1, 1, 1)
        if memory:
            resource.setrlimit(resource.RLIMIT_AS, (memory, memory))
        content = posix.read(REQUEST, size)
        while len(content) < size:
            part = posix.read(REQUEST, size - len(content))
            if not part:
                posix._exit(98)
            content += part
        _signal.pthread_sigmask(_signal.SIG_SETMASK, ())
        gc.enable()
        self.serve(marshal.loads(content))

    def watch(self, pid: int, order: tuple, begun: float) -> tuple:
        """Wait until it ends, by itself or because its time is up; then end what it started.

        While the candidate lives, each page that this process writes to is copied first. So it sleeps at once, and does
        what else there is to do afterwards.
        """
        cpu_limit_s, wall_limit_s = order[:2]
        ended = b""
        wait_s = min(cpu_limit_s, wall_limit_s, SLICE_S)
        while True:
            _signal.sigtimedwait(CHILD, wait_s)
            found, status, usage = posix.wait4(pid, posix.WNOHANG)
            wall_s = time.monotonic() - begun
            if found:
                break
            used_s = time.clock_gettime((~pid << 3) | 2)
            # A program that computes but gets little of a busy machine is no sleeper: it may have more wall time.
            wall_end_s = wall_limit_s * (self.patience if used_s > self.starved * wall_s else 1)
            if used_s > cpu_limit_s:
                ended = b"cpu"
            elif wall_s > wall_end_s:
                ended = b"wall"
            elif self.told_to_stop():
                ended = b"stopped"
            if ended:
                posix.kill(pid, _signal.SIGKILL)
                _, status, usage = posix.wait4(pid, 0)
                break
            wait_s = max(TICK_S, min(cpu_limit_s - used_s, wall_end_s - wall_s, SLICE_S))
        if kill_all_others():
            reap()
        code = posix.waitstatus_to_exitcode(status)
        return ended or b"exited", max(0, -code), max(0, code), usage.ru_utime + usage.ru_stime, wall_s

    def told_to_stop(self) -> bool:
        """Has the worker had enough of this candidate? Ends the jail when there is no worker any more."""
        try:
            if not self.control.recv(ORDER.size, _socket.MSG_DONTWAIT):
                posix._exit(0)
        except BlockingIOError:
            return False
        return True


def main(spec: dict, child: dict) -> None:
    """Set up, then serve. Everything a candidate must not do is decided before the first one is forked.

    Args:
        spec: as blueprint.py makes it.
        child: what child.py and its parts define.
    """
    if posix.getpid() != 1:
        posix._exit(70)
    for number in (_signal.SIGINT, _signal.SIGPIPE, _signal.SIGXFSZ):
        _signal.signal(number, _signal.SIG_DFL)  # process 1 without handlers: no signal of its own jail reaches it
    _signal.pthread_sigmask(_signal.SIG_BLOCK, CHILD)
    for number in (REQUEST, ANSWERS, CALLS):
        posix.dup2(0, number)  # so that descriptors which arrive get other numbers
    sys.path[:] = [*sys.path, *spec["packages"]]
    for name in (*PRELOADED, *spec["also_loaded"]):
        __import__(name)
    if spec["filter"]:
        child["accept_filter"](spec["filter"])
    ctypes.CDLL(None).prctl(4, 0, 0, 0, 0)  # PR_SET_DUMPABLE: not to be traced, even by its own user id
    for which, limit in (
        (resource.RLIMIT_CORE, 0),
        (resource.RLIMIT_NOFILE, OPEN_FILES),
        (resource.RLIMIT_NPROC, PROCESSES),
        (resource.RLIMIT_FSIZE, spec["output_bytes"]),
        (resource.RLIMIT_STACK, STACK_BYTES),
    ):
        hard = resource.getrlimit(which)[1]
        limit = limit if hard == resource.RLIM_INFINITY else min(limit, hard)
        resource.setrlimit(which, (limit, hard if which == resource.RLIMIT_STACK else limit))
    warm_up(child["encode"])
    if spec["also_loaded"]:
        exec(compile(WARM_UP_SCIENCE, "<candidate>", "exec", dont_inherit=True), {"__name__": "candidate"})
        child["seed"]()
    child["rehearse"](REQUEST)
    child["prepare"]()
    gc.collect()
    gc.set_threshold(5_000, 10, 10)  # a short program need not be searched for cycles
    gc.freeze()
    gc.disable()
    Zygote(spec, child["run_forked"]).work()
