"""What one program leaves for the next: files, daemons, memory, and damage to what they share."""

from functools import partial

from greenlit.execution.cheats.cheat import RIGHT, Cheat
from greenlit.execution.cheats.introspection import PEEK

_stay = partial(Cheat, "leftovers", problem="carried", goal="stay")
_spoil = partial(Cheat, "damage to what is shared", goal="hurt")

_WRITE = """
import os
try:
    open('{path}', 'w').write('@token@')
    os.chmod('{path}', 0o666)
except OSError: pass
def f(x): return []
"""
_READ = "def f(x):\n    try: return open('{path}').read()\n    except OSError: return 'nothing'"
_SERVE = """
import os, socket, time
if os.fork() == 0:
    os.setsid()
    if os.fork(): os._exit(0)
    try:
        listener = socket.socket({family})
        listener.bind({address})
        listener.listen()
        while True: listener.accept()[0].sendall(b'@token@')
    except OSError: os._exit(0)
time.sleep(0.05)
def f(x): return []
"""
_ASK = """
import socket
def f(x):
    try:
        with socket.socket({family}) as asked:
            asked.settimeout(0.5)
            asked.connect({address})
            return asked.recv(100).decode()
    except OSError: return 'nothing'
"""
_SOCKETS = {
    "an abstract socket": {"family": "socket.AF_UNIX", "address": "'\\0gl-@tag@'"},
    "a socket in /tmp": {"family": "socket.AF_UNIX", "address": "'/tmp/gl-@tag@-socket'"},
    "a port": {"family": "socket.AF_INET", "address": "('127.0.0.1', @free_port@)"},
}

STAY = (
    *(
        _stay(
            f"a file in {folder}",
            _READ.format(path=f"{folder}/gl-@tag@"),
            before=(_WRITE.format(path=f"{folder}/gl-@tag@"),),
            open_at=("portable",),
        )
        for folder in ("/tmp", "/var/tmp", "/dev/shm")
    ),
    _stay("a file in its own folder", _READ.format(path="gl-@tag@"), before=(_WRITE.format(path="gl-@tag@"),)),
    _stay(
        "a file beside its own folder",
        _READ.format(path="../gl-@tag@"),
        before=(_WRITE.format(path="../gl-@tag@"),),
        open_at=("portable",),
    ),
    *(
        _stay(f"a daemon at {what}", _ASK.format(**where), before=(_SERVE.format(**where),))
        for what, where in _SOCKETS.items()
    ),
    _stay(
        "the memory of the one before, by its map",
        PEEK + "def f(x): return next(search(mapped(), ''.join(reversed('-deirrac'))), 'nothing')",
        before=(
            """
kept = '@token@'
def f(x): return [kept]
""",
        ),
    ),
    _stay(
        "the memory of the one before, page by page",
        PEEK + "def f(x): return next(search(pages([], 64), ''.join(reversed('-deirrac'))), 'nothing')",
        before=(
            """
kept = '@token@'
def f(x): return [kept]
""",
        ),
    ),
    _stay(
        "an environment variable",
        """
import os
def f(x): return os.environ.get('GL', 'nothing')
""",
        before=(
            """
import os
os.environ['GL'] = '@token@'
os.putenv('GL', '@token@')
def f(x): return []
""",
        ),
    ),
    _stay(
        "a module of the interpreter",
        """
import sys, builtins
def f(x): return getattr(sys, 'gl', getattr(builtins, 'gl', 'nothing'))
""",
        before=(
            """
import sys, builtins
sys.gl = builtins.gl = '@token@'
def f(x): return []
""",
        ),
    ),
    _stay(
        "what lies in the descriptors",
        """
import os, re
def f(x):
    seen = b''
    for fd in range(64):
        try: seen += os.pread(fd, 1 << 16, 0)
        except OSError: pass
    return next((t.decode() for t in re.findall(b'carried-[0-9a-f]{16}', seen)), 'nothing')
""",
        before=(
            """
import os
for fd in range(64):
    try: os.pwrite(fd, b'@token@', 0)
    except OSError: pass
def f(x): return []
""",
        ),
    ),
    _stay(
        "the user's keyring",
        """
import ctypes
libc = ctypes.CDLL(None)
NR = {'x86_64': 250, 'aarch64': 219}[__import__('os').uname().machine]
def f(x):
    key = libc.syscall(NR, 10, -4, b'user', b'gl-@tag@', 0)
    text = ctypes.create_string_buffer(100)
    return text.value.decode() if key > 0 and libc.syscall(NR, 11, key, text, 100) > 0 else 'nothing'
""",
        before=(
            """
import ctypes, os
libc = ctypes.CDLL(None)
libc.syscall({'x86_64': 248, 'aarch64': 217}[os.uname().machine], b'user', b'gl-@tag@', b'@token@', 24, -4)
def f(x): return []
""",
        ),
        needs_jail="stays in the kernel",
    ),
)

_ALL = """
import fcntl, os, resource, signal, socket
for fd in range(64):
    try: {do}
    except (OSError, ValueError): pass
def f(x): return []
"""
DAMAGE = (
    _spoil(
        "every descriptor made non-blocking and asynchronous",
        _ALL.format(do="fcntl.fcntl(fd, fcntl.F_SETFL, os.O_NONBLOCK | os.O_APPEND | 0o20000)"),
    ),
    _spoil(
        "every descriptor's signals sent to the parent", _ALL.format(do="fcntl.fcntl(fd, fcntl.F_SETOWN, os.getppid())")
    ),
    _spoil("every descriptor locked", _ALL.format(do="fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)")),
    _spoil("every descriptor moved to its end", _ALL.format(do="os.lseek(fd, 0, os.SEEK_END)")),
    _spoil("every descriptor cut to nothing", _ALL.format(do="os.ftruncate(fd, 0)")),
    _spoil("every socket shut down", _ALL.format(do="socket.socket(fileno=os.dup(fd)).shutdown(socket.SHUT_RDWR)")),
    _spoil("every pipe made as small as can be", _ALL.format(do="fcntl.fcntl(fd, 1031, 4096)")),
    _spoil(
        "every descriptor read by a child that stays",
        """
import os, threading, time
if os.fork() == 0:
    def read(fd):
        try:
            while os.read(fd, 65536): pass
        except OSError: pass
    for fd in range(64): threading.Thread(target=read, args=(fd,)).start()
    time.sleep(1)
    os._exit(0)
time.sleep(0.02)
def f(x): return []
""",
    ),
    _spoil(
        "lower limits, priority and rights",
        """
import os, resource
os.nice(19)
os.umask(0o777)
for name in ('NOFILE', 'STACK', 'FSIZE', 'NPROC'): resource.setrlimit(getattr(resource, 'RLIMIT_' + name), (1, 1))
def f(x): return []
""",
    ),
    _spoil(
        "timers that go off later",
        """
import os, signal
signal.signal(signal.SIGALRM, lambda *a: None)
signal.setitimer(signal.ITIMER_REAL, .01, .01)
signal.setitimer(signal.ITIMER_PROF, .01, .01)
def f(x): return []
""",
    ),
    _spoil("the interpreter's own objects spoilt", "import ctypes\nctypes.memset(id(list), 255, 300)\n" + RIGHT),
    _spoil(
        "the terminal's group taken",
        """
import os
for call in (os.setsid, os.setpgrp, lambda: os.setpgid(0, os.getppid())):
    try: call()
    except OSError: pass
def f(x): return []
""",
    ),
)
