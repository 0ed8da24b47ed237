"""The home: whether it can be written, putting the labs into it, and a replacement when it cannot be written."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator, MutableMapping

from coursebox_container import mounts
from coursebox_container.image import LABS, SKELETON
from coursebox_container.mounts import Facts

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


def explain(error: OSError, facts: Facts) -> str:
    """One sentence for what is wrong with the home that `facts` are about, and one for the remedy."""
    place = facts.home
    match error.errno:
        case errno.ENOSPC | errno.EDQUOT:
            return f"{place} is full: delete what you no longer need there, then start again."
        case errno.EROFS:
            return f"{place} is mounted read-only: {mounts.remedy(facts)}."
        case errno.EACCES | errno.EPERM:
            return f"{denied(place, facts)}."
        case _:
            return f"{place} cannot be used ({error.strerror}): check the volume or folder that is mounted there."


def denied(path: str, facts: Facts) -> str:
    """Who may not write where, whose it is, and the remedy."""
    belongs = "" if facts.owner is None else f", which belongs to user {facts.owner[0]}"
    return f"user {facts.user[0]} may not write in {path}{belongs}: {mounts.remedy(facts)}"


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


def unwritable_mounts(home: str) -> list[str]:
    """Folders mounted below `home`, but not by wish read-only, that this user cannot write."""
    return [
        mount.point
        for mount in mounts.below(os.path.realpath(home))
        if not mount.read_only and os.path.isdir(mount.point) and not _is_writable(mount.point)
    ]


def settle_caches(environment: MutableMapping[str, str], home: str) -> str:
    """Let torch.compile keep its programs where programs may run. A sentence where they may do so nowhere, else empty.

    `docker run --tmpfs /tmp` mounts it noexec, and torch.compile loads what it compiles from there.
    """
    if "TORCHINDUCTOR_CACHE_DIR" in environment or _runs_programs(place := environment.get("TMPDIR") or "/tmp"):
        return ""
    if _runs_programs(home):
        environment["TORCHINDUCTOR_CACHE_DIR"] = f"{home}/.cache/torchinductor"
        return ""
    return (
        f"neither {place} nor your home lets programs run (noexec), which torch.compile and pip install need:"
        " add -v course:/home/student, or --tmpfs /tmp:exec"
    )


def _is_writable(folder: str) -> bool:
    return os.access(folder, os.W_OK | os.X_OK, effective_ids=True)


def _runs_programs(place: str) -> bool:
    try:
        return not os.statvfs(place).f_flag & os.ST_NOEXEC
    except OSError:
        return True  # nothing is known, so nothing is said


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
