"""What a student's process may do while it is graded, and what of that this machine can enforce.

The system calls are made by ctypes, in a process that was forked. Programs such as bubblewrap or isolate do the same,
but they start a new program (exec). That would cost an import of torch, about 2 s, for each submission.
"""

from __future__ import annotations

import ctypes
import os
import resource
import sys
import tempfile
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from . import landlock, scratch, seccomp
from .watch import PROCESSES

_NEWUSER, _NEWNET, _NEWPID, _NEWIPC, _NEWNS = 0x10000000, 0x40000000, 0x20000000, 0x08000000, 0x00020000
_NO_NEW_PRIVS, _SET_DUMPABLE = 38, 4
_CAPABILITY_VERSION_3 = 0x20080522
_OPEN_FILES = 64  # each may have what a file may have, and needs no name
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
    calls: bool = False  # seccomp: no socket, no change of modes and owners, nothing that reaches another process
    quota: bool = False  # the scratch folder is a file system of its own, with a size

    @property
    def protects_files(self) -> bool:
        return self.files or self.other_user

    def notes(self) -> list[str]:
        """What is not enforced here, in sentences; empty when everything is."""
        said = []
        if not self.protects_files:
            said.append("Files are not protected: a submission can change or delete everything that you can.")
        if not self.namespaces and not self.calls:
            network = "TCP alone is cut off" if self.files else "The network is not cut off"
            said.append(f"{network}: here are neither namespaces nor seccomp.")
        if not self.calls:
            said.append("Servers of yours that listen at a socket file can be reached: this kernel has no seccomp.")
        if not self.namespaces:
            reach = "not reached" if self.calls or self.other_user else "also ended by a submission"
            said.append(f"Other processes can be seen, and {reach}: no namespaces may be made here.")
        if not self.limits_processes:
            how = "A submission can start no process" if self.calls else "Processes are counted ten times a second"
            said.append(f"{how}: the kernel does not count those of one submission here.")
        if not self.quota:
            said.append(
                f"The size of all files together is looked at ten times a second, not limited: {scratch.BYTES >> 20} "
                "MiB can be exceeded for a moment."
            )
        return said

    @property
    def limits_processes(self) -> bool:
        """Whether the kernel counts the processes of each submission alone (RLIMIT_NPROC)."""
        if os.geteuid() == 0:
            return self.other_user  # the superuser has no such limit
        release = tuple(int(number) for number in os.uname().release.split("-")[0].split(".")[:2])
        return self.namespaces and release >= (5, 14)


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


@contextmanager
def _dumpable() -> Iterator[None]:
    """For the moment, the files in /proc/self belong to this user; of a process that is private, they are root's."""
    _call(_libc.prctl, _SET_DUMPABLE, 1, 0, 0, 0)
    try:
        yield
    finally:
        keep_memory_private()


def separate(quota: Path | None = None) -> None:
    """Leave the network, and let the next child be the first process of a world of its own. Raises OSError.

    quota: a folder that gets a file system of its own; what was in it is not seen any more.
    """
    flags = _NEWNET | _NEWPID | _NEWIPC | (0 if quota is None else _NEWNS)
    uid, gid = os.getuid(), os.getgid()
    if os.geteuid() == 0:
        _call(_libc.unshare, flags)
    else:
        _call(_libc.unshare, flags | _NEWUSER)
        with _dumpable():
            Path("/proc/self/setgroups").write_text("deny", "ascii")
            Path("/proc/self/uid_map").write_text(f"{uid} {uid} 1", "ascii")
            Path("/proc/self/gid_map").write_text(f"{gid} {gid} 1", "ascii")
    if quota is not None:
        scratch.cover(quota)


def _whole_path(protection: Protection, folder: Path) -> None:
    """What happens to a submission's process, from the first step to the last. Raises OSError where a step fails."""
    keep_memory_private()
    place = Place(folder, None, (Path("/usr"),), FIRST_UID)
    if protection.namespaces:
        separate(folder if protection.quota else None)
    if protection.other_user:
        os.chown(folder, place.uid, place.uid)

    def last() -> None:
        enter(protection, place)
        (folder / "file").write_bytes(b"x")

    if not _in_a_child(last):
        raise OSError("no process can be made, or it cannot write")


