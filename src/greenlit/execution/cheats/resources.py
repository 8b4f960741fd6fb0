"""Too much of something: time, memory, output, descriptors."""

from functools import partial

from greenlit.execution.cheats.cheat import Cheat

_time = partial(Cheat, "time")
_memory = partial(Cheat, "memory")
_flood = partial(Cheat, "floods")

TIME = (
    _time("an endless loop", "def f(x):\n    while True: pass", verdicts=("timeout",)),
    _time("an endless loop at the start", "while True: pass", verdicts=("timeout",)),
    _time(
        "a loop that swallows exceptions",
        """
def f(x):
    while True:
        try:
            while True: pass
        except BaseException: pass
""",
        verdicts=("timeout",),
    ),
    _time("a loop inside one big power", "def f(x): return 3 ** (10 ** 9)", slow=True),
    _time(
        "a regular expression that explodes",
        """
import re
def f(x): return re.match('(a+)+$', 'a' * 40 + 'b')
""",
        verdicts=("timeout",),
    ),
    _time(
        "sorting with a comparison that never ends",
        """
class A:
    def __lt__(s, o):
        while True: pass
def f(x): return sorted([A(), A()])
""",
        verdicts=("timeout",),
    ),
    _time("sleep", "import time\ndef f(x): time.sleep(1000)", verdicts=("timeout",), slow=True),
    _time(
        "sleep with the alarm turned off",
        """
import signal
signal.alarm(0)
signal.pthread_sigmask(signal.SIG_BLOCK, range(1, 64))
def f(x):
    while True: signal.pause()
""",
        slow=True,
    ),
    _time(
        "a wait for input that never comes",
        """
import os
hand, far = os.pipe()
def f(x): return os.read(hand, 1)
""",
        verdicts=("timeout",),
        slow=True,
    ),
    _time(
        "a clock that is turned back",
        """
import time
time.process_time = time.monotonic = time.perf_counter = time.time = lambda: 0
def f(x):
    while 1: pass
""",
        verdicts=("timeout",),
    ),
    _time(
        "a limit on CPU time that is raised again",
        """
import resource, signal
signal.signal(signal.SIGXCPU, signal.SIG_IGN)
try: resource.setrlimit(resource.RLIMIT_CPU, (-1, -1))
except (OSError, ValueError): pass
def f(x):
    while 1: pass
""",
        verdicts=("timeout",),
    ),
    _time("compiling for ever", "def f(x): return eval('1' + '+1' * 3000000)", slow=True),
)

MEMORY = (
    _memory("one huge allocation", "def f(x): return bytearray(1 << 40)", verdicts=("memory",)),
    _memory("memory bit by bit", "kept = []\nwhile True: kept.append(bytearray(1 << 20))"),
    _memory("memory that is touched", "def f(x):\n    kept = b'x' * (200 << 20)\n    return [kept * 2, x]", slow=True),
    _memory(
        "itertools.product of everything",
        """
import itertools
def f(x): return list(itertools.product(range(100), repeat=8))
""",
        slow=True,
    ),
    _memory(
        "memory of anonymous files",
        """
import os
def f(x):
    fd = os.memfd_create('m')
    for _ in range(64): os.write(fd, b'x' * (4 << 20))
    return []
""",
    ),
    _memory(
        "limits that are raised again",
        """
import resource
for name in ('RLIMIT_AS', 'RLIMIT_DATA', 'RLIMIT_FSIZE', 'RLIMIT_NPROC'):
    try: resource.setrlimit(getattr(resource, name), (-1, -1))
    except Exception: pass
def f(x): return bytearray(1 << 31)
""",
    ),
    _memory(
        "swallowed MemoryError",
        """
def f(x):
    kept = []
    while True:
        try: kept.append(bytearray(1 << 28))
        except MemoryError:
            kept = None
            return [x, x + 1]
""",
    ),
    _memory(
        "memory in pipes",
        """
import os
kept = []
try:
    while True:
        hand, far = os.pipe()
        os.set_blocking(far, False)
        os.write(far, b'x' * 65536)
except OSError: pass
def f(x): return []
""",
    ),
    _memory(
        "memory of many processes together",
        """
import os, time
for _ in range(40):
    if os.fork() == 0: break
kept = b'x' * (180 << 20)
time.sleep(0.3)
def f(x): return []
""",
        goal="hurt",
        needs_jail="forty times the memory one program may have",
    ),
)

FLOODS = (
    _flood(
        "bytes without end on every descriptor",
        """
import os
data = b'x' * 65536
while True:
    for fd in range(3, 64):
        try: os.write(fd, data)
        except OSError: pass
""",
    ),
    _flood("prints without end", "while True: print('x' * 65536)", slow=True),
    _flood("errors without end", "import sys\nwhile True: sys.stderr.write('x' * 65536)", slow=True),
    _flood("prints without end, of a whole program", "while True: print('x' * 65536)", problem="echo", slow=True),
    _flood(
        "a standard output that is one huge hole",
        """
import os
try: os.ftruncate(1, 1 << 40)
except OSError: pass
print('YES')
""",
        problem="echo",
    ),
    _flood(
        "descriptors without end",
        """
import os
kept = []
try:
    while True: kept.append(os.dup(0))
except OSError: pass
def f(x): return []
""",
    ),
    _flood(
        "warnings without end",
        """
import warnings
warnings.simplefilter('always')
while True: warnings.warn('x' * 10000)
""",
        slow=True,
    ),
)
