"""System calls that no candidate needs, refused by the kernel for the zygote and everything it forks (seccomp-bpf).

The filters are made here, outside; the zygote, or a process that becomes another interpreter, takes one on by
`child_exec.accept_filter`. A deny list on top of namespaces and missing capabilities, because many kernel objects have
no namespace (AF_VSOCK, keyrings, io_uring, perf) and because most kernel bugs lie in calls that programs of this kind
never make. What is newer than the list answers ENOSYS, as an older kernel would.

Programs in other languages get it without the ban on execve, since they are one, and with one on new processes; each
takes it on by itself.

Not stopped: everything a plain program does with its own memory, its files in /tmp, its threads and child processes.
"""

import functools
import os
import struct
import sys

# name: number on (x86_64, aarch64); None where the architecture has no such call
DENIED = {
    # other programs and other processes
    "execve": (59, 221), "execveat": (322, 281), "ptrace": (101, 117), "process_vm_readv": (310, 270),
    "process_vm_writev": (311, 271), "process_madvise": (440, 440), "pidfd_getfd": (438, 438), "kcmp": (312, 272),
    "setpriority": (141, 140), "sched_setaffinity": (203, 122), "sched_setscheduler": (144, 119),
    "sched_setparam": (142, 118), "sched_setattr": (314, 274), "ioprio_set": (251, 30),
    "migrate_pages": (256, 238), "move_pages": (279, 239), "mbind": (237, 235), "set_mempolicy": (238, 237),
    "set_mempolicy_home_node": (450, 450),
    # the network; socketpair stays, asyncio needs it
    "socket": (41, 198),
    # the file system's shape, and ways around the root
    "mount": (165, 40), "umount2": (166, 39), "pivot_root": (155, 41), "chroot": (161, 51), "fsopen": (430, 430),
    "fsconfig": (431, 431), "fsmount": (432, 432), "fspick": (433, 433), "move_mount": (429, 429),
    "open_tree": (428, 428), "mount_setattr": (442, 442), "name_to_handle_at": (303, 264),
    "open_by_handle_at": (304, 265), "quotactl": (179, 60), "quotactl_fd": (443, 443), "fanotify_init": (300, 262),
    "fanotify_mark": (301, 263), "lookup_dcookie": (212, 18), "nfsservctl": (180, 42), "acct": (163, 89),
    "swapon": (167, 224), "swapoff": (168, 225), "sysfs": (139, None), "ustat": (136, None), "uselib": (134, None),
    # new namespaces
    "unshare": (272, 97), "setns": (308, 268),
    # large or un-namespaced kernel interfaces
    "bpf": (321, 280), "perf_event_open": (298, 241), "userfaultfd": (323, 282), "keyctl": (250, 219),
    "add_key": (248, 217), "request_key": (249, 218), "memfd_secret": (447, 447), "io_uring_setup": (425, 425),
    "io_uring_enter": (426, 426), "io_uring_register": (427, 427), "io_setup": (206, 0), "io_submit": (209, 2),
    "io_destroy": (207, 1), "io_getevents": (208, 4), "io_cancel": (210, 3), "io_pgetevents": (333, 292),
    # memory that outlives a process
    "shmget": (29, 194), "shmat": (30, 196), "shmdt": (67, 197), "shmctl": (31, 195), "semget": (64, 190),
    "semop": (65, 193), "semtimedop": (220, 192), "semctl": (66, 191), "msgget": (68, 186), "msgsnd": (69, 189),
    "msgrcv": (70, 188), "msgctl": (71, 187), "mq_open": (240, 180), "mq_unlink": (241, 181),
    "mq_timedsend": (242, 182), "mq_timedreceive": (243, 183), "mq_notify": (244, 184), "mq_getsetattr": (245, 185),
    # the machine
    "init_module": (175, 105), "finit_module": (313, 273), "delete_module": (176, 106), "kexec_load": (246, 104),
    "kexec_file_load": (320, 294), "reboot": (169, 142), "syslog": (103, 116), "vhangup": (153, 58),
    "settimeofday": (164, 170), "clock_settime": (227, 112), "adjtimex": (159, 171), "clock_adjtime": (305, 266),
    "sethostname": (170, 161), "setdomainname": (171, 162), "personality": (135, 92), "iopl": (172, None),
    "ioperm": (173, None), "modify_ldt": (154, None), "_sysctl": (156, None), "create_module": (174, None),
    "get_kernel_syms": (177, None), "query_module": (178, None),
}  # fmt: skip
CLONE, CLONE3, PRLIMIT = (56, 220), (435, 435), (302, 261)
NEWEST = 450
ARCHITECTURES = {"x86_64": (0, 0xC000003E), "aarch64": (1, 0xC00000B7)}
"""Machine → column of the table, and what the kernel calls it."""
FORKS = (57, 58)
"""fork and vfork; aarch64 has neither."""
THREAD = 0x10000
"""CLONE_THREAD."""
NEW_NAMESPACES = 0x7E020080
"""CLONE_NEWTIME, NEWNS, NEWCGROUP, NEWUTS, NEWIPC, NEWUSER, NEWPID, NEWNET."""
_ALLOW, _KILL, _EPERM, _ENOSYS = 0x7FFF0000, 0x80000000, 0x00050001, 0x00050026
_ENDS = ("allow", "deny", "unknown", "kill")
_LOAD, _EQUAL, _ABOVE, _ANY_BIT, _RETURN = 0x20, 0x15, 0x25, 0x45, 0x06
_NUMBER, _ARCHITECTURE, _FIRST, _FIRST_HIGH = 0, 4, 16, 20


