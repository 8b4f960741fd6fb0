"""More processes than one: forks that answer, daemons that stay, threads, and signals to others."""

from functools import partial

from greenlit.execution.cheats.cheat import Cheat

_fork = partial(Cheat, "processes")
_other = partial(Cheat, "other processes", problem="reach", goal="reach")

NAMED = """
import ctypes, os, time
def rename(): ctypes.CDLL(None).prctl(15, b'gl@tag@', 0, 0, 0)
"""
"""A stray process is told by the name it gave itself."""
DAEMON = (
    NAMED
    + """
if os.fork() == 0:
    os.setsid()
    if os.fork(): os._exit(0)
    rename()
    time.sleep(30)
    os._exit(0)
time.sleep(0.05)
"""
)

PROCESSES = (
    _fork("the parent exits, the child answers", "import os\nif os.fork(): os._exit(0)\ndef f(x): return []"),
    _fork("both halves of a fork answer", "import os\ndef f(x):\n    os.fork()\n    return []"),
    _fork("a fork for every answer", "import os\ndef f(x):\n    if os.fork() == 0: return [x, x + 1]\n    os._exit(0)"),
    _fork("a daemon in a session of its own", DAEMON + "def f(x): return []", goal="hurt"),
    _fork("a daemon, and the parent is gone", DAEMON + "os._exit(0)", goal="hurt"),
    _fork(
        "a daemon started by the function",
        NAMED
        + """
def f(x):
    if os.fork() == 0:
        os.setsid()
        if os.fork(): os._exit(0)
        rename()
        time.sleep(30)
        os._exit(0)
    time.sleep(0.05)
    return []
""",
        goal="hurt",
    ),
    _fork(
        "a chain of forks that runs away",
        NAMED
        + """
end = time.monotonic() + 0.2
while time.monotonic() < end:
    if os.fork(): os._exit(0)
    rename()
    os.setsid()
    time.sleep(0.01)
time.sleep(30)
def f(x): return []
""",
        goal="hurt",
    ),
    _fork(
        "zombies",
        """
import os
for _ in range(20):
    if os.fork() == 0: os._exit(0)
def f(x): return []
""",
        goal="hurt",
    ),
    _fork(
        "a child that computes while the parent waits",
        """
import os
def f(x):
    if os.fork() == 0:
        while True: pass
    os.wait()
""",
        slow=True,
        verdicts=("timeout",),
    ),
    _fork(
        "a stopped child",
        NAMED
        + """
import signal
def f(x):
    pid = os.fork()
    if pid == 0:
        rename()
        os.kill(os.getpid(), signal.SIGSTOP)
    time.sleep(0.05)
    return []
""",
        goal="hurt",
    ),
    _fork(
        "a thread that never ends",
        """
import threading, time
threading.Thread(target=lambda: time.sleep(1000)).start()
def f(x): return []
""",
    ),
    _fork(
        "threads that compute on",
        """
import threading
def loop():
    while True: pass
for _ in range(4): threading.Thread(target=loop).start()
def f(x): return []
""",
    ),
    _fork(
        "a thread that ends the process late",
        """
import os, threading
threading.Timer(0.05, os._exit, (0,)).start()
def f(x):
    while True: pass
""",
    ),
    _fork(
        "a fork bomb",
        """
import os
while True:
    try: os.fork()
    except OSError: pass
""",
        goal="hurt",
        needs_jail="more processes than the machine can bear",
    ),
    _fork(
        "a fork bomb of daemons",
        NAMED
        + """
while True:
    try:
        if os.fork() == 0:
            rename()
            os.setsid()
    except OSError: pass
""",
        goal="hurt",
        needs_jail="more processes than the machine can bear",
    ),
    _fork(
        "a thread bomb",
        """
import threading, time
while True:
    try: threading.Thread(target=time.sleep, args=(30,)).start()
    except RuntimeError: pass
""",
        goal="hurt",
        needs_jail="more threads than the machine can bear",
    ),
    _fork(
        "a process that survives by forking faster than it is killed",
        NAMED
        + """
rename()
for _ in range(6):
    os.fork()
while True:
    try:
        if os.fork(): os._exit(0)
    except OSError: pass
""",
        goal="hurt",
        needs_jail="a swarm that is hard to end",
    ),
)

_KILL = """
import os, signal
def f(x):
    try: os.kill({whom}, signal.{what})
    except OSError: return 'refused'
    return {then}
"""
_CALL = """
import os, resource, signal
def f(x):
    try: {call}
    except (OSError, ValueError): return 'refused'
    return 'reached'
"""

