"""An exported container → the canonical tar: the same tree always has the same bytes.

Entries are sorted, times clamped to the epoch, owners numeric, extended attributes kept (`docker export` writes
security.capability as a PAX record). What the engine mounted over the tree is replaced by what a machine needs.
The files of the course come last, so that an edited lab leaves the disk's earlier blocks where they were.
"""

from __future__ import annotations

import copy
import io
import tarfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from coursebox.core.errors import CourseboxError

# Folders that a machine fills itself at every start; the container's contents of them are the engine's.
EMPTY = ("dev", "proc", "run", "sys", "tmp", "var/tmp")
STRAY = (".dockerenv", "coursebox", "packer-files", "root/.ansible")
COURSE = ("home/", "usr/share/coursebox/")
XATTR = "SCHILY.xattr."


@dataclass(frozen=True)
class Entry:
    """One entry of a canonical tar: its clean header, and where its contents come from.

    origin: the entry of the export that holds the bytes of a regular file; None when they are `data`.
    """

    header: tarfile.TarInfo
    origin: tarfile.TarInfo | None
    data: bytes = b""


@dataclass(frozen=True)
class Sealed:
    """A canonical tar: the number of its entries, and the bytes before the first one of the course."""

    entries: int
    system_bytes: int


def seal(exported: Path, target: Path, *, epoch: int, files: Mapping[str, bytes], links: Mapping[str, str]) -> Sealed:
    """Write the canonical tar (POSIX.1-2001 PAX) of `exported` to `target`.

    epoch: the latest time (seconds since 1970) that any entry may have. files: path → contents of files that the
    engine mounts over a container (/etc/hostname, /etc/hosts). links: path → target of symbolic links, likewise.
    Raises CourseboxError when the tar holds what no machine may have, such as a file with two kinds.
    """
    with tarfile.open(exported, "r:") as source, tarfile.open(target, "w:", format=tarfile.PAX_FORMAT) as sealed:
        entries = canonical_entries(source, epoch=epoch, files=files, links=links)
        system_bytes = None
        for entry in entries:
            if system_bytes is None and is_of_course(entry.header.name):
                system_bytes = sealed.offset
            if entry.origin is None:
                sealed.addfile(entry.header, io.BytesIO(entry.data))
            elif entry.header.isreg():
                sealed.addfile(entry.header, source.extractfile(entry.origin))
            else:
                sealed.addfile(entry.header)
        return Sealed(len(entries), sealed.offset if system_bytes is None else system_bytes)


def canonical_entries(
    source: tarfile.TarFile, *, epoch: int, files: Mapping[str, bytes], links: Mapping[str, str]
) -> list[Entry]:
    """The entries that the canonical tar of the export `source` has, in its order; see `seal` for the arguments."""
    kept = {member.name: member for member in source if belongs(member.name)}
    follow_hard_links(kept)
    for name in [*files, *links]:
        kept.pop(name, None)
    entries = [Entry(canonical(member, epoch), member) for member in kept.values()]
    entries += [Entry(canonical(made_file(name, len(data)), epoch), None, data) for name, data in files.items()]
    entries += [Entry(canonical(made_link(name, to), epoch), None) for name, to in links.items()]
    return sorted(entries, key=lambda entry: order(entry.header.name))


def belongs(name: str) -> bool:
    """Whether an entry of the container is part of the machine."""
    if any(f"{name}/".startswith(f"{stray}/") for stray in STRAY):
        return False
    return not any(name.startswith(f"{folder}/") for folder in EMPTY)


def order(name: str) -> tuple[bool, tuple[str, ...]]:
    """System before course; otherwise by path, folders before what they hold."""
    return is_of_course(name), tuple(name.split("/"))


def is_of_course(name: str) -> bool:
    """Whether an entry belongs to the course rather than to the system."""
    return f"{name}/".startswith(COURSE)


def follow_hard_links(members: dict[str, tarfile.TarInfo]) -> None:
    """Let the first name of each hard-linked file, in sorted order, be the file, and all others links to it."""
    groups: dict[str, list[tarfile.TarInfo]] = {}
    for member in members.values():
        if member.islnk():
            if member.linkname not in members:
                raise CourseboxError(
                    f"the exported tree has a hard link {member.name} to {member.linkname}, which is not in it."
                )
            groups.setdefault(member.linkname, []).append(member)
    for first, links in groups.items():
        file = members[first]
        names = sorted([first, *(link.name for link in links)], key=order)
        for name in names:
            made = copy.copy(file)
            made.name = name
            if name != names[0]:
                made.type, made.linkname, made.size = tarfile.LNKTYPE, names[0], 0
            members[name] = made


def canonical(member: tarfile.TarInfo, epoch: int) -> tarfile.TarInfo:
    """A copy of `member` that says nothing of the machine it was made on."""
    clean = tarfile.TarInfo(member.name)
    clean.type, clean.linkname, clean.mode = member.type, member.linkname, member.mode & 0o7777
    clean.size = member.size if member.isreg() else 0
    clean.uid, clean.gid = member.uid, member.gid
    clean.mtime = min(int(member.mtime), epoch)
    clean.devmajor, clean.devminor = member.devmajor, member.devminor
    clean.pax_headers = {key: value for key, value in sorted(member.pax_headers.items()) if key.startswith(XATTR)}
    return clean


def made_file(name: str, size: int) -> tarfile.TarInfo:
    member = tarfile.TarInfo(name)
    member.mode, member.size, member.mtime = 0o644, size, 2**40
    return member


def made_link(name: str, target: str) -> tarfile.TarInfo:
    member = tarfile.TarInfo(name)
    member.type, member.linkname, member.mode, member.mtime = tarfile.SYMTYPE, target, 0o777, 2**40
    return member


def listing(sealed: Path) -> Iterable[tarfile.TarInfo]:
    """The entries of a sealed tar, in its order."""
    with tarfile.open(sealed, "r:") as tar:
        yield from tar
