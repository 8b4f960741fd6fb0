"""Right programs that look odd: a judge that fails them is no use either."""

from greenlit.execution.cheats.cheat import RIGHT, Control

_ECHO = "print('YES'); print(input()); print(987654321)"

CONTROLS = (
    Control("the plain one", RIGHT),
    Control("an entry point called check", "def check(x): return x + 1", "check"),
    Control(
        "a subclass of list with the right content",
        """
class L(list): pass
def f(x): return L([x, x + 1, 987654321])
""",
    ),
    Control(
        "a very deep recursion",
        """
import sys
sys.setrecursionlimit(20000)
def g(n): return n and g(n - 1)
def f(x): return [x, x + 1 + g(15000), 987654321]
""",
    ),
    Control(
        "threads",
        """
from concurrent.futures import ThreadPoolExecutor
def f(x):
    with ThreadPoolExecutor(4) as pool: return list(pool.map(int, [x, x + 1, 987654321]))
""",
    ),
    Control("much printed on the way", "def f(x):\n    print('x' * 100_000)\n    return [x, x + 1, 987654321]"),
    Control(
        "files of its own",
        """
import os, tempfile
def f(x):
    with tempfile.TemporaryDirectory() as d, open(os.path.join(d, 'a'), 'w+') as file:
        file.write(str(x + 1))
        file.seek(0)
        return [x, int(file.read()), 987654321]
""",
    ),
    Control(
        "much of the standard library",
        """
import bisect, collections, copy, dataclasses, datetime, decimal, enum, fractions, functools, hashlib, heapq, io
import itertools, json, math, operator, random, re, statistics, string, typing, zlib
"""
        + RIGHT,
    ),
    Control(
        "a hash that seeds itself",
        """
import random, secrets, uuid
random.seed()
secrets.token_hex()
uuid.uuid4()
"""
        + RIGHT,
    ),
    Control(
        "an event loop",
        """
import asyncio
async def g(x):
    await asyncio.sleep(0)
    return [x, x + 1, 987654321]
def f(x): return asyncio.run(g(x))
""",
    ),
    Control(
        "a process of its own",
        """
import os
def f(x):
    pid = os.fork()
    if pid == 0: os._exit(0)
    os.waitpid(pid, 0)
    return [x, x + 1, 987654321]
""",
    ),
    Control(
        "its own alarm",
        """
import signal, time
def stop(*a): raise TimeoutError
def f(x):
    signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, .02)
    try: time.sleep(.5)
    except TimeoutError: return [x, x + 1, 987654321]
""",
    ),
    Control("a list sorted where it is", "def f(data): data.sort()", "sort"),
    Control("a whole program", _ECHO, "echo"),
    Control(
        "a whole program under __main__",
        f"""
def main(): {_ECHO}
if __name__ == '__main__': main()
exit()
""",
        "echo",
    ),
    Control(
        "a whole program that prints at its end",
        """
import atexit
text = input()
atexit.register(print, 987654321)
atexit.register(print, text)
atexit.register(print, 'YES')
""",
        "echo",
    ),
    Control(
        "a whole program that reads all at once",
        """
import os, sys
text = os.read(0, os.fstat(0).st_size).decode()
sys.stdout.write(f'YES\\n{text}987654321')
sys.exit(0)
""",
        "echo",
    ),
    Control(
        "trailing blanks and other line ends",
        "print('YES', end=' \\r\\n'); print(input(), ' '); print(987654321, end='\\n\\n')",
        "echo",
    ),
)
