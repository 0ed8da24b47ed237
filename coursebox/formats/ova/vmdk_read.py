"""Stream-optimized VMDK → index of its grains. Believes nothing: damage is named, never passed on."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import deflate

from coursebox.core.errors import CourseboxError
from coursebox.formats.ova import vmdk_layout as layout
from coursebox.formats.ova.vmdk_layout import GRAIN, SECTOR, TABLE_ENTRIES


@dataclass(frozen=True)
class Vmdk:
    """The index of a VMDK in the file `path`, from byte `start` on.

    capacity: in bytes. places: grain number → byte offset of its record in `path`. content_id: 32 hex digits.
    """

    path: Path
    start: int
    capacity: int
    places: dict[int, int]
    content_id: str


def read_vmdk(path: Path, *, start: int = 0, size: int | None = None) -> Vmdk:
    """Read the index of a VMDK that `write_vmdk` wrote, from its footer, without reading the grains.

    start, size: where it lies in `path`, in bytes, when that is an OVA. Raises CourseboxError on damage.
    """
    with damage(path), path.open("rb") as file:
        end = start + (path.stat().st_size - start if size is None else size)
        head = layout.Header.unpack(_read_at(file, start, SECTOR))
        footer = layout.Header.unpack(_read_at(file, end - 2 * SECTOR, SECTOR))
        if head is None or footer is None or footer.directory is None or footer != head.at(footer.directory):
            raise Damaged("header and footer do not belong together")
        place = start + footer.directory * SECTOR
        directory = layout.table_entries(_read_at(file, place, footer.directory_sectors * SECTOR), footer.tables)
        places: dict[int, int] = {}
        for number, sector in enumerate(directory):
            if sector == 0:
                continue
            table = _read_at(file, start + sector * SECTOR, layout.TABLE_SECTORS * SECTOR)
            for index, entry in enumerate(layout.table_entries(table, TABLE_ENTRIES)):
                if entry:
                    places[number * TABLE_ENTRIES + index] = start + entry * SECTOR
        text = _read_at(file, start + SECTOR, layout.DESCRIPTOR_SECTORS * SECTOR)
        return Vmdk(path, start, head.capacity * SECTOR, places, content_id_of(text, head.capacity))


class Damaged(Exception):
    """A VMDK breaks a rule; `damage` turns it into a CourseboxError that names the file."""


@contextlib.contextmanager
def damage(path: Path) -> Iterator[None]:
    """Turn `Damaged` into a CourseboxError about the file `path`."""
    try:
        yield
    except Damaged as reason:
        raise CourseboxError(
            f"the disk in {path} is damaged: {reason}",
            hint="compare the SHA-256 of the file with the published one, and build or download it again",
        ) from None


def expand(compressed: bytes) -> bytes | None:
    """The grain in this zlib stream; None when it is damaged or does not hold exactly one grain."""
    try:
        data = deflate.zlib_decompress(compressed, GRAIN)
    except (deflate.DeflateError, ValueError):
        return None
    return bytes(data) if len(data) == GRAIN else None


def _read_at(file: BinaryIO, place: int, count: int) -> bytes:
    data = os.pread(file.fileno(), count, place) if place >= 0 else b""
    if len(data) != count:
        raise Damaged("it ends too early")
    return data


def content_id_of(text: bytes, capacity: int) -> str:
    """The content ID named in a descriptor, which must be the one that `write_vmdk` writes for this capacity."""
    _, _, behind = text.partition(b'ddb.longContentID = "')
    found = behind[:32].decode("ascii", "ignore")
    if layout.descriptor(capacity, found) != text:
        raise Damaged("its descriptor is not the one that belongs to such a disk")
    return found
