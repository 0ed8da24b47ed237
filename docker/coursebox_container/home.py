"""The home: whether it can be written, putting the labs into it, and a replacement when it cannot be written."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator

from coursebox_container.image import LABS, SKELETON

ROOM = 1 << 20  # bytes that must fit: JupyterLab writes settings, workspaces and checkpoints there
RECORD = ".local/share/coursebox/delivered"  # in the home: what was once put there, a path per line
LINK = "your-home"  # in a recovery home: the way to the broken one


def fault(home: str) -> OSError | None:
    """Why this user cannot write into `home`; None when writing works. Tried by writing 1 MiB."""
    probe = f"{home}/.coursebox-probe-{os.getpid()}"
    try:
        os.makedirs(home, exist_ok=True)
        descriptor = os.open(probe, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except OSError as error:
        return error
    try:
        try:
            left = ROOM
            while left > 0:
                left -= os.write(descriptor, bytes(left))
        finally:
            os.close(descriptor)  # NFS reports a full disk here
    except OSError as error:
        return error
    finally:
        os.unlink(probe)
    return None


def explain(home: str, error: OSError, uid: int) -> str:
    """One sentence for what is wrong with the home, and one for the remedy."""
    match error.errno:
        case errno.ENOSPC | errno.EDQUOT:
            return f"{home} is full: delete what you no longer need there, then start again."
        case errno.EROFS:
            return f"{home} is mounted read-only: leave out the :ro behind the mount to keep your work there."
        case errno.EACCES | errno.EPERM:
            owner = _owner(home)
            return f"user {uid} may not write in {home}{_belongs(owner)}: {remedy(owner)}."
        case _:
            return f"{home} cannot be used ({error.strerror}): check the volume or folder that is mounted there."


def remedy(owner: tuple[int, int] | None) -> str:
    """How to write into a folder of the user and group `owner`."""
    if owner is None or owner[0] == 0:
        return "start with --user root -e CHOWN_HOME=yes, or on your computer: sudo chown 1000:100 FOLDER"
    return f"start with --user {owner[0]}:{owner[1]}"


def fill(home: str, sources: tuple[tuple[str, str], ...] = ((LABS, "labs"), (SKELETON, ""))) -> list[str]:
    """Put the labs and the start-up files of the shell into the home. Returns the paths that were added.

    No file is overwritten or put there twice: what a student has deleted stays deleted, and a new lab of
    a later edition appears. sources: pairs of a pristine folder and its place in the home.
    """
    record = f"{home}/{RECORD}"
    known = _read_lines(record)
    delivered, added = set(known), []
    for pristine, place in sources:
        for path in sorted(_files(pristine)):
            target = os.path.join(place, path)
            if target in delivered:
                continue
            if not os.path.lexists(f"{home}/{target}"):
                _copy(f"{pristine}/{path}", f"{home}/{target}")
                added.append(target)
            delivered.add(target)
    if delivered != set(known):
        os.makedirs(os.path.dirname(record), exist_ok=True)
        with open(f"{record}.new", "w", encoding="utf-8", errors="surrogateescape") as file:
            file.writelines(f"{path}\n" for path in sorted(delivered))
        os.rename(f"{record}.new", record)
    return added if known else []


def recover(runtime: str, home: str) -> str:
    """A home with the labs in the container's runtime folder, from which the broken one can be reached."""
    recovery = f"{runtime}/home"
    os.makedirs(recovery, exist_ok=True)
    if not os.path.lexists(f"{recovery}/{LINK}"):
        os.symlink(home, f"{recovery}/{LINK}")
    fill(recovery)
    return recovery


def unwritable_mounts(home: str, mountinfo: str = "/proc/self/mountinfo") -> list[tuple[str, int, int]]:
    """Folders mounted below `home`, but not read-only, that this user cannot write: path, owner's uid and gid."""
    found = []
    with open(mountinfo, encoding="utf-8", errors="surrogateescape") as file:
        for line in file:
            fields = line.split()
            path = _unescaped(fields[4])  # proc_pid_mountinfo(5)
            if not path.startswith(f"{home}/") or "ro" in fields[5].split(","):
                continue
            if os.path.isdir(path) and not os.access(path, os.W_OK, effective_ids=True):
                status = os.stat(path)
                found.append((path, status.st_uid, status.st_gid))
    return found


def _unescaped(path: str) -> str:
    """A path of mountinfo, in which space, tab, newline and backslash are octal."""
    for character in (" ", "\t", "\n", "\\"):
        path = path.replace(f"\\{ord(character):03o}", character)
    return path


def _owner(path: str) -> tuple[int, int] | None:
    try:
        status = os.stat(path)
    except OSError:
        return None
    return status.st_uid, status.st_gid


def _belongs(owner: tuple[int, int] | None) -> str:
    return "" if owner is None else f", which belongs to user {owner[0]}"


def _files(folder: str, prefix: str = "") -> Iterator[str]:
    """Paths of the regular files below `folder`, relative to it."""
    if not os.path.isdir(folder):
        return
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.is_dir(follow_symlinks=False):
                yield from _files(entry.path, f"{prefix}{entry.name}/")
            elif entry.is_file(follow_symlinks=False):
                yield prefix + entry.name


def _copy(source: str, target: str) -> None:
    """Copy a file, complete or not at all; the pristine one is read-only, the copy is its owner's to change."""
    os.makedirs(os.path.dirname(target), exist_ok=True)
    beside = f"{target}.coursebox-new"
    with open(source, "rb") as file:
        content = file.read()
    mode = 0o777 if os.stat(source).st_mode & 0o100 else 0o666
    try:
        with open(os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode), "wb") as file:
            file.write(content)
        os.rename(beside, target)
    except OSError:
        if os.path.exists(beside):
            os.unlink(beside)
        raise


def _read_lines(path: str) -> list[str]:
    try:
        with open(path, encoding="utf-8", errors="surrogateescape") as file:
            return file.read().splitlines()
    except OSError:
        return []
