"""What a student's process may do while it is graded, and what of that this machine can enforce.

The system calls are made by ctypes, in a process that was forked. Programs such as bubblewrap or isolate do the same,
but they start a new program (exec). That would cost an import of torch, about 2 s, for each submission.
"""

from __future__ import annotations

import ctypes
import os
import sys
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from pathlib import Path

from . import landlock

_NEWUSER, _NEWNET, _NEWPID, _NEWIPC = 0x10000000, 0x40000000, 0x20000000, 0x08000000
_NO_NEW_PRIVS, _NOT_DUMPABLE = 38, 4
_CAPABILITY_VERSION_3 = 0x20080522
_PROCESSES = 64
# Of a course machine: its labs hold the same checks as the labs that are graded with.
_INSTALLED = (Path("/usr/share/coursebox/labs"), Path("/usr/lib/coursebox/grading"))
_OWN = Path(__file__).resolve().parents[1]  # the folder of this package
_SETTINGS = ("ld.so.cache", "localtime", "passwd", "group", "nsswitch.conf", "fonts", "matplotlibrc")  # below /etc
FIRST_UID = 61100  # of the users that nobody is, one for each submission that is graded at the same time

_libc = ctypes.CDLL(None, use_errno=True)


@dataclass(frozen=True)
class Protection:
    """What keeps submissions apart from everything else on this machine."""

    namespaces: bool  # own network (none), own processes
    files: bool  # Landlock: only what Python needs can be read, only the scratch folder written
    other_user: bool  # they run as users that own nothing

    @property
    def protects_files(self) -> bool:
        return self.files or self.other_user

    def notes(self) -> list[str]:
        """What is not enforced here, in sentences; empty when everything is."""
        said = []
        if not self.protects_files:
            said.append("Files are not protected: a submission can change or delete everything that you can.")
        if not self.namespaces:
            network = "TCP alone is cut off" if self.files else "The network is not cut off"
            said.append(f"{network}, and stray processes can outlive a submission: no namespaces may be made here.")
        return said


def _call(function: Callable[..., int], *arguments: object) -> None:
    if function(*arguments) != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))


def _in_a_child(action: Callable[[], None]) -> bool:
    """Whether `action` works, tried in a process of its own."""
    pid = os.fork()
    if pid == 0:
        try:
            action()
        except BaseException:
            os._exit(1)
        os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0


def separate() -> None:
    """Leave the network, and let the next child be the first process of a world of its own. Raises OSError."""
    flags = _NEWNET | _NEWPID | _NEWIPC
    if os.geteuid() == 0:
        _call(_libc.unshare, flags)
        return
    uid, gid = os.getuid(), os.getgid()
    _call(_libc.unshare, flags | _NEWUSER)
    Path("/proc/self/setgroups").write_text("deny", "ascii")
    Path("/proc/self/uid_map").write_text(f"{uid} {uid} 1", "ascii")
    Path("/proc/self/gid_map").write_text(f"{gid} {gid} 1", "ascii")


def _separate_and_fork() -> None:
    separate()
    if not _in_a_child(lambda: None):
        raise OSError("no process can be made")


def _reachable_by_all(path: Path) -> bool:
    """Whether every user can go into this folder."""
    return all(folder.stat().st_mode & 0o001 for folder in (path, *path.parents))


def probe() -> Protection:
    """What this machine lets us enforce; each means is tried, not guessed."""
    reachable = all(_reachable_by_all(Path(name).resolve()) for name in (sys.prefix, sys.base_prefix))
    return Protection(
        namespaces=_in_a_child(_separate_and_fork),
        files=_in_a_child(lambda: landlock.restrict([Path("/usr")], [])),
        other_user=os.geteuid() == 0 and reachable and _in_a_child(lambda: become(FIRST_UID)),
    )


def become(uid: int) -> None:
    """Be another user for good, one that owns nothing."""
    os.setgroups([])
    os.setresgid(uid, uid, uid)
    os.setresuid(uid, uid, uid)


def _drop_capabilities() -> None:
    header = (ctypes.c_uint32 * 2)(_CAPABILITY_VERSION_3, 0)
    _call(_libc.capset, header, (ctypes.c_uint32 * 6)())


def _without(folder: Path, hidden: Collection[Path]) -> Iterator[Path]:
    """`folder`, or, where something `hidden` lies in it, all else that is in it.

    A link is left out there: Landlock allows what a path leads to, and that may lie in a hidden place, or outside.
    """
    if any(folder == place or place in folder.parents for place in hidden):
        return
    if not any(folder in place.parents for place in hidden):
        yield folder
        return
    for inside in sorted(folder.iterdir()):
        if not inside.is_symlink():
            yield from _without(inside, hidden)


def readable(labs: Path, data: Path | None) -> list[Path]:
    """What Python, torch and matplotlib read: programs and libraries, the prologue of the labs, and the data.

    Neither the labs nor the grader are among it. labs: the folder of the labs. data: the folder of the data sets.
    """
    roots = {Path(name).resolve() for name in ("/usr", "/lib", "/lib64", "/bin", "/opt", sys.prefix, sys.base_prefix)}
    hidden = (labs, _OWN, *_INSTALLED)
    found = [path for root in sorted(roots) if root.is_dir() for path in _without(root, hidden)]
    settings = [Path("/etc") / name for name in _SETTINGS]
    devices = [Path("/dev") / name for name in ("null", "zero", "urandom", "random")]
    return [*found, *settings, *devices, labs / "dlc_practical_prologue.py", *([data] if data else [])]


@dataclass(frozen=True)
class Place:
    """Where one submission is graded: its scratch folder, the data sets, what it can read, the user it is."""

    scratch: Path
    data: Path | None
    readable: tuple[Path, ...]
    uid: int


def enter(protection: Protection, place: Place) -> None:
    """Give up everything that a student's process must not have; for good, and for all its children."""
    scratch = str(place.scratch)
    os.environ.clear()
    os.environ.update(
        {
            "HOME": scratch,
            "TMPDIR": scratch,
            "MPLCONFIGDIR": scratch,
            "LANG": "C.UTF-8",
            "PATH": f"{sys.prefix}/bin:/usr/bin:/bin",
            "OMP_NUM_THREADS": "1",
        }
    )
    if place.data is not None:
        os.environ["PYTORCH_DATA_DIR"] = str(place.data)
    os.chdir(scratch)
    if protection.other_user:
        become(place.uid)
    if protection.files:
        landlock.restrict(place.readable, [place.scratch, Path("/dev/null")])
    _drop_capabilities()
    _call(_libc.prctl, _NO_NEW_PRIVS, 1, 0, 0, 0)


def most_processes(protection: Protection) -> int | None:
    """The limit of processes and threads for a sandbox; None where the kernel would count others', too."""
    if os.geteuid() == 0:
        return _PROCESSES if protection.other_user else None  # the superuser has no such limit
    release = tuple(int(number) for number in os.uname().release.split("-")[0].split(".")[:2])
    return _PROCESSES if protection.namespaces and release >= (5, 14) else None


def keep_memory_private() -> None:
    """No process of the same user can look into this one (prctl(2), PR_SET_DUMPABLE)."""
    _call(_libc.prctl, _NOT_DUMPABLE, 0, 0, 0, 0)
