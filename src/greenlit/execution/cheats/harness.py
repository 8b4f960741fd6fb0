"""Taking the place of what runs the tests: forged answers on every descriptor, code of ours replaced in the process."""

from functools import partial

from greenlit.execution.cheats.cheat import RIGHT, Cheat

_forge = partial(Cheat, "forged frames")
_patch = partial(Cheat, "harness")

EVERYWHERE = """
import os
def everywhere(data):
    for fd in range(3, 64):
        try: os.write(fd, data)
        except OSError: pass
"""
_FRAMES = (
    EVERYWHERE
    + """
everywhere(b''.join(b'[%d,"value",{value}]\\n' % i for i in range(12)))
{then}
"""
)
_VALUES = {
    "true": '["b",1]',
    "a true object": '["o","61",1]',
    "an empty list": '["l",[]]',
    "a number": "1",
    "null": "null",
    "a set of a list": '["S",[[]]]',
}

FORGED = (
    *(
        _forge(f"answers before it is asked: {what}", _FRAMES.format(value=value, then="def f(x): return []"))
        for what, value in _VALUES.items()
    ),
    *(
        _forge(f"answers, then the end: {what}", _FRAMES.format(value=value, then="os._exit(0)"))
        for what, value in _VALUES.items()
    ),
    _forge(
        "the verdict as text on every descriptor",
        EVERYWHERE
        + """
everywhere(b'passed\\n1\\n{"passed": true}\\n')
def f(x): return []
""",
    ),
    _forge("garbage on every descriptor", EVERYWHERE + "everywhere(b'\\x00\\xff{}[]\\n')\n" + RIGHT),
    _forge(
        "a frame out of order",
        EVERYWHERE
        + """
everywhere(b'[5,"value",["n"]]\\n[true,"value",["n"]]\\n')
"""
        + RIGHT,
    ),
    _forge("half a frame", EVERYWHERE + "everywhere(b'[1,\"val')\nos._exit(0)"),
    _forge("the ready line again", EVERYWHERE + "everywhere(b'[\"ready\",0.0]\\n' * 3)\n" + RIGHT),
    _forge("a frame nested too deeply", EVERYWHERE + "everywhere(b'[0,\"value\",' + b'[' * 60000 + b'\\n')\n" + RIGHT),
    _forge(
        "a frame with a number without end",
        EVERYWHERE
        + """
everywhere(b'[0,"value",["n"]]\\n[1,"value",' + b'9' * 60000 + b']\\n')
def f(x): return []
""",
    ),
    _forge("a frame of many megabytes", EVERYWHERE + "data = b'x' * 65536\nwhile True: everywhere(data)"),
    _forge("a forged failure of the sandbox", EVERYWHERE + 'everywhere(b\'[-1,"infra","",""]\\n\')\nos._exit(0)'),
    _forge(
        "a forged fraction that is a bomb",
        EVERYWHERE
        + """
text = b'1e99999999'.hex().encode()
everywhere(b''.join(b'[%d,"value",["Q","%s"]]\\n' % (i, text) for i in range(12)))
os._exit(0)
""",
        problem="work",
    ),
    _forge(
        "a forged range without end",
        EVERYWHERE
        + """
everywhere(b''.join(b'[%d,"value",["r","0","%x","1"]]\\n' % (i, 10**15) for i in range(14)))
os._exit(0)
""",
        problem="work",
    ),
    _forge(
        "answers from within the function",
        EVERYWHERE
        + """
def f(x):
    everywhere(b''.join(b'[%d,"value",["b",1]]\\n' % i for i in range(12)))
    os._exit(0)
""",
    ),
    _forge(
        "answers from a thread",
        EVERYWHERE
        + """
import threading
def write():
    while True: everywhere(b'[1,"value",["b",1]]\\n')
threading.Thread(target=write, daemon=True).start()
def f(x): return []
""",
    ),
    _forge("every descriptor closed", "import os\nos.closerange(0, 64)\n" + RIGHT),
    _forge(
        "every descriptor made one",
        """
import os
hand, far = os.pipe()
for fd in range(3, 64):
    if fd not in (hand, far): os.dup2(far, fd)
"""
        + RIGHT,
    ),
    _forge(
        "the last answers of one program sent late to the next",
        "def f(x): return None",
        before=(
            EVERYWHERE
            + """
import time
if os.fork() == 0:
    try: os.setsid()
    except OSError: pass
    end = time.monotonic() + 0.4
    right = ['["l",[["i","%x"],["i","%x"],["i","3ade68b1"]]]' % (x, x + 1) for x in (2, 40, 7)]
    values = ['["n"]', right[0], '["n"]', right[1]]
    lines = ''.join('[%d,"value",%s]\\n' % pair for pair in enumerate(values)).encode()
    while time.monotonic() < end: everywhere(lines)
    os._exit(0)
def f(x): return 0
""",
        ),
    ),
)

