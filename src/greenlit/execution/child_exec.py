"""In the candidate's process: become another language's interpreter.

What comes after `execve` knows nothing of the limits that suit Python, so this takes on its own: memory by what is
written to rather than by address space (V8 reserves far more than it uses), and a filter of system calls that lets it
start threads but no process, which makes the process's clock the whole truth about its CPU time.
"""

import posix

from greenlit.execution.encoding import ANSWERS

STACK_BYTES = 8 << 20
"""Of the main thread; libuv gives each of its threads as much, and it counts as memory."""


def become(command: dict) -> None:
    """Write the program's files into the current folder, take on the limits, exec. Does not return."""
    import contextlib
    import resource

    for name, text in command["files"]:
        content = text.encode("utf-8", "surrogatepass")
        file = posix.open(name, posix.O_WRONLY | posix.O_CREAT | posix.O_TRUNC, 0o644)
        while content:
            content = content[posix.write(file, content) :]
        posix.close(file)
    for which, limit in ((resource.RLIMIT_DATA, command["data_bytes"]), (resource.RLIMIT_STACK, STACK_BYTES)):
        hard = resource.getrlimit(which)[1]
        limit = limit if hard == resource.RLIM_INFINITY else min(limit, hard)
        resource.setrlimit(which, (limit, limit))
    if not command["prints"]:
        posix.dup2(posix.open("/dev/null", posix.O_WRONLY), 1)
    if command["answers_on"] != ANSWERS:
        posix.dup2(ANSWERS, command["answers_on"])
    for number in (3, 5):
        with contextlib.suppress(OSError):  # not every level hands these over
            posix.set_inheritable(number, False)
    if command["filter"]:
        accept_filter(command["filter"])
    posix.execve(command["words"][0], command["words"], command["environment"])


def accept_filter(instructions: bytes) -> None:
    """Confine this process, and all it will fork, for good; seccomp.py makes the filter.

    Raises:
        OSError: the kernel does not take it.
    """
    import ctypes
    import struct

    content = ctypes.create_string_buffer(instructions, len(instructions))
    header = struct.pack("HxxxxxxP", len(instructions) // 8, ctypes.addressof(content))
    prctl = ctypes.CDLL(None, use_errno=True).prctl
    if prctl(38, 1, 0, 0, 0) or prctl(22, 2, header, 0, 0):  # PR_SET_NO_NEW_PRIVS, PR_SET_SECCOMP
        raise OSError(ctypes.get_errno(), "the kernel does not take the seccomp filter")
