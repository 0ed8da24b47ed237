"""Read an OVA: every member's digest is held against the manifest, and the disk comes out raw."""

from __future__ import annotations

import hashlib
import os
import re
import tarfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from equipment.vmdk import extract_raw

from coursebox.core.console import silent
from coursebox.core.errors import CourseboxError
from coursebox.core.files import atomic

if TYPE_CHECKING:
    from hashlib import _Hash

BLOCK = 4 << 20  # bytes that are read at a time


@dataclass(frozen=True)
class Member:
    """A file within an OVA: `start` and `size` in bytes."""

    name: str
    start: int
    size: int
    sha256: str


@dataclass(frozen=True)
class Ova:
    """An OVA whose members all fit the manifest. `ovf` is the descriptor's text as bytes."""

    path: Path
    size: int
    sha256: str
    ovf: bytes
    members: tuple[Member, ...]

    @property
    def disk(self) -> Member:
        """The one VMDK."""
        return next(member for member in self.members if member.name.endswith(".vmdk"))


def open_ova(path: Path, *, on_progress: Callable[[int], None] = silent) -> Ova:
    """Read an OVA's table of contents, and hold the digest of each member against the manifest.

    on_progress: called with bytes of the file. Raises CourseboxError when the file is missing, no OVA or damaged.
    """
    try:
        size = path.stat().st_size
        with path.open("rb") as file:
            entries = _entries(path, file)
            contents: dict[str, bytes] = {}
            digests, sha256 = _digest_all(file, entries, contents, on_progress)
    except FileNotFoundError:
        raise CourseboxError(f"{path} does not exist", hint="build it with: make ova") from None
    names = [entry.name for entry in entries]
    suffixes = [os.path.splitext(name)[1] for name in names]
    if suffixes != [".ovf", ".mf", ".vmdk"]:
        raise _damaged(path, f"it holds {', '.join(names) or 'nothing'}, not a descriptor, a manifest and a disk")
    promised = _manifest(path, contents[names[1]])
    for name in (names[0], names[2]):
        if name not in promised:
            raise _damaged(path, f"its manifest does not name {name}")
        if promised[name] != digests[name]:
            raise _damaged(path, f"{name} does not have the digest that the manifest names")
    members = tuple(Member(entry.name, entry.offset_data, entry.size, digests[entry.name]) for entry in entries)
    return Ova(path, size, sha256, contents[names[0]], members)


def extract_disk(ova: Ova, raw: Path, *, on_progress: Callable[[int], None] = silent) -> int:
    """Write the disk in an OVA to the sparse file `raw`, without a VMDK between; returns its capacity in bytes.

    on_progress: called with bytes of the VMDK (`ova.disk.size` in all).
    """
    return extract_raw(ova.path, raw, start=ova.disk.start, size=ova.disk.size, on_progress=on_progress)


def extract_member(ova: Ova, member: Member, target: Path) -> None:
    """Copy one member out; `target` appears complete or not at all."""
    with atomic(target) as part, ova.path.open("rb") as source, part.open("wb") as sink:
        done = 0
        while done < member.size:
            count = os.copy_file_range(
                source.fileno(), sink.fileno(), min(member.size - done, 1 << 30), offset_src=member.start + done
            )
            if count == 0:
                raise _damaged(ova.path, "it ends too early")
            done += count


def _damaged(path: Path, reason: str) -> CourseboxError:
    return CourseboxError(
        f"{path} is damaged: {reason}", hint="compare its SHA-256 with SHA256SUMS, and build or download it again"
    )


def _entries(path: Path, file: BinaryIO) -> list[tarfile.TarInfo]:
    try:
        with tarfile.open(fileobj=file, mode="r:") as tar:
            entries = tar.getmembers()
    except (tarfile.TarError, EOFError) as error:
        raise _damaged(path, f"it is no whole tar archive ({error})") from None
    for entry in entries:
        if not entry.isreg() or "/" in entry.name:
            raise _damaged(path, f"{entry.name} is no plain file")
    return entries


def _digest_all(
    file: BinaryIO, entries: list[tarfile.TarInfo], contents: dict[str, bytes], on_progress: Callable[[int], None]
) -> tuple[dict[str, str], str]:
    """Digests of the members and of the whole file, read once; small members are kept in `contents`."""
    whole = hashlib.sha256()
    digests: dict[str, str] = {}

    with ThreadPoolExecutor(2) as pool:

        def take(count: int, second: _Hash | None = None) -> bytes:
            data = b""
            while count > 0 and (data := file.read(min(count, BLOCK))):
                count -= len(data)
                digesting = pool.submit(whole.update, data)
                if second:
                    second.update(data)
                digesting.result()
                on_progress(len(data))
            return data

        file.seek(0)
        for entry in entries:
            take(entry.offset_data - file.tell())
            digest = hashlib.sha256()
            data = take(entry.size, digest)
            if entry.size <= BLOCK:
                contents[entry.name] = data
            digests[entry.name] = digest.hexdigest()
        while take(BLOCK):
            pass
    return digests, whole.hexdigest()


def _manifest(path: Path, text: bytes) -> dict[str, str]:
    """Member name → SHA-256, from lines like `SHA256(name)= digest`."""
    promised: dict[str, str] = {}
    *lines, rest = text.decode("utf-8", "replace").split("\n")
    for line in [*lines, rest] if rest else lines:
        found = re.fullmatch(r"SHA256\((.+)\)= ([0-9a-f]{64})", line)
        if not found:
            raise _damaged(path, "its manifest has a line that is none")
        promised[found[1]] = found[2]
    return promised
