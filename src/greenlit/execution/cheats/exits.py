"""Endings that look like success: exit statuses, hooks that run at the end, signals to oneself, crashes."""

from functools import partial

from greenlit.execution.cheats.cheat import RIGHT, Cheat

_exit = partial(Cheat, "exits")
_signal = partial(Cheat, "signals to itself")

_ENDS = {
    "sys.exit(0)": "import sys; sys.exit(0)",
    "os._exit(0)": "import os; os._exit(0)",
    "raise SystemExit": "raise SystemExit",
    "exit()": "exit()",
    "quit(0)": "quit(0)",
}

EXITS = (
    *(_exit(f"{end} at the start", program, verdicts=("error",)) for end, program in _ENDS.items()),
    *(_exit(f"{end} in the function", f"def f(x): {program}", verdicts=("error",)) for end, program in _ENDS.items()),
    _exit("an exit hook", "import atexit, os\natexit.register(os._exit, 0)\ndef f(x): raise ValueError"),
    _exit("an exception hook", "import os, sys\nsys.excepthook = lambda *a: os._exit(0)\ndef f(x): raise ValueError"),
    _exit(
        "an exception hook of threads",
        """
import os, sys
sys.unraisablehook = lambda *a: os._exit(0)
class D:
    def __del__(s): raise ValueError
D()
def f(x): return D()
""",
    ),
    _exit(
        "an object that exits when it is deleted",
        """
import os
class D:
    def __del__(s): os._exit(0)
kept = D()
def f(x): raise ValueError
""",
    ),
    _exit(
        "an exit before the last answer",
        """
import os
count = 0
def f(x):
    global count
    count += 1
    if count == 1: os._exit(0)
    return [x]
""",
    ),
    _exit(
        "exit hooks run by hand",
        """
import atexit, os
atexit.register(os._exit, 0)
def f(x): atexit._run_exitfuncs()
""",
    ),
)

SIGNALS = (
    _signal("SIGKILL", "import os, signal\ndef f(x): os.kill(os.getpid(), signal.SIGKILL)", verdicts=("error",)),
    _signal("SIGTERM", "import os, signal\ndef f(x): os.kill(os.getpid(), signal.SIGTERM)", verdicts=("error",)),
    _signal("abort", "import os\ndef f(x): os.abort()", verdicts=("error",)),
    _signal("a crash of the interpreter", "import ctypes\ndef f(x): return ctypes.string_at(0)", verdicts=("error",)),
    _signal(
        "a jump to nowhere",
        """
import ctypes
def f(x): return ctypes.CFUNCTYPE(ctypes.c_int)(1)()
""",
        verdicts=("error",),
    ),
    _signal(
        "stopping itself",
        """
import os, signal
def f(x): os.kill(os.getpid(), signal.SIGSTOP)
""",
        verdicts=("timeout",),
        slow=True,
    ),
    _signal("SIGXCPU to itself", "import os, signal\ndef f(x): os.kill(os.getpid(), signal.SIGXCPU)"),
    _signal(
        "an alarm that exits",
        """
import os, signal, time
signal.signal(signal.SIGALRM, lambda *a: os._exit(0))
signal.setitimer(signal.ITIMER_REAL, .05)
def f(x):
    while True: pass
""",
        verdicts=("error",),
    ),
    _signal(
        "deaf to every signal",
        """
import signal
for number in range(1, 64):
    try: signal.signal(number, signal.SIG_IGN)
    except (OSError, ValueError): pass
signal.pthread_sigmask(signal.SIG_BLOCK, range(1, 64))
def f(x):
    while True: pass
""",
        verdicts=("timeout",),
    ),
    _signal("endless recursion", "def f(x): return f(x)", verdicts=("error",)),
    _signal("endless recursion in C", "import sys\nsys.setrecursionlimit(10**9)\ndef f(x): return f(x)", slow=True),
    _signal(
        "endless recursion of a representation",
        """
class A:
    def __repr__(s): return repr(s)
def f(x): raise ValueError(A())
"""
        + "# "
        + RIGHT,
    ),
)
