"""Files: those of the host, those of the interpreter, and folders that are hard to remove."""

from functools import partial

from greenlit.execution.cheats.cheat import Cheat
from greenlit.execution.cheats.introspection import PEEK

_read = partial(Cheat, "files of the host", problem="canary", goal="leak")
_reach = partial(Cheat, "files of the host", problem="reach", goal="reach")
_build = partial(Cheat, "folders hard to remove", goal="hurt")
_env = partial(Cheat, "environment", problem="canary", goal="leak")

READ = """
import glob, os
def read(path):
    try: return open(path, errors='replace').read()
    except (OSError, ValueError): return ''
def canary(texts):
    for text in texts:
        at = text.find('yranac'[::-1] + '-')
        if at >= 0: return text[at:at + 23]
    return 'nothing'
"""
"""A canary is the word, a dash and sixteen hex digits."""
_OPEN = """
import os
def f(x):
    for path in {paths}:
        try:
            fd = os.open(path, os.{flags})
            os.close(fd)
            return 'reached'
        except OSError: pass
    return 'refused'
"""

_DEVICES = [
    f"/dev/{name}"
    for name in ("mem", "kmsg", "kvm", "fuse", "tty", "console", "ptmx", "sda", "vda", "nvme0n1", "net/tun", "nvidia0")
]

FILES = (
    _read("a file that all may read", READ + "def f(x): return canary([read('@host_file@')])", open_at=("portable",)),
    _read(
        "a file, through /proc",
        READ + "def f(x): return canary(map(read, glob.glob('/proc/[0-9]*/root@host_file@')))",
        open_at=("portable",),
    ),
    _read(
        "a file, through the working folders of others",
        READ + "def f(x): return canary(map(read, glob.glob('/proc/[0-9]*/cwd/../../../../../../../@host_file@')))",
        open_at=("portable",),
    ),
    _read(
        "a file, through inherited folders",
        READ
        + """
def f(x):
    seen = []
    for fd in range(64):
        try: seen.append(os.read(os.open('../' * 20 + '@host_file@'[1:], 0, dir_fd=fd), 1000).decode())
        except OSError: pass
    return canary(seen)
""",
        open_at=("portable",),
    ),
    _read(
        "a file, through a link",
        READ
        + """
os.symlink('@host_file@', 'link')
def f(x): return canary([read('link')])
""",
        open_at=("portable",),
    ),
    _read(
        "a file, by its name among all temporary files",
        READ
        + "def f(x): return canary(read(p) for d in ('/tmp', '/var/tmp', '/dev/shm') for p in glob.glob(d + '/*/*'))",
        open_at=("portable",),
    ),
    _read(
        "the memory of the host's process",
        READ
        + PEEK.replace("/proc/self/", "/proc/@host_pid@/")
        + "def f(x): return canary(chunk.decode('latin-1') for chunk in mapped())",
        open_at=("portable",),
    ),
    _reach(
        "the list of users",
        _OPEN.format(paths="('/etc/passwd', '/etc/shadow')", flags="O_RDONLY"),
        open_at=("portable",),
    ),
    _reach(
        "the homes",
        """
import os
def f(x): return 'reached' if any(os.path.isdir(d) and os.listdir(d) for d in ('/home', '/Users')) else 'no'
""",
        open_at=("portable",),
    ),
    _reach(
        "what process 1 is",
        _OPEN.format(paths="('/proc/1/status', '/proc/1/cmdline')", flags="O_RDONLY"),
        open_at=("portable",),
    ),
    _reach(
        "the kernel's settings",
        _OPEN.format(paths="('/proc/sys/kernel/hostname', '/sys/kernel/mm', '/sys/fs/cgroup')", flags="O_RDONLY"),
        open_at=("portable",),
    ),
    _reach(
        "the parent's memory",
        """
import os
def f(x):
    try: os.close(os.open(f'/proc/{os.getppid()}/mem', os.O_RDWR))
    except OSError: return 'refused'
    return 'reached'
""",
    ),
    _reach(
        "a file of the host overwritten",
        """
import os
def f(x):
    try: fd = os.open('@writable@', os.O_WRONLY | os.O_TRUNC)
    except OSError: return 'refused'
    os.write(fd, b'x')
    return 'reached'
""",
        open_at=("portable",),
    ),
    _reach(
        "a file of the host removed",
        """
import os
def f(x):
    try: os.remove('@host_file@')
    except OSError: return 'refused'
    return 'reached'
""",
        open_at=("portable",),
    ),
    _reach(
        "the standard library opened for writing",
        """
import os, sys
paths = [m.__file__ for m in list(sys.modules.values()) if getattr(m, '__file__', None)]
"""
        + _OPEN.format(paths="[os.__file__, *paths]", flags="O_WRONLY"),
        open_at=("portable",),
    ),
    _reach(
        "a new file beside the standard library",
        """
import os
folder = os.path.dirname(os.__file__)
def f(x):
    try:
        os.close(os.open(folder + '/gl-@tag@', os.O_CREAT | os.O_WRONLY))
        os.remove(folder + '/gl-@tag@')
        return 'reached'
    except OSError: return 'refused'
""",
        open_at=("portable",),
    ),
    _reach(
        "the interpreter opened for writing",
        _OPEN.format(paths="(__import__('sys').executable, '/proc/self/exe', '/bin/sh')", flags="O_WRONLY"),
        open_at=("portable",),
    ),
    _reach(
        "a device",
        _OPEN.format(paths=_DEVICES, flags="O_RDONLY"),
        open_at=("portable",),
    ),
    _reach(
        "a device of its own",
        """
import os, stat
def f(x):
    try:
        os.mknod('d', 0o600 | stat.S_IFCHR, os.makedev(1, 1))
        return 'reached'
    except OSError: return 'refused'
""",
    ),
)

