"""Sparse raw disk → stream-optimized VMDK. The same disk gives the same bytes, however many cores compress it."""

from __future__ import annotations

import contextlib
import os
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

import deflate

from coursebox.core.console import silent
from coursebox.core.digests import sha256_file
from coursebox.core.errors import CourseboxError
from coursebox.core.files import atomic
from coursebox.formats.ova import vmdk_layout as layout
from coursebox.formats.ova.vmdk_layout import GRAIN, SECTOR, TABLE_ENTRIES
from coursebox.formats.ova.vmdk_read import Vmdk, expand, read_vmdk

# libdeflate's level 6 is smaller than zlib's on course disks in less than half the time; 9 gains 0.4 % and doubles it.
LEVEL = 6
# Grains for one task of a thread: 4 MiB, so that reading, compressing and queueing stay far below 100 MB in all.
BATCH = 64

_ZERO = bytes(GRAIN)


@dataclass(frozen=True)
class VmdkInfo:
    """A written VMDK: `capacity`, `size` and `populated` in bytes, `grains` that are stored, `cid` 8 hex digits."""

    capacity: int
    size: int
    sha256: str
    populated: int
    grains: int
    cid: str


def write_vmdk(
    raw: Path,
    target: Path,
    *,
    memo: Path | None = None,
    workers: int | None = None,
    on_progress: Callable[[int], None] = silent,
) -> VmdkInfo:
    """Write `target` from the disk image `raw`, whose length is a multiple of 512 bytes.

    memo: a VMDK that was written from an earlier state of the disk; a grain that did not change is copied from it
        instead of being compressed again. The result is the same with and without; a damaged memo is ignored.
    workers: threads that compress; by default the processors this process may use.
    on_progress: called with bytes of the disk (holes included) as they are done; they add up to its capacity.
    Raises CourseboxError when `raw` cannot be a disk. `target` appears complete or not at all.
    """
    capacity = raw.stat().st_size
    if capacity == 0 or capacity % SECTOR:
        raise CourseboxError(f"{raw} is no disk image: {capacity} bytes are no whole number of 512-byte sectors")
    if capacity > layout.MAX_CAPACITY:
        hint = "choose a smaller disk in the section [machine] of the course file"
        raise CourseboxError(f"{raw} is larger than 1 TiB, the most a VMDK is sure to hold", hint=hint)
    with atomic(target) as part:
        with raw.open("rb", buffering=0) as source, part.open("w+b") as sink:
            packer = _Packer(source.fileno(), capacity, _open_memo(memo))
            try:
                out = _write(packer, sink, workers or len(os.sched_getaffinity(0)), on_progress)
            except _StaleMemo:
                # The memo comes from another libdeflate: start again without, or the result would depend on the past.
                packer = _Packer(source.fileno(), capacity, None)
                out = _write(packer, sink, workers or len(os.sched_getaffinity(0)), silent)
        sha256 = sha256_file(part)
    return VmdkInfo(capacity, target.stat().st_size, sha256, out.grains * GRAIN, out.grains, out.content.cid)


class _StaleMemo(Exception):
    """The memo's records are not what this libdeflate makes of the same grains."""


def _open_memo(path: Path | None) -> Vmdk | None:
    if path is None:
        return None
    try:
        return read_vmdk(path)
    except (CourseboxError, OSError):
        return None


class _Packer:
    """Compresses runs of grains; called by several threads at a time."""

    def __init__(self, raw: int, capacity: int, memo: Vmdk | None) -> None:
        self.raw = raw
        self.capacity = capacity
        self.places = memo.places if memo else {}
        self._memo = memo.path.open("rb", buffering=0) if memo else None

    def pack(self, first: int, count: int) -> list[tuple[int, bytes]]:
        """(grain, zlib stream) for each grain that is not zero among the `count` grains from `first` on."""
        data = os.pread(self.raw, count * GRAIN, first * GRAIN)
        # The last grain reaches over the end of some disks; VirtualBox and qemu-img both fill it with zeros.
        data += bytes(count * GRAIN - len(data))
        packed: list[tuple[int, bytes]] = []
        proven = False
        for number in range(count):
            piece = data[number * GRAIN : (number + 1) * GRAIN]
            if piece == _ZERO:
                continue
            known = self._remembered(first + number, piece)
            if known is None or not proven:
                fresh = bytes(deflate.zlib_compress(piece, LEVEL))
                if known is not None:
                    # One known grain of each batch is compressed again: the memo may come from another libdeflate.
                    if known != fresh:
                        raise _StaleMemo
                    proven = True
                known = fresh
            packed.append((first + number, known))
        return packed

    def _remembered(self, grain: int, piece: bytes) -> bytes | None:
        """The zlib stream of the memo at this place, if it expands to `piece`."""
        place = self.places.get(grain)
        if place is None or self._memo is None:
            return None
        head = os.pread(self._memo.fileno(), SECTOR, place)
        if len(head) < SECTOR:
            return None
        marker = layout.Marker.unpack(head)
        if not 0 < marker.size <= layout.MAX_RECORD:
            return None
        rest = layout.record_length(marker.size) - SECTOR
        record = head + os.pread(self._memo.fileno(), rest, place + SECTOR) if rest else head
        compressed = layout.compressed_part(record, marker.size)
        return compressed if expand(compressed) == piece else None

    def close(self) -> None:
        if self._memo:
            self._memo.close()


