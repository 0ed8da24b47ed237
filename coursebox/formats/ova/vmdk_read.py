"""Stream-optimized VMDK → index, or sparse raw disk. Believes nothing: damage is named, never passed on."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import deflate

from coursebox.core.console import silent
from coursebox.core.errors import CourseboxError
from coursebox.core.files import atomic
from coursebox.formats.ova import vmdk_layout as layout
from coursebox.formats.ova.vmdk_layout import GRAIN, GRAIN_SECTORS, SECTOR, TABLE_ENTRIES


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
    with _damage(path), path.open("rb") as file:
        end = start + (path.stat().st_size - start if size is None else size)
        head = layout.Header.unpack(_read_at(file, start, SECTOR))
        footer = layout.Header.unpack(_read_at(file, end - 2 * SECTOR, SECTOR))
        if head is None or footer is None or footer.directory is None or footer != head.at(footer.directory):
            raise _Damaged("header and footer do not belong together")
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
        return Vmdk(path, start, head.capacity * SECTOR, places, _content_id(text, head.capacity))


def extract_raw(
    vmdk: Path,
    raw: Path,
    *,
    start: int = 0,
    size: int | None = None,
    on_progress: Callable[[int], None] = silent,
) -> int:
    """Write the disk in `vmdk` to the sparse file `raw`; returns its capacity in bytes.

    Reads the stream from front to back as VirtualBox does, and holds every marker, table, padding and checksum
    against what was read before. start, size: as for `read_vmdk`. on_progress: called with bytes of the VMDK.
    Raises CourseboxError on any damage; `raw` appears complete or not at all.
    """
    with atomic(raw) as part, _damage(vmdk), vmdk.open("rb") as file, part.open("wb") as sink:
        file.seek(start)
        window = _Window(file, vmdk.stat().st_size - start if size is None else size)
        header = layout.Header.unpack(window.take(SECTOR))
        if header is None or header.directory is not None:
            raise _Damaged("it does not start with the header of a stream-optimized disk")
        os.truncate(sink.fileno(), header.capacity * SECTOR)
        content_id = _content_id(window.take(layout.DESCRIPTOR_SECTORS * SECTOR), header.capacity)
        if any(window.take((layout.OVERHEAD_SECTORS - layout.DESCRIPTOR_SECTORS - 1) * SECTOR)):
            raise _Damaged("there is something between descriptor and first grain")
        content = layout.ContentId(header.capacity)
        done = 0
        for grain, data in _stream(window, header, content):
            place = grain * GRAIN
            os.pwrite(sink.fileno(), data[: header.capacity * SECTOR - place], place)
            on_progress(window.position - done)
            done = window.position
        if content.hex != content_id:
            raise _Damaged("its content is not the one its content ID names")
        on_progress(window.position - done)
    return header.capacity * SECTOR


class _Damaged(Exception):
    """A VMDK breaks a rule; becomes a CourseboxError that names the file."""


@contextlib.contextmanager
def _damage(path: Path) -> Iterator[None]:
    try:
        yield
    except _Damaged as reason:
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


def _stream(window: _Window, header: layout.Header, content: layout.ContentId) -> Iterator[tuple[int, bytes]]:
    """(grain, 64 KiB) in the order of the file; raises _Damaged wherever a marker is not what must stand there."""
    table = [0] * TABLE_ENTRIES
    directory = [0] * header.tables
    last = -1
    directory_at: int | None = None
    footer_seen = False
    while True:
        sector = window.position // SECTOR
        head = window.take(SECTOR)
        marker = layout.Marker.unpack(head)
        if marker.size:
            grain, rest = divmod(marker.value, GRAIN_SECTORS)
            if rest or not last < grain < header.grains or marker.size > layout.MAX_RECORD or directory_at is not None:
                raise _Damaged(f"the grain marker in sector {sector} cannot stand there")
            if grain // TABLE_ENTRIES != last // TABLE_ENTRIES and any(table):
                raise _Damaged(f"the grain table in front of sector {sector} is missing")
            record = head + window.take(layout.record_length(marker.size) - SECTOR)
            compressed = layout.compressed_part(record, marker.size)
            data = expand(compressed)
            if data is None or layout.grain_record(grain, compressed) != record:
                raise _Damaged(f"the grain in sector {sector} does not expand to what was written")
            table[grain % TABLE_ENTRIES] = sector
            last = grain
            content.add(grain, compressed)
            yield grain, data
            continue
        body = window.take(_metadata_sectors(marker, header, sector) * SECTOR)
        if head != layout.metadata(marker.kind, body)[:SECTOR]:
            raise _Damaged(f"the marker in sector {sector} carries something that does not belong to it")
        if marker.kind == layout.GRAIN_TABLE and any(table):
            expected = layout.table_bytes(table)
            directory[last // TABLE_ENTRIES] = sector + 1
            table = [0] * TABLE_ENTRIES
        elif marker.kind == layout.GRAIN_DIRECTORY and not any(table) and directory_at is None:
            expected = layout.table_bytes(directory)
            directory_at = sector + 1
        elif marker.kind == layout.FOOTER and directory_at is not None and not footer_seen:
            expected = header.at(directory_at).pack()
            footer_seen = True
        elif marker.kind == layout.END_OF_STREAM and footer_seen:
            if window.rest:
                raise _Damaged("it goes on behind its end-of-stream marker")
            return
        else:
            raise _Damaged(f"the marker in sector {sector} comes at a wrong place")
        if body != expected:
            raise _Damaged(f"the table in sector {sector + 1} does not fit the grains")


def _metadata_sectors(marker: layout.Marker, header: layout.Header, sector: int) -> int:
    lengths = {
        layout.END_OF_STREAM: 0,
        layout.GRAIN_TABLE: layout.TABLE_SECTORS,
        layout.GRAIN_DIRECTORY: header.directory_sectors,
        layout.FOOTER: 1,
    }
    if lengths.get(marker.kind) != marker.value:
        raise _Damaged(f"there is no valid marker in sector {sector}")
    return marker.value


@dataclass
class _Window:
    """A VMDK within an open file, read from front to back: `position` and `size` in bytes from its start."""

    file: BinaryIO
    size: int
    position: int = 0

    @property
    def rest(self) -> int:
        return self.size - self.position

    def take(self, count: int) -> bytes:
        data = self.file.read(min(count, self.rest))
        if len(data) != count:
            raise _Damaged("it ends too early")
        self.position += count
        return data


def _read_at(file: BinaryIO, place: int, count: int) -> bytes:
    data = os.pread(file.fileno(), count, place) if place >= 0 else b""
    if len(data) != count:
        raise _Damaged("it ends too early")
    return data


def _content_id(text: bytes, capacity: int) -> str:
    """The content ID named in a descriptor, which must be the one that `write_vmdk` writes for this capacity."""
    _, _, behind = text.partition(b'ddb.longContentID = "')
    found = behind[:32].decode("ascii", "ignore")
    if layout.descriptor(capacity, found) != text:
        raise _Damaged("its descriptor is not the one that belongs to such a disk")
    return found
