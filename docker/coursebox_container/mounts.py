"""Why a folder cannot be written, from facts of its mount, and one sentence with a remedy that works for that mount."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from typing import NamedTuple

TABLE = "/proc/self/mountinfo"
# Their files have no owner of their own: the mount gives all of them one.
OWNERLESS = ("vfat", "exfat", "msdos", "ntfs", "ntfs3", "fuseblk", "cifs", "smb3")
NFS = ("nfs", "nfs4")
VANISHING = ("tmpfs", "ramfs")
UNMAPPED = 65534  # /proc/sys/kernel/overflowuid: the uid of owners that a user namespace does not know
WRITE = stat.S_IWUSR | stat.S_IXUSR  # what an owner needs to make files in a folder


class Mount(NamedTuple):
    """A line of proc_pid_mountinfo(5)."""

    point: str
    kind: str  # type of the file system
    read_only: bool  # this mount
    disk_read_only: bool  # the file system itself
    labels: bool  # SELinux labels its files


class Facts(NamedTuple):
    """All that decides about writing in one folder."""

    path: str
    mount: Mount
    owner: tuple[int, int] | None  # uid and gid; None where they cannot be seen
    mode: int
    user: tuple[int, int]  # uid and gid that want to write
    home: str  # the user's home; "" where the path is none and lies below none
    namespace: bool = False  # a user namespace: root in here is not root outside
    by_root: bool = False  # the container was started with --user root


def read_mounts(table: str = TABLE) -> list[Mount]:
    """All mounts, in the order in which they were made: a later one hides an earlier one at the same place.

    Empty where the kernel does not say.
    """
    try:
        with open(table, encoding="utf-8", errors="surrogateescape") as file:
            return [_mount(line.rstrip("\n")) for line in file]
    except OSError:
        return []


def _mount(line: str) -> Mount:
    left, _, right = line.partition(" - ")
    fields, (kind, *_, options) = left.split(" "), right.split(" ")  # the source in between may be empty
    disk = options.split(",")
    return Mount(_unescaped(fields[4]), kind, "ro" in fields[5].split(","), "ro" in disk, "seclabel" in disk)


def mount_of(path: str, table: str = TABLE) -> Mount:
    """The mount that a path lies on: the deepest one above it, or one without a name. `path` is without links."""
    above = [Mount("", "", False, False, False)]
    above += [one for one in read_mounts(table) if f"{path}/".startswith(f"{one.point.rstrip('/')}/")]
    deepest = max(len(one.point) for one in above)
    return [one for one in above if len(one.point) == deepest][-1]


def below(home: str, table: str = TABLE) -> Iterator[Mount]:
    """The mounts below a home, those above first."""
    found = {one.point: one for one in read_mounts(table) if one.point.startswith(f"{home}/")}
    yield from (found[point] for point in sorted(found))


def vanishes(path: str, table: str = TABLE) -> bool:
    """Whether what is in a folder goes with the container: it is in the container's own layer, or in memory."""
    mount = mount_of(os.path.realpath(path), table)
    return mount.point == "/" or mount.kind in VANISHING


def facts_of(path: str, user: tuple[int, int], home: str, *, by_root: bool = False, table: str = TABLE) -> Facts:
    """Ask the kernel about a folder; where it does not exist, about the first folder above it that does."""
    real = os.path.realpath(path)
    owner, mode = None, 0
    while True:
        try:
            found = os.stat(real)
        except FileNotFoundError:
            real = os.path.dirname(real)
        except OSError:
            break
        else:
            owner, mode = (found.st_uid, found.st_gid), stat.S_IMODE(found.st_mode)
            break
    return Facts(real, mount_of(real, table), owner, mode, user, home, _in_user_namespace(), by_root)


def remedy(facts: Facts) -> str:
    """How this user gets to write in this folder, in one sentence without its full stop."""
    mount = facts.mount
    if mount.point == "/" and mount.read_only:
        return f"the container runs with --read-only, so add -v course:{facts.home}"
    if mount.read_only and not mount.disk_read_only:
        return "leave out the :ro behind the mount to keep your work there"
    if mount.disk_read_only:
        return "its disk is read-only on your computer: mount it there for writing"
    if facts.owner is None:
        return _for_hidden(mount)
    if mount.kind in OWNERLESS:
        return f"mount that disk on your computer with the options uid={facts.user[0]},gid={facts.user[1]}"
    return _by_owner(facts, facts.owner)


def _for_hidden(mount: Mount) -> str:
    if mount.kind.startswith("fuse"):
        return "mount it on your computer with the option allow_other"
    return "on your computer: chmod a+x the folders above it"


def _by_owner(facts: Facts, owner: tuple[int, int]) -> str:
    uid, gid = facts.user
    if owner[0] == uid and facts.mode & WRITE != WRITE:
        return f'its mode {facts.mode:04o} denies it to its owner, too: chmod u+wx "{facts.path}"'
    if _mode_allows(facts, owner):
        if facts.mount.labels:
            return "its mode allows it, but SELinux does not: put :Z behind the mount"
        if facts.mount.kind in NFS:
            return "its mode allows it, but the file server does not: ask who runs it"
        return f"its mode allows it, but something else does not: on your computer: setfacl -m u:{uid}:rwx FOLDER"
    if facts.namespace and owner[0] == UNMAPPED:
        return (
            "its owner has no number in this container: give the folder to yourself on your computer, and start with"
            " --user root -e NB_UID=0 -e NB_GID=0 (Podman: --userns keep-id:uid=1000,gid=100)"
        )
    first = "" if facts.mode & WRITE == WRITE else "on your computer: chmod u+wx FOLDER; then "
    if owner[0] != 0:
        return first + (
            f"start with -e NB_UID={owner[0]} -e NB_GID={owner[1]}"
            if facts.by_root
            else f"start with --user {owner[0]}:{owner[1]}"
        )
    if facts.namespace:
        return f"{first}start with --user root -e NB_UID=0 -e NB_GID=0"
    if facts.mount.kind in NFS:
        return f"{first}on the file server: chown {uid}:{gid} FOLDER"
    if "," in facts.path:  # it parts the folders of CHOWN_EXTRA
        return f"{first}on your computer: sudo chown {uid}:{gid} FOLDER"
    become = "" if facts.by_root or uid == 1000 else f" -e NB_UID={uid} -e NB_GID={gid}"
    chown = "CHOWN_HOME=yes" if facts.path == os.path.realpath(facts.home) else f"CHOWN_EXTRA={facts.path}"
    return f"{first}start with --user root{become} -e {_quoted(chown)}"


def _mode_allows(facts: Facts, owner: tuple[int, int]) -> bool:
    """Whether the bits of the mode let the user write: as owner, by the group, or as anybody."""
    if owner[0] == facts.user[0]:
        return True
    shift = 3 if owner[1] in (facts.user[1], *os.getgroups()) else 0
    return facts.mode >> shift & 0o3 == 0o3


def _quoted(word: str) -> str:
    """The word as bash, zsh and PowerShell read it alike."""
    return word if all(character.isalnum() or character in "/=._-" for character in word) else f'"{word}"'


def _in_user_namespace() -> bool:
    try:
        with open("/proc/self/uid_map", encoding="ascii") as file:
            return file.read().split() != ["0", "0", "4294967295"]
    except OSError:  # a kernel without such namespaces
        return False


def _unescaped(path: str) -> str:
    """A path of mountinfo, in which space, tab, newline and backslash are octal."""
    for character in (" ", "\t", "\n", "\\"):
        path = path.replace(f"\\{ord(character):03o}", character)
    return path
