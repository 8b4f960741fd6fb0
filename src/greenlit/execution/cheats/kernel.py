"""The kernel's many doors: namespaces, mounts, tracing, keys, shared memory, rarely used system calls.

Every program answers `reached` when the door opened. What it makes it takes away again, so that none of them leaves
anything on a machine whose level has no jail.
"""

import os
from functools import partial

from greenlit.execution.cheats.cheat import Cheat

_door = partial(Cheat, "kernel", problem="reach", goal="reach")
_open = partial(_door, open_at=("portable",))

# numbers of system calls that C libraries have no function for
_NUMBERS = {
    "x86_64": {"bpf": 321, "execveat": 322, "keyctl": 250, "userfaultfd": 323, "perf_event_open": 298, "clone3": 435,
               "mq_open": 240, "mq_unlink": 241, "open_by_handle_at": 304, "pivot_root": 155, "add_key": 248,
               "fanotify_init": 300, "kcmp": 312, "iopl": 172},
    "aarch64": {"bpf": 280, "execveat": 281, "keyctl": 219, "userfaultfd": 282, "perf_event_open": 241, "clone3": 435,
                "mq_open": 180, "mq_unlink": 181, "open_by_handle_at": 265, "pivot_root": 41, "add_key": 217,
                "fanotify_init": 262, "kcmp": 272},
}  # fmt: skip
_SINCE_5_1 = {
    "pidfd_send_signal": 424, "io_uring_setup": 425, "open_tree": 428, "move_mount": 429, "fsopen": 430,
    "pidfd_open": 434, "pidfd_getfd": 438, "mount_setattr": 442, "quotactl_fd": 443,
}  # fmt: skip
"""The same on every architecture."""
_NR = _SINCE_5_1 | _NUMBERS.get(os.uname().machine, {})

LIBC = "import ctypes, os\nlibc = ctypes.CDLL(None, use_errno=True)\n"
_DONE = LIBC + "def f(x): return 'reached' if {call} == 0 else 'refused'"
_MADE = LIBC + "def f(x):\n    fd = {call}\n    if fd < 0: return 'refused'\n    os.close(fd)\n    return 'reached'"
_KEY = LIBC + "def f(x): return 'reached' if {call} > 0 else 'refused'"


def _nr(name: str) -> str:
    return f"libc.syscall({_NR.get(name, -1)}"


_CLONES = {"user": 0x10000000, "mount": 0x20000, "process": 0x20000000, "network": 0x40000000, "host name": 0x4000000}
_RUN = """
import os, subprocess, sys
def f(x):
    python = [sys.executable, '-S', '-c', "print('reached')"]
    for program in (['/bin/echo', 'reached'], ['/usr/bin/echo', 'reached'], python):
        try:
            if 'reached' in subprocess.run(program, capture_output=True, text=True, timeout=1).stdout: return 'reached'
        except (OSError, subprocess.SubprocessError): pass
    return 'refused'
"""
_OLD_ABI = """
import ctypes, mmap
page = mmap.mmap(-1, 4096, prot=7)
page.write({code})
call = ctypes.CFUNCTYPE(ctypes.c_long)(ctypes.addressof(ctypes.c_char.from_buffer(page)))
def f(x): return 'reached' if call() > 0 else 'refused'
"""