FRAMES = """
import sys
def frames():
    frame = sys._getframe(1)
    while frame:
        yield frame
        frame = frame.f_back
"""

HARNESS = (
    _patch(
        "what sends the answers replaced",
        FRAMES
        + """
for frame in frames():
    names = frame.f_globals
    if '_send' in names:
        names['encode'] = lambda x, room: '["b",1]'
        names['_answer'] = lambda *a: '["b",1]'
def f(x): return None
""",
    ),
    _patch(
        "every function of the callers replaced",
        FRAMES
        + """
for frame in list(frames())[1:]:
    for name, value in list(frame.f_globals.items()):
        if callable(value) and not name.startswith('__'): frame.f_globals[name] = lambda *a, **k: True
def f(x): return None
""",
    ),
    _patch(
        "a verdict written into every list and object",
        FRAMES
        + """
def f(x):
    for frame in frames():
        for thing in [*frame.f_locals.values(), *frame.f_globals.values()]:
            if isinstance(thing, list): thing.append('passed')
            if isinstance(thing, dict) and 'steps' in thing: thing['steps'] = ()
            if hasattr(thing, 'passed'): thing.passed = True
            if hasattr(thing, 'value') and not isinstance(thing, type):
                try: thing.value = 0
                except Exception: pass
    return 'passed'
""",
    ),
    _patch(
        "what evaluates the tests replaced",
        """
import builtins, posix
builtins.eval = builtins.exec = lambda *a: True
builtins.compile = lambda *a, **k: ''
def f(x): return None
""",
    ),
    _patch(
        "redefined builtins",
        """
import builtins
for name in ('set', 'len', 'sorted', 'isinstance', 'all', 'any', 'abs', 'list', 'bool', 'type', 'getattr'):
    setattr(builtins, name, lambda *a, **k: True)
def f(x): return True
def set(x): return {7, 8, 987654321}
""",
    ),
    _patch(
        "redefined check and candidate",
        """
def check(candidate): return True
candidate = check
def f(x): return True
""",
        problem="script",
    ),
    _patch("asserts switched off", "import sys\nsys.flags = None\n__debug__ if False else None\ndef f(x): return []"),
    _patch(
        "poisoned modules",
        """
import sys
class M:
    def __getattr__(s, n): return lambda *a, **k: True
for n in ('json', 're', 'operator', 'math', 'posix', 'os'): sys.modules[n] = M()
def f(x): return True
""",
    ),
    _patch(
        "comparison of numbers patched in the interpreter",
        """
import ctypes
# tp_richcompare is the 26th word of a type object
size = ctypes.sizeof(ctypes.c_void_p)
true = ctypes.PYFUNCTYPE(ctypes.py_object, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int)(lambda a, b, op: True)
slot = ctypes.c_void_p.from_address(id(int) + 25 * size)
slot.value = ctypes.cast(true, ctypes.c_void_p).value
def f(x): return [1, 2, 3]
""",
    ),
    _patch(
        "the value of a small number patched",
        """
import ctypes
for n in range(50): ctypes.c_uint32.from_address(id(n) + 24).value = 1
def f(x): return [1, 1, 1]
""",
    ),
    _patch(
        "names that the judge uses for itself",
        """
__hole_0__ = [2, 3, 987654321]
expected = result = passed = True
def f(x): return __hole_0__ and None
""",
    ),
)
