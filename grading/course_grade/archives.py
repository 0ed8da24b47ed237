"""Open an archive that somebody else made: zip and tar, with limits, in a process that may not grow.

What cannot be opened costs its own submission only, and is told in one sentence. Members that no honest work needs
(links, devices, names that lead out) are left out and told. Nothing of an archive decides where a file is written:
names are checked, and a file is created only where none is.
"""

from __future__ import annotations

import json
import os
import re
import resource
import signal
import stat
import struct
import tarfile
import time
import unicodedata
import zipfile
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from lzma import LZMAError
from pathlib import Path
from typing import IO

from .names import clean, listed, suffix

SUFFIXES = (".zip", ".tar", ".tgz", ".tar.gz", ".tbz2", ".tbz", ".tar.bz2", ".txz", ".tar.xz")
FOREIGN = {".7z": "7z", ".rar": "RAR", ".zst": "zstd", ".tar.zst": "zstd", ".gz": "gzip"}  # not opened here
_MAGIC = {
    b"7z\xbc\xaf\x27\x1c": "a 7z archive",
    b"Rar!\x1a\x07": "a RAR archive",
    b"\x28\xb5\x2f\xfd": "a zstd archive",
}
_TAR = (b"\x1f\x8b", b"BZh", b"\xfd7zXZ\x00")
_BLOCK = 1 << 16
_MEMORY = 384 << 20  # bytes that the process which opens may use more than it has
_SECONDS = 30
_DIRECTORY = 4 << 20  # bytes of a zip's list of members
_SUSPICIOUS = 1 << 20  # bytes below which it does not matter how well something was compressed


class ArchiveError(Exception):
    """Why an archive cannot be opened, as the end of a sentence: "it is encrypted"."""


@dataclass(frozen=True)
class Limits:
    """size: bytes, all members together. ratio: bytes for each byte of the archive. depth: folders in a name."""

    size: int = 100_000_000
    number: int = 2000
    depth: int = 16
    ratio: int = 200
    name: int = 400


@dataclass
class Opened:
    """The notes are sentences on what was left out."""

    notes: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class _Member:
    """One entry; `kind` is "file", "folder", or what it is instead; `size` is what the archive claims, in bytes."""

    name: str
    kind: str
    size: int
    mtime: float
    packed: int | None
    read: Callable[[], IO[bytes] | None]


def is_archive(name: str) -> bool:
    """Whether a file's name says that it is an archive, of whatever kind."""
    return suffix(name) in SUFFIXES or suffix(name) in FOREIGN


def unpack(archive: Path, into: Path, limits: Limits) -> Opened:
    """Write the files of `archive` into the new folder `into`. Raises ArchiveError, and OSError without a place.

    Another process does it, which is ended when it takes too much memory or time.
    """
    into.mkdir(mode=0o700)
    reading, writing = os.pipe()
    pid = os.fork()
    if pid == 0:
        status = 1
        try:
            os.close(reading)
            _answer(archive, into, limits, writing)
            status = 0
        finally:
            os._exit(status)
    os.close(writing)
    with os.fdopen(reading, "rb") as pipe:
        answer = pipe.read()
    ended = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    try:
        said = json.loads(answer)
    except ValueError:
        why = "it takes too long" if ended in (-signal.SIGXCPU, -signal.SIGALRM, -signal.SIGKILL) else "it is damaged"
        raise ArchiveError(why) from None
    if said["error"]:
        raise ArchiveError(said["error"])
    return Opened(said["notes"])


