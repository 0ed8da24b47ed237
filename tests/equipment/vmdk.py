"""Stream-optimized VMDK → sparse raw disk, read from front to back as VirtualBox does."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from coursebox.core.console import silent
from coursebox.core.files import atomic
from coursebox.formats.ova import vmdk_layout as layout
from coursebox.formats.ova.vmdk_layout import GRAIN, GRAIN_SECTORS, SECTOR, TABLE_ENTRIES
from coursebox.formats.ova.vmdk_read import Damaged, content_id_of, damage, expand


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
    with atomic(raw) as part, damage(vmdk), vmdk.open("rb") as file, part.open("wb") as sink:
        file.seek(start)
        window = _Window(file, vmdk.stat().st_size - start if size is None else size)
        header = layout.Header.unpack(window.take(SECTOR))
        if header is None or header.directory is not None:
            raise Damaged("it does not start with the header of a stream-optimized disk")
        os.truncate(sink.fileno(), header.capacity * SECTOR)
        content_id = content_id_of(window.take(layout.DESCRIPTOR_SECTORS * SECTOR), header.capacity)
        if any(window.take((layout.OVERHEAD_SECTORS - layout.DESCRIPTOR_SECTORS - 1) * SECTOR)):
            raise Damaged("there is something between descriptor and first grain")
        content = layout.ContentId(header.capacity)
        done = 0
        for grain, data in _stream(window, header, content):
            place = grain * GRAIN
            os.pwrite(sink.fileno(), data[: header.capacity * SECTOR - place], place)
            on_progress(window.position - done)
            done = window.position
        if content.hex != content_id:
            raise Damaged("its content is not the one its content ID names")
        on_progress(window.position - done)
    return header.capacity * SECTOR


def _stream(window: _Window, header: layout.Header, content: layout.ContentId) -> Iterator[tuple[int, bytes]]:
    """(grain, 64 KiB) in the order of the file; raises Damaged wherever a marker is not what must stand there."""
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
                raise Damaged(f"the grain marker in sector {sector} cannot stand there")
            if grain // TABLE_ENTRIES != last // TABLE_ENTRIES and any(table):
                raise Damaged(f"the grain table in front of sector {sector} is missing")
            record = head + window.take(layout.record_length(marker.size) - SECTOR)
            compressed = layout.compressed_part(record, marker.size)
            data = expand(compressed)
            if data is None or layout.grain_record(grain, compressed) != record:
                raise Damaged(f"the grain in sector {sector} does not expand to what was written")
            table[grain % TABLE_ENTRIES] = sector
            last = grain
            content.add(grain, compressed)
            yield grain, data
            continue
        body = window.take(_metadata_sectors(marker, header, sector) * SECTOR)
        if head != layout.metadata(marker.kind, body)[:SECTOR]:
            raise Damaged(f"the marker in sector {sector} carries something that does not belong to it")
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
                raise Damaged("it goes on behind its end-of-stream marker")
            return
        else:
            raise Damaged(f"the marker in sector {sector} comes at a wrong place")
        if body != expected:
            raise Damaged(f"the table in sector {sector + 1} does not fit the grains")


def _metadata_sectors(marker: layout.Marker, header: layout.Header, sector: int) -> int:
    lengths = {
        layout.END_OF_STREAM: 0,
        layout.GRAIN_TABLE: layout.TABLE_SECTORS,
        layout.GRAIN_DIRECTORY: header.directory_sectors,
        layout.FOOTER: 1,
    }
    if lengths.get(marker.kind) != marker.value:
        raise Damaged(f"there is no valid marker in sector {sector}")
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
            raise Damaged("it ends too early")
        self.position += count
        return data
