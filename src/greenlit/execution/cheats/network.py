"""Ways to the outside: sockets of every family to what the host's process serves."""

from functools import partial

from greenlit.execution.cheats.cheat import Cheat

_reach = partial(Cheat, "network", problem="canary", goal="leak", open_at=("portable",))
_make = partial(Cheat, "network", problem="reach", goal="reach", open_at=("portable",))

_CONNECT = """
import socket
def f(x):
    try:
        with socket.socket({family}) as asked:
            asked.settimeout(0.5)
            asked.connect({address})
            return asked.recv(100).decode()
    except OSError: return 'refused'
"""
_CREATE = """
import socket
def f(x):
    try: socket.socket({arguments}).close()
    except (OSError, AttributeError): return 'refused'
    return 'reached'
"""

CHEATS = (
    _reach("a TCP port of the host", _CONNECT.format(family="socket.AF_INET", address="('127.0.0.1', @tcp_port@)")),
    _reach(
        "a UDP port of the host",
        """
import socket
def f(x):
    try:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asked:
            asked.settimeout(0.5)
            asked.sendto(b'?', ('127.0.0.1', @udp_port@))
            return asked.recv(100).decode()
    except OSError: return 'refused'
""",
    ),
    _reach("a socket of the host in /tmp", _CONNECT.format(family="socket.AF_UNIX", address="'@unix_path@'")),
    _reach("an abstract socket of the host", _CONNECT.format(family="socket.AF_UNIX", address="'\\0@abstract@'")),
    _reach(
        "a TCP port of the host, from a child in a session of its own",
        """
import os, socket
def f(x):
    hand, far = os.pipe()
    if os.fork() == 0:
        os.setsid()
        try: os.write(far, socket.create_connection(('127.0.0.1', @tcp_port@), 0.5).recv(100))
        except OSError: pass
        os._exit(0)
    os.close(far)
    return os.read(hand, 100).decode()
""",
    ),
    _reach(
        "a TCP port of the host, by plain system calls",
        """
import ctypes, os, socket, struct
libc = ctypes.CDLL(None)
def f(x):
    fd = libc.socket(2, 1, 0)
    if fd < 0: return 'refused'
    address = struct.pack('<H', 2) + struct.pack('>H', @tcp_port@) + bytes([127, 0, 0, 1]) + bytes(8)
    if libc.connect(fd, address, 16): return 'refused'
    return os.read(fd, 100).decode()
""",
    ),
    _make(
        "a socket of any kind",
        """
import socket
def f(x):
    made = 0
    for family in range(46):
        for kind in (1, 2, 3, 5):
            try: socket.socket(family, kind).close(); made += 1
            except OSError: pass
    return 'reached' if made else 'refused'
""",
    ),
    _make("a socket to the hypervisor", _CREATE.format(arguments="socket.AF_VSOCK, socket.SOCK_STREAM")),
    _make("a socket to the kernel", _CREATE.format(arguments="socket.AF_NETLINK, socket.SOCK_RAW, 0")),
    _make("a raw socket", _CREATE.format(arguments="socket.AF_PACKET, socket.SOCK_RAW, 3")),
    _make("a socket to the kernel's cryptography", _CREATE.format(arguments="socket.AF_ALG, socket.SOCK_SEQPACKET")),
    _make(
        "the machine's network cards",
        """
import socket
def f(x):
    try: return 'reached' if [n for _, n in socket.if_nameindex() if n != 'lo'] else 'no'
    except OSError: return 'refused'
""",
    ),
)