def _answer(archive: Path, into: Path, limits: Limits, pipe: int) -> None:
    """In the other process: unpack, and tell what came of it."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGALRM):
        signal.signal(number, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    now = int(Path("/proc/self/statm").read_text("ascii").split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (now + _MEMORY, now + _MEMORY))
    resource.setrlimit(resource.RLIMIT_CPU, (_SECONDS, _SECONDS))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    signal.alarm(4 * _SECONDS)
    error, notes = "", []
    try:
        notes = _unpack(archive, into, limits)
    except ArchiveError as why:
        error = str(why)
    except MemoryError:
        error = "it needs too much memory"
    except (zipfile.BadZipFile, tarfile.TarError, zlib.error, LZMAError, EOFError, struct.error):
        error = "it is damaged"
    except NotImplementedError:
        error = "it is compressed in a way that cannot be read here; make it anew with the usual settings"
    except RuntimeError as why:
        error = "it is encrypted" if "password" in str(why) or "encrypt" in str(why) else "it is damaged"
    except OSError as why:
        error = (why.strerror or "it is damaged") if why.errno else "it is damaged"
    except Exception:
        error = "it is damaged"
    with os.fdopen(pipe, "wb") as out:
        out.write(json.dumps({"error": clean(error), "notes": [clean(note) for note in notes]}).encode("ascii"))


def _unpack(archive: Path, into: Path, limits: Limits) -> list[str]:
    with archive.open("rb") as file:
        head = file.read(512)
        whole = os.fstat(file.fileno()).st_size
        for magic, kind in _MAGIC.items():
            if head.startswith(magic):
                raise ArchiveError(f"it is {kind}; hand in a zip or tar archive")
        if not head:
            raise ArchiveError("it is empty")
        if head.startswith((b"PK\x03\x04", b"PK\x05\x06")):
            _look_at_directory(file, whole)
            with zipfile.ZipFile(file) as opened:
                return _write(_of_zip(opened), into, limits, whole)
        file.seek(0)
        if head.startswith(_TAR) or head[257:262] == b"ustar" or suffix(archive.name) == ".tar":
            try:
                with tarfile.open(fileobj=file, mode="r:*", errors="surrogateescape") as tar:
                    return _write(_of_tar(tar), into, limits, whole)
            except tarfile.ReadError:
                raise ArchiveError("it is damaged, or no tar archive") from None
    raise ArchiveError("it is neither a zip nor a tar archive")


def _look_at_directory(file: IO[bytes], whole: int) -> None:
    """Refuse a zip whose list of members alone would fill the memory (APPNOTE.TXT 4.3.16, 4.3.14)."""
    length = min(whole, 22 + 65535 + 20)
    file.seek(whole - length)
    tail = file.read(length)
    place = tail.rfind(b"PK\x05\x06")
    if place < 0 or len(tail) < place + 22:
        raise ArchiveError("it is damaged: its end is missing")
    size = struct.unpack_from("<I", tail, place + 12)[0]
    if tail[place - 20 : place - 16] == b"PK\x06\x07" and place >= 20:
        file.seek(min(struct.unpack_from("<Q", tail, place - 20 + 8)[0], whole))
        record = file.read(56)
        if not record.startswith(b"PK\x06\x06") or len(record) < 56:
            raise ArchiveError("it is damaged")
        size = struct.unpack_from("<Q", record, 40)[0]
    if size > _DIRECTORY:
        raise ArchiveError("it holds too many files")
    file.seek(0)


def _of_zip(opened: zipfile.ZipFile) -> Iterator[_Member]:
    for info in opened.infolist():
        mode = info.external_attr >> 16
        kind = "folder" if info.is_dir() else "file"
        if info.create_system == 3 and stat.S_IFMT(mode) not in (0, stat.S_IFREG, stat.S_IFDIR):
            kind = "link" if stat.S_ISLNK(mode) else "device"
        name = info.filename
        if not info.flag_bits & 0x800 and not name.isascii():  # no word on its encoding: most write UTF-8
            try:
                name = name.encode("cp437").decode("utf-8")
            except UnicodeError:
                name = info.filename
        try:
            when = time.mktime((*info.date_time, 0, 0, -1))
        except (ValueError, OverflowError):
            when = 0.0
        yield _Member(name, kind, info.file_size, when, info.compress_size, partial(opened.open, info))


def _of_tar(opened: tarfile.TarFile) -> Iterator[_Member]:
    for info in opened:
        kind = "file" if info.isreg() else "folder" if info.isdir() else "device"
        kind = "link" if info.issym() or info.islnk() else kind
        name = info.name.encode("utf-8", "surrogateescape").decode("utf-8", "replace")
        yield _Member(name, kind, info.size, float(info.mtime), None, partial(opened.extractfile, info))


def place_of(name: str, limits: Limits) -> tuple[str, ...] | None:
    """The folders and the name of a member; None where it leads out of the archive or is no usable name.

    Old programs for Windows write backslashes.
    """
    text = unicodedata.normalize("NFC", name.replace("\\", "/"))
    if text.startswith("/") or re.match(r"[A-Za-z]:", text) or "\0" in text:
        return None
    parts = tuple(part for part in text.split("/") if part not in ("", "."))
    if not parts or ".." in parts or len(parts) > limits.depth or len(text) > limits.name:
        return None
    if any(len(part.encode("utf-8", "replace")) > 250 for part in parts):
        return None
    return tuple(clean(part, keep="") for part in parts)


def _write(members: Iterator[_Member], into: Path, limits: Limits, whole: int) -> list[str]:
    """Write the members below `into`; the notes. What is claimed is not believed: bytes are counted as they come."""
    left_out: dict[str, list[str]] = {}
    spelled: dict[tuple[str, ...], tuple[str, ...]] = {}  # as a careless file system compares → as it was written
    count = total = 0
    for member in members:
        count += 1
        if count > limits.number:
            raise ArchiveError(f"it holds more than {limits.number} files")
        parts = place_of(member.name, limits)
        if member.kind == "folder":
            continue
        if parts is None:
            left_out.setdefault("a name that leads out of it, or is too long or too deep", []).append(member.name)
            continue
        if member.kind != "file":
            left_out.setdefault(f"a {member.kind}", []).append(member.name)
            continue
        if total + member.size > limits.size:
            raise ArchiveError(f"unpacked it is larger than {limits.size // 1_000_000} MB")
        same = spelled.setdefault(tuple(part.casefold() for part in parts), parts)
        if same != parts:
            left_out.setdefault(f"a name that differs from {'/'.join(same)} in case only", []).append(member.name)
            continue
        target = into.joinpath(*parts)
        try:
            target.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            target.unlink(missing_ok=True)  # of two with one name the last counts, as in every program
        except (FileExistsError, NotADirectoryError, IsADirectoryError, PermissionError):
            left_out.setdefault("a name that is a file and a folder", []).append(member.name)
            continue
        total += _copy(member, target, limits, total, whole)
        os.utime(target, (max(0.0, member.mtime), max(0.0, member.mtime)))
    return [f"left out: {why}: {listed(clean(name, keep='') for name in names)}" for why, names in left_out.items()]


def _copy(member: _Member, target: Path, limits: Limits, before: int, whole: int) -> int:
    """Write one member; its size in bytes."""
    source = member.read()
    if source is None:
        return 0
    size = 0
    with source, target.open("xb") as out:
        while block := source.read(_BLOCK):
            size += len(block)
            if before + size > limits.size:
                raise ArchiveError(f"unpacked it is larger than {limits.size // 1_000_000} MB")
            packed = whole if member.packed is None else max(1, min(member.packed, whole))
            if size > _SUSPICIOUS and (size > limits.ratio * packed or before + size > limits.ratio * whole):
                raise ArchiveError(f"unpacked it is more than {limits.ratio} times as large, as no honest work is")
            out.write(block)
    return size
