"""seccomp: a process gives up system calls, for itself and all its children, for good.

It needs no privileges. A filter is a small program that the kernel runs at each system call (seccomp(2), and
linux/filter.h for its instructions); Python has no module for it. Landlock and user IDs decide about files by their
place. This filter refuses what neither of them governs: sockets, modes and times of files, other processes, memory that
no limit counts, and the parts of the kernel that are attacked most.
"""

from __future__ import annotations

import ctypes
import errno
import os
import struct
from collections.abc import Mapping, Sequence

_NO_NEW_PRIVS, _SET_SECCOMP, _MODE_FILTER = 38, 22, 2
_LOAD, _EQUAL, _AT_LEAST, _ANY_BIT, _RETURN = 0x20, 0x15, 0x35, 0x45, 0x06
_ALLOW, _ERRNO, _KILL = 0x7FFF0000, 0x00050000, 0x80000000
_NUMBER, _ARCHITECTURE, _FIRST = 0, 4, 16  # offsets in struct seccomp_data; of an argument the lower half is enough
_X32 = 0x40000000
_NEW_NAMESPACE = 0x7E020080  # the flags CLONE_NEW… of clone
_THREAD = 0x00010000

_libc = ctypes.CDLL(None, use_errno=True)

# Name → number, on x86-64 and on ARM; None where a machine has no such call (the kernel's syscall tables).
_CALLS: Mapping[str, tuple[int | None, int | None]] = {
    "socket": (41, 198), "clone": (56, 220), "fork": (57, None), "vfork": (58, None), "kill": (62, 129),
    "tkill": (200, 130), "tgkill": (234, 131), "rt_sigqueueinfo": (129, 138), "rt_tgsigqueueinfo": (297, 240),
    "prlimit64": (302, 261), "clone3": (435, 435),
    "chmod": (90, None), "fchmod": (91, 52), "fchmodat": (268, 53), "fchmodat2": (452, 452),
    "utime": (132, None), "utimes": (235, None), "futimesat": (261, None), "utimensat": (280, 88),
    "setpriority": (141, 140), "sched_setparam": (142, 118), "sched_setscheduler": (144, 119),
    "sched_setaffinity": (203, 122), "sched_setattr": (314, 274), "ioprio_set": (251, 30),
    "chown": (92, None), "fchown": (93, 55), "lchown": (94, None), "fchownat": (260, 54), "truncate": (76, 45),
    "setxattr": (188, 5), "lsetxattr": (189, 6), "fsetxattr": (190, 7), "removexattr": (197, 14),
    "lremovexattr": (198, 15), "fremovexattr": (199, 16), "setxattrat": (463, 463), "removexattrat": (466, 466),
    "file_setattr": (469, 469), "name_to_handle_at": (303, 264), "open_by_handle_at": (304, 265),
    "memfd_create": (319, 279), "memfd_secret": (447, 447), "shmget": (29, 194), "shmat": (30, 196),
    "msgget": (68, 186), "semget": (64, 190), "mq_open": (240, 180),
    "ptrace": (101, 117), "process_vm_readv": (310, 270), "process_vm_writev": (311, 271), "kcmp": (312, 272),
    "process_madvise": (440, 440), "process_mrelease": (448, 448), "move_pages": (279, 239),
    "migrate_pages": (256, 238),
    "pidfd_open": (434, 434), "pidfd_send_signal": (424, 424), "pidfd_getfd": (438, 438),
    "unshare": (272, 97), "setns": (308, 268), "mount": (165, 40), "umount2": (166, 39), "pivot_root": (155, 41),
    "chroot": (161, 51), "open_tree": (428, 428), "move_mount": (429, 429), "fsopen": (430, 430),
    "fsconfig": (431, 431), "fsmount": (432, 432), "fspick": (433, 433), "mount_setattr": (442, 442),
    "add_key": (248, 217), "request_key": (249, 218), "keyctl": (250, 219), "bpf": (321, 280),
    "perf_event_open": (298, 241), "userfaultfd": (323, 282), "io_uring_setup": (425, 425),
    "io_uring_enter": (426, 426), "io_uring_register": (427, 427), "fanotify_init": (300, 262),
    "personality": (135, 92), "quotactl": (179, 60), "quotactl_fd": (443, 443), "syslog": (103, 116),
    "kexec_load": (246, 104), "kexec_file_load": (320, 294), "init_module": (175, 105),
    "finit_module": (313, 273), "delete_module": (176, 106), "acct": (163, 89), "vhangup": (153, 58),
}  # fmt: skip