@dataclass
class _Out:
    """What is being written: where the next byte goes, and the tables so far."""

    sink: BinaryIO
    header: layout.Header
    content: layout.ContentId
    sector: int = layout.OVERHEAD_SECTORS
    grains: int = 0
    table: list[int] = field(default_factory=lambda: [0] * TABLE_ENTRIES)
    table_number: int = -1
    directory: list[int] = field(default_factory=list)

    def put(self, data: bytes) -> None:
        self.sink.write(data)
        self.sector += len(data) // SECTOR

    def put_grain(self, grain: int, compressed: bytes) -> None:
        number, index = divmod(grain, TABLE_ENTRIES)
        if number != self.table_number:
            self.put_table()
            self.table_number = number
        self.table[index] = self.sector
        self.content.add(grain, compressed)
        self.grains += 1
        self.put(layout.grain_record(grain, compressed))

    def put_table(self) -> None:
        if any(self.table):
            self.directory[self.table_number] = self.sector + 1
            self.put(layout.metadata(layout.GRAIN_TABLE, layout.table_bytes(self.table)))
            self.table = [0] * TABLE_ENTRIES

    def finish(self) -> None:
        self.put_table()
        place = self.sector + 1
        self.put(layout.metadata(layout.GRAIN_DIRECTORY, layout.table_bytes(self.directory)))
        self.put(layout.metadata(layout.FOOTER, self.header.at(place).pack()))
        self.put(layout.metadata(layout.END_OF_STREAM))
        self.sink.seek(0)
        self.sink.write(self.header.pack() + layout.descriptor(self.header.capacity, self.content.hex))
        self.sink.flush()


def _write(packer: _Packer, sink: BinaryIO, workers: int, on_progress: Callable[[int], None]) -> _Out:
    header = layout.Header(packer.capacity // SECTOR)
    out = _Out(sink, header, layout.ContentId(header.capacity), directory=[0] * header.tables)
    sink.seek(layout.OVERHEAD_SECTORS * SECTOR)
    waiting: deque[tuple[int, Future[list[tuple[int, bytes]]]]] = deque()
    done = 0

    def write_first() -> None:
        nonlocal done
        end, future = waiting.popleft()
        for grain, compressed in future.result():
            out.put_grain(grain, compressed)
        on_progress(end - done)
        done = end

    with contextlib.closing(packer), ThreadPoolExecutor(workers) as pool:
        try:
            for first, count in _batches(packer.raw, packer.capacity):
                end = min((first + count) * GRAIN, packer.capacity)
                waiting.append((end, pool.submit(packer.pack, first, count)))
                if len(waiting) > 2 * workers:
                    write_first()
            while waiting:
                write_first()
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise
    on_progress(packer.capacity - done)
    out.finish()
    return out


def _batches(raw: int, capacity: int) -> Iterator[tuple[int, int]]:
    """(first grain, count) for the parts of the disk that are no holes, in order, at most BATCH grains each."""
    grain = 0
    while grain * GRAIN < capacity:
        try:
            data = os.lseek(raw, grain * GRAIN, os.SEEK_DATA)
        except OSError:  # ENXIO: only a hole is left
            return
        hole = min(os.lseek(raw, data, os.SEEK_HOLE), capacity)
        grain, stop = data // GRAIN, -(-hole // GRAIN)
        while grain < stop:
            count = min(BATCH, stop - grain)
            yield grain, count
            grain += count