NAMESPACES = (
    *(
        _open(
            f"a new {name} namespace",
            _DONE.format(call=f"libc.unshare({flag if name == 'user' else flag | 0x10000000})"),
        )
        for name, flag in _CLONES.items()
    ),
    _open(
        "a new user namespace by clone",
        LIBC
        + """
def f(x):
    pid = libc.syscall(56 if os.uname().machine == 'x86_64' else 220, 0x10000000 | 17, 0, 0, 0, 0)
    if pid == 0: os._exit(0)
    if pid < 0: return 'refused'
    os.waitpid(pid, 0)
    return 'reached'
""",
    ),
    _open(
        "all powers in a user namespace of its own",
        LIBC
        + """
def f(x):
    if libc.unshare(0x10020000): return 'refused'
    return 'reached' if libc.mount(b'none', b'/tmp', b'tmpfs', 0, None) == 0 else 'no mount'
""",
    ),
    _door(
        "the namespaces of the parent",
        LIBC
        + """
def f(x):
    for kind in ('user', 'mnt', 'pid', 'net', 'ipc'):
        for pid in (os.getppid(), 1):
            try: fd = os.open(f'/proc/{pid}/ns/{kind}', 0)
            except OSError: continue
            if libc.setns(fd, 0) == 0: return 'reached'
    return 'refused'
""",
    ),
    _door(
        "a mount",
        _DONE.format(call="libc.mount(b'none', os.getcwd().encode(), b'tmpfs', 0, None)"),
        needs_jail="a mount that stays, where privileges could not be dropped",
    ),
    _door(
        "the root mounted anew, writable",
        _DONE.format(call="libc.mount(None, b'/', None, 32 | 4096, None)"),
        needs_jail="changes the machine's root",
    ),
    _door(
        "a folder unmounted",
        LIBC
        + """
def f(x):
    gone = [path for path in (b'/tmp', b'/dev/shm', b'/usr', b'/proc') if libc.umount2(path, 2) == 0]
    return 'reached' if gone else 'refused'
""",
        needs_jail="takes folders away",
    ),
    _door(
        "another root",
        LIBC
        + f"""
def f(x):
    done = libc.chroot(b'.') == 0 or {_nr("pivot_root")}, b'.', b'.') == 0
    return 'reached' if done else 'refused'
""",
    ),
    _door(
        "the new ways to mount",
        LIBC
        + f"""
def f(x):
    made = {_nr("fsopen")}, b'tmpfs', 0) >= 0 or {_nr("open_tree")}, -100, b'/', 1) >= 0
    return 'reached' if made else 'refused'
""",
    ),
    _door(
        "a file by its handle",
        LIBC
        + f"""
import struct
def f(x):
    handle = struct.pack('<IiQ', 8, 1, 2)
    return 'reached' if {_nr("open_by_handle_at")}, os.open('/', 0), handle, 0) >= 0 else 'refused'
""",
    ),
    _door("another host name", _DONE.format(call="libc.sethostname(b'gl', 2)"), needs_jail="renames the machine"),
)

IDENTITY = (
    _door(
        "root again",
        """
import os
def f(x):
    calls = {os.setuid: 0, os.seteuid: 0, os.setgid: 0, os.setegid: 0, os.setgroups: [0]}
    for call, whom in calls.items():
        try:
            call(whom)
            return 'reached'
        except OSError: pass
    return 'refused'
""",
        open_at=("portable",),
    ),
    _door(
        "any power at all",
        """
import ctypes
libc = ctypes.CDLL(None)
def f(x):
    header = (ctypes.c_uint32 * 2)(0x20080522, 0)
    data = (ctypes.c_uint32 * 6)()
    libc.capget(header, data)
    return 'reached' if data[0] or data[3] else 'refused'
""",
    ),
    _door(
        "being the judge's user",
        """
import os
def f(x):
    try: return 'reached' if os.stat('@writable@').st_uid == os.getuid() else 'no'
    except OSError: return 'no'
""",
        open_at=("portable",),
    ),
    _door(
        "a file given to root",
        """
import os
def f(x):
    try:
        open('own', 'w').close()
        os.chown('own', 0, 0)
        os.chmod('own', 0o4755)
    except OSError: return 'refused'
    return 'reached'
""",
    ),
    _door(
        "a higher priority",
        """
import os
def f(x):
    try: os.setpriority(os.PRIO_PROCESS, 0, os.getpriority(os.PRIO_PROCESS, 0) - 1)
    except OSError: return 'refused'
    return 'reached'
""",
    ),
    _door(
        "real-time priority",
        """
import os
def f(x):
    try: os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(1))
    except OSError: return 'refused'
    return 'reached'
""",
    ),
)

TRACING = (
    _door(
        "the parent's memory read",
        LIBC
        + """
class V(ctypes.Structure): _fields_ = [('base', ctypes.c_void_p), ('size', ctypes.c_size_t)]
buffer = ctypes.create_string_buffer(8)
def f(x):
    near, far = V(ctypes.addressof(buffer), 8), V(id(None), 8)
    got = libc.process_vm_readv(os.getppid(), ctypes.byref(near), 1, ctypes.byref(far), 1, 0)
    return 'reached' if got > 0 else 'refused'
""",
    ),
    _door(
        "the parent's descriptors taken",
        LIBC
        + f"""
def f(x):
    pid = {_nr("pidfd_open")}, os.getppid(), 0)
    return 'reached' if pid >= 0 and any({_nr("pidfd_getfd")}, pid, fd, 0) >= 0 for fd in range(9)) else 'refused'
""",
    ),
    _open(
        "a child traced",
        LIBC
        + """
import time
def f(x):
    pid = os.fork()
    if pid == 0:
        time.sleep(5)
        os._exit(0)
    return 'reached' if libc.ptrace(16, pid, 0, 0) == 0 else 'refused'
""",
    ),
    _door(
        "the parent compared with itself",
        LIBC + f"def f(x): return 'reached' if {_nr('kcmp')}, os.getppid(), os.getpid(), 0, 0, 0) >= 0 else 'refused'",
    ),
)