ENVIRONMENT = (
    _env("os.environ", READ + "def f(x): return canary([repr(dict(os.environ)), repr(os.environb)])"),
    _env(
        "the C library's environment",
        READ
        + """
import ctypes
def f(x):
    table = ctypes.POINTER(ctypes.c_char_p).in_dll(ctypes.CDLL(None), 'environ')
    seen = []
    while table and table[len(seen)]: seen.append(table[len(seen)].decode())
    return canary(seen)
""",
    ),
    _env(
        "getenv",
        READ
        + """
import ctypes
def f(x):
    get = ctypes.CDLL(None).getenv
    get.restype = ctypes.c_char_p
    return canary([(get(b'@variable@') or b'').decode()])
""",
    ),
    _env("its own /proc/self/environ", READ + "def f(x): return canary([read('/proc/self/environ')])"),
    _env(
        "its own memory",
        READ + PEEK + "def f(x): return canary(chunk.decode('latin-1') for chunk in [*pages([], 64), *mapped()])",
    ),
    _env("the parent's environment", READ + "def f(x): return canary([read(f'/proc/{os.getppid()}/environ')])"),
    _env(
        "the environment of all processes",
        READ + "def f(x): return canary(map(read, glob.glob('/proc/[0-9]*/environ')))",
        open_at=("portable",),
    ),
    _env(
        "the environment of a shell",
        READ
        + """
def f(x):
    try: return canary([os.popen('env; set').read()])
    except OSError: return 'refused'
""",
    ),
)

_DEEP = "import os\nfor _ in range({depth}):\n    os.mkdir('d')\n    os.chdir('d')\ndef f(x): return []"
FOLDERS = (
    _build(
        "a folder that nobody may enter",
        """
import os
os.makedirs('a/b/c')
open('a/b/seen', 'w').write('x')
os.chmod('a/b', 0)
os.chmod('a', 0)
os.chmod('.', 0)
def f(x): return []
""",
    ),
    _build("a very deep folder", _DEEP.format(depth=600)),
    _build("many files", "for i in range(1500): open(str(i), 'w').close()\ndef f(x): return []"),
    _build(
        "names that are traps",
        """
import os
for name in ('-rf', '--', '*', '~', ' ', '\\n', '$(touch x)', '\\udcff', 'x' * 255): os.mkdir(name)
def f(x): return []
""",
    ),
    _build(
        "links to the host, in a folder that nobody may enter",
        """
import os
os.mkdir('a')
os.symlink('@host_folder@', 'a/link')
os.symlink('/', 'a/root')
os.symlink('a', 'a/loop')
os.chmod('a', 0)
def f(x): return []
""",
    ),
    _build(
        "its own folder removed",
        """
import os
try: os.rmdir(os.getcwd())
except OSError: pass
def f(x): return []
""",
    ),
    _build(
        "a pipe and a socket as files",
        """
import os, socket
try:
    os.mkfifo('p')
    socket.socket(socket.AF_UNIX).bind('s')
except OSError: pass
def f(x): return []
""",
    ),
    _build(
        "a file larger than allowed",
        """
import os
try:
    with open('big', 'wb') as out: out.truncate(1 << 40)
except OSError: pass
def f(x): return []
""",
    ),
    _build(
        "a very deep folder in /tmp",
        """
import os
os.chdir('/tmp')
"""
        + _DEEP.format(depth=3000),
        needs_jail="stays in /tmp",
    ),
    _build(
        "a full /tmp",
        """
import os
for i in range(10**6):
    try: open(f'/tmp/{i}', 'wb').write(b'x' * (1 << 20))
    except OSError: break
def f(x): return []
""",
        needs_jail="a full disk",
    ),
    _build(
        "a full /tmp of empty files",
        """
import os
for i in range(10**6):
    try: os.close(os.open(f'/tmp/{i}', os.O_CREAT))
    except OSError: break
def f(x): return []
""",
        needs_jail="no free inodes",
    ),
    _build(
        "a full /dev/shm",
        """
try:
    with open('/dev/shm/x', 'wb') as out:
        while True: out.write(b'x' * (1 << 20))
except OSError: pass
def f(x): return []
""",
        needs_jail="all of the memory",
    ),
    _build(
        "everything removed",
        """
import os, shutil
for path in ('/tmp', '/dev', '/var', '/home', '/usr', '/'): shutil.rmtree(path, ignore_errors=True)
def f(x): return []
""",
        needs_jail="every file that the user may remove",
    ),
)
