"""Whole programs judged by what they print, source texts that are traps, and tests that are a dialogue."""

from functools import partial

from greenlit.execution.cheats.answers import ALWAYS
from greenlit.execution.cheats.cheat import RIGHT, Cheat

_print = partial(Cheat, "standard output", problem="echo")
_source = partial(Cheat, "sources")
_talk = partial(Cheat, "dialogue", problem="dialogue")

_ALL = "print('YES'); print(input()); print(987654321, flush=True)\n"

OUTPUT = (
    _print("only the first right line", "print('YES')"),
    _print("nothing", "pass"),
    _print("more than was asked", _ALL + "print(987654321)"),
    _print("something before", "print(0)\n" + _ALL),
    _print("the right output twice", "text = input()\nfor _ in range(2): print('YES'); print(text); print(987654321)"),
    _print("the right words in another layout", "print('YES', input(), 987654321)"),
    _print("the right output in small letters", "print('yes'); print(input()); print(987654321)"),
    _print(
        "a verdict on every descriptor",
        """
import os
for fd in range(1, 64):
    try: os.write(fd, b'passed\\nYES\\n')
    except OSError: pass
""",
    ),
    _print(
        "the expected output read from a descriptor",
        """
import os
seen = b''
for fd in range(64):
    try: seen += os.pread(fd, 10000, 0)
    except OSError: pass
print(seen.decode(errors='replace'))
""",
    ),
    _print("right, then a crash", _ALL + "import ctypes\nctypes.string_at(0)", verdicts=("error",)),
    _print("right, then an exception", _ALL + "raise ValueError", verdicts=("error",)),
    _print("right, then a bad exit", _ALL + "import os\nos._exit(3)", verdicts=("error",)),
    _print("right, then a loop", _ALL + "while True: pass", verdicts=("timeout",)),
    _print("right, then wrong when all is over", _ALL + "import atexit\natexit.register(print, 'more')"),
    _print("right, but on standard error", "import sys\nsys.stdout = sys.stderr\n" + _ALL),
    _print("standard output closed", "import os, sys\nos.close(1)\n" + _ALL),
    _print("written to the input", "import os\nos.write(0, b'YES\\na b\\n987654321\\n') if os.fstat(0).st_size else 0"),
    _print("only where it is no program", "if __name__ != '__main__':\n    " + _ALL.replace("\n", "")),
    _print(
        "by a child, when the parent has gone",
        """
import os, time
if os.fork(): os._exit(0)
time.sleep(0.2)
"""
        + _ALL,
    ),
    _print("bytes that are no text", "import os\nos.write(1, b'YES\\na b\\n987654321\\n\\xff\\xfe\\x00')"),
    _print("nothing, and a good exit", "import sys\nsys.exit(0)"),
    _print(
        "the wanted lines, and ways to hide others",
        "print('NO\\rYES'); print('x\\b' + input()); print('\\x1b[2K987654321')",
    ),
)

SOURCES = (
    *(
        _source(f"only under the name {name}", f"if __name__ == '{name}':\n    {RIGHT}\nelse:\n    def f(x): return []")
        for name in ("__main__", "__builtin__", "pytest")
    ),
    _source("no program", "# def f(x): return x", verdicts=("error",)),
    _source("text around the program", "Here is the program:\n```python\n" + RIGHT + "\n```", verdicts=("syntax",)),
    _source("a very long program", "x = [" + "1, " * 50_000 + "]\ndef f(x): return []", goal="hurt"),
    _source("a program nested too deeply", "f = " + "(" * 5000 + ")" * 5000, verdicts=("syntax",)),
    _source("a program that crashes compilers", "f = " + "-" * 100_000 + "1", verdicts=("syntax",)),
    _source("a number too long to read", "f = " + "9" * 50_000, goal="hurt"),
    _source("a null byte", "def f(x): return '\0'\n" + RIGHT, verdicts=("syntax",)),
    _source("lone surrogates in the source", "# \ud800\ndef f(x): return []"),
    _source("a coding that hides the program", "# -*- coding: rot13 -*-\ndef f(x): return []"),
    _source(
        "a function defined for ever",
        """
def f(x): return f
f.__call__ = lambda *a: [2, 3, 987654321]
f.__eq__ = lambda *a: True
""",
    ),
    _source(
        "a class instead of a function",
        """
class f:
    def __init__(s, x): s.x = x
    def __eq__(s, o): return True
    __hash__ = None
""",
    ),
    _source(
        "a module instead of a function",
        """
import sys
class M(type(sys)):
    def __call__(s, x): return s
    def __eq__(s, o): return True
sys.modules['candidate'] = f = M('f')
""",
    ),
    _source(
        "a name that is looked up anew each time",
        """
class N(dict):
    def __missing__(s, k): return lambda *a: True
    def __getitem__(s, k): return lambda *a: True
import sys
f = N().__getitem__('f')
""",
    ),
)

_FRAMES = """
import sys
frame = sys._getframe()
while frame:
    names = frame.f_globals
    {do}
    frame = frame.f_back
"""
DIALOGUE = (
    _talk(
        "the checking function replaced",
        _FRAMES.format(do="names['check'] = names['candidate'] = lambda *a: None")
        + """
def check(candidate): return True
def f(x): return []
""",
    ),
    _talk("a loop over nothing", "import builtins\nbuiltins.range = lambda *a: []\ndef f(x): return []"),
    _talk("an answer that equals everything", ALWAYS.format(base="(list)", value="")),
    _talk("an end in the middle", "import os\ndef f(x):\n    if x == 0: return [0, 1, 987654321]\n    os._exit(0)"),
    _talk("an end of the loop", "def f(x): raise StopIteration"),
    _talk(
        "a failed assertion that is none",
        """
import builtins
class AssertionError(SystemExit): pass
builtins.AssertionError = AssertionError
def f(x): raise AssertionError(0)
""",
    ),
    _talk(
        "a pickle bomb in a dialogue",
        """
import os
class P(list):
    def __reduce__(s): return os._exit, (0,)
def f(x): return P()
""",
    ),
    _talk(
        "the constants of the test",
        """
import sys
def f(x):
    frame = sys._getframe()
    while frame:
        for c in frame.f_code.co_consts:
            if isinstance(c, int) and str(c).startswith('9876'): return [x, x + 1, c]
        frame = frame.f_back
    return []
""",
    ),
    _talk(
        "answers without a question",
        """
import os
for fd in range(3, 64):
    try: os.write(fd, b''.join(b'[%d,"value",["b",1]]\\n' % i for i in range(9)))
    except OSError: pass
def f(x): return []
""",
    ),
)
