"""Too much of something: time, memory, output, descriptors."""

from functools import partial

from greenlit.execution.cheats.cheat import Cheat

_time = partial(Cheat, "time")
_memory = partial(Cheat, "memory")
_flood = partial(Cheat, "floods")

TIME = (
    _time("an endless loop", "def f(x):\n    while True: pass", verdicts=("timeout",)),
    _time("an endless loop at the start", "while True: pass", verdicts=("timeout",)),
    _time("a loop that swallows exceptions", "def f(x):\n    while True:\n        try:\n            while True: pass\n        except BaseException: pass", verdicts=("timeout",)),
    _time("a loop inside one big power", "def f(x): return 3 ** (10 ** 9)"),
    _time("a regular expression that explodes", "import re\ndef f(x): return re.match('(a+)+$', 'a' * 40 + 'b')", verdicts=("timeout",)),
    _time("sorting with a comparison that never ends", "class A:\n    def __lt__(s, o):\n        while True: pass\ndef f(x): return sorted([A(), A()])", verdicts=("timeout",)),
    _time("sleep", "import time\ndef f(x): time.sleep(1000)", verdicts=("timeout",), waits=True),
    _time("sleep with the alarm turned off", "import signal\nsignal.alarm(0)\nsignal.pthread_sigmask(signal.SIG_BLOCK, range(1, 64))\ndef f(x):\n    while True: signal.pause()", waits=True),
    _time("a wait for input that never comes", "import os\nhand, far = os.pipe()\ndef f(x): return os.read(hand, 1)", verdicts=("timeout",), waits=True),
    _time("a clock that is turned back", "import time\ntime.process_time = time.monotonic = time.perf_counter = time.time = lambda: 0\ndef f(x):\n    while 1: pass", verdicts=("timeout",)),
    _time("a limit on CPU time that is raised again", "import resource, signal\nsignal.signal(signal.SIGXCPU, signal.SIG_IGN)\ntry: resource.setrlimit(resource.RLIMIT_CPU, (-1, -1))\nexcept (OSError, ValueError): pass\ndef f(x):\n    while 1: pass", verdicts=("timeout",)),
    _time("compiling for ever", "def f(x): return eval('+'.join('(1' * 1) + ')' if 0 else '1' + '+1' * 3000000)"),
)  # fmt: skip

MEMORY = (
    _memory("one huge allocation", "def f(x): return bytearray(1 << 40)", verdicts=("memory",)),
    _memory("memory bit by bit", "kept = []\nwhile True: kept.append(bytearray(1 << 20))", verdicts=("memory",)),
    _memory("memory that is touched", "def f(x):\n    kept = b'x' * (200 << 20)\n    return [kept * 2, x]"),
    _memory("itertools.product of everything", "import itertools\ndef f(x): return list(itertools.product(range(100), repeat=8))"),
    _memory("memory of anonymous files", "import os\ndef f(x):\n    fd = os.memfd_create('m')\n    for _ in range(64): os.write(fd, b'x' * (4 << 20))\n    return []"),
    _memory("limits that are raised again", "import resource\nfor name in ('RLIMIT_AS', 'RLIMIT_DATA', 'RLIMIT_FSIZE', 'RLIMIT_NPROC'):\n    try: resource.setrlimit(getattr(resource, name), (-1, -1))\n    except Exception: pass\ndef f(x): return bytearray(1 << 31)"),
    _memory("swallowed MemoryError", "def f(x):\n    kept = []\n    while True:\n        try: kept.append('x' * (1 << 24))\n        except MemoryError:\n            kept = None\n            return [x, x + 1]"),
    _memory("memory in pipes", "import os\nkept = []\ntry:\n    while True:\n        hand, far = os.pipe()\n        os.set_blocking(far, False)\n        os.write(far, b'x' * 65536)\nexcept OSError: pass\ndef f(x): return []"),
    _memory("memory of many processes together", "import os, time\nfor _ in range(40):\n    if os.fork() == 0: break\nkept = b'x' * (180 << 20)\ntime.sleep(0.3)\ndef f(x): return []", goal="hurt", needs_jail="forty times the memory one program may have"),
)  # fmt: skip

FLOODS = (
    _flood("bytes without end on every descriptor", "import os\ndata = b'x' * 65536\nwhile True:\n    for fd in range(3, 64):\n        try: os.write(fd, data)\n        except OSError: pass"),
    _flood("prints without end", "while True: print('x' * 65536)"),
    _flood("errors without end", "import sys\nwhile True: sys.stderr.write('x' * 65536)"),
    _flood("prints without end, of a whole program", "while True: print('x' * 65536)", problem="echo"),
    _flood("a standard output that is one huge hole", "import os\ntry: os.ftruncate(1, 1 << 40)\nexcept OSError: pass\nprint('YES')", problem="echo"),
    _flood("descriptors without end", "import os\nkept = []\ntry:\n    while True: kept.append(os.dup(0))\nexcept OSError: pass\ndef f(x): return []"),
    _flood("warnings without end", "import warnings\nwarnings.simplefilter('always')\nwhile True: warnings.warn('x' * 10000)"),
)  # fmt: skip
