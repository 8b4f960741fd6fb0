"""Right programs that look odd: a judge that fails them is no use either."""

from greenlit.execution.cheats.cheat import RIGHT, Control

_ECHO = "print('YES'); print(input()); print(987654321)"

CONTROLS = (
    Control("the plain one", RIGHT),
    Control("an entry point called check", "def check(x): return x + 1", "check"),
    Control("a subclass of list with the right content", "class L(list): pass\ndef f(x): return L([x, x + 1, 987654321])"),
    Control("a very deep recursion", "import sys\nsys.setrecursionlimit(20000)\ndef g(n): return n and g(n - 1)\ndef f(x): return [x, x + 1 + g(15000), 987654321]"),
    Control("threads", "from concurrent.futures import ThreadPoolExecutor\ndef f(x):\n    with ThreadPoolExecutor(4) as pool: return list(pool.map(int, [x, x + 1, 987654321]))"),
    Control("much printed on the way", "def f(x):\n    print('x' * 100_000)\n    return [x, x + 1, 987654321]"),
    Control("files of its own", "import os, tempfile\ndef f(x):\n    with tempfile.TemporaryDirectory() as d, open(os.path.join(d, 'a'), 'w+') as file:\n        file.write(str(x + 1))\n        file.seek(0)\n        return [x, int(file.read()), 987654321]"),
    Control("much of the standard library", "import bisect, collections, copy, dataclasses, datetime, decimal, enum, fractions, functools, hashlib, heapq, io, itertools, json, math, operator, random, re, statistics, string, typing, zlib\n" + RIGHT),
    Control("a hash that seeds itself", "import random, secrets, uuid\nrandom.seed()\nsecrets.token_hex()\nuuid.uuid4()\n" + RIGHT),
    Control("an event loop", "import asyncio\nasync def g(x):\n    await asyncio.sleep(0)\n    return [x, x + 1, 987654321]\ndef f(x): return asyncio.run(g(x))"),
    Control("a process of its own", "import os\ndef f(x):\n    pid = os.fork()\n    if pid == 0: os._exit(0)\n    os.waitpid(pid, 0)\n    return [x, x + 1, 987654321]"),
    Control("its own alarm", "import signal, time\ndef stop(*a): raise TimeoutError\ndef f(x):\n    signal.signal(signal.SIGALRM, stop)\n    signal.setitimer(signal.ITIMER_REAL, .02)\n    try: time.sleep(.5)\n    except TimeoutError: return [x, x + 1, 987654321]"),
    Control("a list sorted where it is", "def f(data): data.sort()", "sort"),
    Control("a whole program", _ECHO, "echo"),
    Control("a whole program under __main__", f"def main(): {_ECHO}\nif __name__ == '__main__': main()\nexit()", "echo"),
    Control("a whole program that prints at its end", "import atexit\ntext = input()\natexit.register(print, 987654321)\natexit.register(print, text)\natexit.register(print, 'YES')", "echo"),
    Control("a whole program that reads all at once", "import os, sys\ntext = os.read(0, os.fstat(0).st_size).decode()\nsys.stdout.write(f'YES\\n{text}987654321')\nsys.exit(0)", "echo"),
    Control("trailing blanks and other line ends", "print('YES', end=' \\r\\n'); print(input(), ' '); print(987654321, end='\\n\\n')", "echo"),
)  # fmt: skip
