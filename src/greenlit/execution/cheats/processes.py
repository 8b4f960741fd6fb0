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
    _fork("a daemon started by the function", DAEMON.replace("\nif os", "\ndef f(x):\n  if os").replace("\n    ", "\n      ").replace("\ntime.sleep(0.05)", "\n  return []"), goal="hurt"),
    _fork(
        "a chain of forks that runs away",
        NAMED + "end = time.monotonic() + 0.2\nwhile time.monotonic() < end:\n    if os.fork(): os._exit(0)\n    rename()\n    os.setsid()\n    time.sleep(0.01)\ntime.sleep(30)\ndef f(x): return []",
        goal="hurt",
        waits=True,
    ),
    _fork("zombies", "import os\nfor _ in range(20):\n    if os.fork() == 0: os._exit(0)\ndef f(x): return []", goal="hurt"),
    _fork("a child that computes while the parent waits", "import os\ndef f(x):\n    if os.fork() == 0:\n        while True: pass\n    os.wait()", waits=True, verdicts=("timeout",)),
    _fork("a stopped child", NAMED + "import signal\ndef f(x):\n    pid = os.fork()\n    if pid == 0:\n        rename()\n        os.kill(os.getpid(), signal.SIGSTOP)\n    time.sleep(0.05)\n    return []", goal="hurt"),
    _fork("a thread that never ends", "import threading, time\nthreading.Thread(target=lambda: time.sleep(1000)).start()\ndef f(x): return []"),
    _fork("threads that compute on", "import threading\ndef loop():\n    while True: pass\nfor _ in range(4): threading.Thread(target=loop).start()\ndef f(x): return []"),
    _fork("a thread that ends the process late", "import os, threading\nthreading.Timer(0.05, os._exit, (0,)).start()\ndef f(x):\n    while True: pass"),
    _fork("a fork bomb", "import os\nwhile True:\n    try: os.fork()\n    except OSError: pass", goal="hurt", needs_jail="more processes than the machine can bear"),
    _fork("a fork bomb of daemons", NAMED + "while True:\n    try:\n        if os.fork() == 0:\n            rename()\n            os.setsid()\n    except OSError: pass", goal="hurt", needs_jail="more processes than the machine can bear"),
    _fork("a thread bomb", "import threading, time\nwhile True:\n    try: threading.Thread(target=time.sleep, args=(30,)).start()\n    except RuntimeError: pass", goal="hurt", needs_jail="more threads than the machine can bear"),
    _fork("a process that survives by forking faster than it is killed", NAMED + "rename()\nfor _ in range(6):\n    os.fork()\nwhile True:\n    try:\n        if os.fork(): os._exit(0)\n    except OSError: pass", goal="hurt", needs_jail="a swarm that is hard to end"),
)  # fmt: skip

_KILL = "import os, signal\ndef f(x):\n    try: os.kill({whom}, signal.{what})\n    except OSError: return 'refused'\n    return {then}"
_CALL = "import os, resource, signal\ndef f(x):\n    try: {call}\n    except (OSError, ValueError): return 'refused'\n    return 'reached'"

OTHERS = (
    _other("the host's process killed", _KILL.format(whom="@host_pid@", what="SIGKILL", then="'reached'"), open_at=("portable",)),
    _other("the host's process stopped", _KILL.format(whom="@host_pid@", what="SIGSTOP", then="'reached'"), open_at=("portable",)),
    _other("the host's process slowed down", _CALL.format(call="os.setpriority(os.PRIO_PROCESS, @host_pid@, 19)"), open_at=("portable",)),
    _other("the host's process moved to one core", _CALL.format(call="os.sched_setaffinity(@host_pid@, {min(os.sched_getaffinity(0))})"), open_at=("portable",)),
    _other("the host's process limited", _CALL.format(call="resource.prlimit(@host_pid@, resource.RLIMIT_NOFILE, (9, 9))"), open_at=("portable",)),
    _other("the host's processes listed", "import glob\ndef f(x): return 'reached' if any(open(p).read() for p in glob.glob('/proc/@host_pid@/cmdline')) else 'no'", open_at=("portable",)),
    _other("every process killed", _KILL.format(whom="-1", what="SIGKILL", then="'survived'"), goal="hurt", needs_jail="kill(-1): every process of the user, or of the machine"),
    _other("every process stopped", _KILL.format(whom="-1", what="SIGSTOP", then="'survived'"), goal="hurt", needs_jail="kill(-1): every process of the user, or of the machine"),
    _other("every process killed, from every child", "import os, signal\nfor _ in range(4): os.fork()\nfor _ in range(50):\n    try: os.kill(-1, signal.SIGKILL)\n    except OSError: pass\ndef f(x): return 'survived'", goal="hurt", needs_jail="kill(-1): every process of the user, or of the machine"),
    _other("process 1 killed", _KILL.format(whom="1", what="SIGKILL", then="'sent'"), goal="hurt", needs_jail="a signal to init"),
    _other("the parent killed", _KILL.format(whom="os.getppid()", what="SIGKILL", then="'sent'"), goal="hurt", needs_jail="a signal to the judge's worker"),
    _other("the parent stopped", _KILL.format(whom="os.getppid()", what="SIGSTOP", then="'sent'"), goal="hurt", needs_jail="a signal to the judge's worker"),
    _other("the parent told to end", _KILL.format(whom="os.getppid()", what="SIGTERM", then="'sent'"), goal="hurt", needs_jail="a signal to the judge's worker"),
    _other("the whole group killed", _KILL.format(whom="0", what="SIGKILL", then="'sent'"), goal="hurt", needs_jail="kill(0): whatever is in the group"),
    _other("all low process numbers killed", "import os, signal\ndef f(x):\n    for pid in range(1, 400):\n        if pid != os.getpid():\n            try: os.kill(pid, signal.SIGKILL)\n            except OSError: pass\n    return 'sent'", goal="hurt", needs_jail="signals to whatever has a low number"),
    _other("the parent slowed down", _CALL.format(call="os.setpriority(os.PRIO_PROCESS, os.getppid(), 19)"), needs_jail="changes the judge's worker"),
    _other("all of the user slowed down", _CALL.format(call="os.setpriority(os.PRIO_USER, 0, 19)") + " if os.getpriority(os.PRIO_PROCESS, os.getppid()) == 19 else 'only itself'", needs_jail="changes all processes of the user"),
    _other("the parent limited", _CALL.format(call="resource.prlimit(os.getppid(), resource.RLIMIT_CPU, (1, 1))"), needs_jail="changes the judge's worker"),
    _other("the parent moved to one core", _CALL.format(call="os.sched_setaffinity(os.getppid(), {min(os.sched_getaffinity(0))})"), needs_jail="changes the judge's worker"),
    _other("the parent traced", "import ctypes, os\nlibc = ctypes.CDLL(None)\ndef f(x): return 'reached' if libc.ptrace(16, os.getppid(), 0, 0) == 0 else 'refused'", needs_jail="stops the judge's worker"),
)  # fmt: skip