OTHERS = (
    _other(
        "the host's process killed",
        _KILL.format(whom="@host_pid@", what="SIGKILL", then="'reached'"),
        open_at=("portable",),
    ),
    _other(
        "the host's process stopped",
        _KILL.format(whom="@host_pid@", what="SIGSTOP", then="'reached'"),
        open_at=("portable",),
    ),
    _other(
        "the host's process slowed down",
        _CALL.format(call="os.setpriority(os.PRIO_PROCESS, @host_pid@, 19)"),
        open_at=("portable",),
    ),
    _other(
        "the host's process moved to one core",
        _CALL.format(call="os.sched_setaffinity(@host_pid@, {min(os.sched_getaffinity(0))})"),
        open_at=("portable",),
    ),
    _other(
        "the host's process limited",
        _CALL.format(call="resource.prlimit(@host_pid@, resource.RLIMIT_NOFILE, (9, 9))"),
        open_at=("portable",),
    ),
    _other(
        "the host's processes listed",
        """
import glob
def f(x): return 'reached' if any(open(p).read() for p in glob.glob('/proc/@host_pid@/cmdline')) else 'no'
""",
        open_at=("portable",),
    ),
    _other(
        "every process killed",
        _KILL.format(whom="-1", what="SIGKILL", then="'survived'"),
        goal="hurt",
        needs_jail="kill(-1): every process of the user, or of the machine",
    ),
    _other(
        "every process stopped",
        _KILL.format(whom="-1", what="SIGSTOP", then="'survived'"),
        goal="hurt",
        needs_jail="kill(-1): every process of the user, or of the machine",
    ),
    _other(
        "every process killed, from every child",
        """
import os, signal
for _ in range(4): os.fork()
for _ in range(50):
    try: os.kill(-1, signal.SIGKILL)
    except OSError: pass
def f(x): return 'survived'
""",
        goal="hurt",
        needs_jail="kill(-1): every process of the user, or of the machine",
    ),
    _other(
        "process 1 killed",
        _KILL.format(whom="1", what="SIGKILL", then="'sent'"),
        goal="hurt",
        needs_jail="a signal to init",
    ),
    _other(
        "the parent killed",
        _KILL.format(whom="os.getppid()", what="SIGKILL", then="'sent'"),
        goal="hurt",
        needs_jail="a signal to the judge's worker",
    ),
    _other(
        "the parent stopped",
        _KILL.format(whom="os.getppid()", what="SIGSTOP", then="'sent'"),
        goal="hurt",
        needs_jail="a signal to the judge's worker",
    ),
    _other(
        "the parent told to end",
        _KILL.format(whom="os.getppid()", what="SIGTERM", then="'sent'"),
        goal="hurt",
        needs_jail="a signal to the judge's worker",
    ),
    _other(
        "the whole group killed",
        _KILL.format(whom="0", what="SIGKILL", then="'sent'"),
        goal="hurt",
        needs_jail="kill(0): whatever is in the group",
    ),
    _other(
        "all low process numbers killed",
        """
import os, signal
def f(x):
    for pid in range(1, 400):
        if pid != os.getpid():
            try: os.kill(pid, signal.SIGKILL)
            except OSError: pass
    return 'sent'
""",
        goal="hurt",
        needs_jail="signals to whatever has a low number",
    ),
    _other(
        "the parent slowed down",
        _CALL.format(call="os.setpriority(os.PRIO_PROCESS, os.getppid(), 19)"),
        needs_jail="changes the judge's worker",
    ),
    _other(
        "all of the user slowed down",
        """
import os
def f(x):
    try: os.setpriority(os.PRIO_USER, 0, 19)
    except OSError: return 'refused'
    return 'reached' if os.getpriority(os.PRIO_PROCESS, os.getppid()) == 19 else 'only itself'
""",
        needs_jail="changes all processes of the user",
    ),
    _other(
        "the parent limited",
        _CALL.format(call="resource.prlimit(os.getppid(), resource.RLIMIT_CPU, (1, 1))"),
        needs_jail="changes the judge's worker",
    ),
    _other(
        "the parent moved to one core",
        _CALL.format(call="os.sched_setaffinity(os.getppid(), {min(os.sched_getaffinity(0))})"),
        needs_jail="changes the judge's worker",
    ),
    _other(
        "the parent traced",
        """
import ctypes, os
libc = ctypes.CDLL(None)
def f(x): return 'reached' if libc.ptrace(16, os.getppid(), 0, 0) == 0 else 'refused'
""",
        needs_jail="stops the judge's worker",
    ),
)