# They answer "done" and do nothing: shutil.copy and tarfile set modes and times, and need not fail.
IGNORED = (
    "chmod", "fchmod", "fchmodat", "fchmodat2", "utime", "utimes", "futimesat", "utimensat",
    "setpriority", "sched_setparam", "sched_setscheduler", "sched_setaffinity", "sched_setattr", "ioprio_set",
)  # fmt: skip
_BY_ARGUMENT = ("clone", "clone3", "fork", "vfork", "prlimit64", "kill", "tkill", "tgkill")
_QUEUED_SIGNALS = ("rt_sigqueueinfo", "rt_tgsigqueueinfo")
_MACHINES = {"x86_64": (0, 0xC000003E), "aarch64": (1, 0xC00000B7)}  # column of the table, AUDIT_ARCH_…


def _step(code: int, value: int, yes: int = 0, no: int = 0) -> bytes:
    return struct.pack("=HBBI", code, yes, no, value)


def _answer(number: int) -> bytes:
    return _step(_RETURN, _ERRNO | number)


def _when(number: int, body: Sequence[bytes]) -> list[bytes]:
    """`body` is run at this system call alone; the accumulator holds the call's number before and after."""
    return [_step(_EQUAL, number, 0, len(body)), *body]


def program(machine: str, *, processes: bool, signals_for: int | None) -> bytes:
    """The filter's instructions for a machine (as uname names it).

    processes: whether new processes may be made; threads always may. signals_for: the one process that may be sent
    signals, None where those that can be seen may be sent some. Raises OSError on a machine that has no table here.
    """
    if machine not in _MACHINES:
        raise OSError(errno.ENOSYS, f"no table of system calls for {machine}")
    column, architecture = _MACHINES[machine]

    def number_of(name: str) -> int | None:
        return _CALLS[name][column]

    steps = [
        _step(_LOAD, _ARCHITECTURE),
        _step(_EQUAL, architecture, 1, 0),
        _step(_RETURN, _KILL),
        _step(_LOAD, _NUMBER),
    ]
    if machine == "x86_64":
        steps += [_step(_AT_LEAST, _X32, 0, 1), _answer(errno.ENOSYS)]
    plain = {name: 0 if name in IGNORED else errno.EPERM for name in _CALLS if name not in _BY_ARGUMENT}
    if signals_for is None:
        for name in _QUEUED_SIGNALS:
            del plain[name]
    else:
        plain["tkill"] = errno.EPERM
    plain["clone3"] = errno.ENOSYS  # its flags are out of a filter's sight; the C library then takes clone
    if not processes:
        plain |= {"fork": errno.EPERM, "vfork": errno.EPERM}
    for name, result in plain.items():
        if (number := number_of(name)) is not None:
            steps += _when(number, [_answer(result)])
    allow, refuse = _step(_RETURN, _ALLOW), _answer(errno.EPERM)
    first = _step(_LOAD, _FIRST)
    clone = number_of("clone")
    assert clone is not None
    body = [first, _step(_ANY_BIT, _NEW_NAMESPACE, 0, 1), refuse]
    if not processes:
        body += [_step(_ANY_BIT, _THREAD, 1, 0), refuse]
    steps += _when(clone, [*body, allow])
    checked = [("prlimit64", 0)] + ([] if signals_for is None else [("kill", signals_for), ("tgkill", signals_for)])
    for name, only in checked:
        if (number := number_of(name)) is not None:
            steps += _when(number, [first, _step(_EQUAL, only, 0, 1), allow, refuse])
    return b"".join([*steps, allow])


class _Program(ctypes.Structure):
    _fields_ = (("length", ctypes.c_ushort), ("steps", ctypes.c_char_p))


def restrict(*, processes: bool, signals: bool) -> None:
    """Refuse the system calls of this module's table from now on. Raises OSError where there is no seccomp.

    processes: whether this process may still make others. signals: whether it may send signals to others.
    """
    steps = program(os.uname().machine, processes=processes, signals_for=None if signals else os.getpid())
    filtered = _Program(len(steps) // 8, steps)
    for arguments in ((_NO_NEW_PRIVS, 1, 0, 0, 0), (_SET_SECCOMP, _MODE_FILTER, ctypes.byref(filtered), 0, 0)):
        if _libc.prctl(*arguments) != 0:
            number = ctypes.get_errno()
            raise OSError(number, os.strerror(number))
