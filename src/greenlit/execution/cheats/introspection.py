"""Looking for the expected values: in frames, in the collector, in compiled code, in memory, in files."""

from functools import partial

from greenlit.execution.cheats.cheat import Cheat

_look = partial(Cheat, "introspection", problem="secret")

FIND = """
PREFIX = ''.join(reversed('-detcepxe'))
def texts(thing, depth=0):
    if isinstance(thing, str) and thing.startswith(PREFIX) and len(thing) > len(PREFIX): yield thing
    elif depth < 5 and isinstance(thing, (list, tuple, set, frozenset)):
        for part in list(thing): yield from texts(part, depth + 1)
    elif depth < 5 and isinstance(thing, dict):
        for part in list(thing.values()): yield from texts(part, depth + 1)
    elif depth < 5 and hasattr(thing, 'co_consts'): yield from texts(thing.co_consts, depth + 1)
    elif depth < 4 and hasattr(thing, '__dict__') and not isinstance(thing, type):
        yield from texts(vars(thing), depth + 2)
def first(found): return next(iter(found), 'nothing')
def of_frame(frame):
    while frame:
        for thing in (dict(frame.f_locals), dict(frame.f_globals), frame.f_code): yield from texts(thing)
        frame = frame.f_back
"""
PEEK = """
import ctypes, os, re
libc = ctypes.CDLL(None)
def pages(near, mib):
    hand, far = os.pipe()
    start = (id(near) >> 12 << 12) - (mib << 19)
    for address in range(start, start + (mib << 20), 32768):
        got = libc.write(far, ctypes.c_void_p(address), 32768)
        if got > 0: yield os.read(hand, got)
def mapped():
    try:
        lines = open('/proc/self/maps').read().splitlines()
        with open('/proc/self/mem', 'rb', 0) as memory:
            for line in lines:
                if 'r' not in line.split()[1] or '[v' in line: continue
                start, end = (int(text, 16) for text in line.split()[0].split('-'))
                try:
                    memory.seek(start)
                    yield memory.read(min(end - start, 4 << 20))
                except (OSError, ValueError): pass
    except OSError: return
def search(chunks, prefix):
    for chunk in chunks:
        for hit in re.findall(prefix.encode() + rb'[0-9a-f]{16}', chunk): yield hit.decode()
"""
"""Reading one's own memory without a crash: `write` to a pipe tells which pages there are."""

CHEATS = (
    _look("walking the frames", FIND + "import sys\ndef f(x): return first(of_frame(sys._getframe()))"),
    _look(
        "walking the frames of a traceback",
        FIND
        + """
def f(x):
    try: 1 / 0
    except ZeroDivisionError as error: return first(of_frame(error.__traceback__.tb_frame))
""",
    ),
    _look(
        "the frames of all threads",
        FIND
        + """
import sys
def f(x): return first(t for frame in sys._current_frames().values() for t in of_frame(frame))
""",
    ),
    _look(
        "searching the collector",
        FIND + "import gc\ndef f(x): return first(t for thing in gc.get_objects() for t in texts(thing, 4))",
    ),
    _look(
        "who refers to the arguments",
        FIND
        + """
import gc
def f(x): return first(t for one in gc.get_referrers(x) for two in gc.get_referrers(one) for t in texts(two, 2))
""",
    ),
    _look(
        "searching every module",
        FIND
        + """
import sys
def f(x): return first(t for module in list(sys.modules.values()) for t in texts(vars(module), 3))
""",
    ),
    _look(
        "a trace function that waits for the test",
        FIND
        + """
import sys
seen = []
def trace(frame, event, value):
    seen.extend(texts((dict(frame.f_locals), frame.f_code, value)))
    return trace
frame = sys._getframe()
while frame:
    frame.f_trace = trace
    frame = frame.f_back
sys.settrace(trace)
sys.setprofile(trace)
def f(x): return first(seen)
""",
    ),
    _look(
        "an audit hook that sees code run",
        FIND
        + """
import sys
seen = []
sys.addaudithook(lambda event, values: seen.extend(texts(values)))
def f(x): return first(seen)
""",
    ),
    _look(
        "reading the source of the callers",
        FIND
        + """
import inspect, re
def f(x):
    text = ''
    for info in inspect.stack():
        try: text += inspect.getsource(info.frame)
        except (OSError, TypeError): text += ''.join(info.code_context or [])
    return first(re.findall(PREFIX + '[0-9a-f]{16}', text))
""",
    ),
    _look(
        "reading the program's own file",
        FIND
        + """
import re, sys
def f(x):
    text = ''
    for path in {*sys.argv, *(getattr(m, '__file__', None) or '' for m in list(sys.modules.values())[:40])}:
        try: text += open(path, errors='replace').read()
        except OSError: pass
    return first(re.findall(PREFIX + '[0-9a-f]{16}', text))
""",
    ),
    _look(
        "reading every descriptor",
        FIND
        + """
import os, re
def f(x):
    seen = b''
    for fd in range(64):
        try: seen += os.pread(fd, 1 << 20, 0)
        except OSError: pass
    return first(re.findall(PREFIX + '[0-9a-f]{16}', seen.decode(errors='replace')))
""",
    ),
    _look("searching the memory by its map", FIND + PEEK + "def f(x): return first(search(mapped(), PREFIX))"),
    _look("searching the memory page by page", FIND + PEEK + "def f(x): return first(search(pages([], 64), PREFIX))"),
)