def program(machine: str, allowed: tuple[str, ...] = (), only_threads: bool = False) -> bytes:
    """The filter as the kernel takes it: eight bytes per instruction.

    Args:
        allowed: calls of the table to leave out.
        only_threads: no new processes.

    Raises:
        KeyError: an architecture whose system calls we have no table for.
    """
    column, architecture = ARCHITECTURES[machine]
    found = {numbers[column] for name, numbers in DENIED.items() if name not in allowed}
    found |= set(FORKS) if only_threads and machine == "x86_64" else set()
    denied = sorted(found - {None})  # type: ignore[type-var]
    body: list[tuple[int, str, str, int]] = [
        (_LOAD, "", "", _ARCHITECTURE),
        (_EQUAL, "", "kill", architecture),
        (_LOAD, "", "", _NUMBER),
        (_ABOVE, "unknown", "", NEWEST),  # also the x32 calls, whose numbers start at 2**30
        (_EQUAL, "unknown", "", CLONE3[column]),  # its flags lie in memory, out of a filter's sight; libc uses clone
        *((_EQUAL, "deny", "", number) for number in denied),
        (_EQUAL, "clone", "", CLONE[column]),
        (_EQUAL, "", "allow", PRLIMIT[column]),
        (_LOAD, "", "", _FIRST),
        (_EQUAL, "", "deny", 0),
        (_LOAD, "", "", _FIRST_HIGH),
        (_EQUAL, "allow", "deny", 0),
    ]
    ends = {"clone": len(body), **{end: len(body) + 3 + place for place, end in enumerate(_ENDS)}}
    body += [
        (_LOAD, "", "", _FIRST),
        (_ANY_BIT, "deny", "", NEW_NAMESPACES),
        (_ANY_BIT, "allow", "deny" if only_threads else "allow", THREAD),
        *((_RETURN, "", "", what) for what in (_ALLOW, _EPERM, _ENOSYS, _KILL)),
    ]
    packed = []
    for place, (code, yes, no, value) in enumerate(body):
        jumps = [ends[label] - place - 1 if label else 0 for label in (yes, no)]
        packed.append(struct.pack("=HBBI", code, *jumps, value))
    return b"".join(packed)


@functools.cache
def for_other_interpreters() -> bytes:
    """The filter for a process that is to become another interpreter than Python; empty where there is no table."""
    if sys.platform != "linux" or os.uname().machine not in ARCHITECTURES:
        return b""
    return program(os.uname().machine, allowed=("execve", "execveat"), only_threads=True)