def _reachable_by_all(path: Path) -> bool:
    """Whether every user can go into this folder."""
    return all(folder.stat().st_mode & 0o001 for folder in (path, *path.parents))


def probe() -> Protection:
    """What this machine lets us enforce; each means is tried, as it will be used, together with those before."""
    reachable = all(_reachable_by_all(Path(name).resolve()) for name in (sys.prefix, sys.base_prefix))
    found = Protection(namespaces=False, files=False, other_user=False)
    wanted = ["calls", "files", *(["other_user"] if os.geteuid() == 0 and reachable else []), "namespaces", "quota"]
    for name in wanted:
        more = replace(found, **{name: True})
        if name == "quota" and not found.namespaces:
            continue
        folder = Path(tempfile.mkdtemp(prefix="trial-"))
        try:
            if _in_a_child(lambda more=more, folder=folder: _whole_path(more, folder)):  # type: ignore[misc]
                found = more
        finally:
            scratch.remove(folder)
    return found


def become(uid: int) -> None:
    """Be another user for good, one that owns nothing."""
    os.setgroups([])
    os.setresgid(uid, uid, uid)
    os.setresuid(uid, uid, uid)


def _drop_capabilities() -> None:
    header = (ctypes.c_uint32 * 2)(_CAPABILITY_VERSION_3, 0)
    _call(_libc.capset, header, (ctypes.c_uint32 * 6)())


def leave_terminal() -> None:
    """Read nothing and print nothing from now on, and have no terminal that could be reached by another way."""
    os.setsid()
    nothing = os.open("/dev/null", os.O_RDWR)
    for stream in (0, 1, 2):
        os.dup2(nothing, stream)
    os.close(nothing)


def close_all_but(descriptors: Collection[int]) -> None:
    """Close every open file beside the standard streams and these."""
    begin = 3
    for kept in (*sorted(descriptors), resource.getrlimit(resource.RLIMIT_NOFILE)[1]):
        os.closerange(begin, min(kept, 1 << 20))
        begin = kept + 1


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


def readable(labs: Path, data: Path | None, hidden: Collection[Path] = ()) -> list[Path]:
    """What Python, torch and matplotlib read: programs and libraries, the prologue of the labs, and the data.

    Neither the labs nor the grader are among it, nor the checkout that they belong to, with its solutions. labs: the
    folder of the labs. data: the folder of the data sets. hidden: further places: the class, the results, the seed.
    """
    roots = {Path(name).resolve() for name in ("/usr", "/lib", "/lib64", "/bin", sys.prefix, sys.base_prefix)}
    checkout = [_OWN.parent] if (_OWN.parent / "labs").is_dir() else []
    hidden = {path.resolve() for path in (labs, _OWN, *_INSTALLED, *checkout, *hidden)}
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
    limited = protection.limits_processes  # of the one who grades: asked before it becomes another
    folder = str(place.scratch)
    os.environ.clear()
    os.environ.update(
        {
            "HOME": folder,
            "TMPDIR": folder,
            "MPLCONFIGDIR": folder,
            "LANG": "C.UTF-8",
            "PATH": f"{sys.prefix}/bin:/usr/bin:/bin",
            "OMP_NUM_THREADS": "1",
        }
    )
    if place.data is not None:
        os.environ["PYTORCH_DATA_DIR"] = str(place.data)
    os.chdir(folder)
    if protection.other_user:
        become(place.uid)
    if protection.files:
        landlock.restrict(place.readable, [place.scratch, Path("/dev/null")])
    _drop_capabilities()
    _call(_libc.prctl, _NO_NEW_PRIVS, 1, 0, 0, 0)
    resource.setrlimit(resource.RLIMIT_NOFILE, (_OPEN_FILES, _OPEN_FILES))
    resource.setrlimit(resource.RLIMIT_MSGQUEUE, (0, 0))
    if protection.calls:
        seccomp.restrict(processes=limited, signals=protection.namespaces)


def most_processes(protection: Protection) -> int | None:
    """The limit of processes and threads for a sandbox; None where the kernel would count others', too."""
    return PROCESSES if protection.limits_processes else None


def keep_memory_private() -> None:
    """No process of the same user can look into this one (prctl(2), PR_SET_DUMPABLE)."""
    _call(_libc.prctl, _SET_DUMPABLE, 0, 0, 0, 0)