CALLS = (
    _open("another program run", _RUN),
    _open(
        "another program run from memory",
        LIBC
        + """
def f(x):
    source = next((p for p in ('/bin/true', '/usr/bin/true', __import__('sys').executable) if os.path.exists(p)), None)
    pid = os.fork()
    if pid == 0:
        try:
            fd = os.open(source, os.O_RDONLY)
            os.execve(fd, ['true', '-c', ''], {})
        finally: os._exit(9)
    return 'reached' if os.waitpid(pid, 0)[1] == 0 else 'refused'
""",
    ),
    _open("a key of its own", _KEY.format(call=f"{_nr('add_key')}, b'user', b'gl', b'x', 1, -1)")),
    _open("the list of keys", _KEY.format(call=f"{_nr('keyctl')}, 0, -3, 1)")),
    _open(
        "shared memory of System V",
        LIBC
        + """
def f(x):
    made = libc.shmget(0, 4096, 0o1600)
    if made < 0: return 'refused'
    libc.shmctl(made, 0, None)
    return 'reached'
""",
    ),
    _open(
        "semaphores of System V",
        LIBC
        + """
def f(x):
    made = libc.semget(0, 1, 0o1600)
    if made < 0: return 'refused'
    libc.semctl(made, 0, 0)
    return 'reached'
""",
    ),
    _open(
        "messages of System V",
        LIBC
        + """
def f(x):
    made = libc.msgget(0, 0o1600)
    if made < 0: return 'refused'
    libc.msgctl(made, 0, None)
    return 'reached'
""",
    ),
    _open(
        "messages of POSIX",
        LIBC
        + f"""
def f(x):
    fd = {_nr("mq_open")}, b'gl-@tag@', 0o102, 0o600, None)
    if fd < 0: return 'refused'
    {_nr("mq_unlink")}, b'gl-@tag@')
    return 'reached'
""",
    ),
    _open("io_uring", _MADE.format(call=f"{_nr('io_uring_setup')}, 4, (ctypes.c_char * 120)())")),
    _open("BPF", _MADE.format(call=f"{_nr('bpf')}, 0, (ctypes.c_uint32 * 32)(1, 4, 8, 1), 128)")),
    _open("userfaultfd", _MADE.format(call=f"{_nr('userfaultfd')}, 1)")),
    _open(
        "performance counters",
        _MADE.format(call=f"{_nr('perf_event_open')}, (ctypes.c_uint64 * 16)(1 | 112 << 32, 0), 0, -1, -1, 0)"),
    ),
    _open("fanotify", _MADE.format(call=f"{_nr('fanotify_init')}, 0x200, 0)")),
    _open("the kernel's log", _KEY.format(call="libc.klogctl(3, (ctypes.c_char * 100)(), 100)")),
    _open(
        "clone3",
        LIBC
        + f"""
def f(x):
    pid = {_nr("clone3")}, (ctypes.c_uint64 * 8)(0, 0, 0, 0, 17), 64)
    if pid == 0: os._exit(0)
    if pid < 0: return 'refused'
    os.waitpid(pid, 0)
    return 'reached'
""",
    ),
)

# getpid by the interrupt of 32 bits, cut to 32 bits
_GETPID_32 = "bytes.fromhex('b814000000cd8048c1e02048c1e820c3')"
_ONLY_X86_64 = (
    _open("system calls of 32 bits", _OLD_ABI.format(code=_GETPID_32)),
    _open("system calls of x32", _KEY.format(call="libc.syscall(0x40000000 + 39)")),
    _open("I/O ports", _DONE.format(call=f"{_nr('iopl')}, 3)")),
)
OTHER_ABIS = _ONLY_X86_64 if os.uname().machine == "x86_64" else ()

CHEATS = (*NAMESPACES, *IDENTITY, *TRACING, *CALLS, *OTHER_ABIS)
